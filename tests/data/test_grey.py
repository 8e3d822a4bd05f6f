"""Grey images among coloured ones, and alpha channels where others have none: COCO and ADE20K as handed out."""

import json

import numpy as np
import pytest
from PIL import Image

from atrous.data import FolderDataset, check_folder, open_folder, quick_check
from atrous.errors import DataError
from atrous.images import open_source, read_image
from atrous.images.channels import how_brought


@pytest.fixture
def folder(make_folder, picture):
    """Six pairs as JPEG files: coloured, but for two grey ones and one in the colours of print."""
    root = make_folder(6)
    for number, mode in enumerate(("RGB", "L", "RGB", "CMYK", "L", "RGB")):
        (root / "images" / f"{number:03}.png").unlink()
        Image.fromarray(picture(seed=number)).convert(mode).save(root / "images" / f"{number:03}.jpg")
    return root


def test_grey_among_colour_is_repeated_and_told_once_with_a_count(folder):
    opened = open_folder(folder, val_fraction=0)
    assert opened.channels == 3
    for pair, sample in zip(opened.splits["train"], FolderDataset(opened, "train"), strict=True):
        array = np.array(Image.open(pair.image).convert("RGB"))
        np.testing.assert_allclose(sample["image"].numpy(), array.transpose(2, 0, 1), atol=2)
        assert (np.ptp(sample["image"].numpy(), axis=0) == 0).all() == (pair.name in ("001", "004"))
    for report in (check_folder(folder, val_fraction=0), quick_check(folder)):
        assert not report.errors
        (finding,) = report.findings
        assert finding.code == "grey_images"
        assert "is grey, as are 2 of 6 images, and others have colours: its grey is repeated" in finding.message
    assert check_folder(folder, val_fraction=0).summary["read"]["train"] == 6


def test_one_coloured_image_among_grey_ones_makes_them_all_colour(make_folder, picture):
    root = make_folder(4, channels=1)
    Image.fromarray(picture()).save(root / "images" / "002.png")
    assert open_folder(root).channels == 3
    assert "as are 3 of 4 images" in str(check_folder(root))


def test_a_folder_with_a_cache_or_windows_reads_grey_alike(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    opened = open_folder(folder, val_fraction=0)
    plain = FolderDataset(opened, "train")
    for cache in ("memory", "disk"):
        cached = FolderDataset(opened, "train", cache=cache)
        for _ in range(2):
            np.testing.assert_array_equal(cached[1]["image"], plain[1]["image"])
    window = plain.window(1, slice(3, 9), slice(4, 20))["image"]
    np.testing.assert_array_equal(window, plain[1]["image"][:, 3:9, 4:20])


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_three_channels_of_what_has_others(tmp_path, picture, mode, suffix):
    path = tmp_path / f"a{suffix}"
    array = np.array(Image.fromarray(picture(channels=4).clip(1), "RGBA").convert(mode))  # alpha 0 would be no data
    Image.fromarray(array, mode).save(path)
    bare = np.atleast_3d(array)[..., : 3 if mode == "RGBA" else 1]
    expected = np.repeat(bare, 3 // bare.shape[2], axis=2)
    np.testing.assert_array_equal(read_image(path, channels=3).array, expected)
    with open_source(path, channels=3) as source:
        assert source.brought == ("alpha" if mode == "RGBA" else "grey")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, bool])
def test_grey_arrays_are_repeated_and_measurements_are_not(dtype, picture):
    array = picture(channels=1) > 9 if dtype is bool else picture(channels=1, dtype=dtype)
    with open_source(array, channels=3) as source:
        assert source.shape == (24, 32, 3)
        assert np.ptp(source.read(slice(0, 9), slice(0, 9)).array, axis=2).max() == 0
    with open_source(array.astype(np.float32), channels=3) as source:
        assert source.shape == (24, 32, 1)
    assert how_brought(1, False, "float32", 3) is None


def test_a_second_channel_that_is_no_alpha_is_refused(make_folder, picture):
    import tifffile

    root = make_folder(4)
    array = picture(channels=2)
    tifffile.imwrite(root / "images" / "001.png", array, photometric="minisblack", planarconfig="contig")
    with pytest.raises(DataError, match=r"001\.png: has 2 channels, and 3 are needed"):
        open_folder(root)


def test_coco_and_ade20k_as_they_are_handed_out_hold_grey_images(put, photo, columns, tmp_path):
    def jpeg(name, seed, mode):
        Image.fromarray(photo(seed)).convert(mode).save(put(name, b""), "JPEG")

    for n in range(4):
        jpeg(f"coco/train2017/{n:012}.jpg", n, "L" if n == 2 else "RGB")
    images = [{"id": n, "file_name": f"{n:012}.jpg", "height": 12, "width": 16} for n in range(4)]
    outline = [[2, 2, 8, 2, 8, 8, 2, 8]]
    rows = [{"id": n, "image_id": n, "category_id": 1, "segmentation": outline, "area": 36} for n in range(4)]
    table = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cat"}]}
    put("coco/annotations/instances_train2017.json", json.dumps(table))
    for n in range(4):
        split = "training" if n < 3 else "validation"
        jpeg(f"ade/images/{split}/ADE_train_{n:08}.jpg", n, "L" if n == 1 else "RGB")
        put(f"ade/annotations/{split}/ADE_train_{n:08}.png", columns(0, 3, 150))
    for name, layout in (("coco", "coco"), ("ade", "ade20k")):
        folder = open_folder(tmp_path / name)
        assert (folder.layout, folder.channels) == (layout, 3)
        assert all(sample["image"].shape[0] == 3 for sample in FolderDataset(folder, "train"))
        report = check_folder(tmp_path / name)
        assert not report.errors
        assert "grey_images" in {finding.code for finding in report.warnings}
