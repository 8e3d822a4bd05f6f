"""What happens around the steps: the log, the checkpoints, the progress line. Their order in the trainer matters.

All of them act at two moments: after a training step (`on_train_batch_end`), and at the end of a segment of steps,
after its validation (`on_train_epoch_end`; Lightning's "epoch" is the stretch between two validations).
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from atrous.errors import AtrousError
from atrous.training.distributed import from_leader, full_state, sum_over_processes
from atrous.training.files import COLUMNS, Log, write_checkpoint
from atrous.training.module import TrainingModule

__all__ = ["Checkpoints", "Recorder", "Watch"]

CHECKPOINT_SECONDS = 60.0
"""Between checkpoints where the recipe gives no steps."""


class Watch(pl.Callback):
    """Calls a function after each step; it may raise to stop the run."""

    def __init__(self, watch: Callable[[], None]) -> None:
        self.watch = watch

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """After a step."""
        self.watch()


class Recorder(pl.Callback):
    """Reads the losses, stops on one that is not finite, and writes `log.csv` and TensorBoard events.

    On an accelerator the loss of a step is read after the next step was launched, so that reading does not wait.

    Args:
        out: the run's folder.
        log_every: steps between rows.
        names: of the training images, for the message about a batch.
        batch_size: images per step, in all processes together.
        step: where the run goes on; later rows are dropped.
        columns: of the log, see `columns_of`.
        notes: columns of the numbers that a step leaves beside its loss.
        leads: whether this process writes; the others only take part in the means.
    """

    def __init__(
        self,
        out: Path,
        *,
        log_every: int,
        names: Sequence[str],
        batch_size: int,
        step: int = 0,
        columns: Sequence[str] = COLUMNS,
        notes: Sequence[str] = (),
        is_main: bool = True,
    ) -> None:
        self.log_every, self.names, self.batch_size, self.notes = log_every, names, batch_size, notes
        self.checkpoint = out / "checkpoints" / "last.ckpt"
        self.rows = self.events = None
        if is_main:
            from torch.utils.tensorboard import SummaryWriter

            self.rows = Log(out / "log.csv", step=step, columns=(*columns, *notes))
            self.events = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1 if step else None)
        self._pending: deque[tuple[int, float, dict[str, Tensor], Tensor]] = deque()
        self._parts: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, module: TrainingModule) -> None:  # type: ignore[override]
        """The clock starts with the first step."""
        module.state.count_time()

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, module: TrainingModule, outputs: dict[str, Tensor], batch: Any, batch_idx: int
    ) -> None:
        """Read the loss; write a row where one is due and no validation follows."""
        state = module.state
        self._pending.append((state.step, module.rate, outputs, torch.cat([part["index"] for part in batch])))
        lag = 0 if module.device.type == "cpu" else 1
        while len(self._pending) > lag:
            self._read(module)
        if state.step % self.log_every == 0 and not state.validates_now:
            self.write(module)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: TrainingModule) -> None:  # type: ignore[override]
        """Write a row with the scores of the validation."""
        self.write(module, **module.state.scores)

    def on_exception(self, trainer: pl.Trainer, module: Any, exception: BaseException) -> None:
        """Close the files."""
        self.close()

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Close the files."""
        self.close()

    def flush(self, module: TrainingModule) -> None:
        """Read all losses that are still on the device."""
        while self._pending:
            self._read(module)

    def write(self, module: TrainingModule, **scores: float) -> None:
        """A row of the log, and the same numbers as events."""
        self.flush(module)
        state = module.state
        state.count_time()
        series = {"loss": state.losses, **{name: state.notes.get(name, []) for name in self.notes}}
        sums = sum_over_processes([number for values in series.values() for number in (math.fsum(values), len(values))])
        counted = {name: (sums[2 * at], sums[2 * at + 1]) for at, name in enumerate(series)}
        # What no step left since the last row, such as an adversary that has not begun, stays empty.
        means = {name: total / max(count, 1) for name, (total, count) in counted.items() if count or name == "loss"}
        values = {"lr": module.rate, **means, **scores}
        state.losses, state.notes = [], {}
        if self.rows is None or self.events is None:
            return
        epoch = state.step * self.batch_size / max(len(self.names), 1)
        shown = {key: f"{value:.8g}" for key, value in values.items()}
        self.rows.write({"step": state.step, "epoch": f"{epoch:.4g}", "seconds": f"{state.seconds:.2f}", **shown})
        parts = {f"loss/{name}": float(part) for name, part in self._parts.items()} if len(self._parts) > 1 else {}
        for key, value in {**values, **parts}.items():
            self.events.add_scalar(key, value, state.step)

    def sync(self) -> None:
        """Bring rows and events to the disk."""
        if self.rows is not None and self.events is not None:
            self.rows.sync()
            self.events.flush()

    def close(self) -> None:
        """Close the files."""
        if self.rows is not None and self.events is not None:
            self.rows.close()
            self.events.close()

    def _read(self, module: TrainingModule) -> None:
        step, rate, outputs, index = self._pending.popleft()
        loss = float(outputs["loss"])
        if not math.isfinite(loss):
            raise AtrousError(self.describe(f"the loss is {loss}", step, rate, index))
        module.state.losses.append(loss)
        for name in self.notes:
            if name in outputs:
                value = float(outputs[name])
                if not math.isfinite(value):  # it would reach the segmenter later, or never
                    raise AtrousError(
                        f"the adversary went astray at step {step}: {name} is {value}. Try a smaller "
                        "adversary.optimizer.lr."
                    )
                module.state.notes.setdefault(name, []).append(value)
        self._parts = {name[5:]: part for name, part in outputs.items() if name.startswith("part_")}

    def describe(self, what: str, step: int, rate: float, index: Tensor | None = None) -> str:
        """The message about a run that went astray."""
        files = ", ".join(self.names[i] for i in index.tolist()) if index is not None else ""
        batch = f" on {files}" if files else ""
        kept = f" The checkpoint before it is {self.checkpoint}." if self.checkpoint.exists() else ""
        return (
            f"training went astray at step {step}: {what} at learning rate {rate:.3g}{batch}. "
            f"Try optimizer.lr={_tenth(rate)}, more schedule.warmup, or training.clip=1.0.{kept}"
        )


