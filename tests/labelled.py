"""Data folders and annotations for the tests of conversion: splits that repeat names, and what was read back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from atrous.data import open_folder
from atrous.images.files import read_image
from atrous.images.files import read_mask as read_mask

H, W = 20, 30
SQUARE = [[2, 2], [8, 2], [8, 8], [2, 8]]


def picture(seed: int, height: int = H, width: int = W) -> np.ndarray:
    """Noise, another for every seed, so that images cannot be taken for each other."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def put(path: Path, content: Any) -> Path:
    """Write an array as an image, a text, or anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        cv2.imwrite(str(path), content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def made_folder(root: Path, splits: Mapping[str, Mapping[str, np.ndarray]], names: tuple[str, ...]) -> Path:
    """SPLIT/images and SPLIT/masks of masks by name; images differ even where names do not."""
    for number, (split, masks) in enumerate(splits.items()):
        for index, (name, mask) in enumerate(masks.items()):
            put(root / split / "images" / f"{name}.png", picture(100 * number + index, *mask.shape))
            put(root / split / "masks" / f"{name}.png", mask)
    rows = [{"name": name, "value": value} for value, name in enumerate(names)]
    put(root / "classes.yaml", {"classes": rows, "ignore": [255]})
    return root


def blobs(seed: int, classes: int = 3) -> np.ndarray:
    """A mask of all classes with single pixels, holes and ignored pixels."""
    rng = np.random.default_rng(seed)
    mask = cv2.resize(rng.integers(0, classes, (5, 6), dtype=np.uint8), (W, H), interpolation=cv2.INTER_NEAREST)
    mask[rng.integers(0, H, 6), rng.integers(0, W, 6)] = rng.integers(0, classes, 6)
    mask[0, :3] = 255
    return mask


def content(root: Path) -> dict[str, dict[str, tuple[bytes, list[list[str]]]]]:
    """What a data folder says: by split and name the image's pixels, and every pixel's class by name."""
    folder = open_folder(root, val_fraction=0)
    names = {**dict(enumerate(folder.classes.names)), 255: "ignored"}
    found: dict[str, dict[str, tuple[bytes, list[list[str]]]]] = {}
    for split, pairs in folder.splits.items():
        for pair in pairs:
            mask = [] if pair.mask is None else _classes(folder, pair, names)
            found.setdefault(split, {})[pair.name] = (read_image(pair.image).array.tobytes(), mask)
    return found


def _classes(folder: Any, pair: Any, names: dict[int, str]) -> list[list[str]]:
    from atrous.data.reading import read_labels

    mask, _ = read_labels(pair, folder.classes, None)
    assert mask is not None
    return [[names[value] for value in row] for row in mask.tolist()]
