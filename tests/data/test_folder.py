"""Layouts, pairs and splits; what is wrong is collected and named."""

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from atrous.data.classes import Classes
from atrous.data.folder import FolderDataset, open_folder
from atrous.data.splits import find_pairs
from atrous.errors import DataError
from atrous.images.files import write_image


def names(folder, split):
    return [pair.name for pair in folder.splits[split]]


def move_to_splits(root, inner):
    """Turn a flat folder into split folders: train/images (inner=False) or images/train (inner=True)."""
    for number in range(6):
        split = "train" if number < 4 else "val" if number < 5 else "test"
        for side in ("images", "masks"):
            target = root / side / split if inner else root / split / side
            target.mkdir(parents=True, exist_ok=True)
            (root / side / f"{number:03}.png").rename(target / f"{number:03}.png")


def test_a_flat_folder_is_divided_by_the_seed(make_folder):
    root = make_folder(10)
    folder = open_folder(root)
    assert (len(folder.splits["train"]), len(folder.splits["val"])) == (8, 2)
    assert set(folder.splits) == {"train", "val"}
    assert open_folder(root) == folder
    assert len({tuple(names(open_folder(root, seed=seed), "val")) for seed in range(5)}) > 1
    assert (folder.channels, folder.dtype, folder.classes.names) == (3, "uint8", ("class 0", "class 1", "class 2"))


def test_adding_images_hardly_changes_the_division(make_folder):
    before = set(names(open_folder(make_folder(20, name="a")), "val"))
    after = set(names(open_folder(make_folder(25, name="b")), "val"))
    assert len(before - after) <= 1


@pytest.mark.parametrize(
    ("count", "fraction", "val"), [(2, 0.2, 1), (2, 0.9, 1), (3, 0.2, 1), (10, 0.5, 5), (4, 0.0, 0)]
)
def test_the_share_of_validation(make_folder, count, fraction, val):
    folder = open_folder(make_folder(count), val_fraction=fraction)
    assert len(folder.splits["val"]) == val
    assert len(folder.splits["train"]) == count - val


def test_one_image_cannot_be_validated(make_folder):
    with pytest.raises(DataError, match=r"has no validation pair, so nothing can be measured\. Add a second image"):
        open_folder(make_folder(1))


@pytest.mark.parametrize("inner", [True, False])
def test_split_folders(make_folder, inner):
    root = make_folder(6)
    move_to_splits(root, inner)
    folder = open_folder(root)
    assert [names(folder, split) for split in ("train", "val", "test")] == [
        ["000", "001", "002", "003"],
        ["004"],
        ["005"],
    ]
    assert all(pair.mask.name == pair.image.name for pair in folder.pairs)


def test_split_folders_without_validation_are_divided(make_folder):
    root = make_folder(6)
    move_to_splits(root, False)
    shutil.rmtree(root / "val")
    folder = open_folder(root)
    assert (len(folder.splits["train"]), len(folder.splits["val"]), len(folder.splits["test"])) == (3, 1, 1)


def test_split_files_of_names_and_of_paths(make_folder):
    root = make_folder(6)
    (root / "train.txt").write_text("# training\n000\n001.png\n\nimages/002.png\n")
    (root / "val.txt").write_text("images/003.png masks/003.png\n")
    (root / "test.txt").write_text("images/004.png\tmasks/004.png\r\n")
    folder = open_folder(root)
    assert names(folder, "train") == ["000", "001", "002"]
    assert names(folder, "val") == ["003"]
    assert names(folder, "test") == ["004"]
    assert folder.splits["train"][2].mask == root / "masks" / "002.png"


def test_names_with_spaces_are_separated_by_a_tab(make_folder):
    root = make_folder(3)
    for side in ("images", "masks"):
        (root / side / "000.png").rename(root / side / "my cell.png")
    (root / "train.txt").write_text("my cell\n001\n")
    (root / "val.txt").write_text("images/my cell.png\tmasks/my cell.png\n")
    with pytest.raises(DataError, match=r"images/my cell\.png: stands in train and in val\. Take it out of val"):
        open_folder(root)
    (root / "val.txt").write_text("images/002.png masks/002.png masks/002.png\n")
    with pytest.raises(
        DataError, match=r"val\.txt line 1: has 3 words\. Write an image and a mask; separate them by a tab"
    ):
        open_folder(root)


