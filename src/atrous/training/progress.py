"""The progress line: a bar on a terminal, a line every now and then elsewhere."""

import sys
import time
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from atrous.training.module import TrainingModule

__all__ = ["ProgressLine"]

QUIET_SECONDS = 30.0
"""Between two lines where no one watches a terminal."""


class ProgressLine(pl.Callback):
    """Step, loss, learning rate, last validation, images per second and time left, on one line of standard error.

    Args:
        batch_size: images per step.
        last_score: of the last validation before this session, if any.
    """

    def __init__(self, batch_size: int, last_score: float | None = None) -> None:
        self.batch_size, self._score = batch_size, last_score
        self._console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("{task.completed}/{task.total}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=False,
        )
        self._task = self._bar.add_task("train", note="")
        self._loss: float | None = None
        self._first, self._began, self._said = 0, 0.0, 0.0

    def on_train_start(self, trainer: pl.Trainer, module: TrainingModule) -> None:  # type: ignore[override]
        """Show the bar."""
        self._first, self._began = module.state.step, time.monotonic()
        self._said = self._began
        self._bar.update(self._task, total=module.state.max_steps, completed=module.state.step)
        if self._console.is_terminal:
            self._bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, module: TrainingModule, *args: Any) -> None:  # type: ignore[override]
        """Move the bar."""
        losses = module.state.losses
        if losses:
            self._loss = losses[-1] if self._loss is None else 0.9 * self._loss + 0.1 * losses[-1]
        now = time.monotonic()
        if self._console.is_terminal and now - self._said > 0.2:
            self._bar.update(self._task, completed=module.state.step, note=self.note(module))
            self._said = now
        elif not self._console.is_terminal and now - self._said > QUIET_SECONDS:
            self._say(module)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: TrainingModule) -> None:  # type: ignore[override]
        """Take over the score of the validation."""
        self._score = module.state.score
        if self._console.is_terminal:
            self._bar.update(self._task, completed=module.state.step, note=self.note(module))
        else:
            self._say(module)

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Leave the last line standing."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, module: Any, exception: BaseException) -> None:
        """Leave the terminal in order."""
        self._stop()

    def note(self, module: TrainingModule) -> str:
        """The numbers of the line."""
        state = module.state
        done, seconds = state.step - self._first, time.monotonic() - self._began
        loss = "" if self._loss is None else f"loss {self._loss:.4g}  "
        score = ""
        if self._score is not None:
            score = f"val {state.monitor.short or state.monitor.words} {self._score:.3f}  "
        pace = seconds / max(done, 1)
        left = duration(pace * (state.max_steps - state.step))
        return f"{loss}lr {module.rate:.2g}  {score}{self.batch_size / max(pace, 1e-9):.3g} images/s  {left} left"

    def _stop(self) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def _say(self, module: TrainingModule) -> None:
        state = module.state
        self._console.print(
            f"step {state.step}/{state.max_steps}  {self.note(module)}", highlight=False, soft_wrap=True
        )
        self._said = time.monotonic()


def duration(seconds: float) -> str:
    """A time span for people.

    Example:
        >>> duration(75.2), duration(7322)
        ('1:15', '2:02:02')
    """
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
