"""The regions of a map of numbers: the pixels of each number within the box that holds them."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from atrous.annotations.polygons import Patch

__all__ = ["color_codes", "patches", "patches_of_any"]


def patches(numbers: np.ndarray, *, first: int) -> Iterator[tuple[int, Patch]]:
    """Where each number is, from `first` on.

    Args:
        numbers: (H, W) integers, not negative; few are left out between 0 and the largest.
        first: smaller ones are passed over.
    """
    order = np.argsort(numbers, axis=None, kind="stable")
    values = numbers.ravel()[order]
    starts = np.searchsorted(values, np.arange(first, int(values[-1]) + 2 if values.size else first))
    for number, (begin, end) in enumerate(pairwise(starts), start=first):
        if begin == end:
            continue
        rows, columns = np.divmod(order[begin:end], numbers.shape[1])
        top, left = int(rows.min()), int(columns.min())
        pixels = np.zeros((int(rows.max()) - top + 1, int(columns.max()) - left + 1), bool)
        pixels[rows - top, columns - left] = True
        yield number, Patch(top, left, pixels)


def patches_of_any(numbers: np.ndarray) -> Iterator[tuple[int, Patch]]:
    """As `patches`, for numbers of any size: all of them."""
    values, index = np.unique(numbers, return_inverse=True)
    for place, patch in patches(index.reshape(numbers.shape), first=0):
        yield int(values[place]), patch


def color_codes(colors: np.ndarray) -> np.ndarray:
    """(H, W) int64 from (H, W, 3) uint8: red, green and blue as one number."""
    wide = colors.astype(np.int64)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
