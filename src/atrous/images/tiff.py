"""TIFF as stored: one image of any depth and channel count, its overviews left aside; a page of a stack; a window."""

import logging
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from atrous.findings import FindingError, error
from atrous.images.formats import Header, Stored

__all__ = ["count_pages", "decode_page", "decode_tiff", "page_header", "tiff_header", "tiff_window"]

_ORIENTATION, _NODATA, _EXTRA = 274, 42113, 338
_MINISWHITE, _PALETTE = 0, 3


def tiff_header(path: Path) -> Header:
    """Read the header of a TIFF, without its pixels.

    Raises:
        FindingError: if it is a stack of images.
    """
    with _tifffile().TiffFile(path) as tif:
        image, axes = _image(tif, path)
        page, shape = tif.pages[0], dict(zip(axes, image.shape, strict=True))
        channels = 3 if page.photometric == _PALETTE else shape.get("S", shape.get("C", 1))
        dtype = np.dtype(np.uint8) if page.photometric == _PALETTE else np.dtype(image.dtype)
        return Header(shape["Y"], shape["X"], channels, dtype, _alpha(page, channels), _tag(page, _ORIENTATION, 1))


def decode_tiff(path: Path, *, indices: bool) -> Stored:
    """Decode a TIFF; with `indices`, a palette image gives its indices instead of its colours.

    Raises:
        FindingError: if it is a stack of images.
    """
    with _tifffile().TiffFile(path) as tif:
        image, axes = _image(tif, path)
        page, array = tif.pages[0], image.asarray()
        mask = next((p for p in tif.pages[1:] if p.keyframe.is_mask and not p.keyframe.is_reduced), None)
        valid = None if mask is None else np.squeeze(mask.asarray()).astype(bool)
        palette = page.colormap if page.photometric == _PALETTE and not indices else None
        # What a mask stores are labels, not shades: tifffile writes booleans as "0 is white" and does not turn them.
        inverted, orientation = page.photometric == _MINISWHITE and not indices, _tag(page, _ORIENTATION, 1)
        nodata = _tag(page, _NODATA, None)
        extra = _alpha(page, dict(zip(axes, image.shape, strict=True)).get("S", 1))
    array, step = _plain(_channels_last(array, axes), palette, inverted)
    return Stored(array, alpha=extra, orientation=orientation, nodata=_number(nodata), valid=valid, step=step)


def count_pages(path: Path) -> int:
    """How many images of the first one's size a TIFF holds; the channels of one image count as one."""
    with _tifffile().TiffFile(path) as tif:
        series = tif.series[0]
        if series.axes == "CYX":
            return 1
        return max(int(np.prod(series.shape)) // max(int(np.prod(tif.pages[0].shape)), 1), 1)


def page_header(path: Path, page: int) -> Header:
    """Read the header of one page of a stack."""
    with _tifffile().TiffFile(path) as tif:
        first = tif.pages[0]
        _within(page, tif)
        channels = 3 if first.photometric == _PALETTE else dict(zip(first.axes, first.shape, strict=True)).get("S", 1)
        dtype = np.dtype(np.uint8) if first.photometric == _PALETTE else np.dtype(first.dtype)
        return Header(first.imagelength, first.imagewidth, channels, dtype, _alpha(first, channels), 1)


def decode_page(path: Path, page: int, *, indices: bool) -> Stored:
    """Decode one page of a stack; with `indices`, a palette image gives its indices instead of its colours."""
    with _tifffile().TiffFile(path) as tif:
        first = tif.pages[0]
        _within(page, tif)
        if page < len(tif.pages):
            array, alpha = tif.pages[page].asarray(), _alpha(first, first.shape[-1])
        else:  # ImageJ writes one header for a stack of more than 4 GB
            array = tif.series[0].asarray().reshape(-1, *first.shape)[page]
            alpha = False
        palette = first.colormap if first.photometric == _PALETTE and not indices else None
        inverted, axes = first.photometric == _MINISWHITE and not indices, first.axes
    array, step = _plain(_channels_last(array, axes), palette, inverted)
    return Stored(array, alpha=alpha and axes == "YXS", step=step)


def tiff_window(path: Path, rows: slice, columns: slice, *, indices: bool) -> Stored | None:
    """Decode the tiles that a window touches and no others.

    Returns:
        The window; None where the file is turned, has a mask or a palette of colours, or holds one bit per pixel, so
        that it must be read as a whole.

    Raises:
        FindingError: if it is a stack of images.
    """
    with _tifffile().TiffFile(path) as tif:
        image, axes = _image(tif, path)
        page = tif.pages[0]
        palette, white = page.photometric == _PALETTE, page.photometric == _MINISWHITE
        turned = _tag(page, _ORIENTATION, 1) != 1
        masked = any(other.keyframe.is_mask for other in tif.pages[1:])
        if turned or masked or np.dtype(image.dtype) == bool or ((palette or white) and not indices):
            return None
        nodata, channels = _tag(page, _NODATA, None), dict(zip(axes, image.shape, strict=True)).get("S", 1)
        alpha = _alpha(page, channels)
        pages = [page] if image is page else list(image.pages)
        if axes == "CYX" and len(pages) != image.shape[0]:
            return None  # ImageJ writes one header for many pages
        parts = [_read_segments(tif, part, rows, columns) for part in pages]
    return Stored(np.concatenate(parts, axis=2), alpha=alpha, nodata=_number(nodata))


def _read_segments(tif: Any, page: Any, rows: slice, columns: slice) -> np.ndarray:
    """(h, w, C) of a page from the tiles or strips that a window touches; what lies outside of the page is cut off."""
    key = page.keyframe
    height, width, samples = key.imagelength, key.imagewidth, key.samplesperpixel
    tall, wide = (key.tilelength, key.tilewidth) if key.is_tiled else (min(key.rowsperstrip, height), width)
    top, left = max(rows.start, 0), max(columns.start, 0)
    bottom, right = min(rows.stop, height), min(columns.stop, width)
    down, across = -(-height // tall), -(-width // wide)
    planes = samples if key.planarconfig == 2 else 1
    window = np.full((planes, max(bottom - top, 0), max(right - left, 0), samples // planes), key.nodata, key.dtype)
    for plane in range(planes):
        for i in range(top // tall, -(-bottom // tall)):
            for j in range(left // wide, -(-right // wide)):
                index = (plane * down + i) * across + j
                tif.filehandle.seek(page.dataoffsets[index])
                data = tif.filehandle.read(page.databytecounts[index]) or None  # an empty tile holds nodata
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


def _number(nodata: Any) -> float | None:
    """What GDAL's tag says, if it says a number."""
    return None if nodata is None or not str(nodata).strip("\0 ") else float(str(nodata).strip("\0 "))


@cache
def _tifffile() -> ModuleType:
    """The library, imported on first use and told not to print that GDAL writes "0.0" for an integer."""
    import tifffile

    logging.getLogger("tifffile").addFilter(lambda record: "GDAL_NODATA" not in record.getMessage())
    return tifffile


def _image(tif: Any, path: Path) -> tuple[Any, str]:
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
