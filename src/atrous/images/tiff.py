"""TIFF as stored: one image of any depth and channel count, its overviews left aside; a page of a stack; windows.

Tiles that a sparse file leaves out hold its nodata value, 0 where it names none, as GDAL reads them.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np

from atrous.findings import FindingError, error
from atrous.images.formats import decode_other
from atrous.images.limits import must_fit
from atrous.images.samples import Samples, colors
from atrous.images.segments import channels_last, check_segments, read_page, read_segments, windowed
from atrous.images.stored import File, Header, Pixels, Stored

__all__ = [
    "TIFF",
    "TiffPixels",
    "count_pages",
    "decode_page",
    "decode_series",
    "page_header",
    "page_tags",
    "palette",
    "series_shape",
    "stack_axes",
]

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF begins."""


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
            return _decode(tif, self._file, self._name, indices=self._indices)

    def window(self, rows: slice, columns: slice) -> Stored | None:
        """The pixels of the tiles that a window touches, cut to it; threads may ask at once.

        None where the file is turned or is one of a set, so that it must be read as a whole.

        Raises:
            FindingError: if it is a stack of images.
        """
        with self._lock, _silent():
            if self._windows is None:
                tif = _opened(self._file)
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
    for page in _pages(image, tif):
        check_segments(page)
    shape = dict(zip(axes, image.shape, strict=True))
    samples = Samples.of(tif.pages[0], shape.get("S", 1))
    channels = samples.channels or shape.get("S", shape.get("C", 1))
    return Header(
        shape["Y"], shape["X"], channels, samples.dtype(np.dtype(image.dtype)), samples.alpha, samples.orientation
    )


def _decode(tif: Any, file: File, name: object, *, indices: bool) -> Stored:
    image, axes = _image(tif, name)
    pages, shape = _pages(image, tif), dict(zip(axes, image.shape, strict=True))
    samples = Samples.of(tif.pages[0], shape.get("S", 1))
    for page in pages:
        check_segments(page)
    must_fit(image.size * np.dtype(image.dtype).itemsize, name, image.shape)
    if samples.foreign and not indices:
        return replace(decode_other(file, indices=False), orientation=samples.orientation)
    if _one_header(pages, axes, shape) or any(page.parent is not tif for page in pages):
        array, valid = channels_last(image.asarray(), axes), None
    else:
        array, valid = _joined(read_page(page, samples.nodata, name) for page in pages)
    mask = _mask_page(tif)
    if mask is not None:
        inner = np.squeeze(mask.asarray()).astype(bool)
        valid = inner if valid is None else valid & inner
    return samples.stored(array, valid, indices=indices)


def _one_header(pages: list[Any], axes: str, shape: dict[str, int]) -> bool:
    """Whether one header stands for many pages, as ImageJ writes it."""
    return axes == "CYX" and len(pages) != shape["C"]


def _joined(parts: Iterable[tuple[np.ndarray, np.ndarray | None]]) -> tuple[np.ndarray, np.ndarray | None]:
    """Channels of several pages beside each other; a pixel is valid where it is in all."""
    arrays, masks = zip(*parts, strict=True)
    known = [mask for mask in masks if mask is not None]
    return np.concatenate(arrays, axis=2), np.logical_and.reduce(known) if known else None


def _mask_page(tif: Any) -> Any:
    """The page that says which pixels are valid, or None."""
    return next((p for p in tif.pages[1:] if p.keyframe.is_mask and not p.keyframe.is_reduced), None)


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
        shape = dict(zip(axes, image.shape, strict=True))
        self.tif, self._name, self._indices = tif, name, indices
        self._pages, self._mask = _pages(image, tif), _mask_page(tif)
        self._samples = Samples.of(tif.pages[0], shape.get("S", 1))
        for page in self._pages:
            check_segments(page)
        # A set of files is read as one.
        together = not _one_header(self._pages, axes, shape) and all(part.parent is tif for part in self._pages)
        plain = self._samples.orientation == 1 and (indices or not self._samples.foreign)
        self._readable = together and plain and all(windowed(page) for page in self._pages)

    def read(self, rows: slice, columns: slice) -> Stored | None:
        """A window, or None where the image must be read as a whole."""
        if not self._readable:
            return None
        nodata = self._samples.nodata
        array, valid = _joined(read_segments(page, rows, columns, nodata, self._name) for page in self._pages)
        if self._mask is not None:
            inner = read_segments(self._mask, rows, columns, None, self._name)[0][..., 0].astype(bool)
            valid = inner if valid is None else valid & inner
        return self._samples.stored(array, valid, indices=self._indices)


