"""Whether an image and its mask lie at one place on Earth, where the files of both say so."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from atrous.data.pairs import Pair
from atrous.findings import Finding, error
from atrous.images.georeference import georeference

__all__ = ["other_place"]

_SCALE, _TIE, _MATRIX = 33550, 33922, 34264
_TIFF = (".tif", ".tiff")
_FAR = 1.0
"""Pixels by which two corners may be apart: some writers name the middle of a pixel, some its corner."""
_BENT = 0.01
"""Share by which two sizes of pixels may differ."""


class _MapCorner(NamedTuple):
    """The upper left corner, and the steps to the next column and row, in the units of the map."""

    x: float
    y: float
    across: tuple[float, float]
    down: tuple[float, float]

    def __str__(self) -> str:
        return f"({self.x:.10g}, {self.y:.10g}) with pixels of {abs(self.across[0]):.6g} x {abs(self.down[1]):.6g}"

    def size(self) -> float:
        """The longest step of a pixel."""
        return max(map(abs, (*self.across, *self.down)))


def other_place(pair: Pair) -> Iterator[Finding]:
    """An error if a mask, or an instance map, lies elsewhere than its image; nothing where files do not say so."""
    sides = [side for side in (pair.mask, pair.instances) if isinstance(side, Path) and side.suffix.lower() in _TIFF]
    if not sides or not isinstance(pair.image, Path) or pair.image.suffix.lower() not in _TIFF:
        return
    here = _place(pair.image)
    for side in sides if here is not None else ():
        there = _place(side)
        if here is None or there is None or _same(here, there):
            continue
        message = f"lies at {there} on the map, and its image {pair.image.name} at {here}"
        fix = "Cut the mask for this image; or, if they fit pixel by pixel, copy the georeference of the image."
        yield error("other_place", side, message, fix)


def _place(path: Path) -> _MapCorner | None:
    tags = {tag[0]: tag[3] for tag in georeference(path)}
    try:
        if _MATRIX in tags:
            a, b, _, x, c, d, _, y = (float(number) for number in tags[_MATRIX][:8])
            return _MapCorner(x, y, (a, c), (b, d))
        across, down = (float(number) for number in tags[_SCALE][:2])
        column, row, _, x, y = (float(number) for number in tags[_TIE][:5])
    except (KeyError, TypeError, ValueError):  # none, or damaged ones: the image itself may be sound
        return None
    return _MapCorner(x - column * across, y + row * down, (across, 0.0), (0.0, -down)) if across and down else None


def _same(one: _MapCorner, two: _MapCorner) -> bool:
    size = one.size()
    steps = zip((*one.across, *one.down), (*two.across, *two.down), strict=True)
    if any(abs(a - b) > _BENT * size for a, b in steps):
        return False
    return max(abs(one.x - two.x), abs(one.y - two.y)) <= _FAR * size
