"""What is odd about an instance map: a mask in its place, numbers invented by resampling, a shift against the mask.

A map holds a number per object, and 0. Nothing in a file says so; but a map that was resized by interpolation holds
numbers between those of neighbours, which lie in pieces along their rims, and a mask of 0 and 255 holds one "object" in
many pieces.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from atrous.findings import Finding, error, warning
from atrous.types import IGNORE_INDEX

__all__ = ["INVENTED", "MapFacts", "NotNumbered", "invented_values", "look_at_map"]

_TRIED = 64
"""Numbers that are looked at one by one."""
_SPECK = 8
"""Pixels of a speck at most."""
INVENTED, _INVENTED_SHARE = 3, 0.3
"""Numbers with specks, and their share of all, from which on a map was resampled. Of 60 real maps of nuclei, drawn by
hand, 0 to 2 % of the numbers have specks; the same maps resized linearly, 60 to 97 %."""
_BETWEEN = 0.9
"""Share of the pixels of a value that have to lie between a lower and a higher one, for it to be invented."""
_APART = 0.05
"""Share of the pixels of objects off their class from which on map and mask disagree."""
_REACH = 32
"""Pixels by which map and mask may be shifted against each other."""


class MapFacts(NamedTuple):
    """What a map says about itself: how many objects it numbers, and in how many pieces the only one is."""

    objects: int
    pieces: int
    value: int


def look_at_map(
    instances: np.ndarray, mask: np.ndarray | None, file: object, findings: list[Finding]
) -> MapFacts | None:
    """Look at a map.

    Args:
        instances: (H, W) whole numbers.
        mask: (H, W) classes, 255 where ignored, or None where the map alone tells them.
        file: of the map.
        findings: gets what is wrong.

    Returns:
        None where there is no object.
    """
    if instances.size and int(instances.min()) < 0:
        message = f"holds {int(instances.min())}, and numbers of objects begin at 1"
        findings.append(warning("negative_objects", file, f"{message}: read as no object", "Write 0 there."))
    numbers, codes = _numbered(np.maximum(instances, 0))
    if numbers.size and numbers[0] != 0:
        numbers, codes = np.insert(numbers, 0, 0), codes + 1
    count = len(numbers) - 1
    if not count:
        return None
    invented = _scattered(codes, count + 1)
    if invented >= max(INVENTED, _INVENTED_SHARE * count):
        message = (
            f"holds {count} numbers, and about {invented} of them have specks along the rims of others: it was resized "
            "by interpolation, which invents objects"
        )
        findings.append(
            error("resampled_map", file, message, "Resize maps with nearest neighbour, or export it again.")
        )
    elif mask is not None:
        findings.extend(_against_mask(codes, mask, file))
    pieces = cv2.connectedComponents((codes > 0).astype(np.uint8))[0] - 1 if count == 1 else count
    return MapFacts(count, pieces, int(numbers[-1]))


def invented_values(values: np.ndarray) -> set[int]:
    """The values of a mask that interpolation may have invented.

    They lie in several pieces, no pixel of theirs is surrounded by its like, and beside almost every one stand a lower
    and a higher value.

    Args:
        values: (H, W) whole numbers from 0 to 65535.
    """
    if values.dtype == np.uint8 and np.count_nonzero(np.bincount(values.ravel())) < INVENTED + 2:
        return set()  # most masks, at little cost
    found, codes = _numbered(values)
    if len(found) < INVENTED + 2:
        return set()
    floats = values.astype(np.float32)
    hollow = _hollow(codes, floats, len(found))
    square = np.ones((3, 3), np.uint8)
    between = (cv2.erode(floats, square) < floats) & (floats < cv2.dilate(floats, square))
    invented = set()
    for number in np.flatnonzero(hollow).tolist():
        where = values == found[number]
        if between[where].mean() > _BETWEEN and cv2.connectedComponents(where.astype(np.uint8))[0] > 2:
            invented.add(int(found[number]))
    return invented


def _numbered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values that occur, in order, and the place of each pixel's among them, (H, W) int32."""
    if values.size and values.max() <= 65535:  # a table is many times quicker than sorting
        counts = np.bincount(values.ravel().astype(np.uint16))
        table = np.cumsum(counts > 0, dtype=np.int32) - 1
        return np.flatnonzero(counts), table[values]
    found, codes = np.unique(values, return_inverse=True)
    return found, codes.reshape(values.shape).astype(np.int32)


def _hollow(codes: np.ndarray, floats: np.ndarray, count: int) -> np.ndarray:
    """(count,) bool: which numbers have no pixel that only its like surround."""
    square = np.ones((3, 3), np.uint8)
    hollow = np.ones(count, bool)
    hollow[np.unique(codes[cv2.erode(floats, square) == cv2.dilate(floats, square)])] = False
    return hollow


