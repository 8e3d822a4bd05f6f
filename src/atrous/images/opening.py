"""From a file to what its pixels are read from: the content decides, not the suffix."""

import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from atrous.errors import DataError
from atrous.findings import FindingError, error
from atrous.images import nifti
from atrous.images.arrays import NUMPY, is_zarr, numpy_pixels, zarr_pixels
from atrous.images.derived import DerivedImage
from atrous.images.formats import (
    PALETTES,
    PNG,
    decode_other,
    decode_png,
    other_header,
    other_palette,
    png_header,
    png_palette,
)
from atrous.images.limits import out_of_memory
from atrous.images.pages import VolumePixels
from atrous.images.stored import File, Header, Pixels, Stored, beginning
from atrous.images.tiff import TIFF, TiffPixels
from atrous.images.tiff import palette as tiff_palette

__all__ = ["FORMATS", "FileFormat", "file_palette", "open_pixels", "reading"]


class _Picture(Pixels):
    """A file that is decoded as a whole."""

    def __init__(self, header: Callable[[], Header], decode: Callable[[], Stored]) -> None:
        self._header, self._decode = header, decode

    def header(self) -> Header:
        """Its size, channels and data type."""
        return self._header()

    def decode(self) -> Stored:
        """All its pixels."""
        return self._decode()


class _Masked(Pixels):
    """An image with a file beside it that says which pixels are valid, as GDAL writes them: `image.tif.msk`."""

    def __init__(self, pixels: Pixels, mask: TiffPixels, place: Path) -> None:
        self._pixels, self._mask, self._place = pixels, mask, place

    def header(self) -> Header:
        """That of the image."""
        return self._pixels.header()

    def decode(self) -> Stored:
        """All its pixels."""
        return self._with(self._pixels.decode(), self._mask.decode())

    def window(self, rows: slice, columns: slice) -> Stored | None:
        """Some rows and columns, where image and mask are read by windows."""
        stored = self._pixels.window(rows, columns)
        mask = None if stored is None else self._mask.window(rows, columns)
        return None if stored is None or mask is None else self._with(stored, mask)

    def close(self) -> None:
        """Let go of both files."""
        self._pixels.close()
        self._mask.close()

    def _with(self, stored: Stored, mask: Stored) -> Stored:
        valid = (mask.array != 0).all(axis=2)  # one plane for all channels, or one for each
        if valid.shape != stored.array.shape[:2]:
            came, needed = (f"{shape[0]} x {shape[1]}" for shape in (valid.shape, stored.array.shape))
            message = f"is the mask of an image and has {came} pixels (height x width), and that has {needed}"
            fix = "Write it again, or take it away if it is no mask of GDAL's."
            raise FindingError(error("size_mismatch", self._place, message, fix))
        return replace(stored, valid=valid if stored.valid is None else stored.valid & valid)


class FileFormat(NamedTuple):
    """A format of image files.

    Attributes:
        fits: whether a file is of it, from its first `HEAD` bytes and, where these do not tell, the file.
        open: what the pixels are read from: (file, its name for messages, whether a palette gives indices).
    """

    fits: Callable[[bytes, File], bool]
    open: Callable[[File, object, bool], Pixels]


HEAD = 16
"""Bytes at the start of a file that are shown to every format."""


def _png(file: File, name: object, indices: bool) -> Pixels:
    return _Picture(partial(png_header, file), partial(decode_png, file, indices=indices))


def _tiff(file: File, name: object, indices: bool) -> Pixels:
    return TiffPixels(file, name, indices=indices)


FORMATS: dict[str, FileFormat] = {
    "png": FileFormat(lambda start, file: start.startswith(PNG), _png),
    "tiff": FileFormat(lambda start, file: start.startswith(TIFF), _tiff),
    "npy": FileFormat(lambda start, file: start.startswith(NUMPY), lambda file, name, _: numpy_pixels(file, name)),
    "nifti": FileFormat(lambda start, file: nifti.is_nifti(file), lambda file, name, _: VolumePixels(file, name)),
}
"""Formats by name, in the order in which a file is compared with them. What fits none is given to Pillow."""


