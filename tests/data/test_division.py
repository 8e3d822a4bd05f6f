"""Splits that a folder has not: shares for validation and test; images without a mask that are left out."""

import numpy as np
import pytest

from atrous.data import DataOptions, check_folder, open_folder
from atrous.errors import DataError


def names(folder, split):
    return {pair.name for pair in folder.splits[split]}


def test_a_share_for_the_test_is_set_aside_before_validation(make_folder):
    root = make_folder(20)
    folder = open_folder(root, test_fraction=0.25)
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 12, "val": 3, "test": 5}
    assert open_folder(root, test_fraction=0.25) == folder
    assert len(names(folder, "train") | names(folder, "val") | names(folder, "test")) == 20
    before = names(open_folder(root), "val")
    assert len(names(folder, "val") & before) >= 2  # the shares are drawn apart, so validation hardly changes
    assert names(open_folder(root, test_fraction=0.25, seed=1), "test") != names(folder, "test")
    assert "test" not in open_folder(root).splits


def test_a_folder_with_a_test_split_keeps_it(make_folder):
    root = make_folder(8)
    (root / "train.txt").write_text("000\n001\n002\n003\n")
    (root / "test.txt").write_text("004\n")
    folder = open_folder(root, test_fraction=0.5)
    assert names(folder, "test") == {"004"}
    (root / "test.txt").unlink()
    assert len(names(open_folder(root, test_fraction=0.5), "test")) == 2


def test_other_layouts_have_shares_too(put, photo, columns, tmp_path):
    for n in range(8):
        put(f"img_dir/train/{n}.png", photo(n))
        put(f"ann_dir/train/{n}.png", columns(0, 1))
    folder = open_folder(tmp_path, test_fraction=0.25)
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 5, "val": 1, "test": 2}


def test_the_end_of_a_volume_is_the_test_and_what_lies_before_it_validation(put, tmp_path):
    slices = np.random.default_rng(0).integers(0, 256, (10, 12, 16), dtype=np.uint8)
    put("train-volume.tif", slices)
    put("train-labels.tif", (slices > 99).astype(np.uint8) * 255)
    folder = open_folder(tmp_path, test_fraction=0.2)
    assert folder.layout == "isbi2012"
    numbers = {split: [int(pair.name[-2:]) for pair in pairs] for split, pairs in folder.splits.items()}
    assert numbers == {"train": [0, 1, 2, 3, 4, 5], "val": [6, 7], "test": [8, 9]}


def test_images_without_a_mask_are_an_error_that_names_the_switch_or_left_out(make_folder):
    root = make_folder(8)
    for number in (1, 4):
        (root / "masks" / f"{number:03}.png").unlink()
    with pytest.raises(
        DataError, match=r"001\.png: has no mask 001\.\* in masks/\. .* with data\.unlabelled=skip\. 1 more"
    ):
        open_folder(root)
    folder = open_folder(root, unlabelled="skip")
    assert {pair.name for pair in folder.pairs} == {"000", "002", "003", "005", "006", "007"}
    (finding,) = check_folder(folder).findings  # as beside a training
    assert str(finding).startswith(f"{root}/images/001.png: has no mask, as 2 images, and is left out. Label them")


def test_other_layouts_leave_out_images_without_a_mask_too(put, photo, columns, tmp_path):
    from atrous.data import examine_folder

    for n in range(5):
        put(f"img_dir/train/{n}.png", photo(n))
        if n != 2:
            put(f"ann_dir/train/{n}.png", columns(0, 1))
    with pytest.raises(DataError, match=r"2\.png: has no mask 2\.\* in .*data\.unlabelled=skip"):
        open_folder(tmp_path)
    assert len(open_folder(tmp_path, unlabelled="skip").pairs) == 4
    (finding,) = check_folder(examine_folder(tmp_path, unlabelled="skip")).findings
    assert str(finding) == f"{tmp_path}/img_dir/train/2.png: has no mask, and is left out. Label it to learn from it."


def test_where_all_are_left_out_nothing_is_there_to_learn_from(make_folder):
    root = make_folder(3)
    for path in (root / "masks").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"holds no image|has no training pair|has no labelled"):
        open_folder(root, unlabelled="skip")
    root = make_folder(3, name="two")
    for number in (1, 2):
        (root / "masks" / f"{number:03}.png").unlink()
    with pytest.raises(DataError, match="has no validation pair"):
        open_folder(root, unlabelled="skip")


def test_the_section_of_a_recipe_says_the_same_words():
    assert DataOptions(test_fraction=0.1, unlabelled="skip").splitting == {
        "val_fraction": 0.2,
        "test_fraction": 0.1,
        "unlabelled": "skip",
        "fold": None,
        "layout": None,
        "exif": "oriented",
    }
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'unlabeled'\. Did you mean 'unlabelled'\?"):
        open_folder("nowhere", unlabeled="skip")
    with pytest.raises(DataError, match=r"test_fraction must be at least 0 and below 1, not 1\.5"):
        open_folder("nowhere", test_fraction=1.5)


def test_a_bundle_is_measured_on_the_images_that_its_training_set_aside(make_folder):
    from atrous.evaluation import labelled_pairs, open_like

    root = make_folder(12)
    (root / "masks" / "003.png").unlink()
    recipe = {"seed": 3, "data": {"test_fraction": 0.25, "unlabelled": "skip", "val_fraction": 0.5, "crop": 8}}
    folder = open_like(recipe, root)
    assert folder == open_folder(root, seed=3, test_fraction=0.25, unlabelled="skip", val_fraction=0.5)
    assert len(labelled_pairs(folder, "test")) == 3