def test_split_files_that_name_what_is_not_there(make_folder):
    root = make_folder(4)
    (root / "train.txt").write_text("000\n01\n")
    (root / "val.txt").write_text("images/003.png masks/33.png\n")
    with pytest.raises(DataError) as caught:
        open_folder(root)
    assert "train.txt line 2: names '01', and there is no such image. Did you mean '001'?" in str(caught.value)
    assert f" 1 more: run `atrous check {root}` to list them all." in str(caught.value)
    (root / "train.txt").write_text("000\n")
    with pytest.raises(DataError, match=r"val\.txt line 1: names .*masks/33\.png, and there is no such file"):
        open_folder(root)


def test_a_test_split_needs_no_masks(make_folder):
    root = make_folder(6)
    move_to_splits(root, False)
    shutil.rmtree(root / "test" / "masks")
    folder = open_folder(root)
    assert folder.splits["test"][0].mask is None
    assert set(FolderDataset(folder, "test")[0]) == {"image", "index"}


@pytest.mark.parametrize("ending", ["_mask", "_label", "_gt"])
def test_masks_may_have_an_ending_and_another_format(make_folder, ending):
    root = make_folder(4)
    for path in list((root / "masks").iterdir()):
        tifffile.imwrite(path.with_name(f"{path.stem}{ending}.tif"), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
        path.unlink()
    assert all(pair.mask.stem == f"{pair.name}{ending}" for pair in open_folder(root).pairs)


def test_missing_partners_are_collected(make_folder):
    root = make_folder(6)
    (root / "masks" / "001.png").unlink()
    (root / "masks" / "003.png").unlink()
    (root / "images" / "005.png").unlink()
    splits, findings = find_pairs(root)
    assert [finding.code for finding in findings] == ["missing_mask", "missing_mask", "missing_image"]
    assert sum(map(len, splits.values())) == 3
    with pytest.raises(DataError) as caught:
        open_folder(root)
    assert "images/001.png: has no mask 001.* in masks/. Add masks/001.png" in str(caught.value)
    assert "1 more: run `atrous check" in str(caught.value)


def test_two_files_of_one_name(make_folder):
    root = make_folder(4)
    shutil.copy(root / "images" / "000.png", root / "images" / "000.tif")
    with pytest.raises(DataError, match=r"images/000\.tif: has the same name as 000\.png\. Rename or remove"):
        open_folder(root)


def test_hidden_and_other_files_are_passed_over(make_folder):
    root = make_folder(4)
    (root / "images" / "._000.png").write_text("mac")
    (root / "images" / "Thumbs.db").write_text("windows")
    (root / "images" / ".cache").mkdir()
    (root / "images" / ".cache" / "x.png").write_text("")
    assert len(open_folder(root).pairs) == 4


def test_folders_within_folders(make_folder):
    root = make_folder(4)
    for side in ("images", "masks"):
        (root / side / "berlin").mkdir()
        (root / side / "000.png").rename(root / side / "berlin" / "000.png")
    assert "berlin/000" in {pair.name for pair in open_folder(root).pairs}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, r"set: there is no such folder"),
        (lambda root: root.write_text(""), r"set: is a file, and a data folder is needed"),
        (lambda root: root.mkdir(), r"set: has no folder images/; it holds nothing\. Arrange it as images/ and masks/"),
        (lambda root: (root / "pics").mkdir(parents=True), r"has no folder images/; it holds pics/"),
        (lambda root: (root / "images").mkdir(parents=True), r"has no folder masks/; it holds images/"),
    ],
)
def test_what_is_no_data_folder(tmp_path, prepare, message):
    prepare(tmp_path / "set")
    with pytest.raises(DataError, match=message):
        open_folder(tmp_path / "set")


def test_an_empty_image_folder(tmp_path):
    for side in ("images", "masks"):
        (tmp_path / side).mkdir()
    with pytest.raises(DataError, match=r"holds no image in its image folder\. Put files there that end in \.png"):
        open_folder(tmp_path)