def open_pixels(file: File | DerivedImage, name: object, *, indices: bool = False) -> Pixels:
    """What the pixels of an image or a mask are read from.

    Args:
        file: a path, the bytes of a file, or a derived image.
        name: what messages call it.
        indices: a palette image gives its indices instead of its colours, as in masks.

    Raises:
        FindingError: if it is an array or a volume whose shape is not that of an image.
        Exception: whatever a decoder raises; `reading` makes one line of it.
    """
    if isinstance(file, DerivedImage):
        return file
    if isinstance(file, Path) and file.is_dir() and (is_zarr(file) or file.suffix.lower() == ".zarr"):
        if not is_zarr(file):
            message = "cannot be read as Zarr: it has neither zarr.json nor .zarray nor .zgroup"
            raise FindingError(error("unreadable", file, message, "Is it complete? Copy or export it again."))
        return zarr_pixels(file)
    _must_be_a_file(file)
    pixels = _by_content(file, beginning(file, HEAD), name, indices=indices)
    if indices or isinstance(file, bytes) or not os.path.isfile(f"{file}.msk"):  # noqa: PTH113  (with every image)
        return pixels
    beside = file.with_name(f"{file.name}.msk")
    return _Masked(pixels, TiffPixels(beside, beside, indices=True), beside)


def _must_be_a_file(file: File) -> None:
    """Raise if it is a pipe, a socket or a device, which are never opened: reading a pipe waits for a writer.

    Raises:
        FindingError: if it is.
    """
    if isinstance(file, bytes):
        return
    mode = os.stat(file).st_mode  # noqa: PTH116  (with every image)
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        message = f"is a {_special(mode)}, and no file"
        raise FindingError(error("special_file", file, message, "Take it out."))


def _special(mode: int) -> str:
    """What is neither file nor folder, in words."""
    return "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"


def _by_content(file: File, start: bytes, name: object, *, indices: bool) -> Pixels:
    """By the first bytes of a file."""
    for known in FORMATS.values():
        if known.fits(start, file):
            return known.open(file, name, indices)
    return _Picture(partial(other_header, file), partial(decode_other, file, indices=indices))


def file_palette(path: Path) -> list[tuple[int, int, int]] | None:
    """The colours of a file with a palette, None of any other."""
    if path.is_dir():
        return None
    _must_be_a_file(path)
    start = beginning(path, HEAD)
    if start.startswith(PNG):
        return png_palette(path)
    if start.startswith(TIFF):
        return tiff_palette(path)
    return other_palette(path) if start.startswith(PALETTES) else None


@contextmanager
def reading(name: object, where: str = "") -> Iterator[None]:
    """Turn whatever a decoder raises into one line that names the file.

    Args:
        name: of the file.
        where: which part of it was read, where that is not the whole.
    """
    try:
        yield
    except DataError:
        raise
    except MemoryError:
        raise out_of_memory(name) from None
    except FileNotFoundError:
        raise FindingError(error("missing_file", name, "there is no such file", "Check the name.")) from None
    except IsADirectoryError:
        raise FindingError(error("missing_file", name, "is a folder, not an image", "Name a file.")) from None
    except Exception as problem:  # decoders raise what they like: SyntaxError, struct.error, their own classes
        told = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        text = " ".join(told.split()).replace(str(name), "the file") or type(problem).__name__
        if isinstance(problem, struct.error | IndexError | KeyError):  # a decoder ran out of what it expected
            text = "its header is damaged or cut off"
        if "cannot identify image file" in text:  # Pillow would name its buffer in memory
            text = "its bytes are those of no image format"
        fix = "Open it in an image viewer; copy or export it again, or take it out."
        message = f"cannot be read as an image: {where}{text.rstrip('.')}"
        raise FindingError(error("unreadable", name, message, fix)) from None
