"""Averages of the weights over the steps of a run, which are often better than the last weights themselves.

As in the papers:
- an exponential moving average after every step (Polyak averaging as deep learning uses it; Tarvainen and Valpola, Mean
  teachers, NeurIPS 2017, https://arxiv.org/abs/1703.01780);
- stochastic weight averaging: the even mean over the last part of a run, after which the statistics of the batch
  normalisations are measured anew (Izmailov et al., UAI 2018, https://arxiv.org/abs/1803.05407).

Different from the papers:
- the moving average begins gently: its decay is at most (1 + n) / (10 + n) after n steps, so that a short run does not
  keep its random start; it covers the running statistics too, which then need no pass over the data;
- the even mean takes every step, not one weight set per epoch, and leaves the schedule to the recipe, where the paper
  has a constant or cyclical rate (`schedule: {name: constant}`).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage", "measure_statistics"]


class WeightAverage:
    """A second set of weights that follows those of a model.

    Args:
        model: whose floating-point parameters and buffers are followed.
        decay: of the moving average, per step; None takes the even mean.
        start: the step before which nothing is averaged.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> average = WeightAverage(model)
        >>> for step, weight in enumerate((1.0, 2.0, 6.0), 1):
        ...     with torch.no_grad():
        ...         _ = model.weight.fill_(weight)
        ...     average.update(step)
        >>> with average.applied():
        ...     model.weight.item()
        3.0
        >>> model.weight.item()
        6.0
    """

    def __init__(self, model: nn.Module, *, decay: float | None = None, start: int = 0) -> None:
        self.model, self.decay, self.start = model, decay, start
        self.count = 0
        self._average: dict[str, Tensor] = {}

    @property
    def begun(self) -> bool:
        """Whether there is an average yet."""
        return self.count > 0

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        if step <= self.start:
            return
        current = self._followed()
        self.count += 1
        if self.count == 1:
            self._average = {name: value.detach().clone() for name, value in current.items()}
            return
        share = 1 / self.count if self.decay is None else 1 - min(self.decay, self.count / (9 + self.count))
        names = list(current)
        torch._foreach_lerp_([self._average[name] for name in names], [current[name] for name in names], share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model with the average in place of its own weights; nothing changes before there is one."""
        if not self.begun:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"count": self.count, "average": self._average}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        devices = {name: value.device for name, value in self._followed().items()}
        self.count = values["count"]
        self._average = {name: value.to(devices[name]) for name, value in values["average"].items()}

    def to_model(self) -> None:
        """Leave the average in the model for good."""
        if self.begun:
            self._exchange()

    def _followed(self) -> dict[str, Tensor]:
        named: Iterable[tuple[str, Tensor]] = (*self.model.named_parameters(), *self.model.named_buffers())
        return {name: value for name, value in named if value.is_floating_point()}

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, value in self._followed().items():
            kept = value.detach().clone()
            value.copy_(self._average[name])
            self._average[name] = kept


@torch.no_grad()
def measure_statistics(model: nn.Module, images: Iterable[Tensor]) -> None:
    """Measure the running statistics of all batch normalisations anew, as the even mean over batches of images.

    Everything else stands still, dropout too; layers that are frozen keep theirs.

    Args:
        model: to be changed.
        images: batches (B, C, H, W).
    """
    kinds = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d) and part.track_running_stats]
    layers = [part for part in kinds if not getattr(part, "frozen", False)]
    if not layers:
        return
    before = {part: (part.momentum, cast(Tensor, part.num_batches_tracked).clone()) for part in layers}
    modes = {part: part.training for part in model.modules()}
    model.eval()
    for part in layers:
        part.reset_running_stats()
        part.momentum = None  # torch's word for the even mean
        part.train()
    for image in images:
        model(image)
    for part, (momentum, count) in before.items():
        part.momentum = momentum
        cast(Tensor, part.num_batches_tracked).copy_(count)  # of the steps that were trained
    for each, training in modes.items():
        each.training = training
