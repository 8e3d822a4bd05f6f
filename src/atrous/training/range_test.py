"""The learning-rate range test: train for a moment while the rate grows, and look where the loss falls fastest.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, https://arxiv.org/abs/1506.01186.
"""

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from atrous.errors import AtrousError, RecipeError
from atrous.inference.devices import choose_device, choose_precision
from atrous.training.engine import TrainingPlan
from atrous.training.memory import quick_gradients
from atrous.training.stream import Augmented, Stream, collate, mix

__all__ = ["RatePoint", "range_test"]

KEPT = 0.9
"""Share of the running mean of the loss that is kept from step to step."""
SPOILT = 4.0
"""The test ends where the smoothed loss is so many times its best."""


class RatePoint(NamedTuple):
    """One step of the test.

    Attributes:
        rate: learning rate of what no group changes.
        loss: of the step's batch, before the step.
        smooth: running mean of the losses, corrected for its start at zero.
    """

    rate: float
    loss: float
    smooth: float


def range_test(
    plan: TrainingPlan,
    *,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> list[RatePoint]:
    r"""Train a copy of the plan's model while the learning rate grows exponentially.

    With :math:`t` from 0 to :math:`T - 1`, batch losses :math:`l_t` and :math:`\beta` = 0.9

    .. math::
        \eta_t = \text{low} \, (\text{high} / \text{low})^{t / (T - 1)}, \qquad
        m_t = \beta m_{t-1} + (1 - \beta) l_t, \qquad s_t = m_t / (1 - \beta^{t+1})

    Groups of the optimiser keep their ratio to the rate. The test ends early where :math:`s_t` exceeds 4 times its
    least value so far, or is no longer finite. Model and optimiser of the plan stay as they are.

    Args:
        plan: its model, task, optimizer, data, batch size and seed are used; batches are those of the run.
        low: first rate.
        high: last rate.
        steps: :math:`T`, at least 2.
        progress: called with the number of steps done and of all.

    Raises:
        RecipeError: if `optimizer.lr` is 0, to which no rate has a ratio.
        AtrousError: if the loss is not finite at the very first steps.
    """
    model, optimizer = _copies(plan)
    base = float(optimizer.defaults["lr"])
    if not base > 0:
        raise RecipeError("optimizer.lr: got 0, but the rates of all groups are taken relative to it; give any other.")
    ratios = [group["lr"] / base for group in optimizer.param_groups]
    device = choose_device(plan.options.device)
    points: list[RatePoint] = []
    mean, best = 0.0, math.inf
    with torch.random.fork_rng(devices=[]):
        for step in range(steps):
            if progress is not None:
                progress(step, steps)
            rate = low * (high / low) ** (step / (steps - 1))
            for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
                group["lr"] = rate * ratio
            loss = _step(plan, model, optimizer, step, device)
            mean = KEPT * mean + (1 - KEPT) * loss
            smooth = mean / (1 - KEPT ** (step + 1))
            if not math.isfinite(smooth):
                break
            points.append(RatePoint(rate, loss, smooth))
            best = min(best, smooth)
            if smooth > SPOILT * best:
                break
    if progress is not None:
        progress(steps, steps)
    if len(points) < 2:
        raise AtrousError(f"the loss is not finite at learning rate {low:.3g} already; look at the data and the loss.")
    return points


def _copies(plan: TrainingPlan) -> tuple[nn.Module, Optimizer]:
    """Model and optimiser as copies that belong together: one memory of what was copied keeps the optimiser on it."""
    model, optimizer = copy.deepcopy((plan.model, plan.optimizer))
    device = choose_device(plan.options.device)
    model.to(device)  # moves the data of the parameters, which stay the optimiser's
    return model.train(), optimizer


def _step(plan: TrainingPlan, model: nn.Module, optimizer: Optimizer, step: int, device: torch.device) -> float:
    """One training step on the run's own batch of this number; the loss before it."""
    torch.manual_seed(mix(plan.seed, step))
    batch = _batch(plan, step, device)
    dtype = choose_precision(plan.options.precision, device)
    short = dtype != torch.float32
    with torch.autocast(device.type, dtype if short else torch.bfloat16, enabled=short):
        with quick_gradients(device):
            outputs = model(batch["image"])
        losses = plan.task.losses(outputs, batch | {"grids": getattr(model, "grids", {})})
        loss = torch.stack([part.float() for part in losses.values()]).sum()
    if not torch.isfinite(loss):
        return math.inf
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if plan.options.clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), plan.options.clip)
    optimizer.step()
    return float(loss.detach())


def _batch(plan: TrainingPlan, step: int, device: torch.device) -> dict[str, Tensor]:
    """The batch that the run takes at this step, on its device."""
    stream = Stream(len(plan.names), plan.batch_size, plan.seed, lambda: range(0))
    draws: Any = Augmented(plan.train, plan.transform, plan.seed)
    batch = collate([draws[draw] for draw in stream.batch(step)])
    if isinstance(batch, AtrousError):
        raise batch
    return {key: value.to(device) for key, value in batch.items()}
