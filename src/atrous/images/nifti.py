"""NIfTI volumes slice by slice, as nnU-Net's data sets store them; the slices are those along the third axis.

Reference:
    https://nifti.nimh.nih.gov/nifti-1: a header of 348 bytes, then numbers with the first axis (x) running fastest.
    https://nifti.nimh.nih.gov/nifti-2: the same with 540 bytes and wider fields.
"""

import gzip
import struct
from contextlib import AbstractContextManager
from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

from atrous.images.limits import must_fit
from atrous.images.stored import File, Header, Stored, stream

__all__ = ["SUFFIXES", "count_slices", "decode_slice", "is_nifti", "open_nifti", "slice_header"]

SUFFIXES = (".nii", ".nii.gz")

_HEAD, _HEAD_2 = 348, 540
_MAGIC, _MAGIC_2, _GZIP = (b"n+1", b"ni1"), (b"n+2", b"ni2"), b"\x1f\x8b"
_PACKED = 1040
"""Most bytes that a compressed one can become: deflate ends at 1032."""


class _Head(NamedTuple):
    """Sizes (X, Y, Z), the type stored and the type read, where the numbers begin, and their slope and shift."""

    shape: tuple[int, int, int]
    stored: np.dtype
    dtype: np.dtype
    offset: int
    scale: tuple[float, float] | None


_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"
}  # fmt: skip


def is_nifti(path: File) -> bool:
    """Whether a file is named as a NIfTI volume; bytes, whether they begin as one."""
    if isinstance(path, bytes):
        return path[344:347] in _MAGIC or path[4:7] in _MAGIC_2 or path[:2] == _GZIP
    return path.name.lower().endswith(SUFFIXES)


def count_slices(path: File) -> int:
    """The slices of a volume."""
    return _head(path, _changed(path)).shape[2]


def slice_header(path: File, number: int) -> Header:
    """Read the header of a slice; all have one size."""
    head = _head(path, _changed(path))
    width, height, depth = head.shape
    _within(number, depth)
    return Header(height, width, 1, head.dtype, False, 1)


def decode_slice(path: File, number: int) -> Stored:
    """Decode one slice, (H, W, 1).

    The volume is read as a whole, and the last two are kept, because slices are often read in a row.
    """
    volume = _volume(path, _changed(path))
    _within(number, len(volume))
    return Stored(np.array(volume[number])[..., None])


def _within(number: int, depth: int) -> None:
    if not 0 <= number < depth:
        raise ValueError(f"it has {depth} slices, and slice {number} is needed")


def _changed(path: File) -> int:
    """When a file was written last: a changed one is read anew."""
    return 0 if isinstance(path, bytes) else path.stat().st_mtime_ns


def open_nifti(path: File) -> AbstractContextManager[Any]:
    """The bytes of a file, uncompressed."""
    with stream(path) as file:
        packed = file.read(2) == _GZIP
    if not packed:
        return stream(path)
    return gzip.open(BytesIO(path) if isinstance(path, bytes) else path, "rb")


@lru_cache(maxsize=256)
def _head(path: File, changed: int) -> _Head:
    """Read the header of a file as it was changed last."""
    with open_nifti(path) as file:
        head = file.read(_HEAD_2)
    magic = head[344:347]
    if len(head) >= _HEAD and magic in _MAGIC:
        order = "<" if struct.unpack("<i", head[:4])[0] == _HEAD else ">"
        dims = struct.unpack(f"{order}8h", head[40:56])
        code = struct.unpack(f"{order}h", head[70:72])[0]
        offset, slope, shift = struct.unpack(f"{order}3f", head[108:120])
    elif len(head) == _HEAD_2 and (magic := head[4:7]) in _MAGIC_2:
        order = "<" if struct.unpack("<i", head[:4])[0] == _HEAD_2 else ">"
        dims = struct.unpack(f"{order}8q", head[16:80])
        code = struct.unpack(f"{order}h", head[12:14])[0]
        offset, slope, shift = struct.unpack(f"{order}q2d", head[168:192])
    else:
        raise ValueError("it has no NIfTI header")
    if magic.startswith(b"ni"):
        raise ValueError("its numbers are in another file; save it as one .nii")
    if code not in _TYPES:
        raise ValueError(f"its numbers are of type {code}, which is no whole number or fraction")
    sizes = [max(size, 1) for size in dims[1 : dims[0] + 1]] + [1] * (7 - dims[0])
    if not 2 <= dims[0] <= 7 or max(sizes[3:]) > 1:
        raise ValueError(f"it has the sizes {sizes[: dims[0]]}, and two or three dimensions are needed")
    scale = (slope, shift) if slope not in (0.0, 1.0) or (slope == 1.0 and shift != 0.0) else None
    stored = np.dtype(order + _TYPES[code])
    dtype = np.dtype(np.float32) if scale else stored.newbyteorder("=")
    return _Head((sizes[0], sizes[1], sizes[2]), stored, dtype, int(offset), scale)


def _must_hold(path: File, size: int, shape: tuple[int, int, int]) -> None:
    """Raise unless a file can hold so many bytes of numbers, and the memory too.

    Raises:
        ValueError: if the file is too small.
        FindingError: if the memory is.
    """
    held = len(path) if isinstance(path, bytes) else path.stat().st_size
    with stream(path) as file:
        held *= _PACKED if file.read(2) == _GZIP else 1
    if size > held:
        raise ValueError("it is cut off before its end")
    must_fit(size, path, shape)


@lru_cache(maxsize=2)
def _volume(path: File, changed: int) -> np.ndarray:
    """(Z, Y, X) of a file as it was changed last."""
    head = _head(path, changed)
    count = int(np.prod(head.shape, dtype=object))
    size = count * head.stored.itemsize
    _must_hold(path, size, head.shape)
    with open_nifti(path) as file:
        file.seek(head.offset)
        data = file.read(size)
    if len(data) < size:
        raise ValueError("it is cut off before its end")
    volume = np.frombuffer(data, head.stored).reshape(head.shape[::-1])  # (Z, Y, X): x runs fastest
    return (volume * head.scale[0] + head.scale[1] if head.scale else volume).astype(head.dtype)
