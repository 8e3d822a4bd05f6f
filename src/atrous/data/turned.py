"""Images that the camera's orientation (EXIF) turns, and whose masks may have been drawn before or after that.

A mask without an orientation of its own fits an image turned by 180 degrees, or a square one turned by 90, either way:
nothing but a look at them tells which. Where the sides differ, only one way fits, and the other is an error.
"""

from atrous.data.contents import Contents
from atrous.data.pairs import Pair
from atrous.errors import DataError
from atrous.findings import Finding, warning
from atrous.images.files import read_orientation
from atrous.images.unturned import Unturned

__all__ = ["TURNED", "TurnedImages", "as_stored"]

TURNED = "exif"
"""Code of the finding."""

_FIX = "Look at one with its mask; if the masks were drawn on the pixels as stored, set data.exif=raw in the recipe."


def as_stored(contents: Contents) -> Contents:
    """The same folder, its images read without the camera's orientation."""
    splits = {
        split: tuple(pair._replace(image=Unturned(pair.image)) for pair in pairs)
        for split, pairs in contents.splits.items()
    }
    return contents._replace(splits=splits)


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
        labels = pair.mask or pair.instances
        if orientation == 1 or labels is None or (orientation >= 5 and size is not None and size[0] != size[1]):
            return
        try:
            turned = read_orientation(labels) != 1
        except DataError:
            return  # told where the mask is read
        if not turned:
            self._count += 1
            self._first = self._first or (pair, orientation)

    def findings(self) -> list[Finding]:
        """One warning for all, or none."""
        if self._first is None:
            return []
        pair, orientation = self._first
        count = f", as in {self._count} pairs in all" if self._count > 1 else ""
        message = (
            f"is turned by the camera's orientation (EXIF {orientation}), and its mask {pair.mask or pair.instances} "
            f"is not{count}: a mask drawn on the pixels as stored lies wrong"
        )
        return [warning(TURNED, pair.image, message, _FIX)]
