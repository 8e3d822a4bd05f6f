"""The tiles and strips of a TIFF page: those that a window touches, and whether they are all there and sound."""

import zlib
from typing import Any

import numpy as np

from atrous.images.jpeg import check_jpeg
from atrous.images.limits import must_fit

__all__ = ["channels_last", "check_segments", "read_page", "read_segments", "windowed"]

_PLAIN, _OLD_JPEG, _JPEG, _LERC = 1, 6, 7, 34887
_LERC_TAG, _DEFLATE, _ZSTD = 50674, 1, 2


def check_segments(page: Any) -> None:
    """Raise unless a page holds as many tiles or strips as its size needs.

    Raises:
        ValueError: if its header declares more than there is.
    """
    key = page.keyframe
    down, across, planes = _grid(key)
    there, needed = len(page.dataoffsets), down * across * planes
    if there >= needed or key.compression == _OLD_JPEG:
        return
    size = key.imagelength * key.imagewidth * key.samplesperpixel * np.dtype(key.dtype).itemsize
    if key.compression == _PLAIN and there and page.dataoffsets[0] + size <= page.parent.filehandle.size:
        return  # one strip, told wrongly
    kind = "tiles" if key.is_tiled else "strips"
    raise ValueError(f"its header declares {key.imagelength} x {key.imagewidth} pixels in {needed} {kind}, not {there}")


def windowed(page: Any) -> bool:
    """Whether its tiles or strips are told one by one, so that a window of it can be read."""
    down, across, planes = _grid(page.keyframe)
    return len(page.dataoffsets) >= down * across * planes and page.keyframe.compression != _OLD_JPEG


def read_page(page: Any, missing: float | None, name: object) -> tuple[np.ndarray, np.ndarray | None]:
    """All of a page, as `read_segments`."""
    key = page.keyframe
    plain = key.compression not in (_JPEG, _LERC) and all(page.databytecounts) and all(page.dataoffsets)
    if plain or key.compression == _OLD_JPEG:
        return channels_last(page.asarray(), key.axes), None
    return read_segments(page, slice(0, key.imagelength), slice(0, key.imagewidth), missing, name)


def read_segments(
    page: Any, rows: slice, columns: slice, missing: float | None, name: object
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a window from the tiles or strips that it touches; what lies outside of the page is cut off.

    Tiles that a sparse file leaves out hold `missing`, 0 where that is None.

    Returns:
        (h, w, C), and (h, w) bool, False where LERC's own mask hides a pixel; None where nothing is hidden.

    Raises:
        ValueError: if a tile is cut off, or a JPEG in it damaged.
    """
    key = page.keyframe
    height, width, samples = key.imagelength, key.imagewidth, key.samplesperpixel
    tall, wide = (key.tilelength, key.tilewidth) if key.is_tiled else (min(key.rowsperstrip, height), width)
    top, left = max(rows.start, 0), max(columns.start, 0)
    bottom, right = min(rows.stop, height), min(columns.stop, width)
    down, across, planes = _grid(key)
    shape = (planes, max(bottom - top, 0), max(right - left, 0), samples // planes)
    bytes_each = np.dtype(key.dtype).itemsize
    must_fit((int(np.prod(shape)) + tall * wide * shape[3]) * bytes_each, name, (height, width))
    window = np.zeros(shape, key.dtype)  # memory that is not touched before a tile has been decoded
    if (fill := _representable(missing, key.dtype)) != 0:
        window[:] = fill
    hidden = np.zeros(shape[1:3], bool)
    for plane in range(planes):
        for i in range(top // tall, -(-bottom // tall)):
            for j in range(left // wide, -(-right // wide)):
                index = (plane * down + i) * across + j
                data = _segment(page, index)
                tile, (_, _, y, x, _), _ = key.decode(data, index, jpegtables=key.jpegtables)
                if tile is None:
                    continue
                part = tile[0, max(top - y, 0) : bottom - y, max(left - x, 0) : right - x]
                start = (max(y - top, 0), max(x - left, 0))
                place = slice(start[0], start[0] + part.shape[0]), slice(start[1], start[1] + part.shape[1])
                window[plane][place] = part
                if key.compression == _LERC and (mask := _lerc_mask(page, data)) is not None:
                    hidden[place] |= ~mask[max(top - y, 0) : bottom - y, max(left - x, 0) : right - x]
    return np.concatenate(list(window), axis=2), ~hidden if hidden.any() else None


def channels_last(array: np.ndarray, axes: str) -> np.ndarray:
    """(H, W, C), whatever the order in the file."""
    if axes == "YX":
        return array[..., None]
    return array if axes == "YXS" else np.moveaxis(array, 0, -1)  # (C, H, W) -> (H, W, C)


def _grid(key: Any) -> tuple[int, int, int]:
    """Rows, columns and planes of tiles; strips are tiles as wide as the image."""
    height, width = key.imagelength, key.imagewidth
    tall, wide = (key.tilelength, key.tilewidth) if key.is_tiled else (min(key.rowsperstrip, height), width)
    return -(-height // tall), -(-width // wide), key.samplesperpixel if key.planarconfig == 2 else 1


def _segment(page: Any, index: int) -> bytes | None:
    """The bytes of a tile or strip, None where a sparse file leaves it out."""
    key, handle = page.keyframe, page.parent.filehandle
    offset, count = page.dataoffsets[index], page.databytecounts[index]
    if not offset or not count:
        return None
    handle.seek(offset)
    data: bytes = handle.read(count)
    # Without compression the last strip may claim more than it needs; what it needs is counted when it is decoded.
    if not data or (len(data) < count and key.compression != _PLAIN):
        raise ValueError("it is cut off before its end")
    if key.compression == _JPEG and (odd := check_jpeg(data, key.jpegtables)):
        raise ValueError(odd)
    return data


def _lerc_mask(page: Any, data: bytes | None) -> np.ndarray | None:
    """(h, w) bool, False where LERC hides a pixel; None where it hides none. tifffile 2026.3.3 does not ask for it."""
    import imagecodecs

    if data is None:
        return None
    found = page.keyframe.tags.get(_LERC_TAG)
    packing = found.value[1] if found is not None and len(found.value) > 1 else 0
    data = zlib.decompress(data) if packing == _DEFLATE else data
    data = bytes(imagecodecs.zstd_decode(data)) if packing == _ZSTD else data
    _, mask = imagecodecs.lerc_decode(data, masks=True)
    if mask is None:
        return None
    shown: np.ndarray = mask.astype(bool)
    return shown if shown.ndim == 2 else np.all(shown, axis=int(np.argmin(shown.shape)))  # one for each channel


def _representable(missing: float | None, dtype: np.dtype) -> float:
    """What a tile that was left out holds: the nodata value, 0 where there is none that the numbers can be."""
    if missing is None:
        return 0
    if dtype.kind == "f":
        return missing
    limits = np.iinfo(dtype) if dtype.kind in "ui" else None
    return int(missing) if limits is not None and limits.min <= missing <= limits.max else 0
