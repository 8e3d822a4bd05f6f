"""Arrays as stored, whole or by windows: in memory, NumPy files, Zarr arrays and OME-Zarr images.

An image is (H, W) or (H, W, C). An OME-Zarr image says with its axes where its channels stand; axes of time and depth
must have one entry. A group that holds an image pyramid is read at its first, finest level.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from atrous.findings import FindingError, error
from atrous.images.limits import must_fit
from atrous.images.stored import File, Header, Pixels, Stored

__all__ = ["NUMPY", "ArrayPixels", "is_zarr", "numpy_pixels", "open_array", "zarr_node_pixels", "zarr_pixels"]

NUMPY = b"\x93NUMPY"
"""How a NumPy file begins."""

_ZARR = ("zarr.json", ".zarray", ".zgroup")


class ArrayPixels(Pixels):
    """An array, or anything that is indexed like one.

    Args:
        data: with a `shape`, and rows and columns to index.
        name: what messages call it.
        axes: its dimensions by letters: Y and X are needed, C is used, others must have one entry; None is YX or YXC.
        valid: (H, W) bool, False where pixels count for nothing.

    Raises:
        FindingError: if its shape is not that of an image.
    """

    def __init__(self, data: Any, name: object, *, axes: str | None = None, valid: np.ndarray | None = None) -> None:
        shape = tuple(int(size) for size in data.shape)
        axes = (axes or ("YX" if len(shape) == 2 else "YXC")).upper()
        if len(shape) != len(axes) or 0 in shape or not {"Y", "X"} <= set(axes) or len(set(axes)) < len(axes):
            numbers = " x ".join(map(str, shape)) or "no"
            message = f"is no image: it holds {numbers} numbers, and an image is height x width or height x width x "
            raise FindingError(error("unreadable", name, f"{message}channels", "Write one image per array."))
        sizes = dict(zip(axes, shape, strict=True))
        others = [axis for axis, size in sizes.items() if axis not in "YXC" and size > 1]
        if others:
            count = sizes[others[0]]
            message = f"is a stack of {count} images along its axis {others[0].lower()!r}, and one image is needed"
            raise FindingError(error("stack", name, message, "Write each of them as an array of its own."))
        self.data, self.axes, self._sizes, self._valid, self._name = data, axes, sizes, valid, name
        self._kept = [axis for axis in axes if axis in "YXC"]

    def header(self) -> Header:
        """Its size, channels and data type; where it does not tell the latter, a pixel is read."""
        dtype = getattr(self.data, "dtype", None)
        if not isinstance(dtype, np.dtype):
            dtype = self._crop(slice(0, 1), slice(0, 1)).dtype
        return Header(self._sizes["Y"], self._sizes["X"], self._sizes.get("C", 1), dtype, False, 1)

    def decode(self) -> Stored:
        """All of it.

        Raises:
            FindingError: if it lies on the disk and does not fit into memory.
        """
        if not isinstance(self.data, np.ndarray) or isinstance(self.data, np.memmap):
            shape = tuple(self._sizes[axis] for axis in self._kept)
            size = self.header().dtype.itemsize
            for length in shape:
                size *= length
            must_fit(size, self._name, shape)
        return self.window(slice(0, self._sizes["Y"]), slice(0, self._sizes["X"]))

    def window(self, rows: slice, columns: slice) -> Stored:
        """Some rows and columns. Of an array in memory they share its memory."""
        array = self._crop(rows, columns)
        valid = None if self._valid is None else np.asarray(self._valid[rows, columns], dtype=bool)
        if array.dtype == np.bool_:  # as one bit in a file: 0 and 1 in a mask, 0 and 255 in an image
            return Stored(array.astype(np.uint8) * np.uint8(255), valid=valid, step=255)
        return Stored(array, valid=valid)

    def _crop(self, rows: slice, columns: slice) -> np.ndarray:
        """(h, w, C)."""
        if self.axes in ("YX", "YXC"):
            array = np.asarray(self.data[rows, columns])
        else:
            places: dict[str, Any] = {"Y": rows, "X": columns, "C": slice(None)}
            array = np.asarray(self.data[tuple(places.get(axis, 0) for axis in self.axes)])
            array = array.transpose([self._kept.index(axis) for axis in "YXC" if axis in self._kept])
        if isinstance(self.data, np.memmap):
            array = np.array(array)  # a copy, so that no file stays mapped
        return array[..., None] if "C" not in self._kept else array


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr array or group, by its content."""
    return any((path / name).is_file() for name in _ZARR)


def open_array(path: Path) -> Any:
    """The array of a NumPy file or a Zarr folder, with `shape` and `dtype`, its pixels still on the disk.

    Raises:
        FindingError: if it is a group without an image pyramid.
    """
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else _find_array(_open(path), path)[0]


def numpy_pixels(file: File, name: object) -> ArrayPixels:
    """The image of a NumPy file, which stays on the disk; of bytes, in memory.

    Raises:
        FindingError: if its shape is not that of an image.
    """
    if isinstance(file, bytes):
        return ArrayPixels(np.load(BytesIO(file), allow_pickle=False), name)
    return ArrayPixels(np.load(file, mmap_mode="r", allow_pickle=False), name)


def zarr_pixels(path: Path) -> ArrayPixels:
    """The image of a Zarr folder.

    Raises:
        FindingError: if it is a group without an image pyramid, or its shape is not that of an image.
    """
    return zarr_node_pixels(_open(path), path)


def zarr_node_pixels(node: Any, name: object) -> ArrayPixels:
    """The image of an opened Zarr array or group; the errors are those of `zarr_pixels`."""
    array, axes = _find_array(node, name)
    return ArrayPixels(array, name, axes=axes)


def _open(path: Path) -> Any:
    import zarr  # takes a second, and most images are no Zarr

    return zarr.open(path, mode="r")


def _find_array(node: Any, name: object) -> tuple[Any, str | None]:
    """The array of a Zarr node, and its axes where it is an image pyramid."""
    if not hasattr(node, "array_keys"):
        return node, None
    scales = (node.attrs.get("ome") or node.attrs).get("multiscales")  # version 0.5 keeps them under "ome"
    if not scales:
        inside = ", ".join(sorted(node.array_keys())) or "none"
        message = f"is a group of arrays ({inside}), and one array is needed"
        fix = f"Name one of them, such as {name}/ARRAY, or write an OME-Zarr image."
        raise FindingError(error("unreadable", name, message, fix))
    named = [axis["name"] if isinstance(axis, dict) else axis for axis in scales[0].get("axes", [])]
    array = node[scales[0]["datasets"][0]["path"]]
    if any(len(axis) != 1 for axis in named):  # spelt out: time, channel
        named = [axis[0] for axis in named]
    return array, "".join(named) or {5: "TCZYX", 4: "CZYX"}.get(len(array.shape))
