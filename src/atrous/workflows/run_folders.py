"""The folder of a run: begun, complete, or removed again where an error came before the first checkpoint."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from atrous.disk import write_errors, write_text
from atrous.errors import AtrousError, UsageError
from atrous.evaluation import Evaluation
from atrous.locks import LOCK, locked, refuse_locked
from atrous.recipe import Recipe
from atrous.workflows.run_paths import full_paths
from atrous.workflows.runs import describe_machine, is_secondary
from atrous.workflows.state_files import read_json

__all__ = [
    "begin",
    "is_complete",
    "keeping",
    "keeping_bundle",
    "leaving_nothing",
    "read_begun",
    "stored_evaluation",
]


RUN, Said = "run.json", dict[str, str | None]
"""What a run says of how it was begun."""


@contextmanager
def keeping(out: Path) -> Iterator[None]:
    """Keep the folder of a run, its stages and folds included, for this process and those that train with it.

    Raises:
        UsageError: if another process works in it, or in a run that it is a part of.
    """
    if is_secondary():  # the main process keeps it for all
        yield
        return
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; name a new folder with -o.")
    for near in (*out.absolute().parents[:2], *out.glob("fold*"), *out.glob("stages/*")):
        refuse_locked(near, mine=True)
    made = [path for path in (out, *out.parents) if not path.exists()]
    with write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    try:
        with locked(out):
            yield
    finally:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def keeping_bundle(place: Path) -> AbstractContextManager[None]:
    """Keep the run that a bundle belongs to; a bundle elsewhere belongs to nobody.

    Args:
        place: a bundle or the folder of a run.
    """
    run = next((folder for folder in (place, place.absolute().parent) if (folder / RUN).is_file()), None)
    return nullcontext() if run is None else keeping(run)


def read_begun(out: Path, resume: bool) -> dict[str, Any]:
    """What an interrupted run says about itself, {} for a new one.

    Raises:
        UsageError: if the folder is in use.
    """
    if is_secondary():  # the leading process refuses for all
        return (read_json(out / RUN, Said) or {}) if resume else {}
    saved: dict[str, Any] | None = read_json(out / RUN, Said) if out.is_dir() else None
    if saved is not None and not resume:
        raise UsageError(f"{out}: holds a run already; go on with it by --resume, or name a new folder with -o.")
    if saved is None and resume:
        raise UsageError(
            f"{out}: there is no run to go on with here: no run.json; name the run's folder with -o, or leave out "
            "--resume to start a new run."
        )
    if saved is None and out.is_dir() and any(_counts(entry) for entry in out.iterdir()):
        raise UsageError(f"{out}: the folder is not empty; name a new folder with -o.")
    return saved or {}


def _counts(entry: Path) -> bool:
    """Whether an entry of a folder is more than the trace of a process."""
    return entry.name != LOCK and not entry.name.endswith(".part")


def begin(out: Path, recipe: Recipe, saved: Mapping[str, Any]) -> None:
    """What the folder says about the run before there is a checkpoint. An older run's words stay as they are.

    Paths are written in full, so that a later command finds them from wherever it is called.
    """
    if is_secondary():
        return
    texts = {
        RUN: json.dumps(full_paths(out, saved)),
        "recipe.yaml": recipe.text or recipe.to_yaml(),
        "environment.json": json.dumps(describe_machine()),
    }
    for name, text in texts.items():
        if not (out / name).is_file():
            write_text(out / name, text)


def is_complete(out: Path, evaluate: bool) -> bool:
    """Whether the run was not only trained: the report is what is written last."""
    return (out / "bundle").is_dir() and ((out / "report.html").is_file() or not evaluate)


def stored_evaluation(out: Path) -> Evaluation | None:
    """The evaluation that a run has written, or None."""
    file = out / "evaluation.json"
    return Evaluation.read(file) if file.is_file() else None


@contextmanager
def leaving_nothing(out: Path) -> Iterator[None]:
    """Remove a folder made here if an error ends the run before its first checkpoint."""
    if is_secondary():
        yield
        return
    made: list[Path] = []
    for path in (out, *out.parents):
        if path.exists():
            break
        made.append(path)
    had_run = (out / RUN).exists()
    try:
        yield
    except AtrousError:
        if not had_run and next(out.rglob("last.ckpt"), None) is None:
            for entry in list(out.iterdir()) if out.is_dir() else []:
                if entry.name != LOCK:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            for path in made:
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
        raise
