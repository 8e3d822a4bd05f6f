"""NumPy files and Zarr arrays as stored, whole or by windows.

An image is (H, W) or (H, W, C); an OME-Zarr image says with its axes where its channels stand. A group that holds an
image pyramid is read at its first, finest level.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from atrous.findings import FindingError, error
from atrous.images.formats import Header, Stored

__all__ = ["NUMPY", "array_header", "array_window", "is_array", "open_array"]

NUMPY = b"\x93NUMPY"
_ZARR = ("zarr.json", ".zarray", ".zgroup")


class _Opened(NamedTuple):
    """An array that is read when it is indexed, and which of its dimensions is which: YX, YXC or CYX."""

    data: Any
    axes: str


def is_array(path: Path) -> bool:
    """Whether this is a Zarr array or group, or a NumPy file, by its content."""
    if path.is_dir():
        return any((path / name).is_file() for name in _ZARR)
    if path.suffix.lower() != ".npy" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(NUMPY)) == NUMPY


def open_array(path: Path) -> Any:
    """The array of a NumPy file or a Zarr folder, with `shape` and `dtype`, its pixels still on the disk.

    Raises:
        FindingError: if it is a group without an image pyramid.
    """
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else _open_zarr(path).data


def array_header(path: Path) -> Header:
    """Its size, channels and numbers.

    Raises:
        FindingError: if it is no image.
    """
    opened = _open(path)
    sizes = dict(zip(opened.axes, opened.data.shape, strict=True))
    return Header(sizes["Y"], sizes["X"], sizes.get("C", 1), np.dtype(opened.data.dtype), False, 1)


def array_window(path: Path, rows: slice = slice(None), columns: slice = slice(None)) -> Stored:
    """Some rows and columns of an image; without them, all of it.

    Raises:
        FindingError: if it is no image.
    """
    opened = _open(path)
    if opened.axes == "CYX":
        return Stored(np.moveaxis(np.asarray(opened.data[:, rows, columns]), 0, -1))  # (C, h, w) -> (h, w, C)
    window = np.array(opened.data[rows, columns])
    return Stored(window[..., None] if opened.axes == "YX" else window)


def _open(path: Path) -> _Opened:
    if path.is_dir():
        opened = _open_zarr(path)
    else:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
        opened = _Opened(data, "YX" if data.ndim == 2 else "YXC")
    if len(opened.data.shape) != len(opened.axes) or 0 in opened.data.shape:
        shape = " x ".join(map(str, opened.data.shape)) or "no"
        message = f"is no image: it holds {shape} numbers, and an image is height x width or height x width x channels"
        raise FindingError(error("unreadable", path, message, "Write one image per array."))
    return opened


def _open_zarr(path: Path) -> _Opened:
    import zarr

    node = zarr.open(path, mode="r")
    axes = None
    if not isinstance(node, zarr.Array):
        scales = (node.attrs.get("ome") or node.attrs).get("multiscales")  # version 0.5 keeps them under "ome"
        inside = ", ".join(sorted(node.array_keys())) or "none"
        if not scales:
            message = f"is a group of arrays ({inside}), and one array is needed"
            raise FindingError(error("unreadable", path, message, "Name one of them, or write an OME-Zarr image."))
        axes = [axis["name"] if isinstance(axis, dict) else axis for axis in scales[0].get("axes", [])]
        node = node[scales[0]["datasets"][0]["path"]]
    if not axes:
        return _Opened(node, "YX" if len(node.shape) == 2 else "YXC")
    kept = [axis for axis, size in zip(axes, node.shape, strict=True) if size > 1 or axis in "yx"]
    data = node if len(kept) == len(axes) else np.squeeze(np.asarray(node), tuple(
        i for i, (axis, size) in enumerate(zip(axes, node.shape, strict=True)) if size == 1 and axis not in "yx"
    ))  # fmt: skip
    return _Opened(data, "".join(kept).upper())
