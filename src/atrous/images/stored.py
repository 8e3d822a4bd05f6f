"""Images as their files store them: what a decoder gives before any rule of this package is applied."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

__all__ = ["File", "Header", "Pixels", "Stored", "beginning", "content", "stream"]

File = Path | bytes
"""A file on the disk (a Zarr array is a folder), or the bytes of one in memory."""


class Header(NamedTuple):
    """What a file says of itself before its pixels: sizes as stored, and how the camera was held (EXIF, 1 to 8)."""

    height: int
    width: int
    channels: int
    dtype: np.dtype
    alpha: bool
    orientation: int


@dataclass(frozen=True)
class Stored:
    """An image as its file stores it.

    Attributes:
        array: (H, W, C) of any data type.
        alpha: the last channel is an alpha channel.
        orientation: EXIF orientation, 1 to 8.
        nodata: the value that stands for "nothing measured here", if the file names one.
        valid: (H, W) bool from a mask inside the file, or None.
        step: grey levels of fewer than 8 bits were multiplied by this to fill 0..255.
        odd: what is odd about the file although all of it could be read; empty where nothing is.
    """

    array: np.ndarray
    alpha: bool = False
    orientation: int = 1
    nodata: float | None = None
    valid: np.ndarray | None = None
    step: int = 1
    odd: str = ""


class Pixels(ABC):
    """What an image or a mask is read from: a file, an array, or what is put together from several."""

    @abstractmethod
    def header(self) -> Header:
        """Its size, channels and data type, without reading its pixels where that can be helped."""

    @abstractmethod
    def decode(self) -> Stored:
        """All its pixels as stored."""

    def window(self, rows: slice, columns: slice) -> Stored | None:
        """Some rows and columns as stored, reading only what they touch; None where it has to be decoded whole."""
        return None

    def close(self) -> None:
        """Let go of the file."""
        return


def content(file: File) -> bytes:
    """All bytes of a file."""
    return file if isinstance(file, bytes) else file.read_bytes()


def beginning(file: File, count: int) -> bytes:
    """The first bytes of a file. It is done with every image: a buffer would take three times as long."""
    if isinstance(file, bytes):
        return file[:count]
    with open(file, "rb", buffering=0) as opened:  # noqa: PTH123
        return opened.read(count)


def stream(file: File) -> BinaryIO:
    """A file, opened for reading."""
    return BytesIO(file) if isinstance(file, bytes) else file.open("rb")
