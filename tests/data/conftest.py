"""Made files for the tests of this room, and miniatures of data sets: tiny files under the names of the real ones."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.folders import make_folder, picture  # noqa: F401

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Writes an array, a text or bytes under a path of the miniature, and makes the folders on the way."""

    def write(name: str, content: object, *, palette: list[int] | None = None, **tiff: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif path.suffix == ".tif":
            colors = np.ndim(content) == 3 and np.shape(content)[2] == 3
            tifffile.imwrite(path, content, photometric="rgb" if colors else "minisblack", **tiff)
        elif path.suffix == ".npy":
            np.save(path, content)
        elif path.suffix == ".gif" or palette:
            image = Image.fromarray(np.asarray(content))
            if palette:
                image.putpalette(palette)
            image.save(path)
        else:
            array = np.asarray(content)
            cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)
        return path

    return write


@pytest.fixture
def photo() -> Callable[..., np.ndarray]:
    """A picture of noise, (height, width, 3) uint8, another for every seed."""

    def make(seed: int = 0, size: tuple[int, int] = (12, 16), channels: int = 3) -> np.ndarray:
        shape = size if channels == 1 else (*size, channels)
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return make


@pytest.fixture
def columns() -> Callable[..., np.ndarray]:
    """A mask of upright stripes, one for each of the values."""

    def make(*values: int, size: tuple[int, int] = (12, 16), dtype: type = np.uint8) -> np.ndarray:
        which = np.arange(size[1]) * len(values) // size[1]
        return np.ascontiguousarray(np.broadcast_to(np.asarray(values, dtype)[which], size))

    return make
