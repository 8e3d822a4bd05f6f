"""What a run leaves on disk while it lasts: checkpoints and the log. Never half a file under its final name."""

import csv
import errno
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from atrous.disk import write_errors, write_text, writing
from atrous.errors import UsageError
from atrous.tasks.base import MEAN_IOU, PIXEL_ACCURACY, Measure

__all__ = ["COLUMNS", "Log", "columns_of", "read_checkpoint", "write_checkpoint"]

FORMAT = 1
DIGITS = 18
"""Of the number of a step, at most."""
RESUME = "go on with --resume on a disk with more space"


def columns_of(measures: Sequence[Measure]) -> tuple[str, ...]:
    """The columns of a log: one for each measure of the task's validations."""
    return ("step", "epoch", "seconds", "lr", "loss", "val_loss", *(f"val_{measure.name}" for measure in measures))


COLUMNS = columns_of((MEAN_IOU, PIXEL_ACCURACY))


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint of plain values and tensors, and push it to the disk before it gets its name.

    Raises:
        UsageError: if the disk refuses; what stood under the name before still stands.
    """
    with writing(path, instead=RESUME, durable=True) as beside, beside.open("wb") as file:
        try:
            torch.save({"format": FORMAT, **content}, file)
        except RuntimeError as error:  # torch's writer hides the system's error, in its context at best
            hidden = error.__context__
            raise hidden if isinstance(hidden, OSError) else OSError(errno.EIO, str(error).splitlines()[0]) from error


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint without running any code in it, or None where there is none.

    Raises:
        UsageError: if the file is no checkpoint of ours.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UsageError(
            f"{path}: is not a readable checkpoint ({type(error).__name__}); delete it to start over."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"{path}: is not a checkpoint that this version of atrous reads; start a new run.")
    return content


class Log:
    """`log.csv`: one row per logged step, each on disk before the next step begins.

    Args:
        path: of the file.
        step: where the run goes on; rows after it, and half a row, are dropped.
        columns: their names.
    """

    def __init__(self, path: Path, *, step: int = 0, columns: Sequence[str] = COLUMNS) -> None:
        self.path = path
        kept = [row for row in read_rows(path) if int(row["step"]) <= step]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        write_text(path, text.getvalue(), instead=RESUME)
        self._file = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, columns, lineterminator="\n")

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row; columns not given stay empty."""
        with write_errors(self.path, instead=RESUME):
            self._writer.writerow(dict(row))
            self._file.flush()

    def sync(self) -> None:
        """Push the rows to the disk: a checkpoint must not be newer than its log."""
        with write_errors(self.path, instead=RESUME):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with write_errors(self.path, instead=RESUME):
            self._file.close()


def read_rows(path: Path) -> list[dict[str, str]]:
    """The complete rows of a log, or none where there is no log.

    Raises:
        UsageError: if the file is no log.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    try:
        table = csv.DictReader(whole)
        rows = [row for row in table if None not in row.values() and None not in row]
    except csv.Error:
        table, rows = csv.DictReader([]), []
    if whole and "step" not in (table.fieldnames or ()):
        raise UsageError(f"{path}: is not the log of a run, it has no column 'step'; delete it to do without.")
    return [row for row in rows if row["step"].isascii() and row["step"].isdigit() and len(row["step"]) <= DIGITS]
