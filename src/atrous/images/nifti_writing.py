"""NIfTI files of results: the header of the image's volume, so that both lie at the same place in the patient.

Reference:
    https://nifti.nimh.nih.gov/nifti-1 and https://nifti.nimh.nih.gov/nifti-2: the fields of both headers.
"""

import gzip
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

__all__ = ["writing_volume"]

_GZIP = b"\x1f\x8b"
_CODES = {"uint8": 2, "int16": 4, "int32": 8, "float32": 16, "uint16": 512}


class _Fields(NamedTuple):
    """Where the fields stand that follow from what is stored, and of what type they are."""

    size: int
    datatype: int
    offset: tuple[int, str]
    scale: tuple[int, str]
    shown: tuple[int, str]
    intent: tuple[int, str]


_NIFTI1 = _Fields(348, 70, (108, "f"), (112, "2f"), (124, "2f"), (68, "h"))
_NIFTI2 = _Fields(540, 12, (168, "q"), (176, "2d"), (192, "2d"), (504, "i"))


@contextmanager
def writing_volume(path: Path, like: Path, *, packed: bool) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a volume slice by slice, in the order in which those of the image are read.

    Args:
        path: of the new file.
        like: the image's volume, NIfTI-1 or NIfTI-2, whose sizes, affine and units it takes over.
        packed: compress it.

    Yields:
        What takes the next slice, (H, W) of one data type.
    """
    with like.open("rb") as raw:
        zipped = raw.read(2) == _GZIP
    with gzip.open(like) if zipped else like.open("rb") as file:
        head = bytearray(file.read(_NIFTI2.size))
    order: Literal["<", ">"] = "<" if struct.unpack("<i", head[:4])[0] in (348, 540) else ">"
    fields = _NIFTI2 if struct.unpack(f"{order}i", head[:4])[0] == 540 else _NIFTI1
    begun = False

    def put(array: np.ndarray) -> None:
        nonlocal begun
        if not begun:
            opened.write(_header(head, fields, order, array.dtype))
            begun = True
        opened.write(np.ascontiguousarray(array, array.dtype.newbyteorder(order)).tobytes())

    with path.open("wb") as bare:
        opened = gzip.GzipFile("", "wb", 6, bare, mtime=0) if packed else bare  # no name, no time: the same bytes again
        with opened:
            yield put


def _header(head: bytearray, fields: _Fields, order: str, dtype: np.dtype) -> bytes:
    """The header of the image with the type of the result, no scale, and no extensions."""
    new = bytearray(head[: fields.size])
    struct.pack_into(f"{order}2h", new, fields.datatype, _CODES[dtype.name], 8 * dtype.itemsize)
    struct.pack_into(order + fields.offset[1], new, fields.offset[0], fields.size + 4)
    struct.pack_into(order + fields.scale[1], new, fields.scale[0], 1, 0)
    struct.pack_into(order + fields.shown[1], new, fields.shown[0], 0, 0)
    struct.pack_into(order + fields.intent[1], new, fields.intent[0], 0)
    return bytes(new) + b"\0\0\0\0"
