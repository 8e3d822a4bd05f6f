"""Writing images and masks, whole or not at all: PNG, TIFF of one page or many, NIfTI like the image it is of."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from atrous.disk import writing
from atrous.errors import DataError
from atrous.images import nifti_writing

__all__ = ["WRITTEN", "Page", "write_image", "writing_pages"]

WRITTEN = (".png", ".tif", ".tiff", ".nii", ".nii.gz")
"""Endings of files that are written."""

_TILE = 512
_LARGE = 1 << 24  # numbers from which on a TIFF is converted tile by tile
_CLASSIC = 2**32 - 2**25  # bytes that a TIFF holds without 64-bit offsets


class Page(NamedTuple):
    """How the pages of a file are written.

    Attributes:
        palette: colours of the values 0, 1, ... of an (H, W) uint8 array, up to 256.
        dtype: what a TIFF or NIfTI file holds, where that is not the array's own.
        tags: further tags of a TIFF, as tifffile takes them: (code, type, count, value, first page only).
    """

    palette: Sequence[tuple[int, int, int]] | None = None
    dtype: str = ""
    tags: Sequence[tuple[Any, ...]] = ()


def write_image(path: str | Path, array: np.ndarray, *, palette: Sequence[tuple[int, int, int]] | None = None) -> None:
    """Write a PNG or TIFF under its final name only when it is whole.

    Args:
        path: ends in .png, .tif or .tiff; the folder must exist.
        array: (H, W) or (H, W, C); PNG takes uint8 and uint16 of 1, 3 or 4 channels, TIFF any numbers and channels.
        palette: colours of the values 0, 1, ... of an (H, W) uint8 array, up to 256.

    Raises:
        DataError: if the format cannot hold the array, or the disk refuses it.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".tif", ".tiff"):
        suffix = path.suffix.lower()
        raise DataError(f"{path}: images are written as .png, .tif or .tiff, not {suffix!r}. Change the suffix.")
    with writing_pages(path, Page(palette)) as put:
        put(np.asarray(array))


@contextmanager
def writing_pages(
    path: Path, page: Page, *, count: int = 1, like: Path | None = None
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a file page by page; it gets its name when all are there.

    Args:
        path: ends in one of `WRITTEN`; the folder must exist.
        page: how.
        count: of pages; a PNG holds one.
        like: of a NIfTI file the volume whose place and sizes it shares.

    Yields:
        What takes the next page, (H, W) or (H, W, C).

    Raises:
        DataError: if the format cannot hold an array, or the disk refuses it.
    """
    suffix = path.suffix.lower()
    with writing(path, error=DataError, instead="choose another folder", parents=False) as beside:
        if suffix == ".png":
            yield lambda array: _write_png(path, beside, _checked(path, array, page), page)
        elif suffix in (".tif", ".tiff"):
            tiff = _Tiff(beside, count)
            try:
                yield lambda array: tiff.write(_checked(path, array, page), page)
            finally:
                tiff.close()
        else:
            assert like is not None
            with nifti_writing.writing_volume(beside, like, packed=suffix == ".gz") as put:
                yield lambda array: put(array.astype(page.dtype or array.dtype, copy=False))


def _checked(path: Path, array: np.ndarray, page: Page) -> np.ndarray:
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    png_holds = array.dtype in (np.uint8, np.uint16) and (array.ndim == 2 or array.shape[2] in (3, 4))
    if path.suffix.lower() == ".png" and not png_holds:
        shape = "x".join(map(str, array.shape))
        raise DataError(f"{path}: PNG does not hold a {shape} array of {array.dtype}. Write a .tif instead.")
    if page.palette is not None and (array.ndim != 2 or array.dtype != np.uint8):
        raise DataError(f"{path}: a palette goes with (H, W) uint8, not {array.shape} {array.dtype}. Leave it out.")
    return array


def _write_png(path: Path, beside: Path, array: np.ndarray, page: Page) -> None:
    if page.palette is not None:
        from PIL import Image

        image = Image.fromarray(array)
        image.putpalette([number for color in page.palette for number in color])
        image.save(beside, format="PNG")
        return
    import cv2

    codes = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    turned = array if array.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(array), codes[array.shape[2]])
    beside.write_bytes(cv2.imencode(".png", turned)[1].data)


class _Tiff:
    """A TIFF that grows by pages."""

    def __init__(self, path: Path, count: int) -> None:
        self._path, self._count = path, count
        self._file: Any = None

    def write(self, array: np.ndarray, page: Page) -> None:
        """The next page."""
        import tifffile

        dtype = np.dtype(page.dtype or array.dtype)
        if self._file is None:
            size = array.size * dtype.itemsize * self._count
            self._file = tifffile.TiffWriter(self._path, bigtiff=size > _CLASSIC)
        how: dict[str, Any] = {"compression": "zlib", "extratags": page.tags}
        if self._count > 1:
            how["metadata"] = None  # else every page is a series of its own
        if page.palette is not None:
            colors = np.zeros((256, 3), np.uint16)
            colors[: len(page.palette)] = np.asarray(page.palette, np.uint16) * 257
            self._file.write(array, photometric="palette", colormap=colors.T, **how)
            return
        rgb = array.ndim == 3 and array.shape[2] == 3 and array.dtype in (np.uint8, np.uint16)
        how |= {"planarconfig": "contig"} if array.ndim == 3 else {}
        how["photometric"] = "rgb" if rgb else "minisblack"
        if dtype != array.dtype and array.size > _LARGE:
            self._file.write(
                _tiles(array, dtype), shape=array.shape, dtype=dtype, tile=(_TILE, _TILE), **how
            )  # whole, it would take a multiple of the memory
            return
        self._file.write(array.astype(dtype, copy=False), **how)

    def close(self) -> None:
        """Write what is left."""
        if self._file is not None:
            self._file.close()


def _tiles(array: np.ndarray, dtype: np.dtype) -> Iterator[np.ndarray]:
    """The tiles of (H, W), filled with 0 up to their size."""
    for top in range(0, array.shape[0], _TILE):
        for left in range(0, array.shape[1], _TILE):
            part = array[top : top + _TILE, left : left + _TILE]
            tile = np.zeros((_TILE, _TILE), dtype)
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile
