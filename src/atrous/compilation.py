"""Compilation at first use, kept on disk where a folder for it can be found."""

import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from inspect import unwrap
from pathlib import Path
from typing import Any

import numba  # type: ignore[import-untyped]

from atrous._version import __version__

__all__ = ["inlined", "kernel"]

LOG = logging.getLogger(__name__)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called; it releases the interpreter, so that threads run it side by side.

    The machine code is kept beside the source, or in the folder of `NUMBA_CACHE_DIR`, or in the user's own cache. Where
    none of them can be written, or what is kept is damaged, each process compiles for itself. Kept code is used as long
    as no file in the kernel's folder has changed, and the version of the package is the same.
    """
    plain = unwrap(function)  # no compiler reads the checks of shapes that the test suite wraps around
    try:
        compiled = numba.njit(nogil=True, cache=True, error_model="numpy")(plain)
        _key_by_folder(compiled, Path(plain.__code__.co_filename).parent)
        _do_without(compiled)
    except (RuntimeError, AttributeError):  # no folder that it may write to, or a numba that keeps its index elsewhere
        return numba.njit(nogil=True, error_model="numpy")(plain)
    return compiled


def inlined(function: Callable[..., Any]) -> Any:
    """Make a function a part of each kernel that calls it: a call itself counts each array's references up and down."""
    return numba.njit(inline="always", error_model="numpy")(function)


def _key_by_folder(compiled: Any, folder: Path) -> None:
    """Let kept machine code count as stale when any file of the folder has changed.

    numba 0.68 looks at the kernel's own file alone; but helpers and constants of its neighbours are compiled into it.

    Raises:
        AttributeError: if this numba has another index.
    """
    index = compiled._cache._cache_file
    index._source_stamp = (index._source_stamp, _fingerprint(folder))


def _do_without(compiled: Any) -> None:
    """Compile where kept code cannot be read, and go on where it cannot be kept, as on a full disk.

    Whoever calls a kernel reads an image, and would take such an error for one of the image.

    Raises:
        AttributeError: if this numba keeps its code elsewhere.
    """
    kept = compiled._cache
    index, load, save = kept._cache_file, kept.load_overload, kept.save_overload

    def load_or_compile(*arguments: Any) -> Any:
        try:
            return load(*arguments)
        except Exception as problem:  # whatever unpickling half a file raises
            _tell("read", index._cache_path, problem)
            _forget(index)
            return None

    def keep_if_possible(*arguments: Any) -> None:
        try:
            save(*arguments)
        except Exception as problem:
            _tell("written", index._cache_path, problem)
            _forget(index)  # it may point to the code of an older version by now

    kept.load_overload, kept.save_overload = load_or_compile, keep_if_possible


def _forget(index: Any) -> None:
    with suppress(OSError):
        Path(index._index_path).unlink(missing_ok=True)


@cache
def _tell_once(text: str) -> None:
    LOG.warning("%s", text)


def _tell(what: str, folder: str, problem: Exception) -> None:
    why = getattr(problem, "strerror", None) or f"{type(problem).__name__}, they are damaged"
    _tell_once(
        f"{folder}: compiled code kept there cannot be {what} ({why}), so it is compiled again, which takes seconds; "
        "free space on the disk, or set NUMBA_CACHE_DIR to another folder"
    )


@cache
def _fingerprint(folder: Path) -> str:
    """A hash of the package's version and of all Python files of a folder."""
    digest = hashlib.sha256(__version__.encode())
    for file in sorted(folder.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
