"""The two walks over pixels that depend on their own order, compiled: flooding membranes, and warping a truth.

Imported by the functions that run them: numba takes half a second to import, and most measures do without it.
"""

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from atrous.compilation import kernel

__all__ = ["flip_simple", "flood"]

WAITING, QUEUED = -1, -2


@kernel
def flood(labels: Int32[np.ndarray, "H W"]) -> None:
    """Let the regions of a map grow over its zeros until they meet; where two meet, a line of zeros is left.

    A queue, first in first out, filled in the order of columns, so that a wide membrane is eaten from both sides at one
    speed. A pixel looks at its neighbours in the order left, above, right, below, takes the first region it sees, and
    becomes a part of the line when it sees another; it also does when the line is all it sees.
    """
    height, width = labels.shape
    queue = np.empty((height * width, 2), np.int32)
    start = end = 0
    for x in range(width):
        for y in range(height):
            if labels[y, x] != 0:
                continue
            labels[y, x] = WAITING
            if (
                (x > 0 and labels[y, x - 1] > 0)
                or (y > 0 and labels[y - 1, x] > 0)
                or (x + 1 < width and labels[y, x + 1] > 0)
                or (y + 1 < height and labels[y + 1, x] > 0)
            ):
                labels[y, x] = QUEUED
                queue[end, 0], queue[end, 1] = y, x
                end += 1
    while start < end:
        y, x = queue[start]
        start += 1
        by_line = False  # on the line only because a neighbour is
        for side in range(4):
            v = y - (side == 1) + (side == 3)
            u = x - (side == 0) + (side == 2)
            if v < 0 or v >= height or u < 0 or u >= width:
                continue
            mine, other = labels[y, x], labels[v, u]
            if other > 0:
                if mine == QUEUED or (mine == 0 and by_line):
                    labels[y, x] = other
                elif mine > 0 and mine != other:
                    labels[y, x] = 0
                    by_line = False
            elif other == 0:
                if mine == QUEUED:
                    labels[y, x] = 0
                    by_line = True
            elif other == WAITING:
                labels[v, u] = QUEUED
                queue[end, 0], queue[end, 1] = v, u
                end += 1


@kernel
def flip_simple(
    source: UInt8[np.ndarray, "H W"], rows: Int64[np.ndarray, " N"], columns: Int64[np.ndarray, " N"],
    simple: UInt8[np.ndarray, "256"],
) -> int:  # fmt: skip
    """Flip, one after the other, the pixels of a list that are simple by then; how many were.

    The pixels lie inside of a border of one pixel. Bit k of a neighbourhood is its k-th pixel, row by row, without the
    centre.
    """
    flipped = 0
    for i in range(len(rows)):
        y, x = rows[i], columns[i]
        code = (
            source[y - 1, x - 1]
            | source[y - 1, x] << 1
            | source[y - 1, x + 1] << 2
            | source[y, x - 1] << 3
            | source[y, x + 1] << 4
            | source[y + 1, x - 1] << 5
            | source[y + 1, x] << 6
            | source[y + 1, x + 1] << 7
        )
        if simple[code]:
            source[y, x] = 1 - source[y, x]
            flipped += 1
    return flipped
