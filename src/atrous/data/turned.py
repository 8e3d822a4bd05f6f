"""Images that the camera's orientation (EXIF) turns, and whose masks may have been drawn before or after that.

A mask without an orientation of its own fits an image turned by 180 degrees, or a square one turned by 90, either way:
nothing but a look at them tells which. Where the sides differ, only one way fits, and the other is an error.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atrous.data.contents import Contents
from atrous.data.pairs import Pair
from atrous.errors import DataError
from atrous.findings import Finding, warning
from atrous.images.derived import DerivedMask
from atrous.images.files import MaskFile, read_mask, read_orientation, read_palette
from atrous.images.raster import turn
from atrous.images.unturned import Unturned

__all__ = ["TURNED", "TurnedImages", "as_stored"]

TURNED = "exif"
"""Code of the finding."""

_FIX = "Look at one with its mask; if the masks were drawn on the pixels as stored, set data.exif=raw in the recipe."


_BACK = {6: 8, 8: 6}
"""The orientations that undo others; each of the rest undoes itself."""


@dataclass(frozen=True)
class UnturnedMask(DerivedMask):
    """The mask of a pair, as its file stores it.

    Attributes:
        file: it.
        orientation: that it names, 2 to 8.
    """

    file: Path
    orientation: int

    @property
    def place(self) -> Path:
        """The file itself."""
        return self.file

    def read(self) -> np.ndarray:
        """(H, W) whole numbers, or (H, W, 3) uint8 colours."""
        return np.ascontiguousarray(turn(read_mask(self.file), _BACK.get(self.orientation, self.orientation)))

    def palette(self) -> list[tuple[int, int, int]] | None:
        """The colours of which its numbers are indices, or None."""
        return read_palette(self.file)


def as_stored(contents: Contents) -> Contents:
    """The same folder, its images and masks read without the camera's orientation."""
    splits = {
        split: tuple(
            pair._replace(image=Unturned(pair.image), mask=_stored(pair.mask), instances=_stored(pair.instances))
            for pair in pairs
        )
        for split, pairs in contents.splits.items()
    }
    return contents._replace(splits=splits)


def _stored(labels: MaskFile | None) -> MaskFile | None:
    """A mask without the turn that its own file names."""
    named = 1 if labels is None else _orientation(labels)
    return UnturnedMask(labels, named) if isinstance(labels, Path) and named != 1 else labels


def _orientation(labels: MaskFile) -> int:
    """Of a mask; 1 where it cannot be read, which is told where it is read."""
    try:
        return read_orientation(labels)
    except DataError:
        return 1


class TurnedImages:
    """Counts them, and remembers the first."""

    def __init__(self) -> None:
        self._count = 0
        self._first: tuple[Pair, int] | None = None

    def add(self, pair: Pair, orientation: int, size: tuple[int, int] | None) -> None:
        """Count a pair if its image is turned, its mask is not, and the sizes do not tell which is meant.

        Args:
            pair: image and mask.
            orientation: of the image, 1 to 8.
            size: (height, width) of the image after its turn.
        """
        labels, set_on = pair.mask or pair.instances, pair.landmarks
        sized = labels is not None or (set_on is not None and set_on.size is not None)
        told = orientation >= 5 and sized and size is not None and size[0] != size[1]
        if orientation == 1 or told or (labels is None and set_on is None):
            return
        if labels is None or _orientation(labels) == 1:
            self._count += 1
            self._first = self._first or (pair, orientation)

    def findings(self) -> list[Finding]:
        """One warning for all, or none."""
        if self._first is None:
            return []
        pair, orientation = self._first
        count = f", as in {self._count} pairs in all" if self._count > 1 else ""
        labels = pair.mask or pair.instances
        message = f"is turned by the camera's orientation (EXIF {orientation}), and "
        if labels is None:
            message += f"its landmarks may not be{count}: those set on the pixels as stored lie wrong"
            return [warning(TURNED, pair.image, message, _FIX.replace("mask", "landmark").replace("drawn", "set"))]
        message += f"its mask {labels} is not{count}: a mask drawn on the pixels as stored lies wrong"
        return [warning(TURNED, pair.image, message, _FIX)]
