"""Formats of one file per image: which files there are, which image each is for, and which split."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from atrous.annotations.base import is_there
from atrous.annotations.parsing import refuse
from atrous.images.files import SUFFIXES

__all__ = ["files_below", "image_for", "split_folder"]

_SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")


def files_below(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a folder and its folders that end so, hidden ones left out; or the file itself.

    Raises:
        FindingError: if a folder cannot be opened: what lies in it would be missing without a word.
    """
    if path.is_file():
        return [path]
    walk = os.walk(path, onerror=_refuse_folder)
    found = [Path(place, name) for place, _, names in walk for name in names if name.lower().endswith(suffixes)]
    return sorted(file for file in found if not file.name.startswith(".") and file.is_file())


def _refuse_folder(problem: OSError) -> NoReturn:
    fix = "Give yourself the right to read it, or take the folder out."
    refuse(Path(problem.filename), f"cannot be opened ({problem.strerror}), so nobody knows what is in it", fix)


def split_folder(file: Path, root: Path) -> str:
    """The folder below the root that a file lies in, if that is called like a split; else nothing."""
    parts = file.relative_to(root).parts[:-1] if file.is_relative_to(root) else ()
    return parts[0] if parts and parts[0].lower() in _SPLITS else ""


def image_for(file: Path, root: Path, images: Path | None, stems: Iterable[str]) -> Path:
    """The image that a file of annotations is for.

    Args:
        file: of annotations.
        root: the folder that was named.
        images: another one with the images, or None.
        stems: what the image may be called, with or without its suffix.

    Raises:
        FindingError: if there is none.
    """
    inner = file.parent.relative_to(root) if file.is_relative_to(root) else Path()
    folders = [file.parent, file.parent / "images", file.parent.parent / "images", root / "images" / inner]
    folders = [images / inner, images, *folders] if images is not None else folders
    stems = list(dict.fromkeys(stem for stem in stems if stem))
    found = next((image for folder in folders for stem in stems for image in _named(folder, stem)), None)
    if found is None:
        message = f"is for an image called {' or '.join(stems)}, and there is no such file"
        refuse(file, message, "Put it beside the annotations, or name its folder with --images.")
    return found


def _named(folder: Path, stem: str) -> Iterator[Path]:
    if stem.lower().endswith(SUFFIXES) and is_there(folder / stem):
        yield folder / stem
    for suffix in SUFFIXES:
        for written in (suffix, suffix.upper()):
            if is_there(folder / f"{stem}{written}"):
                yield folder / f"{stem}{written}"
