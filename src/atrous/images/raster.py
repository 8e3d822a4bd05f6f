"""An image's own numbers, and the rules by which they follow from what is stored.

Data types. They are the same whatever holds the image (a file, an array, a Zarr store) and whoever asks:

| stored                                       | read as                                             |
|----------------------------------------------|-----------------------------------------------------|
| bool, one bit                                | uint8: 0 and 255                                    |
| 2 and 4 bits                                 | uint8: spread over 0 to 255, by 85 and by 17        |
| uint8, and 3, 5, 6 or 7 bits                 | uint8, as stored                                    |
| uint16, and 9 to 15 bits                     | uint16, as stored: 12 bits are 0 to 4095            |
| int8, int16, int32, uint32, int64, uint64    | float32; whole numbers beyond 2^24 lose last digits |
| float16, float32, float64                    | float32; NaN, and 1e19 or more, are invalid pixels  |
| complex numbers, text, records               | refused                                             |

Where 0 is white (TIFF), unsigned numbers of up to 16 bits are turned, 12 bits within 0 to 4095; other numbers are
measurements, and stay. Palettes, CMYK, YCbCr and Lab of 8 bits become red, green and blue. Byte order and memory layout
make no difference. In a mask, values stay as they are stored: one bit is 0 and 1, a palette's index an index.

Alpha. A last channel that a file calls alpha is dropped where it is constant over the whole image, unless the count of
channels that is asked for includes it. One of 0 and the largest number alone, as orthophotos have it, says which pixels
are valid and is dropped too. Any other is a channel; where it has to be left out, see `channels`, pixels in which it is
0 are invalid.

Invalid pixels. "Nodata" is one value for all channels of a file (GDAL's tag), as stored: of a palette, an index. In
floating point a pixel is invalid where any channel has it, or is not below 1e19 in magnitude; in integers, where nodata
is often 0 and an honest number too, where all channels have it. A mask inside a TIFF is followed too (a page, or that
of LERC), and one beside any file (`image.tif.msk`, as GDAL writes it, 0 where invalid). `Raster.array` holds 0 in all
channels of an invalid pixel. A network is given the mean of its training images there (`Raster.as_floats`), in training
as in prediction, whatever part of the image is read; statistics leave these pixels out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from atrous.findings import Finding, FindingError, error
from atrous.images.stored import Stored

__all__ = [
    "CONSTANT",
    "MASK",
    "SOFT",
    "Fill",
    "Raster",
    "alpha_kind",
    "image_dtype",
    "raster_of",
    "turn",
    "with_alpha_as_mask",
    "wrong_channels",
]

CONSTANT, MASK, SOFT = "constant", "mask", "soft"
"""What an alpha channel may be."""

LARGEST = 1e19
"""From this magnitude on, a floating-point number is no measurement: float32 does not hold its square (3.4e38), so that
no variance is finite. GIS tools write -3.4e38 or -1.8e308 where nothing was measured, often without a nodata tag."""

Fill = Sequence[float] | np.ndarray | None
"""What invalid pixels hold, one value per channel in the image's own numbers; None is 0."""


@dataclass(frozen=True)
class Raster:
    """An image's own numbers, or those of a window of it.

    Attributes:
        array: (H, W, C) uint8, uint16 or float32, always finite; 0 where invalid.
        valid: (H, W) bool, False where there was nodata, NaN or infinity; None where all pixels are valid.
        orientation: of the camera (EXIF, 1 to 8), from which the image was turned upright.
        odd: what is odd about its file although all of it could be read; empty where nothing is.
    """

    array: np.ndarray
    valid: np.ndarray | None = None
    orientation: int = 1
    odd: str = ""

    def cut(self, rows: slice, columns: slice) -> "Raster":
        """Some rows and columns."""
        valid = None if self.valid is None else np.ascontiguousarray(self.valid[rows, columns])
        return Raster(np.ascontiguousarray(self.array[rows, columns]), None if valid is None or valid.all() else valid)

    def filled(self, fill: Fill) -> np.ndarray:
        """(H, W, C) with `fill` in invalid pixels, rounded in integers; the array itself where there is none."""
        if self.valid is None or fill is None:
            return self.array
        array = self.array.copy()
        array[~self.valid] = _fitting(fill, array.dtype)
        return array

    def as_floats(self, fill: Fill = None) -> np.ndarray:
        """(H, W, C) float32 as a network is given them: `filled`, and always a copy."""
        floats = np.array(self.array, dtype=np.float32)
        if self.valid is not None and fill is not None:
            floats[~self.valid] = _fitting(fill, self.array.dtype)
        return floats

    def visible(self) -> np.ndarray:
        """(H, W, C) for pictures: 8 bits as they are, black where invalid; other numbers are NaN there."""
        if self.valid is None or self.array.dtype == np.uint8:
            return self.array
        return np.where(self.valid[..., None], self.array, np.float32(np.nan)).astype(np.float32)


