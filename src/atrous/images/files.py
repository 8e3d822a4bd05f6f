"""Images and masks as arrays, whatever file they come in.

What holds for every format: the camera's orientation (EXIF) is applied; an alpha channel that is constant is dropped,
one that varies is a channel; nodata and values that are not finite become invalid pixels, filled with the mean of their
channel, so that no network ever meets them. The content of a file decides how it is read, not its suffix.

Numbers stay what they are: 8 and 16 bits unsigned as they stand, everything else (float64, float16, signed and 32-bit
integers) as float32; one bit becomes 0 and 255. In a mask, values stay as they are stored:
one bit is 0 and 1, palette indices are indices.

"Nodata" is one value for all channels of a file (GDAL's tag). In floating point a pixel is invalid where any channel
has it; in integers, where it is often 0 and an honest number too, where all channels have it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from atrous.errors import DataError
from atrous.findings import Finding, FindingError, error
from atrous.images.arrays import array_header, array_window, is_array
from atrous.images.derived import Derived, DerivedImage, DerivedMask, DerivedPlanes
from atrous.images.formats import PNG, Header, Stored, decode_other, decode_png, other_header, png_header, png_palette
from atrous.images.tiff import decode_tiff, tiff_header, tiff_window
from atrous.images.writing import write_image

__all__ = [
    "SUFFIXES",
    "ImageFile",
    "ImageInfo",
    "MaskFile",
    "Raster",
    "read_image",
    "read_info",
    "read_mask",
    "read_mask_window",
    "read_palette",
    "read_window",
    "write_image",
]

ImageFile = Path | DerivedImage
"""Where an image is: a file (a Zarr array is a folder), or what it is put together from."""

MaskFile = Path | DerivedMask
"""Where a mask is."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")
"""Files that are taken for images."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class ImageInfo(NamedTuple):
    """What the header of an image says, after its EXIF turn.

    `channels` counts an alpha channel; `alpha` says that the last one is such, which `read_image` drops where it is
    constant, and only the pixels can tell.
    """

    height: int
    width: int
    channels: int
    kind: str
    alpha: bool = False


@dataclass(frozen=True)
class Raster:
    """An image's own numbers.

    Attributes:
        array: (H, W, C) uint8, uint16 or float32, always finite.
        valid: (H, W) bool, False where there was nodata, NaN or infinity; None where all pixels are valid.
    """

    array: np.ndarray
    valid: np.ndarray | None = None


def read_info(path: str | ImageFile) -> ImageInfo:
    """Read the header of an image, not its pixels.

    Raises:
        DataError: if the file is missing, damaged, a stack of images, or of a type that is not read.
    """
    path = path if isinstance(path, Derived) else Path(path)
    with _reading(path):
        header = path.header() if isinstance(path, Derived) else _header(path)
    height, width = header.height, header.width
    if header.orientation >= 5:
        height, width = width, height
    return ImageInfo(height, width, header.channels, _kind(header.dtype, path), header.alpha)


def read_image(path: str | ImageFile, *, channels: int | None = None) -> Raster:
    """Read an image.

    Args:
        path: a PNG, JPEG, TIFF, BMP, GIF or WebP file, a NumPy file, a Zarr folder, or a derived image.
        channels: how many are needed. None drops a constant alpha and keeps one that varies; a number that counts the
            alpha keeps it even where it is constant, as in one image of a set in which it varies elsewhere.

    Raises:
        DataError: if the file is missing, damaged, a stack of images, of a type that is not read, or has another
            number of channels.
    """
    path = path if isinstance(path, Derived) else Path(path)
    return _raster(path, _decode(path, indices=False), channels)


def read_window(path: str | ImageFile, rows: slice, columns: slice, *, channels: int | None = None) -> Raster:
    """Read some rows and columns of an image: of a tiled TIFF, a Zarr array or a NumPy file, only what they touch.

    Any other file is decoded as a whole and cut. Where the file has to be decoded by its tiles, invalid pixels take the
    mean of the window, not of the image.

    Args:
        path: as in `read_image`.
        rows: start and stop within the image.
        columns: start and stop within the image.
        channels: as in `read_image`.

    Raises:
        DataError: as `read_image`, or if the window is not within the image.
    """
    path = path if isinstance(path, Derived) else Path(path)
    stored = None if isinstance(path, Derived) else _stored_window(path, rows, columns, indices=False)
    if stored is None:
        whole = read_image(path, channels=channels)
        valid = None if whole.valid is None else whole.valid[rows, columns]
        raster = Raster(np.ascontiguousarray(whole.array[rows, columns]), valid)
    else:
        raster = _raster(path, stored, channels)
    _check_window(path, rows, columns, raster.array)
    return raster


def read_mask_window(path: str | MaskFile, rows: slice, columns: slice) -> np.ndarray:
    """Some rows and columns of a mask, as `read_mask` gives it; of (K, H, W) planes, of each plane.

    Raises:
        DataError: as `read_mask`, or if the window is not within the mask.
    """
    path = path if isinstance(path, Derived) else Path(path)
    stored = None if isinstance(path, Derived) else _stored_window(path, rows, columns, indices=True)
    if stored is not None:
        raw = _mask(path, stored)
    else:
        whole = read_mask(path)
        raw = whole[:, rows, columns] if isinstance(path, DerivedPlanes) else whole[rows, columns]
    _check_window(path, rows, columns, raw[0] if isinstance(path, DerivedPlanes) else raw)
    return raw


def _raster(path: ImageFile, stored: Stored, channels: int | None) -> Raster:
    """What `read_image` promises of what a file stores."""
    _kind(stored.array.dtype, path)
    array, valid = stored.array, stored.valid
    if stored.alpha and array.shape[2] != channels and (array[..., -1] == array[0, 0, -1]).all():
        array = array[..., :-1]
    if channels is not None and array.shape[2] != channels:
        raise FindingError(wrong_channels(path, array.shape[2], channels))
    measured = _measured(array, stored.nodata)
    if measured is not None:
        valid = measured if valid is None else measured & valid
    if array.dtype not in (np.uint8, np.uint16, np.float32):
        array = array.astype(np.float32)
    array = np.ascontiguousarray(_turn(array, stored.orientation))
    if valid is None or valid.all():
        return Raster(array)
    valid = np.ascontiguousarray(_turn(valid, stored.orientation))
    return Raster(_fill(array, valid), valid)


def read_mask(path: str | MaskFile) -> np.ndarray:
    """Read a mask as it was stored: classes, colours or instance numbers, not yet understood.

    Returns:
        (H, W) integers (of a palette image, its indices; of a 1, 2 or 4-bit image, the bits as stored), or (H, W, 3)
        uint8 colours. An alpha channel is left out. Of `DerivedPlanes`, (K, H, W).

    Raises:
        DataError: if the file cannot be read, holds fractions, or has a channel count that no mask has.
    """
    if isinstance(path, Derived):
        with _reading(path):
            return path.read()
    return _mask(Path(path), _decode(Path(path), indices=True))


def _mask(path: MaskFile, stored: Stored) -> np.ndarray:
    """What `read_mask` promises of what a file stores."""
    array = stored.array[..., :-1] if stored.alpha else stored.array
    if array.shape[2] not in (1, 3) or (array.shape[2] == 3 and array.dtype != np.uint8):
        message = f"is no mask: it has {array.shape[2]} channels of {array.dtype}"
        raise FindingError(error("mask_type", path, message, "Store one integer per pixel, or one 8-bit RGB colour."))
    if array.shape[2] == 1:
        array = _integers(array[..., 0] // stored.step if stored.step > 1 else array[..., 0], path)
    return np.ascontiguousarray(_turn(array, stored.orientation))


def read_palette(path: str | MaskFile) -> list[tuple[int, int, int]] | None:
    """The colours of a palette PNG, or None for any other file.

    Raises:
        DataError: if the file is missing or damaged.
    """
    if isinstance(path, Derived) or Path(path).is_dir():
        return None
    with _reading(Path(path)):
        return png_palette(Path(path))


def wrong_channels(path: ImageFile, came: int, needed: int) -> Finding:
    """The finding about an image whose channel count is not that of the others."""
    message = f"has {came} channel{'s' if came > 1 else ''}, and {needed} {'are' if needed > 1 else 'is'} needed"
    return error("mixed_channels", path, message, "Convert it, or take it out.")


def _header(path: Path) -> Header:
    """The header of a file by its content."""
    if is_array(path):
        return array_header(path)
    start = _start(path)
    if start.startswith(PNG):
        return png_header(path)
    return tiff_header(path) if start.startswith(_TIFF) else other_header(path)


def _decode(path: ImageFile, *, indices: bool) -> Stored:
    """The stored image, any failure told as a DataError."""
    with _reading(path):
        if isinstance(path, Derived):
            return path.decode()
        if is_array(path):
            return array_window(path)
        start = _start(path)
        if start.startswith(PNG):
            return decode_png(path, indices=indices)
        return decode_tiff(path, indices=indices) if start.startswith(_TIFF) else decode_other(path, indices=indices)


def _stored_window(path: Path, rows: slice, columns: slice, *, indices: bool) -> Stored | None:
    """A window as its file stores it, or None where the file must be read as a whole."""
    with _reading(path):
        if is_array(path):
            return array_window(path, rows, columns)
        return tiff_window(path, rows, columns, indices=indices) if _start(path).startswith(_TIFF) else None


def _check_window(path: ImageFile | MaskFile, rows: slice, columns: slice, window: np.ndarray) -> None:
    """Raise unless the window came back whole."""
    wanted = (rows.stop - rows.start, columns.stop - columns.start)
    if window.shape[:2] != wanted or min(wanted) < 1 or min(rows.start, columns.start) < 0:
        where = f"rows {rows.start} to {rows.stop} and columns {columns.start} to {columns.stop}"
        raise FindingError(error("size_mismatch", path, f"does not hold {where}", "Name a window within the image."))


def _start(path: Path) -> bytes:
    """The first bytes, which tell the format."""
    with path.open("rb") as file:
        return file.read(8)


@contextmanager
def _reading(path: ImageFile | MaskFile) -> Iterator[None]:
    """Turn whatever a decoder raises into one line that names the file."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except FileNotFoundError:
        raise FindingError(error("missing_file", path, "there is no such file", "Check the name.")) from None
    except IsADirectoryError:
        raise FindingError(error("missing_file", path, "is a folder, not an image", "Name a file.")) from None
    except Exception as problem:  # decoders raise what they like: SyntaxError, struct.error, their own classes
        text = " ".join(str(problem).split()).replace(str(path), "the file") or type(problem).__name__
        if "cannot identify image file" in text:  # Pillow would name its buffer in memory
            text = "its bytes are those of no image format"
        fix = "Open it in an image viewer; copy or export it again, or take it out."
        raise FindingError(error("unreadable", path, f"cannot be read as an image: {text.rstrip('.')}", fix)) from None


