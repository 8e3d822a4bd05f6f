"""TIFF as stored: one image of any depth and channel count, its overviews left aside; a page of a stack; windows.

Tiles that a sparse file leaves out hold its nodata value, 0 where it names none, as GDAL reads them.
"""

import logging
import threading
from functools import cache
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np

from atrous.findings import FindingError, error
from atrous.images.stored import File, Header, Pixels, Stored

__all__ = ["TIFF", "TiffPixels", "count_pages", "decode_page", "decode_series", "page_header", "series_shape"]

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF begins."""

_ORIENTATION, _NODATA, _EXTRA = 274, 42113, 338
_MINISWHITE, _PALETTE = 0, 3


class TiffPixels(Pixels):
    """A TIFF, read whole or by windows; of the latter it stays open until it is closed.

    Args:
        file: a path, or bytes.
        name: what messages call it.
        indices: a palette image gives its indices instead of its colours, as in masks.
    """

    def __init__(self, file: File, name: object, *, indices: bool = False) -> None:
        self._file, self._name, self._indices = file, name, indices
        self._windows: _Windows | None = None
        self._lock = threading.Lock()

    def header(self) -> Header:
        """Its size, channels and data type.

        Raises:
            FindingError: if it is a stack of images.
        """
        with _open(self._file) as tif:
            return _header(tif, self._name)

    def decode(self) -> Stored:
        """All its pixels.

        Raises:
            FindingError: if it is a stack of images.
        """
        with _open(self._file) as tif:
            return _decode(tif, self._name, indices=self._indices)

    def window(self, rows: slice, columns: slice) -> Stored | None:
        """The pixels of the tiles that a window touches, cut to it; threads may ask at once.

        None where the file is turned or is one of a set, so that it must be read as a whole.

        Raises:
            FindingError: if it is a stack of images.
        """
        with self._lock:
            if self._windows is None:
                tif = _open(self._file)
                try:
                    self._windows = _Windows(tif, self._name, indices=self._indices)
                except BaseException:
                    tif.close()
                    raise
            return self._windows.read(rows, columns)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._windows is not None:
                self._windows.tif.close()
                self._windows = None


def _header(tif: Any, name: object) -> Header:
    image, axes = _image(tif, name)
    page, shape = tif.pages[0], dict(zip(axes, image.shape, strict=True))
    channels = 3 if page.photometric == _PALETTE else shape.get("S", shape.get("C", 1))
    dtype = np.dtype(np.uint8) if page.photometric == _PALETTE else np.dtype(image.dtype)
    alpha = _alpha(page, shape.get("S", 1))
    return Header(shape["Y"], shape["X"], channels, dtype, alpha, _tag(page, _ORIENTATION, 1))


def _decode(tif: Any, name: object, *, indices: bool) -> Stored:
    image, axes = _image(tif, name)
    page, pages = tif.pages[0], _pages(image, tif)
    shape = dict(zip(axes, image.shape, strict=True))
    missing = _number(_tag(page, _NODATA, None))
    if all(all(part.databytecounts) for part in pages):
        array = _channels_last(image.asarray(), axes)
    else:
        everything = slice(0, shape["Y"]), slice(0, shape["X"])
        array = np.concatenate([_read_segments(part, *everything, missing) for part in pages], axis=2)
    mask = _mask_page(tif)
    valid = None if mask is None else np.squeeze(mask.asarray()).astype(bool)
    alpha, orientation = _alpha(page, shape.get("S", 1)), _tag(page, _ORIENTATION, 1)
    array, step = _plain(array, *_shades(page, indices=indices))
    return Stored(array, alpha=alpha, orientation=orientation, nodata=missing, valid=valid, step=step)


def _mask_page(tif: Any) -> Any:
    """The page that says which pixels are valid, or None."""
    return next((p for p in tif.pages[1:] if p.keyframe.is_mask and not p.keyframe.is_reduced), None)


def _shades(page: Any, *, indices: bool) -> tuple[Any, bool]:
    """The palette of an image, if it has one, and whether 0 is white in it.

    What a mask stores are labels, not shades: tifffile writes booleans as "0 is white" and does not turn them.
    """
    if indices:
        return None, False
    return (page.colormap if page.photometric == _PALETTE else None), page.photometric == _MINISWHITE


def _pages(image: Any, tif: Any) -> list[Any]:
    """The pages that hold the channels of an image.

    Raises:
        ValueError: if a channel is in another file that is not there.
    """
    if image is tif.pages[0]:
        return [image]
    pages = list(image.pages)
    if any(page is None for page in pages):
        raise ValueError("channels of it are in other files of its set, and not all of these are there")
    return pages


class _Windows:
    """A TIFF that is open to be read by windows."""

    def __init__(self, tif: Any, name: object, *, indices: bool) -> None:
        image, axes = _image(tif, name)
        page = tif.pages[0]
        self.tif = tif
        self._pages, self._mask = _pages(image, tif), _mask_page(tif)
        self._palette, self._inverted = _shades(page, indices=indices)
        # ImageJ writes one header for many pages; and a set of files is read as one.
        one = axes != "CYX" or len(self._pages) == image.shape[0]
        upright = _tag(page, _ORIENTATION, 1) == 1
        self._readable = upright and one and all(part.parent is tif for part in self._pages)
        self._nodata = _number(_tag(page, _NODATA, None))
        self._alpha = _alpha(page, dict(zip(axes, image.shape, strict=True)).get("S", 1))

    def read(self, rows: slice, columns: slice) -> Stored | None:
        """A window, or None where the image must be read as a whole."""
        if not self._readable:
            return None
        parts = [_read_segments(part, rows, columns, self._nodata) for part in self._pages]
        array, step = _plain(np.concatenate(parts, axis=2), self._palette, self._inverted)
        valid = None if self._mask is None else _read_segments(self._mask, rows, columns, None)[..., 0].astype(bool)
        return Stored(array, alpha=self._alpha, nodata=self._nodata, valid=valid, step=step)


def series_shape(file: File) -> tuple[int, ...]:
    """The shape of the first series of pages; of one with colours, only height and width."""
    with _open(file) as tif:
        series = tif.series[0]
        return tuple(series.shape[: 2 if series.axes.endswith("S") else None])


def decode_series(file: File) -> np.ndarray:
    """The first series of pages as one array."""
    with _open(file) as tif:
        array: np.ndarray = tif.series[0].asarray()
        return array


def count_pages(file: File) -> int:
    """How many images of the first one's size a TIFF holds; the channels of one image count as one."""
    with _open(file) as tif:
        series = tif.series[0]
        if series.axes == "CYX":
            return 1
        return max(int(np.prod(series.shape)) // max(int(np.prod(tif.pages[0].shape)), 1), 1)


def page_header(file: File, page: int) -> Header:
    """Read the header of one page of a stack."""
    with _open(file) as tif:
        first = tif.pages[0]
        _within(page, tif)
        channels = 3 if first.photometric == _PALETTE else dict(zip(first.axes, first.shape, strict=True)).get("S", 1)
        dtype = np.dtype(np.uint8) if first.photometric == _PALETTE else np.dtype(first.dtype)
        return Header(first.imagelength, first.imagewidth, channels, dtype, _alpha(first, channels), 1)


def decode_page(file: File, page: int, *, indices: bool) -> Stored:
    """Decode one page of a stack; with `indices`, a palette image gives its indices instead of its colours."""
    with _open(file) as tif:
        first = tif.pages[0]
        _within(page, tif)
        if page < len(tif.pages):
            array, alpha = tif.pages[page].asarray(), _alpha(first, first.shape[-1])
        else:  # ImageJ writes one header for a stack of more than 4 GB
            array = tif.series[0].asarray().reshape(-1, *first.shape)[page]
            alpha = False
        axes, shades, nodata = first.axes, _shades(first, indices=indices), _number(_tag(first, _NODATA, None))
    array, step = _plain(_channels_last(array, axes), *shades)
    return Stored(array, alpha=alpha and axes == "YXS", nodata=nodata, step=step)


def _read_segments(page: Any, rows: slice, columns: slice, missing: float | None) -> np.ndarray:
    """(h, w, C) of a page from the tiles or strips that a window touches; what lies outside of the page is cut off."""
    key, handle = page.keyframe, page.parent.filehandle
    height, width, samples = key.imagelength, key.imagewidth, key.samplesperpixel
    tall, wide = (key.tilelength, key.tilewidth) if key.is_tiled else (min(key.rowsperstrip, height), width)
    top, left = max(rows.start, 0), max(columns.start, 0)
    bottom, right = min(rows.stop, height), min(columns.stop, width)
    down, across = -(-height // tall), -(-width // wide)
    planes = samples if key.planarconfig == 2 else 1
    shape = (planes, max(bottom - top, 0), max(right - left, 0), samples // planes)
    window = np.full(shape, _representable(missing, key.dtype), key.dtype)
    for plane in range(planes):
        for i in range(top // tall, -(-bottom // tall)):
            for j in range(left // wide, -(-right // wide)):
                index = (plane * down + i) * across + j
                handle.seek(page.dataoffsets[index])
                data = handle.read(page.databytecounts[index]) or None  # a sparse file leaves tiles of nodata out
                tile, (_, _, y, x, _), _ = key.decode(data, index, jpegtables=key.jpegtables)
                if tile is None:
                    continue
                part = tile[0, max(top - y, 0) : bottom - y, max(left - x, 0) : right - x]
                start = (max(y - top, 0), max(x - left, 0))
                window[plane, start[0] : start[0] + part.shape[0], start[1] : start[1] + part.shape[1]] = part
    return np.concatenate(list(window), axis=2)


def _channels_last(array: np.ndarray, axes: str) -> np.ndarray:
    """(H, W, C), whatever the order in the file."""
    if axes == "YX":
        return array[..., None]
    return array if axes == "YXS" else np.moveaxis(array, 0, -1)  # (C, H, W) -> (H, W, C)


def _plain(array: np.ndarray, palette: Any, inverted: bool) -> tuple[np.ndarray, int]:
    """Pixels with their palette applied, bits as 0 and 255, and "0 is white" turned; and the step of grey levels."""
    if palette is not None:
        array = (np.asarray(palette).T >> 8).astype(np.uint8)[array[..., 0]]
    step = 1
    if array.dtype == bool:
        array, step = array.astype(np.uint8) * 255, 255
    if inverted and array.dtype in (np.uint8, np.uint16):
        array = np.iinfo(array.dtype).max - array
    return array, step


def _within(page: int, tif: Any) -> None:
    """Raise unless the stack has this page."""
    count = max(int(np.prod(tif.series[0].shape)) // max(int(np.prod(tif.pages[0].shape)), 1), len(tif.pages))
    if not 0 <= page < count:
        raise ValueError(f"it has {count} pages, and page {page} is needed")


def _representable(missing: float | None, dtype: np.dtype) -> float:
    """What a tile that was left out holds: the nodata value, 0 where there is none that the numbers can be."""
    if missing is None:
        return 0
    if dtype.kind == "f":
        return missing
    limits = np.iinfo(dtype) if dtype.kind in "ui" else None
    return int(missing) if limits is not None and limits.min <= missing <= limits.max else 0


def _number(nodata: Any) -> float | None:
    """What GDAL's tag says, if it says a number."""
    return None if nodata is None or not str(nodata).strip("\0 ") else float(str(nodata).strip("\0 "))


@cache
def _tifffile() -> ModuleType:
    """The library, imported on first use and told not to print that GDAL writes "0.0" for an integer."""
    import tifffile

    logging.getLogger("tifffile").addFilter(lambda record: "GDAL_NODATA" not in record.getMessage())
    return tifffile


def _open(file: File) -> Any:
    return _tifffile().TiffFile(BytesIO(file) if isinstance(file, bytes) else file)


def _image(tif: Any, path: object) -> tuple[Any, str]:
    """The one image of a file: what to decode, and its axes, one of YX, YXS, SYX, CYX.

    Raises:
        FindingError: if the file holds several images, or a volume.
    """
    page, series = tif.pages[0], tif.series[0]
    others = [s for s in tif.series[1:] if not (s.keyframe.is_reduced or s.keyframe.is_mask) and s.size >= series.size]
    if series.size == page.size and page.axes in ("YX", "YXS", "SYX") and not others:
        return page, page.axes
    if series.axes == "CYX" and not others:
        return series, "CYX"
    count = len(tif.pages) if others else max(int(np.prod(series.shape)) // page.size, len(tif.pages))
    height, width = page.shape[:2]
    message = f"is a stack of {count} pages of {height} x {width}, and one image per file is needed"
    if width <= 16 and count > 16:  # tifffile writes an (H, W, C) array as H pages, unless told otherwise
        message += f"; it looks like a {count} x {height} image of {width} channels"
        fix = "Write it with tifffile.imwrite(out, array, planarconfig='contig', photometric='minisblack')."
    else:
        fix = (
            "Split it: `for i, page in enumerate(tifffile.imread(file)): tifffile.imwrite(f'{i:04}.tif', page)`; or, "
            "if its pages are channels, write them into one page with planarconfig='separate'."
        )
    raise FindingError(error("stack", path, message, fix))


def _alpha(page: Any, channels: int) -> bool:
    """Whether the last channel is declared as alpha."""
    extra = _tag(page, _EXTRA, ())
    kinds = extra if isinstance(extra, tuple) else (extra,)
    return bool(kinds) and int(kinds[-1]) in (1, 2) and channels >= 2


def _tag(page: Any, code: int, default: Any) -> Any:
    tag = page.tags.get(code)
    return default if tag is None else tag.value
