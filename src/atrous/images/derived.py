"""Images and masks that are not one file as it stands: a page of a stack, channels in several files, polygons.

A `Pair` holds them in the place of a path. They are read by the same functions as files (`read_image`, `read_info`,
`read_mask`), are named like files in messages, and may be hashed, compared and pickled.
"""

from abc import ABC, abstractmethod
from pathlib import Path, PurePath

import numpy as np

from atrous.images.stored import Header, Pixels, Stored

__all__ = ["Derived", "DerivedImage", "DerivedMask", "DerivedPlanes"]


class Derived(ABC):
    """What a derived image and a derived mask have in common: a name that looks like a path."""

    @property
    @abstractmethod
    def place(self) -> Path:
        """The file or folder that it comes from, with the part of it where that matters: `stack.tif page 3`."""

    @property
    def name(self) -> str:
        """The last part of its place."""
        return self.place.name

    @property
    def suffix(self) -> str:
        """The ending of its place; a page of a stack has one of its own, so that nobody takes it for the file."""
        return self.place.suffix

    def is_relative_to(self, root: Path) -> bool:
        """Whether it lies in a folder."""
        return self.place.is_relative_to(root)

    def relative_to(self, root: Path) -> PurePath:
        """Its place within a folder."""
        return self.place.relative_to(root)

    def __str__(self) -> str:
        return str(self.place)


class DerivedImage(Derived, Pixels):
    """An image put together from what files hold."""

    @abstractmethod
    def header(self) -> Header:
        """Its size, channels and numbers, without reading its pixels where that can be helped."""

    @abstractmethod
    def decode(self) -> Stored:
        """Its pixels as stored; `read_image` applies to them what it applies to those of a file."""


class DerivedMask(Derived):
    """A mask or an instance map put together from what files hold."""

    @abstractmethod
    def read(self) -> np.ndarray:
        """(H, W) whole numbers, or (H, W, 3) uint8 colours, which a class table encodes."""

    def palette(self) -> list[tuple[int, int, int]] | None:
        """The colours of which its numbers are indices, or None."""
        return None


class DerivedPlanes(DerivedMask):
    """A mask of classes that may overlap: one plane for each."""

    @abstractmethod
    def read(self) -> np.ndarray:
        """(K, H, W) uint8: 1 where the class is, 0 where it is not, 255 where that is not known."""
