"""Where a run stands: the few numbers beside weights and optimiser that a resumed run needs."""

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["RunState"]


@dataclass
class RunState:
    """Mutable, shared by the training module and its callbacks, and written into every checkpoint.

    Attributes:
        max_steps: where the run ends.
        validate_every: steps between validations.
        step: optimiser steps done.
        best: best validation mean IoU so far, or None.
        best_step: step of the best validation.
        stale: validations since the best.
        stopped: whether early stopping ended the run.
        seconds: time of training in earlier sessions and this one, up to the last row of the log.
        losses: losses since the last row of the log.
        scores: of the last validation: val_loss, val_mean_iou, val_pixel_accuracy.
    """

    max_steps: int
    validate_every: int
    step: int = 0
    best: float | None = None
    best_step: int = 0
    stale: int = 0
    stopped: bool = False
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.stopped or self.step >= self.max_steps

    def segment(self) -> range:
        """The steps from here to the next validation."""
        return range(self.step, self.next_validation())

    def next_validation(self) -> int:
        """The step after which the next validation comes."""
        return min(self.max_steps, (self.step // self.validate_every + 1) * self.validate_every)

    def judge(self, score: float) -> bool:
        """Note a validation's score; whether it is the best so far. A score that is not a number never is."""
        if score == score and (self.best is None or score > self.best):
            self.best, self.best_step, self.stale = score, self.step, 0
            return True
        self.stale += 1
        return False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    def restore(self, values: dict[str, Any]) -> None:
        """Take over what a checkpoint says, except the plan of the run, which the recipe says."""
        for name in set(values) - {"max_steps", "validate_every"}:
            setattr(self, name, values[name])
