"""What a training comes to, for people and programs: one run, its stages, its folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atrous.evaluation import Evaluation, caution_of_steps
from atrous.workflows.state_files import read_json

__all__ = ["STAGES", "Run", "RunPart", "list_parts", "part_from", "read_parts"]

STAGES = "stages.json"
"""The parts of a run in several stages, in its folder."""


@dataclass(frozen=True)
class RunPart:
    """One stage or fold of a training.

    Attributes:
        name: "1-32s", "fold2".
        steps: optimiser steps done.
        best: the best value of the monitor while training, or None where there was no validation.
        best_step: the step of the best weights.
        seconds: of training and validation.
        monitor: what the figure is called that chose the weights.
    """

    name: str
    steps: int
    best: float | None
    best_step: int
    seconds: float
    monitor: str = "mean IoU"

    def __str__(self) -> str:
        score = (
            "" if self.best is None else f", best validation {self.monitor} {self.best:.3f} at step {self.best_step}"
        )
        return f"{self.steps} steps, {self.seconds:.0f} s{score}"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        out: its folder.
        bundle: the folder of the best weights.
        best: the best value of the monitor while training, or None where there was no validation, and for folds.
        best_step: the step of the best weights; of the last stage where there are several.
        steps: optimiser steps done; in all stages or folds together.
        stopped: whether early stopping ended it, or all of its folds.
        seconds: of training and validation.
        trained: False where the run had been finished before.
        evaluation: of the bundle on the validation images, or None where it was not asked for or there are none. Of
            folds: of each bundle on the images that it has not seen.
        stages: where the recipe has several.
        folds: where the images were divided into some.
        monitor: what the figure is called that chose the weights.
        fine_tuned: whether it started from trained weights, for which a few steps may be enough.
    """

    out: Path
    bundle: Path
    best: float | None
    best_step: int
    steps: int
    stopped: bool
    seconds: float
    trained: bool
    evaluation: Evaluation | None = None
    stages: tuple[RunPart, ...] = ()
    folds: tuple[RunPart, ...] = ()
    monitor: str = "mean IoU"
    fine_tuned: bool = False

    @property
    def caution(self) -> str:
        """What must be said before any figure, or "": hardly anything was trained."""
        steps = min((part.steps for part in self.folds), default=self.steps)
        return "" if self.fine_tuned else caution_of_steps(steps)

    def __str__(self) -> str:
        how = "stopped early" if self.stopped else "finished"
        what = f"{how} after {self.steps} steps" if self.trained else f"was finished before, after {self.steps} steps"
        score = (
            "" if self.best is None else f"; best validation {self.monitor} {self.best:.3f} at step {self.best_step}"
        )
        lines = [f"WARNING: {self.caution}", ""] if self.caution else []
        lines += [f"{self.out}: {what} and {self.seconds:.0f} s{score}"]
        lines += [f"  stage {part.name}: {part}" for part in self.stages]
        lines += [f"  {part.name}: {part}" for part in self.folds]
        if self.evaluation is not None:
            lines += ["", str(self.evaluation), ""]
        lines.append(f"bundle: {self.bundle}")
        if (self.out / "report.html").is_file():
            lines.append(f"report: {self.out / 'report.html'}")
        return "\n".join(lines)


def part_from(name: str, run: Run) -> RunPart:
    """A run as a part of a larger training."""
    return RunPart(name, run.steps, run.best, run.best_step, run.seconds, run.monitor)


def list_parts(parts: Sequence[RunPart]) -> list[dict[str, Any]]:
    """Parts as JSON can hold them."""
    return [vars(part) for part in parts]


def read_parts(run: Path) -> list[RunPart]:
    """The stages of a run, none where it has only one."""
    return read_json(run / STAGES, list[RunPart]) or []