def palette(file: File) -> list[tuple[int, int, int]] | None:
    """The colours of a TIFF with a palette, None of any other; the pages of a stack have one."""
    with _open(file) as tif:
        found = colors(tif.pages[0])
    return None if found is None else [(int(red), int(green), int(blue)) for red, green, blue in found]


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


def page_tags(file: File, codes: Sequence[int]) -> dict[int, tuple[int, int, Any]]:
    """Type, count and value of some tags of the first page, by their codes, as far as it has them."""
    with _open(file) as tif:
        tags = tif.pages[0].tags
        found = [tags[code] for code in codes if code in tags]
        return {tag.code: (int(tag.dtype), tag.count, tag.value) for tag in found}


def count_pages(file: File) -> int:
    """How many images of the first one's size a TIFF holds; the channels of one image count as one."""
    with _open(file) as tif:
        series = tif.series[0]
        if series.axes == "CYX":
            return 1
        return max(int(np.prod(series.shape)) // max(int(np.prod(tif.pages[0].shape)), 1), 1)


def stack_axes(file: File) -> tuple[str, np.ndarray]:
    """The axes of a stack before those of a page, such as TZC, and the number of each page at its place along them."""
    with _open(file) as tif:
        series, page = tif.series[0], tif.pages[0]
        count = len(series.axes) - len(page.axes)
        sizes = series.shape[:count]
        found = [part.index for part in series.pages if part is not None]
        total = int(np.prod(sizes))  # ImageJ writes one header for a stack of more than 4 GB
        return series.axes[:count], np.array(found if len(found) == total else range(total)).reshape(sizes)


def page_header(file: File, page: int) -> Header:
    """Read the header of one page of a stack."""
    with _open(file) as tif:
        first = tif.pages[0]
        _within(page, tif)
        found = dict(zip(first.axes, first.shape, strict=True)).get("S", 1)
        samples = Samples.of(first, found)
        check_segments(first)
        dtype = samples.dtype(np.dtype(first.dtype))
        return Header(first.imagelength, first.imagewidth, samples.channels or found, dtype, samples.alpha, 1)


def decode_page(file: File, page: int, *, indices: bool) -> Stored:
    """Decode one page of a stack; with `indices`, a palette image gives its indices instead of its colours."""
    with _open(file) as tif:
        first = tif.pages[0]
        _within(page, tif)
        samples = Samples.of(first, dict(zip(first.axes, first.shape, strict=True)).get("S", 1))
        must_fit(first.size * np.dtype(first.dtype).itemsize, file, first.shape)
        if page < len(tif.pages):
            check_segments(tif.pages[page])
            array, valid = read_page(tif.pages[page], samples.nodata, file)
        else:  # ImageJ writes one header for a stack of more than 4 GB
            array = channels_last(tif.series[0].asarray().reshape(-1, *first.shape)[page], first.axes)
            valid = None
    return replace(samples.stored(array, valid, indices=indices), orientation=1)


def _within(page: int, tif: Any) -> None:
    """Raise unless the stack has this page."""
    count = max(int(np.prod(tif.series[0].shape)) // max(int(np.prod(tif.pages[0].shape)), 1), len(tif.pages))
    if not 0 <= page < count:
        raise ValueError(f"it has {count} pages, and page {page} is needed")


class _Quiet(threading.local):
    """Whether this thread reads for us: what the library logs then is harmless, or an error of ours names the file."""

    on = False


_quiet = _Quiet()


@cache
def _tifffile() -> ModuleType:
    """The library, imported on first use."""
    import tifffile

    logging.getLogger("tifffile").addFilter(lambda record: not _quiet.on)
    return tifffile


@contextmanager
def _silent() -> Iterator[None]:
    before, _quiet.on = _quiet.on, True
    try:
        yield
    finally:
        _quiet.on = before


@contextmanager
def _open(file: File) -> Iterator[Any]:
    with _silent(), _opened(file) as tif:
        yield tif


def _opened(file: File) -> Any:
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
