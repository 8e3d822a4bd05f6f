"""Images and masks of data folders as arrays, whatever file they come in: shortcuts of `Source` for one look.

What holds for every format: the camera's orientation (EXIF) is applied; an alpha channel that is constant is dropped,
one of 0 and 255 says which pixels are valid, any other is a channel; nodata and values that are not finite become
invalid pixels. The content of a file decides how it is read, not its suffix. The rules, and the table of data types,
stand in `raster`.

In a mask, values stay as they are stored: one bit is 0 and 1, palette indices are indices.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from atrous.findings import FindingError, error
from atrous.images.derived import DerivedImage, DerivedMask, DerivedPlanes
from atrous.images.opening import file_palette, open_pixels, reading
from atrous.images.raster import Raster, image_dtype, turn, wrong_channels
from atrous.images.source import check_window, lazy_source
from atrous.images.stored import Stored
from atrous.images.writing import write_image

__all__ = [
    "ARRAY_SUFFIXES",
    "JPEG_SUFFIXES",
    "SUFFIXES",
    "ImageFile",
    "ImageInfo",
    "MaskFile",
    "Raster",
    "read_image",
    "read_info",
    "read_mask",
    "read_mask_window",
    "read_orientation",
    "read_palette",
    "read_window",
    "write_image",
    "wrong_channels",
]

ImageFile = Path | DerivedImage
"""Where an image is: a file (a Zarr array is a folder), or what it is put together from."""

MaskFile = Path | DerivedMask
"""Where a mask is."""

ARRAY_SUFFIXES = (".npy", ".zarr")
"""Files and folders that are taken for images where they are named, or the layout is one of arrays."""

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jfif")

SUFFIXES = (".png", *JPEG_SUFFIXES, ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".avif")
"""Files that are taken for images."""


class ImageInfo(NamedTuple):
    """What the header of an image says, after its EXIF turn.

    `channels` counts an alpha channel; `alpha` says that the last one is such, which `read_image` drops where it is
    constant, and only the pixels can tell. `dtype` is the data type as which the numbers are read; `orientation` is
    that of the camera (EXIF), from which the image is turned.
    """

    height: int
    width: int
    channels: int
    dtype: str
    alpha: bool = False
    orientation: int = 1


def read_info(path: str | bytes | ImageFile) -> ImageInfo:
    """Read the header of an image, not its pixels.

    Raises:
        DataError: if the file is missing, damaged, a stack of images, or of a type that is not read.
    """
    path = Path(path) if isinstance(path, str) else path
    name = "the bytes" if isinstance(path, bytes) else path
    with reading(name):
        header = open_pixels(path, name).header()
    height, width = header.height, header.width
    if header.orientation >= 5:
        height, width = width, height
    return ImageInfo(
        height, width, header.channels, image_dtype(header.dtype, name).name, header.alpha, header.orientation
    )


def read_image(path: str | bytes | ImageFile, *, channels: int | None = None) -> Raster:
    """Read an image.

    Args:
        path: a PNG, JPEG, TIFF, BMP, GIF or WebP file, a NumPy file, a Zarr folder, a NIfTI file of one slice, the
            bytes of a file, or a derived image.
        channels: how many are needed. None drops a constant alpha and keeps one that varies; a number that counts the
            alpha keeps it even where it is constant, as in one image of a set in which it varies elsewhere. Where three
            are needed, grey is repeated; an alpha channel too many is left out.

    Raises:
        DataError: if the file is missing, damaged, a stack of images, of a type that is not read, or has another
            number of channels.
    """
    with lazy_source(path, channels=channels) as source:
        return _checked(source.whole(), source.name, channels)


def read_window(path: str | bytes | ImageFile, rows: slice, columns: slice, *, channels: int | None = None) -> Raster:
    """Read some rows and columns of an image: of a tiled TIFF, a Zarr array or a NumPy file, only what they touch.

    Any other file is decoded as a whole and cut. The window is that of `read_image` either way.

    Args:
        path: as in `read_image`.
        rows: start and stop within the image.
        columns: start and stop within the image.
        channels: as in `read_image`.

    Raises:
        DataError: as `read_image`, or if the window is not within the image.
    """
    with lazy_source(path, channels=channels) as source:
        return _checked(source.read(rows, columns), source.name, channels)


def read_mask(path: str | MaskFile) -> np.ndarray:
    """Read a mask as it was stored: classes, colours or instance numbers, not yet understood.

    Returns:
        (H, W) integers (of a palette image, its indices; of a 1, 2 or 4-bit image, the bits as stored), or (H, W, 3)
        uint8 colours. An alpha channel is left out. Of `DerivedPlanes`, (K, H, W).

    Raises:
        DataError: if the file cannot be read, holds fractions, or has a channel count that no mask has.
    """
    path = path if isinstance(path, DerivedMask) else Path(path)
    with reading(path):
        if isinstance(path, DerivedMask):
            return path.read()
        stored = open_pixels(path, path, indices=True).decode()
    return _mask(path, stored)


def read_mask_window(path: str | MaskFile, rows: slice, columns: slice) -> np.ndarray:
    """Some rows and columns of a mask, as `read_mask` gives it; of (K, H, W) planes, of each plane.

    Raises:
        DataError: as `read_mask`, or if the window is not within the mask.
    """
    path = path if isinstance(path, DerivedMask) else Path(path)
    stored = None
    if isinstance(path, Path):
        with reading(path):
            pixels = open_pixels(path, path, indices=True)
            try:
                stored = pixels.window(rows, columns)
            finally:
                pixels.close()
    if stored is not None:
        raw = _mask(path, stored)
    else:
        whole = read_mask(path)
        raw = whole[:, rows, columns] if isinstance(path, DerivedPlanes) else whole[rows, columns]
    check_window(path, rows, columns, raw[0] if isinstance(path, DerivedPlanes) else raw)
    return raw


def read_orientation(path: str | MaskFile) -> int:
    """The camera's orientation (EXIF, 1 to 8) that a mask's file names; 1 where it names none.

    Raises:
        DataError: if the file is missing or damaged.
    """
    if isinstance(path, DerivedMask):
        return 1
    with reading(Path(path)):
        return open_pixels(Path(path), path, indices=True).header().orientation


def read_palette(path: str | MaskFile) -> list[tuple[int, int, int]] | None:
    """The colours of a mask with a palette (PNG, TIFF, GIF, BMP), whose values are indices of it; None for any other.

    Raises:
        DataError: if the file is missing or damaged.
    """
    path = path if isinstance(path, DerivedMask) else Path(path)
    with reading(path):
        return path.palette() if isinstance(path, DerivedMask) else file_palette(path)


def _checked(raster: Raster, name: object, channels: int | None) -> Raster:
    """The raster, if it has as many channels as are needed."""
    if channels is not None and raster.array.shape[2] != channels:
        raise FindingError(wrong_channels(name, raster.array.shape[2], channels))
    return raster


def _mask(path: MaskFile, stored: Stored) -> np.ndarray:
    """What `read_mask` promises of what a file stores."""
    array = stored.array[..., :-1] if stored.alpha else stored.array
    if array.shape[2] not in (1, 3) or (array.shape[2] == 3 and array.dtype != np.uint8):
        message = f"is no mask: it has {array.shape[2]} channels of {array.dtype}"
        raise FindingError(error("mask_type", path, message, "Store one integer per pixel, or one 8-bit RGB colour."))
    if array.shape[2] == 1:
        array = _integers(array[..., 0] // stored.step if stored.step > 1 else array[..., 0], path)
    return np.ascontiguousarray(turn(array, stored.orientation))


def _integers(array: np.ndarray, path: MaskFile) -> np.ndarray:
    """A mask's values; floats that are whole numbers are taken as such."""
    if array.dtype.kind in "ui":
        return array
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.rint(array)).all():
        return array.astype(np.int64)
    message = f"is no mask: its {array.dtype} values are not whole numbers"
    raise FindingError(error("mask_type", path, message, "Store classes as integers, and ignored pixels as 255."))
