"""Objects that people drew, and what they make of an image: a mask of classes and a map of objects."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from atrous.annotations.polygons import Patch, Polygon, fill
from atrous.types import IGNORE_INDEX

__all__ = ["BACKGROUND_LABELS", "IGNORE_LABEL", "Drawn", "Painted", "largest_first", "number_labels", "paint"]

IGNORE_LABEL = "__ignore__"
"""What labelme calls pixels that count for nothing."""

BACKGROUND_LABELS = ("background", "_background_")
"""Labels that mean "none of the others"; drawn over another object, they take from it."""


@dataclass(frozen=True)
class Drawn:
    """One drawing: polygons, or pixels.

    Attributes:
        label: its class, as the file names it.
        parts: polygons; the object is their union.
        patch: pixels instead of polygons.
        group: drawings of one group are one object; None is a group of its own.
        single: it is one object; not so a region of many, or the sky.
    """

    label: str
    parts: tuple[Polygon, ...] = ()
    patch: Patch | None = None
    group: Hashable = None
    single: bool = True

    def pixels(self, size: tuple[int, int]) -> Patch:
        """Its pixels within an image of this (height, width)."""
        if self.patch is None:
            return fill(self.parts, size)
        top, left, mask = self.patch
        up, start = max(top, 0), max(left, 0)
        cut = mask[up - top : max(size[0] - top, 0), start - left : max(size[1] - left, 0)]
        return Patch(up, start, cut)


def largest_first(drawings: Iterable[Drawn], size: tuple[int, int]) -> list[Drawn]:
    """Drawings as pixels of an image of this (height, width), those of most pixels first, so that small ones show."""
    drawn = [replace(drawing, parts=(), patch=drawing.pixels(size)) for drawing in drawings]
    return sorted(drawn, key=lambda drawing: -_count(drawing))


def _count(drawing: Drawn) -> int:
    return 0 if drawing.patch is None else int(np.count_nonzero(drawing.patch.pixels))


def number_labels(names: Sequence[str]) -> dict[str, int]:
    """The class of each label: its place among the names; 255 for the label that counts for nothing."""
    numbers = {name: number for number, name in enumerate(names)}
    background = {label: 0 for label in BACKGROUND_LABELS if names and names[0] in BACKGROUND_LABELS}
    return {**background, IGNORE_LABEL: IGNORE_INDEX, **numbers}


class Painted(NamedTuple):
    """(H, W) uint8 classes, 255 where ignored; (H, W) int32 numbers of objects, 0 where there is none."""

    mask: np.ndarray
    instances: np.ndarray


def paint(
    drawings: Iterable[Drawn], size: tuple[int, int], numbers: Mapping[str, int], *, background: int = 0
) -> Painted:
    """Paint drawings one over the other, the last on top.

    Args:
        drawings: in the order in which they are painted.
        size: (height, width) of the image.
        numbers: class of each label, or 255 where it counts for nothing; drawings of other labels are left out.
        background: class where nothing is drawn.
    """
    mask, instances = np.full(size, background, np.uint8), np.zeros(size, np.int32)
    groups: dict[Hashable, int] = {}
    count = 0
    for drawing in drawings:
        number = numbers.get(drawing.label)
        if number is None:
            continue
        top, left, pixels = drawing.pixels(size)
        if not pixels.any():
            continue
        area = (slice(top, top + pixels.shape[0]), slice(left, left + pixels.shape[1]))
        mask[area][pixels] = number
        if number in (background, IGNORE_INDEX) or not drawing.single:
            instances[area][pixels] = 0
            continue
        key = None if drawing.group is None else (drawing.label, drawing.group)
        if key is None or key not in groups:
            count += 1
            if key is not None:
                groups[key] = count
        instances[area][pixels] = count if key is None else groups[key]
    return Painted(mask, instances)
