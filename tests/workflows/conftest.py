"""A small data folder and a run on it, made once for all tests of the workflows."""

from collections.abc import Callable
from pathlib import Path

import pytest

RECIPE = """\
model:     {name: unet2015, width: 4}
data:      {crop: 64, batch_size: 4, workers: 0, augment: [{name: horizontal_flip}]}
optimizer: {name: adamw, lr: 0.01}
training:  {max_steps: 12, device: cpu, precision: float32, log_every: 2, validate_every: 6}
"""


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from atrous.made import make_cells

    return make_cells(tmp_path_factory.mktemp("made") / "cells", count=14, size=(72, 88))


@pytest.fixture(scope="session")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as `atrous train` leaves it, report included."""
    from atrous.workflows import train

    folder = tmp_path_factory.mktemp("runs")
    (folder / "recipe.yaml").write_text(RECIPE)
    return train(data, recipe=folder / "recipe.yaml", out=folder / "run").out


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Makes untrained bundles: make_bundle(num_classes=3, in_channels=1, kind="uint8")."""

    def make(num_classes: int = 2, in_channels: int = 1, kind: str = "uint8") -> Path:
        from atrous import create_model, save_bundle

        model = create_model("unet2015", num_classes=num_classes, in_channels=in_channels, width=2).eval()
        names = [f"c{k}" for k in range(num_classes)]
        return save_bundle(tmp_path / f"{num_classes}-{in_channels}.bundle", model, class_names=names, dtype=kind)

    return make
