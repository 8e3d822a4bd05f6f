"""How far a budget of time reaches: the pace of a run, measured before it begins."""

import logging
import time

import torch

from atrous.evaluation import caution_of_steps
from atrous.training.dry_run import DryRun
from atrous.training.engine import TrainingPlan
from atrous.training.precision import precision_of

__all__ = ["measure_pace", "plan_for_budget"]

LOG = logging.getLogger(__name__)
STEPS = 3
"""Steps that are timed; the first warms up and does not count."""
VALIDATIONS = 10
"""About so many validations in a run with a budget."""
SHARE = 0.2
"""Of the time, at most this much for validations."""


def plan_for_budget(plan: TrainingPlan) -> None:
    """Set the expected length and the interval of validations of a run whose state has a budget.

    A copy of the model takes a few steps, and looks at one validation image; the model itself, the optimizer and all
    random numbers stay as they are. It is a first guess: the engine corrects the length at every step.

    Args:
        plan: its state is changed.
    """
    state = plan.state
    if state.budget is None:
        return
    pace, validation = measure_pace(plan)
    state.max_steps = max(int(state.budget / pace), 1)
    state.validation_seconds = validation
    if words := caution_of_steps(state.max_steps, ahead=True):
        LOG.warning("%s", words)
    interval = max(state.max_steps / VALIDATIONS, validation / (SHARE * pace))
    state.validate_every = max(round(interval), 1)


def measure_pace(plan: TrainingPlan) -> tuple[float, float]:
    """Seconds of a step, and of a whole validation, on a copy of the model."""
    dry, precision = DryRun(plan), precision_of(plan.options, plan.state)
    times = []
    for _ in range(STEPS):
        begin = time.perf_counter()
        dry.step(dry.batch(), precision)
        times.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    if plan.val is not None:
        short = precision != torch.float32
        with torch.no_grad(), torch.autocast(dry.device.type, precision if short else torch.bfloat16, enabled=short):
            dry.model.eval()
            image = torch.as_tensor(plan.val[0]["image"])[None].to(dry.device)
            float(dry.model(image)["out"].float().mean())
    validation = (time.perf_counter() - begin) * plan.val_size
    return sum(times[1:]) / (STEPS - 1) * plan.options.accumulate, validation
