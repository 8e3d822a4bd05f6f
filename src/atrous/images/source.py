"""One reader: an image of any origin and size, whole or by windows.

Training, prediction, the check of a data folder and its conversion read images through `Source` alone, so that they see
the same numbers. What is decoded how stands in `opening` and the formats; what follows from it, in `raster`.
"""

import logging
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from PIL import Image

from atrous.errors import DataError
from atrous.findings import Finding, FindingError, error, warning
from atrous.images.arrays import ArrayPixels, zarr_node_pixels
from atrous.images.channels import bring_channels, how_brought
from atrous.images.derived import DerivedImage
from atrous.images.formats import decode_pillow
from atrous.images.opening import open_pixels, reading
from atrous.images.pages import PagePixels
from atrous.images.raster import CONSTANT, MASK, SOFT, Raster, alpha_kind, image_dtype, raster_of, with_alpha_as_mask
from atrous.images.stored import Header, Pixels, Stored
from atrous.images.unturned import UnturnedPixels

__all__ = ["ImageSource", "Source", "check_window", "lazy_source", "odd_file", "open_source", "tell_odd"]

LOG = logging.getLogger(__name__)
_told: set[str] = set()

_WHOLE_FILE = 1 << 28  # bytes of pixels up to which a TIFF is read at once
_ROWS = 256  # of an image at a time, to look through its alpha channel


@runtime_checkable
class ImageSource(Protocol):
    """Anything with a shape and window reads: a Zarr array, a slide reader, a class of your own.

    Attributes:
        shape: (H, W, C), or (H, W) for one channel.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, C), or (H, W) for one channel."""

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """The pixels of some rows and columns, (h, w, C) or (h, w)."""


