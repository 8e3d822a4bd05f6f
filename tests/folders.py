"""Made files for the tests of reading: small, exact, and wrong in one way at a time."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

MakeFolder = Callable[..., Path]


@pytest.fixture
def picture() -> Callable[..., np.ndarray]:
    """A smooth picture with noise: (height, width) or (height, width, channels), uint8 unless told otherwise."""

    def make(
        height: int = 24, width: int = 32, channels: int = 3, *, seed: int = 0, dtype: type = np.uint8
    ) -> np.ndarray:
        numbers = np.random.default_rng(seed).random((height, width, channels))
        array = numbers.astype(dtype) if np.dtype(dtype).kind == "f" else (numbers * np.iinfo(dtype).max).astype(dtype)
        return array[..., 0] if channels == 1 else array

    return make


@pytest.fixture
def make_folder(tmp_path: Path, picture: Callable[..., np.ndarray]) -> MakeFolder:
    """Makes a flat folder of RGB images and index masks of the values given."""

    def make(count: int = 6, *, values: tuple[int, ...] = (0, 1, 2), channels: int = 3, name: str = "set") -> Path:
        root = tmp_path / name
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True)
        for number in range(count):
            image = picture(channels=channels, seed=number)
            cv2.imwrite(str(root / "images" / f"{number:03}.png"), image)
            columns = np.arange(32) * len(values) // 32
            mask = np.broadcast_to(np.asarray(values, np.uint8)[columns], (24, 32))
            cv2.imwrite(str(root / "masks" / f"{number:03}.png"), np.ascontiguousarray(mask))
        return root

    return make
