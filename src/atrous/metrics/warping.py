r"""The warping error: what differs still when the boundaries of the truth may move, but not its topology change.

The truth is warped towards the prediction by turning pixels over one at a time, and only *simple* ones: those whose
turning neither joins, divides, makes nor removes a component or a hole. A membrane that is shifted or wide then costs
nothing; a gap, a spurious line or a speck costs the few pixels in which no warped truth can follow.

As in the paper: cells are 4-connected and membranes 8-connected; outside of the image there is membrane. Pixels are
visited from the surest to the least sure mismatch, and again until their number no longer changes. Ties are visited by
columns and then by rows, as in the challenge's program.

Reference:
    Jain et al., Boundary learning by optimization with topological constraints, CVPR 2010,
    https://doi.org/10.1109/CVPR.2010.5539950
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from atrous.errors import UsageError

__all__ = ["simple_neighbourhoods", "warp", "warping_error"]

AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""The neighbours of a pixel as (y, x), in the order of the bits of a neighbourhood."""


def warping_error(
    probability_of_cell: Float[np.ndarray, "N H W"],
    true_mask: Bool[np.ndarray, "N H W"] | Integer[np.ndarray, "N H W"],
    threshold: float = 0.5,
    *,
    movable: Bool[np.ndarray, "N H W"] | None = None,
) -> float:
    r"""Mean over the slices of the share of pixels in which the warped truth still differs from the prediction.

    .. math:: D(T \| L^*) = \min_{L \triangleleft L^*} \frac{1}{HW} |\{z : L_z \ne [p_z > \theta]\}|

    where L runs over the warpings of the truth :math:`L^*`; the minimum is the one that `warp` finds.

    Args:
        probability_of_cell: 0..1 for every pixel.
        true_mask: 0 for membrane, anything else for cell.
        threshold: pixels above it are cells.
        movable: pixels of the truth that may be turned over; mismatches elsewhere do not count. None: all.

    Raises:
        UsageError: if the shapes differ.

    Example:
        >>> truth = np.ones((1, 7, 9), int)
        >>> truth[0, :, 4] = 0
        >>> probability = np.roll(truth, 1, axis=2).astype(float)          # a membrane moved by a pixel: 14 are wrong
        >>> warping_error(probability, truth)
        0.0
        >>> probability = truth.astype(float)
        >>> probability[0, 3, 4] = 1                                       # a gap: 1 of 63, which nothing mends
        >>> round(63 * warping_error(probability, truth), 9)
        1.0
    """
    shapes = [probability_of_cell.shape, true_mask.shape, *([] if movable is None else [movable.shape])]
    if len(set(shapes)) > 1 or not probability_of_cell.size:
        raise UsageError(f"probabilities and masks of {', '.join(map(str, shapes))}: compare stacks of one shape")
    shares = []
    for number, (scores, mask) in enumerate(zip(probability_of_cell, true_mask, strict=True)):
        free = None if movable is None else movable[number]
        wrong = warp(mask, scores, threshold, movable=free) != (scores > np.float64(threshold))
        shares.append(float((wrong if free is None else wrong & free).mean()))
    return float(np.mean(shares))


def warp(
    true_mask: Bool[np.ndarray, "H W"] | Integer[np.ndarray, "H W"],
    probability_of_cell: Float[np.ndarray, "H W"],
    threshold: float = 0.5,
    *,
    movable: Bool[np.ndarray, "H W"] | None = None,
) -> Bool[np.ndarray, "H W"]:
    """The truth of one slice with its boundaries moved to where they are predicted, as far as its topology allows.

    Args:
        true_mask: 0 for membrane, anything else for cell.
        probability_of_cell: 0..1 for every pixel.
        threshold: pixels above it are cells.
        movable: pixels that may be turned over. None: all.

    Example:
        >>> truth = np.array([[1, 1, 0, 1, 1]])
        >>> warp(truth, np.array([[1.0, 1.0, 1.0, 0.0, 1.0]])).astype(int)      # the membrane moves to the right
        array([[1, 1, 1, 0, 1]])
    """
    from atrous.metrics._kernels import flip_simple

    source = np.pad((true_mask != 0).astype(np.uint8), 1)
    scores = np.pad(probability_of_cell.astype(np.float64), 1)
    target = (scores > threshold).astype(np.uint8)
    free = np.pad(np.ones(true_mask.shape, bool) if movable is None else movable, 1)
    before = -1
    while True:
        columns, rows = np.nonzero(((source != target) & free).T)  # by columns, then by rows
        if len(rows) in (0, before):
            return source[1:-1, 1:-1].astype(bool)
        before = len(rows)
        order = np.argsort(-np.abs(scores[rows, columns] - threshold), kind="stable")
        flip_simple(source, rows[order], columns[order], simple_neighbourhoods())


@cache
def simple_neighbourhoods() -> UInt8[np.ndarray, "256"]:
    """Of each neighbourhood of a pixel whether the pixel is simple in it: 1 for 116 of the 256.

    A pixel is simple where exactly one 4-connected component of cell touches its sides and exactly one 8-connected
    component of membrane touches it, both within the neighbourhood. Bit k is the k-th neighbour, row by row.

    Example:
        >>> int(simple_neighbourhoods().sum())
        116
    """
    table = np.zeros(256, np.uint8)
    for code in range(256):
        cell = {place for k, place in enumerate(AROUND) if code >> k & 1}
        touching = [part for part in _parts(cell, 1) if any(0 in place for place in part)]
        table[code] = len(touching) == 1 and len(list(_parts(set(AROUND) - cell, 2))) == 1
    return table


def _parts(places: set[tuple[int, int]], reach: int) -> Iterator[set[tuple[int, int]]]:
    """Connected components of places; neighbours are at most 1 (4-connected) or 2 (8-connected) apart, squared."""
    left = set(places)
    while left:
        part, waiting = set(), [left.pop()]
        for place in waiting:
            part.add(place)
            near = {o for o in left if (o[0] - place[0]) ** 2 + (o[1] - place[1]) ** 2 <= reach}
            left -= near
            waiting.extend(near)
        yield part