def _scattered(codes: np.ndarray, count: int) -> int:
    """How many of the numbers 1 to `count` - 1 have specks beside their largest piece; estimated where there are many.

    Between 0 and the number 40 interpolation makes 10, 20 and 30: other objects' numbers, or new ones.

    Args:
        codes: (H, W) int32.
        count: how many numbers there are, 0 among them.
    """
    from scipy.ndimage import find_objects  # a slow import, for data with instance maps alone

    tried = list(range(1, count))[:: max(count // _TRIED, 1)]
    boxes = find_objects(codes)
    found = 0
    for number in tried:
        stats = cv2.connectedComponentsWithStats((codes[boxes[number - 1]] == number).astype(np.uint8))[2]
        sizes = np.sort(stats[1:, cv2.CC_STAT_AREA])[:-1]
        found += int((sizes <= _SPECK).sum() >= 2)
    return round(found * (count - 1) / max(len(tried), 1))


def _against_mask(codes: np.ndarray, mask: np.ndarray, file: object) -> Iterator[Finding]:
    """Objects that do not lie where the mask has their class."""
    outside = mask[(codes == 0) & (mask != IGNORE_INDEX)]
    background = int(np.bincount(outside).argmax()) if outside.size else 0
    off = _off(codes, mask, background)
    if off <= _APART:
        return
    moved = _shift(codes, (mask != background) & (mask != IGNORE_INDEX))
    message = f"does not fit its mask: {100 * off:.0f} % of the pixels of its objects lie off their class"
    if moved != (0, 0) and (left := _off(*_moved(codes, mask, moved), background)) < off / 4:
        message += f", and {100 * left:.0f} % if it is moved by {moved[0]} rows and {moved[1]} columns"
        yield error("shifted_map", file, message, "Export mask and map again from the same drawing.")
    else:
        fix = "Look at both; each object needs one class, and pixels of the background belong to none."
        yield warning("map_off_mask", file, message, fix)


def _off(codes: np.ndarray, mask: np.ndarray, background: int) -> float:
    """Share of the objects' labelled pixels that are background, or of another class than most of their object."""
    known = (codes > 0) & (mask != IGNORE_INDEX)
    if not known.any():
        return 0.0
    objects, classes = codes[known].astype(np.int64), mask[known].astype(np.int64)
    every = np.bincount(objects * 256 + classes)
    pairs = np.flatnonzero(every)
    counts = every[pairs]
    best = np.zeros(int(objects.max()) + 1, np.int64)
    named = pairs % 256 != background
    np.maximum.at(best, pairs[named] // 256, counts[named])
    return 1 - float(best.sum()) / int(known.sum())


def _shift(codes: np.ndarray, foreground: np.ndarray) -> tuple[int, int]:
    """Rows and columns by which the objects have to move to lie on what is not background."""
    padded = [np.pad(side.astype(np.float32), ((0, _REACH), (0, _REACH))) for side in (codes > 0, foreground)]
    spectra = [np.fft.rfft2(side) for side in padded]
    overlap = np.fft.irfft2(spectra[1] * spectra[0].conj(), padded[0].shape)
    near = np.r_[0 : _REACH + 1, -_REACH:0]
    rows, columns = (near[np.abs(near) < size] for size in codes.shape)
    best = np.unravel_index(int(overlap[np.ix_(rows, columns)].argmax()), (len(rows), len(columns)))
    return int(rows[best[0]]), int(columns[best[1]])


def _moved(codes: np.ndarray, mask: np.ndarray, by: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The parts of map and mask that lie on each other when the map is moved."""
    height, width = codes.shape
    (top, left), (up, back) = (max(by[0], 0), max(by[1], 0)), (max(-by[0], 0), max(-by[1], 0))
    return codes[up : height - top, back : width - left], mask[top : height - up, left : width - back]


class NotNumbered:
    """Whether the maps of a folder number objects at all: in a mask all of them are one "object" in pieces."""

    def __init__(self) -> None:
        self._maps = self._several = 0
        self._pieces: list[tuple[str, MapFacts]] = []

    def add(self, facts: MapFacts, file: object) -> None:
        """Add a map that holds an object."""
        self._maps += 1
        self._several += facts.objects > 1
        if facts.objects == 1 and facts.pieces > 1:
            self._pieces.append((str(file), facts))

    def finding(self) -> Finding | None:
        """The error about masks in the place of maps, or None."""
        if self._several or 2 * len(self._pieces) <= self._maps:
            return None
        file, facts = max(self._pieces, key=lambda each: each[1].pieces)
        message = f"holds 0 and {facts.value} alone, in {facts.pieces} pieces, and no map has a second number: "
        message += "these are masks"
        fix = "Move them to masks/, or number the objects: 1, 2, 3, ... (scipy.ndimage.label does, where none touch)."
        return error("not_numbered", file, message, fix)
