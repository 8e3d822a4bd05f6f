"""Compilation at first use, kept on disk where a folder for it can be found."""

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import numba  # type: ignore[import-untyped]

__all__ = ["inlined", "kernel"]


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called; it releases the interpreter, so that threads run it side by side.

    The machine code is kept beside the source, or in the folder of `NUMBA_CACHE_DIR`, or in the user's own cache. Where
    none of them can be written, each process compiles for itself.
    """
    plain = unwrap(function)  # no compiler reads the checks of shapes that the test suite wraps around
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(plain)
    except RuntimeError:  # numba found no folder that it may write to
        return numba.njit(nogil=True, error_model="numpy")(plain)


def inlined(function: Callable[..., Any]) -> Any:
    """Make a function a part of each kernel that calls it: a call itself counts each array's references up and down."""
    return numba.njit(inline="always", error_model="numpy")(function)
