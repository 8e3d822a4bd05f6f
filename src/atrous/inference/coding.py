"""From decided classes to what a mask file holds: the values of the training masks, or the numbers of the classes.

Where the values are known, a predicted mask is one of the training's own: what reads those reads these.

- Of a class with several values, merged when the network was trained, the first is written.
- A class that only a colour stands for gets a value that no other has; the palette of a PNG has its colour, and a TIFF
  holds the colours themselves.
- Pixels without data get the first ignored value; where nothing is ignored, 255, or the highest value below that is no
  class's.
- Values above 255 take 16 bits, which have no palette.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from atrous.data.classes import Classes
from atrous.drawing import Color
from atrous.images.colors import spare_grey
from atrous.types import IGNORE_INDEX

__all__ = ["MaskCoding", "class_coding", "value_coding"]

LARGEST = 255
"""The largest value of 8 bits."""
BLACK = (0, 0, 0)


@dataclass(frozen=True)
class MaskCoding:
    """What a mask holds.

    Attributes:
        values: of each class.
        colors: of each class.
        nodata: the value of pixels without data, and of those of no class where classes may overlap.
        ignored: the colour of `nodata`.
        colored: some class is known by its colour alone.
    """

    values: tuple[int, ...]
    colors: tuple[Color, ...]
    nodata: int
    ignored: Color = BLACK
    colored: bool = False

    @property
    def short(self) -> bool:
        """Whether 8 bits hold all values."""
        return max(*self.values, self.nodata) <= LARGEST

    @property
    def palette(self) -> list[Color] | None:
        """The colour of every value from 0 to the largest; None where they take 16 bits."""
        if not self.short:
            return None
        palette = [BLACK] * (max(*self.values, self.nodata) + 1)
        palette[self.nodata] = spare_grey(self.colors, self.ignored)
        for value, color in zip(self.values, self.colors, strict=True):
            palette[value] = color
        return palette

    def encode(self, classes: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """The values of class numbers.

        Args:
            classes: (H, W); 255 is no class where there are at most 255.
            valid: (H, W) bool, False where there is no data; or None.

        Returns:
            (H, W) uint8 or uint16.
        """
        kind = np.uint8 if self.short else np.uint16
        count = len(self.values)
        plain = self.values == tuple(range(count)) and self.nodata == IGNORE_INDEX and classes.dtype == kind
        if plain:
            coded = classes
        else:
            table = np.full(max(count, IGNORE_INDEX + 1), self.nodata, kind)
            table[:count] = self.values
            coded = cv2.LUT(classes, table) if classes.dtype == np.uint8 and classes.size else table[classes]
        if valid is not None:
            coded = np.where(valid, coded, kind(self.nodata))
        return coded

    def paint(self, classes: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """(H, W, 3) uint8: the colours of class numbers, as `encode` gives their values."""
        table = np.full((max(len(self.colors), IGNORE_INDEX + 1), 3), self.ignored, np.uint8)
        table[: len(self.colors)] = self.colors
        painted = table[classes]
        if valid is not None:
            painted[~valid] = self.ignored
        return painted


def class_coding(colors: Sequence[Color]) -> MaskCoding:
    """Masks that hold the numbers of the classes, 0, 1, 2, ...; 255 is no class, 65535 from 256 classes on."""
    nodata = IGNORE_INDEX if len(colors) <= IGNORE_INDEX else 2**16 - 1
    return MaskCoding(tuple(range(len(colors))), tuple(colors), nodata)


def value_coding(classes: Classes) -> MaskCoding:
    """Masks that hold the values of a class table.

    Example:
        >>> colors = ((0, 0, 0), (9, 9, 9), (8, 8, 8))
        >>> coding = value_coding(Classes(("soil", "crop", "weed"), colors, ((255,), (2, 3), ()), ignore=()))
        >>> coding.values, coding.nodata
        ((255, 2, 0), 254)
    """
    taken = {value for values in classes.values for value in values}
    nodata = _nodata(classes, taken)
    free = iter(sorted(set(range(LARGEST + len(classes) + 2)) - taken - {nodata} - set(classes.ignore)))
    values = tuple(own[0] if own else next(free) for own in classes.values)
    ignored = classes.ignore_colors[0] if classes.ignore_colors else BLACK
    return MaskCoding(values, classes.colors, nodata, ignored, colored=not all(classes.values))


def _nodata(classes: Classes, taken: Iterable[int]) -> int:
    """An ignored value, of 8 bits where the classes' are; or one that no class has."""
    small = max(taken, default=0) <= LARGEST
    fitting = [value for value in classes.ignore if value >= 0 and (value <= LARGEST or not small)]
    if IGNORE_INDEX in fitting:
        return IGNORE_INDEX
    if fitting:
        return fitting[0]
    return max(set(range(LARGEST + 1)) - set(taken), default=2**16 - 1)