class Source:
    """An opened image: its size, its data type, and its pixels. Close it, or use it in a `with`.

    It decides once, from its header and its size, whether it is read whole (and kept) or by windows; what is read does
    not depend on that. Get one from `open_source`.

    Args:
        name: what messages call it.
        pixels: what it is read from.
        channels: how many are needed: decides whether a constant alpha channel is kept, see `raster`, and whether grey
            is repeated or an alpha channel left out, see `channels`.
        whole_below: bytes of pixels up to which it is read at once where it could be read by windows.

    Attributes:
        tells: what is odd about the file is logged when it is read.
    """

    def __init__(self, name: str, pixels: Pixels, *, channels: int | None = None, whole_below: int = 0) -> None:
        self.name, self._needed, self._whole_below = name, channels, whole_below
        self._own, self._pixels = pixels, bring_channels(pixels, channels)
        self._header: Header | None = None
        self._used: int | None = None
        self._kept: Raster | None = None
        self._alpha = CONSTANT
        self._by_windows: bool | None = None
        self.tells = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels), after its EXIF turn and without a constant alpha."""
        header = self._head()
        turned = header.orientation >= 5
        height, width = (header.width, header.height) if turned else (header.height, header.width)
        return height, width, self._channels()

    @property
    def dtype(self) -> str:
        """The data type as which its numbers are read: "uint8", "uint16" or "float32"."""
        return image_dtype(self._head().dtype, self.name).name

    @property
    def stored(self) -> str:
        """The data type in which they are stored, such as "int16"."""
        return self._head().dtype.name

    @property
    def brought(self) -> str:
        """How it got the channels that were needed: "grey" was repeated, "alpha" was left out; "" if it had them."""
        with reading(self.name):
            header = self._own.header()
        return how_brought(header.channels, header.alpha, header.dtype, self._needed) or ""

    def read(self, rows: slice, columns: slice) -> Raster:
        """The pixels of some rows and columns.

        Args:
            rows: start and stop within the image.
            columns: start and stop within the image.

        Raises:
            DataError: if the image does not hold them, or the file is damaged there.
        """
        stored = self._window(rows, columns)
        raster = self.whole().cut(rows, columns) if stored is None else self._rules(stored)
        check_window(self.name, rows, columns, raster.array)
        return raster

    def whole(self) -> Raster:
        """All its pixels.

        Raises:
            DataError: if the file is damaged.
        """
        if self._kept is None:
            with reading(self.name):
                stored = self._pixels.decode()
            # Only where the alpha channel is one of those that are needed is it kept although it be constant.
            needed = self._needed if self._needed == stored.array.shape[2] else None
            raster = raster_of(stored, self.name, needed)
            if isinstance(self._pixels, ArrayPixels):
                return raster  # as quickly read again
            self._kept = raster
            if self.tells:
                tell_odd(self.name, raster)
        return self._kept

    def close(self) -> None:
        """Let go of the file."""
        self._pixels.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _head(self) -> Header:
        if self._header is None:
            with reading(self.name):
                self._header = self._pixels.header()
            image_dtype(self._header.dtype, self.name)
        return self._header

    def _window(self, rows: slice, columns: slice) -> Stored | None:
        """A window as stored, None where the image is read whole."""
        if self._kept is not None or self._by_windows is False:
            return None
        if self._by_windows is None and self._whole_below:
            header = self._head()
            size = header.height * header.width * header.channels * image_dtype(header.dtype, self.name).itemsize
            if size <= self._whole_below and not isinstance(self._pixels, ArrayPixels):
                self._by_windows = False
                return None
        where = f"rows {rows.start} to {rows.stop} and columns {columns.start} to {columns.stop}: "
        with reading(self.name, where):
            stored = self._pixels.window(rows, columns)
        self._by_windows = stored is not None
        return stored

    def _rules(self, stored: Stored) -> Raster:
        """The window that is stored; the image as a whole has decided about its alpha channel."""
        used = self._channels() if stored.alpha else None
        if used is not None and used < stored.array.shape[2] and self._alpha == MASK:
            stored = with_alpha_as_mask(stored)
        return raster_of(stored, self.name, keep=used)

    def _channels(self) -> int:
        """How many channels are used."""
        if self._used is None:
            header = self._head()
            if not header.alpha or self._needed == header.channels:
                self._used = header.channels
            elif self._window(slice(0, 1), slice(0, 1)) is None:
                self._used = self.whole().array.shape[2]
            else:
                self._alpha = self._alpha_kind()
                self._used = header.channels - (self._alpha != SOFT)
        return self._used

    def _alpha_kind(self) -> str:
        """What the alpha channel of an image read by windows is."""
        height, width = self._head().height, self._head().width
        values: set[float] = set()
        for top in range(0, height, _ROWS):
            stored = self._window(slice(top, min(top + _ROWS, height)), slice(0, width))
            assert stored is not None
            kind, numbers = alpha_kind(stored.array), stored.array.dtype
            ends = {0.0, float(np.iinfo(numbers).max)} if numbers.kind in "ui" else set()
            values |= {float(stored.array[0, 0, -1])} if kind == CONSTANT else ends
            if kind == SOFT or (len(values) > 1 and not values <= ends):
                return SOFT
        return CONSTANT if len(values) == 1 else MASK


def open_source(
    image: Any,
    *,
    channels: int | None = None,
    page: int | None = None,
    whole_below: int | None = None,
    exif: str = "oriented",
) -> Source:
    """Open an image, wherever it is.

    Args:
        image: a path (PNG, JPEG, TIFF, BMP, GIF, WebP, `.npy`, Zarr, OME-Zarr, NIfTI), the bytes of such a file, an
            array of (H, W) or (H, W, C), anything that NumPy takes for one, a `Raster`, a Pillow image, a derived
            image, or an `ImageSource`.
        channels: how many channels are needed: decides whether a constant alpha channel is kept, and whether grey is
            repeated or an alpha channel left out, see `channels`.
        page: of a stack in TIFF or a volume in NIfTI, from 0.
        whole_below: bytes of pixels up to which a file is read at once although it could be read by windows; None is
            256 MiB. By windows are read TIFF that is not turned, NumPy files and Zarr.
        exif: "oriented" turns the image as the camera's orientation says, "raw" takes the pixels as they are stored.

    Raises:
        DataError: if it is not there, is damaged, or is not an image.
    """
    source = _opened(image, channels, page, _WHOLE_FILE if whole_below is None else whole_below, raw=exif == "raw")
    source.tells = True
    _ = source.shape, source.dtype  # what is wrong with it is said now
    return source


def lazy_source(image: Any, *, channels: int | None = None) -> Source:
    """A source for one look: nothing is read before it is asked for, and windows of any file that has them."""
    return _opened(image, channels, None, 0)


def tell_odd(name: object, raster: Raster) -> None:
    """Say once what is odd about an image's file."""
    if raster.odd and str(name) not in _told:
        _told.add(str(name))
        LOG.warning("%s", odd_file(name, raster))