def _kind(dtype: np.dtype, path: ImageFile) -> str:
    """The kind of numbers in which an image of this type is read."""
    if dtype.kind not in "buif":
        fix = "Write magnitude and phase as two channels of float32."
        raise FindingError(error("mixed_kinds", path, f"holds {dtype} numbers, which are not images", fix))
    if dtype.kind == "b":
        return "uint8"
    return dtype.name if dtype in (np.uint8, np.uint16) else "float32"


def _measured(array: np.ndarray, nodata: float | None) -> np.ndarray | None:
    """(H, W), True where the numbers count, or None where all do."""
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array)
        if nodata is not None and np.isfinite(nodata):
            bad |= array == array.dtype.type(nodata)
        return ~bad.any(axis=2) if bad.any() else None
    if nodata is None or nodata != int(nodata if np.isfinite(nodata) else 0):
        return None
    limits = np.iinfo(array.dtype)
    if not limits.min <= nodata <= limits.max:
        return None
    return (array != int(nodata)).any(axis=2)


def _fill(array: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Give invalid pixels the mean of their channel's valid ones, 0 where there is none."""
    array = array.copy()
    kept = array[valid]
    mean = kept.mean(axis=0, dtype=np.float64) if len(kept) else np.zeros(array.shape[2])
    array[~valid] = mean.astype(np.float32) if array.dtype == np.float32 else np.rint(mean).astype(array.dtype)
    return array


def _integers(array: np.ndarray, path: MaskFile) -> np.ndarray:
    """A mask's values; floats that are whole numbers are taken as such."""
    if array.dtype.kind in "ui":
        return array
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.rint(array)).all():
        return array.astype(np.int64)
    message = f"is no mask: its {array.dtype} values are not whole numbers"
    raise FindingError(error("mask_type", path, message, "Store classes as integers, and ignored pixels as 255."))


def _turn(array: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation to (H, W, ...)."""
    if orientation >= 5:
        array = np.swapaxes(array, 0, 1)
    # After the transposition of 5 to 8, what is left is a flip of columns (2, 3, 6, 7) and of rows (3, 4, 7, 8).
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array[::-1] if orientation in (3, 4, 7, 8) else array
