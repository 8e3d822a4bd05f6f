"""A tiny network, task and data set that train in well under a second."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from atrous.tasks.base import MEAN_IOU, PIXEL_ACCURACY
from atrous.tasks.validators import PixelValidator
from atrous.training.engine import TrainingPlan
from atrous.training.options import TrainingOptions
from atrous.training.state import RunState
from atrous.types import Sample


class Squares(Dataset[Sample]):
    """Random images; the mask says where they are bright."""

    def __init__(self, count: int, seed: int, size: int = 12) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.rand(count, 2, size, size, generator=generator)
        self.masks = (self.images.mean(1) > 0.5).long()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return {"image": self.images[index], "mask": self.masks[index], "index": torch.tensor(index)}


class Task:
    """Cross-entropy of two classes."""

    ignore_index = 255
    measures = (MEAN_IOU, PIXEL_ACCURACY)
    monitor = MEAN_IOU

    def losses(self, outputs: dict[str, Tensor], batch: Sample) -> dict[str, Tensor]:
        return {"cross_entropy": nn.functional.cross_entropy(outputs["out"].float(), batch["mask"], ignore_index=255)}

    def divisors(self, batch: Sample) -> dict[str, Tensor]:
        return {"cross_entropy": (batch["mask"] != 255).sum().double()}

    def scores(self, outputs: dict[str, Tensor]) -> Tensor:
        return outputs["out"].float().softmax(1)

    def decide(self, scores: Tensor) -> Tensor:
        return scores.argmax(1)

    def validator(self) -> PixelValidator:
        return PixelValidator(self.decide, 2)


class Network(nn.Module):
    """With everything that a resumed run could get wrong: running statistics and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.3))
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"out": self.head(self.body(image))}


def flip(sample: Sample, rng: np.random.Generator) -> Sample:
    if rng.random() < 0.5:
        return {**sample, "image": sample["image"].flip(-1), "mask": sample["mask"].flip(-1)}
    return sample


@pytest.fixture
def make_plan() -> Callable[..., TrainingPlan]:
    """A fresh plan: 12 steps of 4 draws from 7 images, validated every 5 steps on 3."""

    def make(*, options: dict[str, Any] | None = None, lr: float = 0.02, **changes: Any) -> TrainingPlan:
        given = {"max_steps": 12, "validate_every": 5, "checkpoint_every": 2, "log_every": 2} | (options or {})
        chosen = TrainingOptions(**given)
        torch.manual_seed(0)
        model = Network()
        plan = TrainingPlan(
            model=model,
            task=Task(),
            optimizer=torch.optim.AdamW(model.parameters(), lr=lr),
            schedule=lambda _: _linear,
            train=Squares(7, seed=0),
            names=[f"image{index}.png" for index in range(7)],
            options=chosen,
            state=RunState(max_steps=chosen.max_steps or 12, validate_every=chosen.validate_every or 5),
            batch_size=4,
            transform=flip,
            val=Squares(3, seed=1),
            val_size=3,
            workers=0,
            seed=3,
            identity={"recipe": "{}", "data": "7 squares", "counts": "7 images"},
        )
        return replace(plan, **changes)

    return make


def _linear(step: int) -> float:
    return 1 - step / 12


@pytest.fixture
def weights() -> Callable[[TrainingPlan], dict[str, Tensor]]:
    """All that a plan has learned, as copies."""

    def read(plan: TrainingPlan) -> dict[str, Tensor]:
        flat = {name: value.clone() for name, value in plan.model.state_dict().items()}
        for index, state in plan.optimizer.state_dict()["state"].items():
            flat |= {f"optimizer.{index}.{name}": torch.as_tensor(value).clone() for name, value in state.items()}
        return flat

    return read


@pytest.fixture
def rows() -> Callable[[Path], list[dict[str, str]]]:
    """The rows of a log without their times."""
    import csv

    def read(out: Path) -> list[dict[str, str]]:
        with (out / "log.csv").open(newline="") as file:
            return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]

    return read
