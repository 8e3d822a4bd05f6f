"""Where a run stands: the few numbers beside weights and optimiser that a resumed run needs."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from atrous.tasks import MEAN_IOU, Measure

__all__ = ["RunState"]

FAR = 1_000_000_000
"""The last step of a run of which nothing is known yet."""


@dataclass
class RunState:
    """Mutable, shared by the training module and its callbacks, and written into every checkpoint.

    Attributes:
        max_steps: where the run ends; with a budget, where it is now expected to end.
        validate_every: steps between validations.
        budget: seconds of training and validation after which the run ends, or None where `max_steps` ends it.
        spent: whether the budget ended the run.
        step: optimiser steps done.
        monitor: the figure that chooses the best weights. A run keeps the one that it began with.
        best: its best value in a validation so far, or None.
        best_step: step of the best validation.
        stale: validations since the best.
        stopped: whether early stopping ended the run.
        seconds: time of training in earlier sessions and this one, up to the last row of the log.
        validation_seconds: what the last validation took.
        losses: losses since the last row of the log.
        notes: other numbers of the steps since then, by name.
        scores: of the last validation: val_loss, and val_NAME for each measure of the task.
        precision: of the run, as the recipe would name it; empty where nothing was settled.
        tick: when `seconds` was last brought up to date in this session; 0 before.
    """

    max_steps: int
    validate_every: int
    budget: float | None = None
    spent: bool = False
    step: int = 0
    monitor: Measure = MEAN_IOU
    best: float | None = None
    best_step: int = 0
    stale: int = 0
    stopped: bool = False
    seconds: float = 0.0
    validation_seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    notes: dict[str, list[float]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    precision: str = ""
    tick: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.stopped or (self.step >= self.max_steps if self.budget is None else self.spent)

    def segment(self) -> range:
        """The steps from here to the next validation."""
        return range(self.step, self.next_validation())

    def next_validation(self) -> int:
        """The step after which the next validation comes."""
        regular = (self.step // self.validate_every + 1) * self.validate_every
        return regular if self.budget is not None else min(self.max_steps, regular)

    @property
    def validates_now(self) -> bool:
        """Whether a validation follows the step that was just done."""
        return self.finished or self.step % self.validate_every == 0

    def elapsed(self) -> float:
        """Seconds of training and validation so far, in all sessions."""
        return self.seconds + (time.perf_counter() - self.tick if self.tick else 0.0)

    def count_time(self) -> None:
        """Bring `seconds` up to date; the first call of a session only starts its clock."""
        self.seconds, self.tick = self.elapsed(), time.perf_counter()

    def expect(self, elapsed: float) -> None:
        """With a budget, foresee the last step from the pace so far, and see whether the time is over.

        The last validation must still fit. The schedule is that of a run of `max_steps`, so that it always ends with
        the budget, whatever the pace turns out to be.

        Args:
            elapsed: seconds of the run so far, alike in all processes.
        """
        if self.budget is None:
            return
        usable = max(self.budget - self.validation_seconds, self.budget / 2)
        progress = elapsed / usable
        self.max_steps = max(round(self.step / min(progress, 1.0)), self.step) if self.step and progress else FAR
        self.spent = progress >= 1 and self.step > 0

    @property
    def score(self) -> float | None:
        """What the monitor said in the last validation, or None before the first."""
        return self.scores.get(f"val_{self.monitor.name}")

    def judge(self, score: float) -> bool:
        """Note a validation's score; whether it is the best so far. A score that is not a number never is."""
        if self.monitor.better(score, self.best):
            self.best, self.best_step, self.stale = score, self.step, 0
            return True
        self.stale += 1
        return False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint; a monitor other than mean IoU as a list."""
        plain = {name: value for name, value in asdict(self).items() if name not in ("tick", "monitor")}
        return plain if self.monitor == MEAN_IOU else {**plain, "monitor": list(self.monitor)}

    def restore(self, values: dict[str, Any]) -> None:
        """Take over what a checkpoint says, except the plan of the run, which the recipe says."""
        for name in set(values) - {"max_steps", "validate_every", "budget", "monitor"}:
            setattr(self, name, values[name])
        self.monitor = Measure(*values.get("monitor", MEAN_IOU))  # runs from before there was a choice name none
