"""Files that hold one plane per class, (K, H, W): TIFF, NumPy files and Zarr arrays."""

from pathlib import Path

import numpy as np

from atrous.images.arrays import open_array
from atrous.images.tiff import decode_series, series_shape

__all__ = ["planes_shape", "read_planes"]

_TIFF = (".tif", ".tiff")


def planes_shape(path: Path) -> tuple[int, ...]:
    """Of the array in a file, without reading it; of a TIFF with colours, only height and width."""
    return series_shape(path) if path.suffix.lower() in _TIFF else tuple(open_array(path).shape)


def read_planes(path: Path) -> np.ndarray:
    """The array in a file as it is stored, of however many dimensions."""
    return decode_series(path) if path.suffix.lower() in _TIFF else np.asarray(open_array(path))