def test_the_spelling_of_a_folder(make_folder):
    root = make_folder(2, name="cells")
    with pytest.raises(DataError, match=r"there is no such folder\. Did you mean 'cells'\?"):
        open_folder(root.with_name("celsl"))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 20])
def test_val_fraction_is_a_share(make_folder, fraction):
    with pytest.raises(DataError, match="val_fraction must be at least 0 and below 1"):
        open_folder(make_folder(2), val_fraction=fraction)


def test_classes_come_from_the_folder_or_the_call(make_folder, tmp_path):
    root = make_folder(4)
    (root / "classes.yaml").write_text("classes: [{name: a, value: [0, 1]}, {name: b, value: 2}]")
    assert open_folder(root).classes.names == ("a", "b")
    other = tmp_path / "other.yaml"
    other.write_text("classes: [{name: x, value: [0, 1, 2]}]")
    assert open_folder(root, classes=other).classes.names == ("x",)
    table = Classes(("q",), ((0, 0, 0),), ((0, 1, 2),))
    assert open_folder(root, classes=table).classes is table
    (root / "classes.yaml").write_text("clases: []")
    with pytest.raises(DataError, match=r"classes\.yaml line 1: unknown key 'clases'"):
        open_folder(root)


def test_an_item_is_the_images_own_numbers(make_folder, picture):
    folder = open_folder(make_folder(4))
    dataset = FolderDataset(folder, "train")
    sample = dataset[1]
    pair = folder.splits["train"][1]
    expected = cv2.imread(str(pair.image))[..., ::-1].transpose(2, 0, 1)
    assert sample["image"].dtype == torch.float32
    np.testing.assert_array_equal(sample["image"].numpy(), expected)
    np.testing.assert_array_equal(sample["mask"].numpy(), cv2.imread(str(pair.mask), cv2.IMREAD_GRAYSCALE))
    assert sample["mask"].dtype == torch.int64
    assert sample["index"].tolist() == 1
    assert dataset.names[1] == pair.name
    assert len(dataset) == 3
    assert sample["image"].is_contiguous()


def test_a_data_set_may_be_pickled_and_shared_between_threads(make_folder):
    dataset = FolderDataset(open_folder(make_folder(8)), "train")
    again = pickle.loads(pickle.dumps(dataset))
    with ThreadPoolExecutor(4) as pool:
        items = list(pool.map(lambda i: again[i]["image"], range(len(again))))
    assert all(torch.equal(item, dataset[i]["image"]) for i, item in enumerate(items))


def test_an_unknown_split(make_folder):
    with pytest.raises(DataError, match=r"there is no split 'test'\. Choose from: train, val"):
        FolderDataset(open_folder(make_folder(4)), "test")


def test_invalid_pixels_are_ignored_in_the_mask(make_folder):
    root = make_folder(2, channels=1)
    for path in list((root / "images").iterdir()):
        array = np.random.default_rng(0).random((24, 32)).astype(np.float32)
        array[0, 31] = np.nan
        tifffile.imwrite(path.with_suffix(".tif"), array)
        path.unlink()
    folder = open_folder(root)
    sample = FolderDataset(folder, "train")[0]
    assert folder.dtype == "float32"
    assert sample["mask"][0, 31] == 255
    assert (sample["mask"] == 255).sum() == 1
    assert torch.isfinite(sample["image"]).all()


def test_instances_stand_beside_masks_or_for_them(make_folder):
    root = make_folder(4)
    (root / "instances").mkdir()
    objects = np.zeros((24, 32), np.uint16)
    objects[2:5, 3:6], objects[10:, 20:] = 1, 700
    for number in range(4):
        write_image(root / "instances" / f"{number:03}.png", objects)
    sample = FolderDataset(open_folder(root), "train")[0]
    np.testing.assert_array_equal(sample["instances"].numpy(), objects)
    assert set(sample["mask"].unique().tolist()) == {0, 1, 2}
    shutil.rmtree(root / "masks")
    folder = open_folder(root)
    sample = FolderDataset(folder, "train")[0]
    assert folder.classes.names == ("background", "foreground")
    np.testing.assert_array_equal(sample["mask"].numpy(), objects > 0)
    np.testing.assert_array_equal(sample["instances"].numpy(), objects)


