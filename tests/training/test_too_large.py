"""A recipe that asks for a network for which there is no memory is refused, in words, before anything is written."""

import numpy as np
import pytest
from PIL import Image

import atrous
from atrous.errors import RecipeError
from atrous.models import base


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("model.width=1000000", "unet2015"),
        ("model={name: refinenet, encoder: {name: resnet18, width: 20000}}", "refinenet"),
        ("model={name: downscaled, network: {name: unet2015, width: 1000000}}", "unet2015"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_it_is_built(tmp_path, monkeypatch, entry, name):
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 2 if folder == "masks" else 256, (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / folder / f"{number}.png")
    monkeypatch.setattr(base, "free_memory", lambda: 5_200_000_000)
    overrides = [entry, "data.crop=32", "training.max_steps=1"]
    with pytest.raises(RecipeError) as caught:
        atrous.train(tmp_path / "data", recipe="unet2015", overrides=overrides, out=tmp_path / "run")
    assert f", model: the weights of this {name} take " in str(caught.value)
    assert " and more, and 5.2 GB of memory are free: give smaller arguments" in str(caught.value)
    assert not (tmp_path / "run").exists()
