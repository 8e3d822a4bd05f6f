"""TIFF as stored: one image of any depth and channel count, its overviews left aside."""

import logging
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from atrous.data.findings import FindingError, error
from atrous.data.formats import Header, Stored

__all__ = ["decode_tiff", "tiff_header"]

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
    if axes == "YX":
        array = array[..., None]
    elif axes != "YXS":
        array = np.moveaxis(array, 0, -1)  # (C, H, W) -> (H, W, C)
    if palette is not None:
        array = (np.asarray(palette).T >> 8).astype(np.uint8)[array[..., 0]]
    step = 1
    if array.dtype == bool:
        array, step = array.astype(np.uint8) * 255, 255
    if inverted and array.dtype in (np.uint8, np.uint16):
        array = np.iinfo(array.dtype).max - array
    number = None if nodata is None or not str(nodata).strip("\0 ") else float(str(nodata).strip("\0 "))
    return Stored(array, alpha=extra, orientation=orientation, nodata=number, valid=valid, step=step)


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
