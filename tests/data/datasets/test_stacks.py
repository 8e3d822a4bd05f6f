"""Cellpose's folders, and stacks whose pages are channels, slices and times."""

import numpy as np
import pytest
import tifffile

from atrous.data import FolderDataset, check_folder, open_folder
from atrous.errors import DataError
from atrous.images.files import read_image

SIZE = (12, 16)


def numbered(count, seed=0):
    """(count, H, W): a map of objects for each page."""
    maps = np.zeros((count, *SIZE), np.uint16)
    for page in range(count):
        maps[page, 1:4, 1 + page : 5 + page], maps[page, 6:9, 2:6] = 1, 300 + page + seed
    return maps


def noise(*shape, dtype=np.uint16):
    return np.random.default_rng(len(shape)).integers(0, 200, shape).astype(dtype)


def test_cellpose(put, photo, tmp_path):
    for number in range(4):
        put(f"a{number}.tif", photo(number))
        put(f"a{number}_masks.tif", numbered(1, number)[0])
        put(f"a{number}_flows.tif", photo(number))
    folder = open_folder(tmp_path)
    assert (folder.layout, len(folder.pairs), folder.classes.names) == ("cellpose", 4, ("background", "foreground"))
    sample = FolderDataset(folder, "train")[0]
    number = int(FolderDataset(folder, "train").names[0].removeprefix("a"))
    assert (sample["instances"].numpy() == numbered(1, number)[0]).all()
    assert (sample["mask"].numpy() == (numbered(1)[0] > 0)).all()
    assert not check_folder(tmp_path).errors


def test_cellpose_as_its_data_and_its_program_name_them(put, photo, tmp_path):
    for split, count in (("train", 2), ("test", 1)):
        for number in range(count):
            put(f"{split}/{number:03}_img.png", photo(number))
            put(f"{split}/{number:03}_masks.png", numbered(1)[0])
    put("train/other.png", photo(7))
    put("train/other_cp_masks.png", numbered(1)[0])
    put("train/other_cp_outlines.png", photo(7))
    put("test/bare_img.png", photo(8))
    folder = open_folder(tmp_path)
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 2, "val": 1, "test": 2}
    assert {pair.name for pair in folder.pairs} == {"000", "001", "other", "bare"}
    put("train/lost.png", photo(9))
    with pytest.raises(DataError, match=r"lost\.png: has no mask lost_masks\.\* in .*train"):
        open_folder(tmp_path)


def test_cellpose_stacks(put, tmp_path):
    put("a.tif", noise(5, *SIZE))
    put("a_masks.tif", numbered(5))
    folder = open_folder(tmp_path, val_fraction=0.4)
    assert [pair.name for pair in folder.splits["val"]] == ["a_0003", "a_0004"]  # the end, not by chance
    assert (FolderDataset(folder, "val")[1]["instances"].numpy() == numbered(5)[4]).all()


def test_folders_of_images_and_masks_are_not_cellpose(put, photo, columns, tmp_path):
    for name in ("a0", "a0_masks", "a1"):
        put(f"images/{name}.png", photo())
        put(f"masks/{name}.png", columns(0, 1))
    assert open_folder(tmp_path).layout == "folder"


AXES = {"ZCYX": (4, 2), "TZCYX": (2, 3, 2), "TCYX": (4, 3)}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_channels_of_slices_and_times(put, tmp_path, axes, kind):
    """Masks have a page for each slice and time; the channels of the image belong together."""
    if kind == "ome" and axes == "TZCYX":
        axes = "TCZYX"  # another order of pages
    shape = {"TCZYX": (2, 2, 3)}.get(axes) or AXES[axes]
    image = noise(*shape, *SIZE)
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images/a.tif", image, metadata={"axes": axes}, **{kind: True})
    place = axes.index("C")
    count = int(np.prod(shape)) // shape[place]
    put("instances/a.tif", numbered(count))
    folder = open_folder(tmp_path, val_fraction=0)
    assert (folder.layout, len(folder.pairs), folder.channels) == ("stacks", count, shape[place])
    wanted = np.moveaxis(image, place, -1).reshape(count, *SIZE, shape[place])
    for pair, pixels, objects in zip(folder.pairs, wanted, numbered(count), strict=True):
        assert (read_image(pair.image).array == pixels).all()
        assert (pair.instances.read() == objects).all()


def test_pages_that_do_not_go_together_are_told_in_words(put, tmp_path):
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images/a.tif", noise(2, 3, 4, *SIZE), imagej=True, metadata={"axes": "TZCYX"})
    put("instances/a.tif", numbered(3))
    message = r"a\.tif: holds 3 pages, and its image a\.tif holds 4 channels of 3 slices of 2 times\. Export a page"
    with pytest.raises(DataError, match=message):
        open_folder(tmp_path, val_fraction=0)
