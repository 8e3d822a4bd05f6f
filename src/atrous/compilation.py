"""Compilation at first use, kept on disk where a folder for it can be found."""

import hashlib
from collections.abc import Callable
from functools import cache
from inspect import unwrap
from pathlib import Path
from typing import Any

import numba  # type: ignore[import-untyped]

from atrous._version import __version__

__all__ = ["inlined", "kernel"]


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called; it releases the interpreter, so that threads run it side by side.

    The machine code is kept beside the source, or in the folder of `NUMBA_CACHE_DIR`, or in the user's own cache. Where
    none of them can be written, each process compiles for itself. Kept code is used as long as no file in the kernel's
    folder has changed, and the version of the package is the same.
    """
    plain = unwrap(function)  # no compiler reads the checks of shapes that the test suite wraps around
    try:
        compiled = numba.njit(nogil=True, cache=True, error_model="numpy")(plain)
        _key_by_folder(compiled, Path(plain.__code__.co_filename).parent)
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


@cache
def _fingerprint(folder: Path) -> str:
    """A hash of the package's version and of all Python files of a folder."""
    digest = hashlib.sha256(__version__.encode())
    for file in sorted(folder.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