def _fitting(fill: Sequence[float] | np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A fill in the image's data type: integers are rounded, so that training and prediction hold the same."""
    values = np.asarray(fill, np.float64)
    if dtype.kind == "f":
        return values.astype(np.float32)
    limits = np.iinfo(dtype)
    return np.rint(values).clip(limits.min, limits.max).astype(dtype)


def image_dtype(dtype: np.dtype, name: object) -> np.dtype:
    """The data type as which numbers of this one are read: uint8, uint16 or float32.

    Raises:
        FindingError: if they are not those of an image.
    """
    if dtype.kind not in "buif":
        fix = "Write real numbers; of complex ones, magnitude and phase as two channels of float32."
        raise FindingError(error("mixed_kinds", name, f"holds {dtype} numbers, which are not images", fix))
    if dtype.kind == "b" or (dtype.kind, dtype.itemsize) == ("u", 1):
        return np.dtype(np.uint8)
    return np.dtype(np.uint16 if (dtype.kind, dtype.itemsize) == ("u", 2) else np.float32)


def raster_of(stored: Stored, name: object, channels: int | None = None, *, keep: int | None = None) -> Raster:
    """The image that is stored.

    Args:
        stored: as decoded.
        name: what messages call it.
        channels: how many are needed; None takes what is there.
        keep: how many channels of a window are used, where the whole image has decided that; None decides it now.

    Raises:
        FindingError: if it has another number of channels, or numbers that are not those of an image.
    """
    array = stored.array
    dtype = image_dtype(array.dtype, name)
    if keep is not None:
        array = array[..., :keep]
    elif stored.alpha and array.shape[2] != channels and (kind := alpha_kind(array)) != SOFT:
        stored = stored if kind == CONSTANT else with_alpha_as_mask(stored)
        array = array[..., :-1]
    if channels is not None and array.shape[2] != channels:
        raise FindingError(wrong_channels(name, array.shape[2], channels))
    if array.dtype == np.bool_:
        numbers = array.astype(np.uint8) * np.uint8(255)
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # what does not fit is found by `_measured`
            numbers = array.astype(dtype, copy=False)
    valid = stored.valid
    measured = _measured(array, numbers, stored.nodata)
    if measured is not None:
        valid = measured if valid is None else measured & valid
    numbers = np.ascontiguousarray(turn(numbers, stored.orientation))
    if valid is None or valid.all():
        return Raster(numbers, None, stored.orientation, stored.odd)
    valid = np.ascontiguousarray(turn(valid, stored.orientation))
    if np.shares_memory(numbers, stored.array):
        numbers = numbers.copy()  # what was given is not written to
    numbers[~valid] = 0
    return Raster(numbers, valid, stored.orientation, stored.odd)


def alpha_kind(array: np.ndarray) -> str:
    """What the last channel of (H, W, C) is: `CONSTANT`, a `MASK` of 0 and the largest number, or `SOFT`."""
    alpha = array[..., -1]
    if not (alpha != alpha[0, 0]).any():
        return CONSTANT
    hard = alpha.dtype.kind in "ui" and bool(((alpha == 0) | (alpha == np.iinfo(alpha.dtype).max)).all())
    return MASK if hard else SOFT


def with_alpha_as_mask(stored: Stored) -> Stored:
    """The same image, invalid where its alpha channel is 0."""
    shown = stored.array[..., -1] != 0
    return replace(stored, valid=shown if stored.valid is None else shown & stored.valid)


def wrong_channels(path: object, came: int, needed: int) -> Finding:
    """The finding about an image whose channel count is not that of the others."""
    message = f"has {came} channel{'s' if came > 1 else ''}, and {needed} {'are' if needed > 1 else 'is'} needed"
    return error("mixed_channels", path, message, "Convert it, or take it out.")


def turn(array: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation to (H, W, ...)."""
    if orientation >= 5:
        array = np.swapaxes(array, 0, 1)
    # After the transposition of 5 to 8, what is left is a flip of columns (2, 3, 6, 7) and of rows (3, 4, 7, 8).
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array[::-1] if orientation in (3, 4, 7, 8) else array


def _measured(array: np.ndarray, numbers: np.ndarray, nodata: float | None) -> np.ndarray | None:
    """(H, W), True where the numbers count, or None where all do.

    Args:
        array: as stored, in whose data type the nodata value is written.
        numbers: the same as read.
        nodata: the value that stands for "nothing measured here".
    """
    if array.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            bad = ~(np.abs(numbers) < LARGEST)  # NaN compares as False
        if nodata is not None and np.isfinite(nodata):
            with np.errstate(over="ignore"):
                bad |= array == array.dtype.type(nodata)
        return ~bad.any(axis=2) if bad.any() else None
    if nodata is None or not np.isfinite(nodata) or nodata != int(nodata) or array.dtype.kind == "b":
        return None
    limits = np.iinfo(array.dtype)
    return (array != int(nodata)).any(axis=2) if limits.min <= nodata <= limits.max else None
