"""A run whose training is not over has no bundle yet: how to tell, and what to say."""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path

__all__ = ["explain_unfinished"]

SIGNS = ("run.json", "checkpoints", "log.csv")
"""What a training writes before it writes a bundle."""


def explain_unfinished(folder: Path) -> str | None:
    """Why the folder of a run holds no bundle, and the command that goes on with it; None where it is no such folder.

    Args:
        folder: of a run; or where its bundle is going to be.
    """
    run = folder.parent if folder.name == "bundle" and not folder.exists() else folder
    if (run / "bundle").exists() or not any((run / sign).exists() for sign in SIGNS):
        return None
    step = _last_step(run / "log.csv")
    so_far = f"it stands at step {step}" if step else "it stands at its beginning"
    command = shlex.join(["atrous", "train", _data(run / "run.json"), "-o", str(run), "--resume"])
    return f"{run}: the training of this run is not finished ({so_far}), so it has no bundle; go on with it: {command}"


def _last_step(log: Path) -> str:
    """The step of the last row that was written."""
    try:
        lines: Iterable[str] = reversed(log.read_text(encoding="utf-8").splitlines()[1:])
    except (OSError, UnicodeDecodeError):
        return ""
    return next((step for step in (line.partition(",")[0] for line in lines) if step.isdigit()), "")


def _data(file: Path) -> str:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return "DATA"
