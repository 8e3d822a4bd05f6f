"""The dataset doctor as one call."""

from collections.abc import Callable
from pathlib import Path

from atrous.data import check_folder
from atrous.findings import CheckReport

__all__ = ["check"]


def check(
    data: str | Path,
    *,
    classes: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Read every file of a data folder once, and tell what is there and every problem with its fix.

    Args:
        data: a data folder.
        classes: a classes.yaml to use instead of the folder's own.
        progress: called with the number of pairs done and of all.

    Returns:
        All findings and a summary; `str()` of it is the text that `atrous check` prints.
    """
    return check_folder(data, classes=classes, progress=progress)
