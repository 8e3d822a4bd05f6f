"""Labels reach the training outputs where the model says that their cells stand."""

import pytest
import torch

from atrous.models import create_model
from atrous.tasks import Segmentation
from atrous.training.budget import measure_pace
from atrous.training.engine import carry_out
from atrous.training.range_test import range_test

from .conftest import Squares


class Watched(Segmentation):
    """Remembers what it was told of the grids."""

    def losses(self, outputs, batch):
        told.append(batch.get("grids", {}) if len(outputs) > 1 else None)
        return super().losses(outputs, batch)


told = []


@pytest.mark.parametrize("use", ["training", "pace", "rates"])
def test_whoever_takes_a_training_step_hands_the_models_grids_on(make_plan, tmp_path, use):
    told.clear()
    model = create_model("context_unet", num_classes=2, in_channels=2, width=2, context_width=2, context_levels=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    plan = make_plan(
        model=model,
        task=Watched(2),
        optimizer=optimizer,
        train=Squares(7, seed=0, size=13),
        val=Squares(3, seed=1, size=13),
        options={"max_steps": 2},
    )
    if use == "training":
        carry_out(plan, tmp_path / "run")
    elif use == "pace":
        measure_pace(plan)
    else:
        range_test(plan, steps=2)
    assert [grids for grids in told if grids is not None]
    assert all(grids == model.grids for grids in told if grids is not None)
