"""Whether images and masks are still those that they were."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from atrous.annotations.landmarks import LandmarkEntry
from atrous.images.derived import Derived

__all__ = ["Fingerprint", "fingerprint"]

READ = 256 * 1024 * 1024
"""Bytes up to which files are compared by their content; more of them by their sizes alone."""


class Fingerprint(NamedTuple):
    """What some files are known by.

    Attributes:
        digest: of their content, or of their sizes where there is much of it; their names count for nothing.
        newest: the file that was written last, "" where there is none.
    """

    digest: str
    newest: str


class _State(NamedTuple):
    """A file as the system tells of it; or the digest of what is held in memory."""

    path: str
    size: int
    changed: int
    held: str = ""


def fingerprint(files: Iterable[Any]) -> Fingerprint:
    """The fingerprint of images or masks.

    Args:
        files: paths, folders such as Zarr arrays, derived images or masks, and landmarks, in order; None is no file.
    """
    states = tuple(state for file in files for state in _states(file))
    newest = max(states, key=lambda state: state.changed, default=_State("", 0, 0))
    return Fingerprint(_digest(states), newest.path)


@lru_cache(maxsize=8)
def _digest(states: tuple[_State, ...]) -> str:
    """By content, unless that is too much to read. It is remembered: a run asks for every stage and fold."""
    digest = hashlib.blake2b(digest_size=16)
    by_content = sum(state.size for state in states) <= READ
    for state in states:
        digest.update(f"{state.size}\n{state.held}".encode())
        if by_content and not state.held:
            with open(state.path, "rb") as opened:  # noqa: PTH123 (it is a path as text, and there are many)
                digest.update(opened.read())
    return digest.hexdigest()


def _states(file: Any) -> Iterator[_State]:
    """Size and time of a file, of all in a folder, or of those that a derived image or mask is made of."""
    if isinstance(file, Derived):
        for value in vars(file).values():
            yield from _states(value)
    elif isinstance(file, LandmarkEntry):  # few numbers, which stand in the table of another file
        digest = hashlib.blake2b(repr((file.individual, file.size)).encode(), digest_size=16)
        for array in (file.points, file.visibility, file.center, file.box):
            digest.update(b"" if array is None else array.tobytes())
        yield _State("", 0, 0, digest.hexdigest())
    elif isinstance(file, tuple):
        for value in file:
            yield from _states(value)
    elif isinstance(file, Path):
        paths = [file, file.with_name(f"{file.name}.msk")]  # beside it: which pixels are valid
        if file.is_dir():
            paths = sorted(Path(place, name) for place, _, names in os.walk(file) for name in names)
        for path in paths:
            if path.is_file():
                state = path.stat()
                yield _State(str(path), state.st_size, state.st_mtime_ns)
