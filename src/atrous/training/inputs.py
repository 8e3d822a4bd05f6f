"""The data of a run: opened, looked at, and checked beside the training."""

import logging
from dataclasses import dataclass
from pathlib import Path

from atrous.data import Folder, open_folder, quick_check
from atrous.data.background import BackgroundCheck
from atrous.data.brought import BROUGHT
from atrous.data.turned import TURNED
from atrous.findings import CheckReport
from atrous.training.resolved import ResolvedRun

__all__ = ["Inputs", "open_inputs"]

LOG = logging.getLogger(__name__)
SAID_AT_ONCE = (*BROUGHT.values(), TURNED, "absent_instances", "unlabelled")
"""Findings that say how and which images are read: they are told before the training, not counted after it."""


@dataclass
class Inputs:
    """The data of a run, which all its stages share.

    Attributes:
        data: the folder as it was named.
        folder: opened, with the splits of the run.
        classes: a class table that replaces the folder's own, or None.
        check: reads everything beside the training.
        report: of a check that had to come first, or None.
    """

    data: Path
    folder: Folder
    classes: str | Path | None
    check: BackgroundCheck
    report: CheckReport | None = None


def open_inputs(data: str | Path, run: ResolvedRun, out: Path, classes: str | Path | None) -> Inputs:
    """Open the data folder with the splits that the recipe asks for, and look at its first images.

    Args:
        data: the folder.
        run: its section `data` and its seed decide the splits; its tasks say whether they can learn from the masks.
        out: folder of the run, for the report of the check.
        classes: a classes.yaml to use instead of the folder's own.

    Raises:
        DataError: on the first error.
    """
    options = run.data
    folder = open_folder(
        data,
        classes=classes,
        seed=run.recipe.seed,
        **options.splitting,
    )
    for stage in run.stages:
        stage.recipe.task.build.accepts(folder)  # type: ignore[attr-defined]
    report = quick_check(folder)
    report.raise_errors()
    for finding in report.warnings:
        if finding.code in SAID_AT_ONCE:
            LOG.warning("%s", finding)
    return Inputs(Path(data), folder, classes, BackgroundCheck(folder, out / "check.json"))