def test_sizes_must_agree(make_folder):
    root = make_folder(2)
    for path in (root / "masks").iterdir():
        write_image(path, np.zeros((20, 30), np.uint8))
    with pytest.raises(DataError) as caught:
        FolderDataset(open_folder(root, classes=Classes(("a",), ((0, 0, 0),), ((0,),))), "train")[0]
    assert "masks/" in str(caught.value)
    assert "has 20 x 30 pixels (height x width), and its image" in str(caught.value)
    assert str(caught.value).endswith("has 24 x 32. Export the mask at the size of its image.")


def test_a_mask_drawn_on_the_unturned_image_is_recognised(make_folder, picture):
    root = make_folder(2)
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in list((root / "images").iterdir()):
        Image.fromarray(picture()).save(path, exif=exif)
    with pytest.raises(DataError, match=r"The camera's orientation \(EXIF\) turns the image"):
        FolderDataset(open_folder(root), "train")[0]


def test_constant_alpha_is_resolved_for_the_folder(make_folder, picture):
    root = make_folder(4)
    rgba = np.dstack([picture(), np.full((24, 32), 255, np.uint8)])
    write_image(root / "images" / "000.png", rgba)
    folder = open_folder(root)  # one RGBA among RGB
    assert folder.channels == 3
    for number in range(4):
        write_image(root / "images" / f"{number:03}.png", rgba)
    assert open_folder(root).channels == 3
    rgba[0, 0, 3] = 9
    write_image(root / "images" / "002.png", rgba)
    folder = open_folder(root)
    assert folder.channels == 4
    shapes = {FolderDataset(folder, "train")[i]["image"].shape[0] for i in range(len(folder.splits["train"]))}
    assert shapes == {4}


def test_mixed_images_are_refused_on_opening(make_folder, picture):
    root = make_folder(6)
    tifffile.imwrite(root / "images" / "002.png", picture(channels=5), photometric="minisblack", planarconfig="contig")
    with pytest.raises(DataError, match=r"002\.png: has 5 channels, and 3 are needed\. Convert it, or take it out"):
        open_folder(root)
    write_image(root / "images" / "002.png", picture(dtype=np.uint16))
    message = r"002\.png: holds uint16 numbers, and the others hold uint8: the same grey is another number there\. Conv"
    with pytest.raises(DataError, match=message):
        open_folder(root)


@pytest.mark.shared
def test_real_camvid(shared):
    void = Classes(tuple("abcdefghijk"), ((0, 0, 0),) * 11, tuple((k,) for k in range(11)), ignore=(11,))
    folder = open_folder(shared / "camvid", classes=void)
    assert (len(folder.splits["train"]), len(folder.splits["val"])) == (367, 101)
    sample = FolderDataset(folder, "train")[0]
    assert sample["image"].shape == (3, 360, 480)
    assert set(sample["mask"].unique().tolist()) <= {*range(11), 255}
    known = open_folder(shared / "camvid")
    assert (known.layout, len(known.classes), known.classes.ignore) == ("camvid", 11, (11, 255))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "train", "val", "classes", "channels"),
    [
        ("isbi2012_em", 19, 5, 2, 1),
        ("dsb2018_nuclei", 106, 26, 2, 3),
        ("cwfid", 8, 2, 3, 3),
        ("voc2012", 20, 25, 21, 3),
    ],
)
def test_real_folders(shared, name, train, val, classes, channels):
    folder = open_folder(shared / name)
    assert (len(folder.splits["train"]), len(folder.splits["val"])) == (train, val)
    assert (len(folder.classes), folder.channels, folder.dtype) == (classes, channels, "uint8")
    sample = FolderDataset(folder, "val")[0]
    assert sample["image"].shape[1:] == sample["mask"].shape
    assert ("instances" in sample) == (name == "dsb2018_nuclei")
