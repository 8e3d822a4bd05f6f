"""Pixels without data in training samples: what they hold, from files and caches, whole, drawn and by windows."""

import numpy as np
import pytest
import tifffile
import torch

from atrous.data import FolderDataset, dataset, open_folder
from atrous.images import write_image

FILL = [41.7, 3.2]
SPLIT = "train"


@pytest.fixture(params=["float32", "uint16", "uint8"])
def folder(request, tmp_path, monkeypatch):
    """Two channels; the second and third images have pixels without data."""
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    for part in ("images", "masks"):
        (tmp_path / "set" / part).mkdir(parents=True)
    for number in range(4):
        rng = np.random.default_rng(number)
        image = rng.integers(1, 200, (50, 61, 2)).astype(request.param)
        if number:
            image[10 * number : 10 * number + 7, 5:30] = 0
        tags = [(42113, "s", 0, "0", True)]
        options = {"photometric": "minisblack", "planarconfig": "contig", "tile": (16, 16)}
        tifffile.imwrite(tmp_path / f"set/images/{number}.tif", image, extratags=tags, **options)
        write_image(tmp_path / f"set/masks/{number}.png", rng.integers(0, 3, (50, 61)).astype(np.uint8))
    return open_folder(tmp_path / "set")


def expected(folder, number: int, fill) -> np.ndarray:
    """(C, H, W) of an image, from its file."""
    array = tifffile.imread(folder.splits[SPLIT][number].image)
    values = np.zeros(2) if fill is None else np.asarray(fill)
    values = values if array.dtype.kind == "f" else np.rint(values)
    return np.where((array == 0).all(2, keepdims=True), values, array).astype(np.float32).transpose(2, 0, 1)


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
@pytest.mark.parametrize("fill", [FILL, None])
def test_pixels_without_data_hold_the_fill(folder, cache, fill, monkeypatch):
    data = FolderDataset(folder, SPLIT, cache=cache, fill=fill, region=(20, 20))
    for _ in range(2):  # decoded, and from the cache
        for index in range(len(data)):
            wanted = expected(folder, index, fill)
            np.testing.assert_array_equal(data[index]["image"].numpy(), wanted)
            missing = (tifffile.imread(folder.splits[SPLIT][index].image) == 0).all(2)
            np.testing.assert_array_equal(data[index]["mask"].numpy() == 255, missing)
            window = data.window(index, slice(8, 33), slice(20, 41))
            np.testing.assert_array_equal(window["image"].numpy(), wanted[:, 8:33, 20:41])
            drawn = data.draw(index, np.random.default_rng(0))["image"]
            np.testing.assert_array_equal(drawn.to(torch.float32).numpy(), wanted)
    monkeypatch.setattr(dataset, "LARGE", 100)
    drawn = data.draw(1, np.random.default_rng(5))
    top, left = (
        int(place * (length - 20 + 1))
        for place, length in zip(np.random.default_rng(5).random(2), (50, 61), strict=True)
    )
    wanted = expected(folder, 1, fill)[:, top : top + 20, left : left + 20]
    np.testing.assert_array_equal(drawn["image"].to(torch.float32).numpy(), wanted)


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_cache_serves_any_fill(folder, cache, monkeypatch):
    first = FolderDataset(folder, SPLIT, cache=cache, fill=FILL)
    for index in range(len(first)):
        first[index]
    monkeypatch.setattr("atrous.data.dataset.read_pair", lambda *_: pytest.fail("decoded again"))
    other = first if cache == "memory" else FolderDataset(folder, SPLIT, cache=cache)
    other.fill = [7.0, 100.0]
    for index in range(len(other)):
        np.testing.assert_array_equal(other[index]["image"].numpy(), expected(folder, index, [7.0, 100.0]))


def test_8_bits_stay_bytes_until_the_crop_is_cut(folder):
    drawn = FolderDataset(folder, SPLIT, fill=FILL).draw(1, np.random.default_rng(0))
    assert drawn["image"].dtype == (torch.uint8 if folder.dtype == "uint8" else torch.float32)
    assert drawn["mask"].dtype == torch.uint8
