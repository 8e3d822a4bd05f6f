"""Polygons to pixels and back.

Coordinates are (x, y) on the plane of the image: pixel (row i, column j) covers x from j to j + 1 and y from i to
i + 1, as in COCO, labelme, CVAT and Label Studio. A pixel belongs to a polygon when its centre does (even-odd rule; a
centre on a left or upper edge is inside, on a right or lower one outside), so that polygons that share an edge share no
pixel, and a rectangle of whole numbers is filled exactly.

`trace` walks along the edges between pixels, so that filling what it returns gives the mask again, bit for bit.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

__all__ = ["Patch", "Polygon", "area", "bridge", "fill", "simplify", "trace"]

Ring = np.ndarray
"""(N, 2) x and y of a closed line; the last point is joined to the first."""

Polygon = tuple[Ring, ...]
"""Rings that are filled together by the even-odd rule: an outline, and holes in it."""


class Patch(NamedTuple):
    """A mask of a part of an image: its (h, w) bool pixels, and where they begin."""

    top: int
    left: int
    pixels: np.ndarray


def fill(parts: Sequence[Polygon], size: tuple[int, int]) -> Patch:
    """The pixels of an object of one part or several.

    Args:
        parts: an object is the union of them.
        size: (height, width) of the image; what lies outside is cut off.

    Example:
        >>> square = np.array([[1, 1], [3, 1], [3, 3], [1, 3]])
        >>> int(fill([(square,)], (4, 4)).pixels.sum())
        4
    """
    patches = [_fill_part(part, size) for part in parts if any(len(ring) for ring in part)]
    patches = [patch for patch in patches if patch.pixels.size]
    if len(patches) < 2:
        return patches[0] if patches else Patch(0, 0, np.zeros((0, 0), bool))
    top, left = min(patch.top for patch in patches), min(patch.left for patch in patches)
    bottom = max(patch.top + patch.pixels.shape[0] for patch in patches)
    right = max(patch.left + patch.pixels.shape[1] for patch in patches)
    pixels = np.zeros((bottom - top, right - left), bool)
    for up, start, inside in patches:
        height, width = inside.shape
        pixels[up - top : up - top + height, start - left : start - left + width] |= inside
    return Patch(top, left, pixels)


def _fill_part(part: Polygon, size: tuple[int, int]) -> Patch:
    """The pixels of one part within its bounding box."""
    points = np.concatenate([np.asarray(ring, np.float64) for ring in part if len(ring)])
    left, top = np.clip(np.floor(points.min(0)), 0, size[::-1]).astype(int).tolist()
    right, bottom = np.clip(np.ceil(points.max(0)), 0, size[::-1]).astype(int).tolist()
    return Patch(top, left, _even_odd(part, top, left, max(bottom - top, 0), max(right - left, 0)))


def _even_odd(rings: Polygon, top: int, left: int, height: int, width: int) -> np.ndarray:
    """(height, width) bool of the pixels whose centres the rings surround an odd number of times."""
    crossings = np.zeros(height * (width + 1), np.int64)
    for ring in rings:
        start = np.asarray(ring, np.float64)
        end = np.roll(start, -1, axis=0)
        # The same line walked both ways, as in a bridge to a hole, must cross at the same place: upper end first.
        swap = start[:, 1] > end[:, 1]
        upper, lower = np.where(swap[:, None], end, start), np.where(swap[:, None], start, end)
        first = np.clip(np.ceil(upper[:, 1] - 0.5) - top, 0, height).astype(np.int64)
        last = np.clip(np.ceil(lower[:, 1] - 0.5) - top, 0, height).astype(np.int64)
        count = last - first
        edge = np.repeat(np.arange(len(start)), count)
        row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
        (x0, y0), (x1, y1) = upper[edge].T, lower[edge].T
        x = x0 + (row + top + 0.5 - y0) / (y1 - y0) * (x1 - x0)
        column = np.clip(np.ceil(x - 0.5) - left, 0, width).astype(np.int64)
        crossings += np.bincount(row * (width + 1) + column, minlength=len(crossings))
    return (np.cumsum(crossings.reshape(height, width + 1), axis=1)[:, :width] & 1).astype(bool)


def area(ring: Ring) -> float:
    """Signed area in pixels: positive where the ring runs clockwise as the image is seen."""
    x, y = np.asarray(ring, np.float64).T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def trace(mask: np.ndarray) -> list[Polygon]:
    """The outlines of a mask along the edges of its pixels.

    Args:
        mask: (H, W) bool.

    Returns:
        One part per 4-connected region: its outline, clockwise, then its holes. Corners only; whole numbers.

    Example:
        >>> trace(np.array([[1, 1], [1, 1]], bool))[0][0].tolist()
        [[0, 0], [2, 0], [2, 2], [0, 2]]
    """
    mask = np.pad(np.asarray(mask, bool), 1)
    starts, owners, following, turns = _cracks(mask)
    if not len(starts):
        return []
    _, regions = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    after, corner = following.tolist(), turns.tolist()
    seen = bytearray(len(after))
    parts: dict[int, list[Ring]] = {}
    for begin in range(len(after)):
        if seen[begin]:
            continue
        ring, edge = [], begin
        while not seen[edge]:
            seen[edge] = 1
            edge_after = after[edge]
            if corner[edge]:
                ring.append(edge_after)
            edge = edge_after
        points = starts[ring] - 1  # the padding
        region = int(regions[tuple(owners[begin])])
        parts.setdefault(region, []).append(np.roll(points, 1, axis=0))
    # The outline is the only ring of a region that runs clockwise.
    return [tuple(sorted(rings, key=area, reverse=True)) for rings in parts.values()]


def _cracks(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The edges between pixels of an object and others, each with the object on its right as it is walked.

    Returns:
        Start (x, y) of each, the (row, column) of its pixel, the edge that follows, and whether that one turns.
    """
    step = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])  # right, down, left, up
    outside = (mask & ~np.roll(mask, 1, 0), mask & ~np.roll(mask, -1, 1),
               mask & ~np.roll(mask, -1, 0), mask & ~np.roll(mask, 1, 1))  # fmt: skip
    offset = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])  # where the upper, right, lower and left edge begin
    at = np.full((4, mask.shape[0] + 1, mask.shape[1] + 1), -1, np.int64)
    starts, owners, directions, count = [], [], [], 0
    for side in range(4):
        pixels = np.argwhere(outside[side])
        begin = pixels[:, ::-1] + offset[side]
        at[side, begin[:, 1], begin[:, 0]] = np.arange(count, count + len(pixels))
        starts.append(begin)
        owners.append(pixels)
        directions.append(np.full(len(pixels), side))
        count += len(pixels)
    start, owner, direction = np.concatenate(starts), np.concatenate(owners), np.concatenate(directions)
    end = start + step[direction]
    # Where two pixels touch by a corner the walk turns right and stays at its own, so regions are 4-connected.
    turns = [at[(direction + turn) % 4, end[:, 1], end[:, 0]] for turn in (1, 0, 3)]
    following = np.where(turns[0] >= 0, turns[0], np.where(turns[1] >= 0, turns[1], turns[2]))
    return start, owner, following, direction[following] != direction if count else np.zeros(0, bool)


def simplify(part: Polygon, tolerance: float) -> Polygon:
    """Fewer corners, none of the old outline further than `tolerance` pixels from the new one (Douglas-Peucker).

    A ring that would become a line stays as it is.
    """
    if tolerance <= 0:
        return part
    simple = []
    for ring in part:
        points = cv2.approxPolyDP(np.asarray(ring, np.float32)[:, None], tolerance, closed=True)[:, 0]
        simple.append(points.astype(np.float64) if len(points) >= 3 and area(points) != 0 else ring)
    return tuple(simple)


def bridge(part: Polygon) -> Ring:
    """One ring that surrounds what a part does, for formats that know no holes.

    Every hole is joined to the outline by a line walked there and back, which crosses no pixel's centre an odd number
    of times.
    """
    ring = np.asarray(part[0], np.float64)
    for hole in part[1:]:
        inner = np.asarray(hole, np.float64)
        j = int(inner[:, 0].argmin())
        i = int(((ring - inner[j]) ** 2).sum(1).argmin())
        there = np.concatenate([inner[j:], inner[:j], inner[j : j + 1]])
        ring = np.concatenate([ring[: i + 1], there, ring[i:]])
    return ring
