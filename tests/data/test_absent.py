"""An image without an instance map where others have one: read as none if its mask shows no object, or told."""

import shutil

import numpy as np
import pytest

from atrous.data import FolderDataset, check_folder, open_folder
from atrous.data.pairs import NoObjects
from atrous.errors import DataError
from atrous.images import write_image
from atrous.tasks import TASKS

OBJECTS = np.zeros((24, 32), np.uint16)
OBJECTS[2:9, 3:10], OBJECTS[12:20, 14:30] = 1, 2


@pytest.fixture
def folder(make_folder):
    """Makes six pairs, background, road and cells; only the first three have cells, and maps: folder(shown)."""

    def make(shown=range(3)):
        root = make_folder(6)
        (root / "instances").mkdir()
        for number in range(6):
            mask = np.zeros((24, 32), np.uint8)
            mask[21:] = 1
            mask[OBJECTS > 0] = 2 * (number in shown)
            write_image(root / "masks" / f"{number:03}.png", mask)
            if number < 3:
                write_image(root / "instances" / f"{number:03}.png", OBJECTS)
        return root

    return make


def test_absent_means_none_where_the_masks_show_no_object(folder):
    root = folder()
    opened = open_folder(root, val_fraction=0)
    dataset = FolderDataset(opened, "train")
    for number, sample in enumerate(dataset):
        np.testing.assert_array_equal(sample["instances"].numpy(), OBJECTS * (number < 3))
    window = dataset.window(4, slice(3, 9), slice(0, 20))
    assert window["instances"].shape == (6, 20)
    assert not window["instances"].any()
    report = check_folder(root)
    assert [finding.code for finding in report.findings] == ["absent_instances"]
    assert "as 3 of 6 images, and its mask shows no object: read as without objects" in report.findings[0].message
    TASKS["instances"].accepts(opened)


def test_absent_is_unknown_where_a_mask_shows_an_object(folder):
    root = folder(shown=range(4))
    opened = open_folder(root, val_fraction=0)
    assert [pair.instances is None for pair in opened.splits["train"]] == [False] * 3 + [True, False, False]
    FolderDataset(opened, "train")[3]  # other tasks need no maps
    report = check_folder(root)
    assert [finding.code for finding in report.findings] == ["missing_instances", "absent_instances"]
    assert "003.png: shows 'class 2', whose objects are numbered in other images, and has no inst" in str(report)
    TASKS["segmentation"].accepts(opened)
    with pytest.raises(DataError, match=r"003\.png: has no instance map, as 1 of 6 training and validation images"):
        TASKS["instances"].accepts(opened)


def test_a_mask_beyond_those_that_were_looked_at_is_refused_when_it_is_read(folder, monkeypatch, tmp_path):
    from atrous.data import absent

    monkeypatch.setattr(absent, "_SAMPLED", 1)
    assert open_folder(folder(shown=range(4)), val_fraction=0).splits["train"][5].instances is None
    shutil.rmtree(tmp_path / "set")
    root = folder(shown=(0, 1, 2, 5))
    assert isinstance(open_folder(root, val_fraction=0).splits["train"][5].instances, NoObjects)
    (finding,) = check_folder(root).errors
    assert str(finding).startswith(f"{root}/masks/005.png: shows 'class 2', whose objects are numbered in other images")


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_cache_holds_empty_maps(folder, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    dataset = FolderDataset(open_folder(folder(), val_fraction=0), "train", cache=cache)
    for _ in range(2):
        assert [bool(sample["instances"].any()) for sample in dataset] == [True] * 3 + [False] * 3


def test_a_layout_with_objects_for_some_images_alone(put, photo, columns, tmp_path):
    for n in range(4):
        put(f"JPEGImages/2007_00000{n}.jpg", photo(n))
        put(f"SegmentationClass/2007_00000{n}.png", columns(0, 15 * (n < 2), 255))
    for n in range(2):
        put(f"SegmentationObject/2007_00000{n}.png", columns(0, 1, 255))
    put("ImageSets/Segmentation/train.txt", "2007_000000\n2007_000002\n")
    put("ImageSets/Segmentation/val.txt", "2007_000001\n2007_000003\n")
    opened = open_folder(tmp_path)
    TASKS["instances"].accepts(opened)
    assert not FolderDataset(opened, "val")[1]["instances"].any()
