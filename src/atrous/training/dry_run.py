"""Steps that are tried before a run begins, to choose its precision and to know its pace.

A processor that multiplies bfloat16 in hardware trains most networks faster in it, but not all: it depends on the
shapes of the convolutions. So `precision: auto` times a few steps of both. The choice is part of the run's state, so
that a run that is resumed goes on in it.
"""

import copy
import logging
import time
from typing import Any

import torch
from torch import Tensor, nn

from atrous.errors import AtrousError
from atrous.inference.devices import choose_device, choose_precision
from atrous.memory import free_memory
from atrous.training.distributed import world
from atrous.training.engine import TrainingPlan
from atrous.training.memory import channels_last, quick_gradients
from atrous.training.precision import may_choose
from atrous.training.stream import Augmented, collate

__all__ = ["DryRun", "settle_precision"]

LOG = logging.getLogger(__name__)
LONG = 100
"""Steps of a run from which on a few more to choose by are little."""
LONG_SECONDS = 60.0
"""The same of a run with a budget."""
SLOW = 0.1
"""Seconds of a step below which the choice does not matter."""
MARGIN = 0.95
"""Float32 is chosen where its step takes less than so much of bfloat16's: it needs twice the memory."""
CLEAR = 1.5
"""Where one is so many times as fast in its first step, no other is taken."""
ROUNDS = 3
"""Steps of each that are timed at most."""
_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


class DryRun:
    """A copy of a plan's model that takes steps on its first batch, without an optimizer; nothing else is changed.

    Args:
        plan: of a run.

    Attributes:
        held: bytes that a step takes from the free memory, as far as the system tells.
    """

    def __init__(self, plan: TrainingPlan) -> None:
        self.held = 0
        self.plan, self.device = plan, choose_device(plan.options.device)
        self.model: nn.Module = copy.deepcopy(plan.model).to(self.device).train()
        channels_last(self.model)
        self._samples, self._draws = Augmented(plan.train, plan.transform, plan.seed), plan.stream().batch(0)

    def batch(self) -> dict[str, Tensor]:
        """The first batch of the run, read anew.

        Raises:
            AtrousError: if an image cannot be read.
        """
        batch = collate([self._samples[draw] for draw in self._draws[: self.plan.batch_size]])
        if isinstance(batch, AtrousError):
            raise batch
        batch = {key: value.to(self.device) for key, value in batch.items()}
        batch["image"] = batch["image"].contiguous(memory_format=torch.channels_last)
        return batch

    def step(self, batch: dict[str, Tensor], precision: torch.dtype) -> float:
        """Seconds of forward pass, losses and backward pass."""
        before, begin = free_memory() or 0, time.perf_counter()
        short = precision != torch.float32
        with torch.random.fork_rng(devices=[]):
            with torch.autocast(self.device.type, precision if short else torch.bfloat16, enabled=short):
                with quick_gradients(self.device):
                    outputs = self.model(batch["image"])
                losses = self.plan.task.losses(outputs, batch | {"grids": getattr(self.model, "grids", {})})
                loss = torch.stack(list(losses.values())).sum()
            self.held = max(self.held, before - (free_memory() or 0))
            torch.autograd.backward(loss)
            float(loss.detach())  # wait for the device
        seconds = time.perf_counter() - begin
        self.model.zero_grad()
        return seconds


def settle_precision(plan: TrainingPlan, saved: dict[str, Any] | None = None) -> None:
    """Choose the precision of a run and note it in its state.

    Two precisions are tried where a processor trains alone, the recipe says auto, and the run is long enough for a few
    more steps. The tried steps draw no random numbers of the run's and leave its model as it is.

    Args:
        plan: of the run.
        saved: a checkpoint that the run goes on from: it keeps what that run began with.
    """
    state = plan.state
    if saved is not None:
        state.precision = saved["state"].get("precision", "")  # nothing in runs from before there was a choice
        return
    long = state.max_steps >= LONG if state.budget is None else state.budget >= LONG_SECONDS
    state.precision = _NAMES[choose_precision(plan.options.precision, choose_device(plan.options.device))]
    if long and may_choose(plan.options) and world().processes == 1:
        state.precision = _faster(DryRun(plan))


def _faster(dry: DryRun) -> str:
    """The name of the faster precision; bfloat16 where it makes no difference, or memory is short."""
    batch, short, full = dry.batch(), torch.bfloat16, torch.float32
    times: dict[torch.dtype, list[float]] = {short: [], full: []}
    for _ in range(2):  # the first prepares the kernels
        first = dry.step(batch, short)
    free = free_memory()
    if first < SLOW or (free is not None and free < 3 * dry.held):  # float32 takes twice as much
        return _NAMES[short]
    times[short].append(first)
    dry.step(batch, full)
    for _ in range(ROUNDS):
        times[full].append(dry.step(batch, full))
        one, other = min(times[short]), min(times[full])
        if max(one, other) > CLEAR * min(one, other) or len(times[full]) == ROUNDS:
            break
        times[short].append(dry.step(batch, short))
    chosen = full if other < MARGIN * one else short
    LOG.info(
        "precision: %s; here a step takes %.2f s in bfloat16 and %.2f s in float32 (training.precision sets it)",
        *(_NAMES[chosen], one, other),
    )
    return _NAMES[chosen]