def odd_file(name: object, raster: Raster) -> Finding:
    """The finding about an image of which all could be read, but whose file is odd."""
    return warning("odd_file", name, raster.odd, "Look at it; copy or export it again, or take it out.")


def check_window(name: object, rows: slice, columns: slice, window: np.ndarray) -> None:
    """Raise unless a window came back whole.

    Raises:
        FindingError: if the image does not hold it.
    """
    wanted = (rows.stop - rows.start, columns.stop - columns.start)
    if window.shape[:2] != wanted or min(wanted) < 1 or min(rows.start, columns.start) < 0:
        where = f"rows {rows.start} to {rows.stop} and columns {columns.start} to {columns.stop}"
        raise FindingError(error("size_mismatch", name, f"does not hold {where}", "Name a window within the image."))


def _opened(image: Any, channels: int | None, page: int | None, whole_below: int, *, raw: bool = False) -> Source:
    if isinstance(image, Source):
        return image
    if isinstance(image, bytearray | memoryview):
        image = bytes(image)
    if isinstance(image, str):
        image = Path(image)
    if isinstance(image, Path | bytes | DerivedImage):
        name = "the bytes" if isinstance(image, bytes) else str(image)
        if page is not None and not isinstance(image, DerivedImage):
            return Source(f"{name} page {page}", PagePixels(image, page), channels=channels)
        with reading(name):
            pixels = open_pixels(image, name)
        pixels = UnturnedPixels(pixels) if raw else pixels
        return Source(name, pixels, channels=channels, whole_below=whole_below)
    name, pixels = _in_memory(image)
    return Source(name, UnturnedPixels(pixels) if raw else pixels, channels=channels)


def _in_memory(image: Any) -> tuple[str, Pixels]:
    """What is no file, and what messages call it."""
    if isinstance(image, np.ndarray):
        return "the array", ArrayPixels(image, "the array")
    name = f"the {type(image).__name__}"
    if isinstance(image, Raster):
        return name, ArrayPixels(image.array, name, valid=image.valid)
    if isinstance(image, Image.Image):
        with reading(name):
            return name, _Held(decode_pillow(image))
    if hasattr(image, "array_keys"):
        return name, zarr_node_pixels(image, name)
    if isinstance(image, ImageSource) and not hasattr(image, "numpy"):
        name = str(getattr(image, "name", "") or name)
        return name, ArrayPixels(image, name)
    try:
        array = np.asarray(image)
    except (TypeError, ValueError, RuntimeError):
        array = np.empty((), object)
    if array.ndim < 2:
        raise DataError(f"a {type(image).__name__} is not an image: give a path, an array of (H, W) or (H, W, C)")
    return name, ArrayPixels(array, name)


class _Held(Pixels):
    """An image that has been decoded."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    def header(self) -> Header:
        """Its size, channels and data type."""
        array = self._stored.array
        height, width, channels = array.shape
        return Header(height, width, channels, array.dtype, self._stored.alpha, self._stored.orientation)

    def decode(self) -> Stored:
        """All its pixels."""
        return self._stored
