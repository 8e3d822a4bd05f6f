"""The image files of a folder and of the folders in it; and what there is that cannot be read."""

import os
from collections.abc import Iterable
from pathlib import Path

from atrous.findings import Finding, FindingError, error
from atrous.images.files import SUFFIXES

__all__ = ["IMAGE_FOLDERS", "Files", "entries", "first_folder", "image_files", "is_special", "special"]

IMAGE_FOLDERS = ("images", "image", "imgs", "JPEGImages")

Files = dict[str, list[Path]]
"""Files by their path within a folder without suffix."""


def image_files(folder: Path, findings: list[Finding]) -> Files:
    """Images of a folder and its folders, by their path without suffix, in order; hidden files are passed over.

    Args:
        folder: an existing folder.
        findings: gets an error for every folder that cannot be opened, and for every pipe or device.
    """
    found: Files = {}
    waiting = [(folder, "")]
    while waiting:
        place, prefix = waiting.pop()
        try:
            inside = entries(place)
        except FindingError as problem:
            findings.append(problem.finding)
            continue
        for entry in inside:
            if entry.name.startswith("."):
                continue
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122  (a Path per file is slow for 100 000 files)
            if entry.is_dir():
                waiting.append((Path(entry.path), f"{prefix}{entry.name}/"))
            elif suffix.lower() not in SUFFIXES:
                continue
            elif is_special(entry):
                findings.append(special(entry.path))
            else:
                found.setdefault(prefix + stem, []).append(Path(entry.path))
    return {name: sorted(found[name]) for name in sorted(found)}


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder.

    Raises:
        FindingError: if it cannot be opened.
    """
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as problem:
        message = f"cannot be opened ({problem.strerror}), so nobody knows what is in it"
        fix = "Give yourself the right to read it, or take the folder out."
        raise FindingError(error("unreadable_folder", folder, message, fix)) from None


def is_special(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a pipe, a socket or a device: reading one may wait for ever."""
    return not entry.is_file() and not entry.is_dir() and Path(entry.path).exists()


def special(path: object) -> Finding:
    """The finding about a pipe, a socket or a device."""
    return error("special_file", path, "is a pipe, a socket or a device, and no file", "Take it out.")


def first_folder(folder: Path, names: Iterable[str]) -> Path | None:
    """The first of several folders that exists."""
    return next((folder / name for name in names if (folder / name).is_dir()), None)