class Checkpoints(pl.Callback):
    """Writes `last.ckpt` and `best.ckpt`, and ends the run when validations stop getting better.

    A checkpoint at a validation step is written after the validation, so that a resumed run never repeats one; the
    best weights are written before the checkpoint that knows of them, so that a kill in between is harmless.

    Args:
        folder: of the two files.
        recorder: its rows are brought to the disk before a checkpoint.
        identity: what makes the run this run; compared on resuming.
        every: steps between checkpoints, or None for one a minute.
        patience: validations without a better score before the run ends.
        validates: whether there is anything to validate on; if not, the last weights are the best.
    """

    def __init__(
        self,
        folder: Path,
        recorder: Recorder,
        *,
        identity: dict[str, Any],
        every: int | None,
        patience: int | None,
        validates: bool,
    ) -> None:
        self.folder, self.recorder, self.identity = folder, recorder, identity
        self.every, self.patience, self.validates = every, patience, validates
        self._saved = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, module: TrainingModule, *args: Any) -> None:  # type: ignore[override]
        """Between validations, when it is time; and the end of the run, when its budget is spent."""
        state = module.state
        if state.spent:
            trainer.should_stop = True
        if state.validates_now:
            return
        if self.every is None:
            due = from_leader(time.monotonic() - self._saved) > CHECKPOINT_SECONDS
        else:
            due = state.step % self.every == 0
        if due:
            self.save(trainer, module)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: TrainingModule) -> None:  # type: ignore[override]
        """After a validation."""
        state = module.state
        score = state.score
        if (score is not None and state.judge(score)) if self.validates else state.finished:
            with module.kept():
                self._refuse_spoiled(module)
                kept = {"model": module.model.state_dict(), "step": state.step, "scores": state.scores}
                self._write("best.ckpt", kept)
        state.stopped = self.validates and self.patience is not None and state.stale >= self.patience
        self.save(trainer, module)
        trainer.should_stop = state.finished

    def save(self, trainer: pl.Trainer, module: TrainingModule) -> None:
        """Write `last.ckpt`."""
        self.recorder.flush(module)
        self._refuse_spoiled(module)
        self.recorder.sync()
        content = {
            "model": module.model.state_dict(),
            "optimizer": module.optimizers(use_pl_optimizer=False).state_dict(),
            "precision": trainer.precision_plugin.state_dict(),
            "state": module.state.to_dict(),
            "identity": self.identity,
            "origins": [origin.to_dict() for origin in getattr(module.model, "origins", ())],
        }
        for name, part in (("average", module.average), ("adversary", module.adversary)):
            if part is not None:
                content[name] = part.state_dict()
        self._write("last.ckpt", content)
        self._saved = time.monotonic()

    def _write(self, name: str, content: dict[str, Any]) -> None:
        whole = full_state(content)  # every process gives its pieces
        if self.recorder.rows is not None:
            write_checkpoint(self.folder / name, whole)

    def _refuse_spoiled(self, module: TrainingModule) -> None:
        """A finite loss may still have spoiled the weights by its gradient: never write those over good ones."""
        for name, value in full_state(module.model.state_dict()).items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                what = f"the weights {name} are no longer finite"
                raise AtrousError(self.recorder.describe(what, module.state.step, module.rate))


def _tenth(rate: float) -> str:
    return f"{rate / 10:.2g}"
