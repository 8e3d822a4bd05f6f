"""Whose mask is whose; images that stand in two splits; what cannot be read is told, never skipped."""

import os
import shutil

import numpy as np
import pytest

from atrous.data import check_folder, listing, open_folder
from atrous.data.pairs import partner
from atrous.errors import DataError
from atrous.inference.inputs import find_inputs


def rename(root, side, old, new):
    (root / side / old).rename(root / side / new)


def test_a_mask_of_the_very_name_of_another_image_is_that_ones(make_folder):
    root = make_folder(4)
    for side, names in (("images", ("knee0.png", "knee0_L.png")), ("masks", ("other.png", "knee0_L.png"))):
        for number, name in enumerate(names):
            rename(root, side, f"{number:03}.png", name)
    with pytest.raises(DataError, match=r"images/knee0\.png: has no mask knee0\.\* in masks/"):
        open_folder(root)
    rename(root, "masks", "other.png", "knee0_mask.png")
    pairs = {pair.name: pair.mask.name for pair in open_folder(root).pairs}
    assert (pairs["knee0"], pairs["knee0_L"]) == ("knee0_mask.png", "knee0_L.png")


@pytest.mark.parametrize("side", ["masks", "instances"])
def test_a_mask_of_two_images_is_refused_by_their_names(make_folder, side):
    root = make_folder(4)
    (root / "masks").rename(root / side) if side != "masks" else None
    rename(root, "images", "000.png", "a_img.png")
    rename(root, "images", "001.png", "a_image.png")
    rename(root, side, "000.png", "a.png")
    with pytest.raises(DataError, match=rf"{side}/a\.png: is the mask of both .*a_im.*png and .*a_im.*png\. Give each"):
        open_folder(root)
    assert "shared_mask" in {finding.code for finding in check_folder(root).errors}


def test_a_list_may_name_a_mask_twice_and_is_warned(make_folder):
    root = make_folder(4)
    (root / "train.txt").write_text("images/000.png masks/000.png\nimages/001.png masks/000.png\n")
    (root / "val.txt").write_text("images/002.png masks/002.png\n")
    open_folder(root)
    assert [f.code for f in check_folder(root).warnings] == ["shared_mask"]


def test_other_layouts_share_no_masks_either(make_folder):
    root = make_folder(3)
    for side, other in (("images", "img_dir"), ("masks", "ann_dir")):
        (root / other).mkdir()
        (root / side).rename(root / other / "train")
    rename(root, "img_dir/train", "000.png", "a_img.png")
    rename(root, "img_dir/train", "001.png", "a_image.png")
    rename(root, "ann_dir/train", "000.png", "a.png")
    assert "shared_mask" in {f.code for f in check_folder(root).errors}
    masks = root / "masks"
    for name in ("cell", "edge"):
        shutil.copytree(root / "ann_dir" / "train", masks / name)
    (root / "img_dir" / "train").rename(root / "images")
    report = check_folder(root, layout="class_folders")
    assert [f.code for f in report.errors][:2] == ["shared_mask", "shared_mask"]


def test_the_rule_of_partners():
    masks = {"a_mask": 1, "b": 2, "b_L": 3}
    found = [partner(name, masks, {"a", "a_img", "b", "b_L", "c"}) for name in ("a", "a_img", "b", "b_L", "c")]
    assert found == [1, 1, 2, 3, None]


def test_an_image_in_train_and_val_is_found_in_lists_of_voc(put, photo, columns, tmp_path):
    for n in range(3):
        put(f"JPEGImages/2007_00000{n}.jpg", photo(n))
        put(f"SegmentationClass/2007_00000{n}.png", columns(0, 1, 255))
    put("ImageSets/Segmentation/train.txt", "2007_000000\n2007_000001\n")
    put("ImageSets/Segmentation/val.txt", "2007_000001\n2007_000002\n")
    with pytest.raises(DataError, match=r"2007_000001\.jpg: stands in train and in val\. Take it out of val") as caught:
        open_folder(tmp_path)
    assert "layout 'voc'" in str(caught.value)
    put("ImageSets/Segmentation/val.txt", "2007_000002\n")
    shutil.copy(tmp_path / "JPEGImages/2007_000001.jpg", tmp_path / "JPEGImages/2007_000002.jpg")
    assert [f.code for f in check_folder(tmp_path).errors] == ["duplicate_across_splits"]  # by content too


@pytest.fixture
def locked(monkeypatch):
    """Makes a folder that nobody may open: locked(path). The rights of a disk do not stop the superuser of a test."""

    def lock(path):
        def scandir(place):
            if os.fspath(place) == os.fspath(path):
                raise PermissionError(13, "Permission denied", str(path))
            return real(place)

        real = os.scandir
        monkeypatch.setattr(listing.os, "scandir", scandir)

    return lock


def test_a_folder_within_that_cannot_be_opened_is_told(make_folder, locked):
    root = make_folder(4)
    (root / "images" / "more").mkdir()
    locked(root / "images" / "more")
    message = r"images/more: cannot be opened \(Permission denied\), so nobody knows what is in it\. Give yourself"
    with pytest.raises(DataError, match=message):
        open_folder(root)
    assert check_folder(root).summary["kinds"] == {"uint8": 4}  # all others are read
    with pytest.raises(DataError, match=message):
        find_inputs(root)


def test_a_folder_of_a_layout_that_cannot_be_opened_is_told(put, photo, columns, tmp_path, locked):
    for n in range(2):
        put(f"img_dir/train/{n}.png", photo(n))
        put(f"ann_dir/train/{n}.png", columns(0, 1))
    locked(tmp_path / "ann_dir" / "train")
    with pytest.raises(DataError, match=r"ann_dir/train: cannot be opened \(Permission denied\)"):
        check_folder(tmp_path)


@pytest.mark.parametrize("suffix", [".json", ".geojson"])
def test_a_folder_of_annotations_that_cannot_be_opened_is_told(put, tmp_path, locked, suffix):
    from atrous.annotations.folders import files_below

    put(f"a{suffix}", "{}")
    (tmp_path / "more").mkdir()
    assert len(files_below(tmp_path, (suffix,))) == 1
    locked(tmp_path / "more")
    with pytest.raises(DataError, match=r"more: cannot be opened \(Permission denied\), so nobody knows what is in it"):
        files_below(tmp_path, (suffix,))


def test_a_pipe_is_told_and_not_waited_for(make_folder, caplog):
    root = make_folder(4)
    os.mkfifo(root / "images" / "pipe.png")
    os.mkfifo(root / "masks" / "000.tif")
    report = check_folder(root)
    assert [f.code for f in report.errors] == ["special_file", "special_file"]
    assert "pipe.png: is a pipe, a socket or a device, and no file. Take it out." in str(report)
    assert report.summary["kinds"] == {"uint8": 4}
    assert len(find_inputs(root)) == 4
    assert "pipe.png: is a pipe" in caplog.text


def test_a_pipe_in_a_layout_is_told(put, photo, columns, tmp_path):
    put("img_dir/train/0.png", photo())
    put("ann_dir/train/0.png", columns(0, 1))
    os.mkfifo(tmp_path / "img_dir/train/1.png")
    assert "1.png: is a pipe" in str(check_folder(tmp_path))


def test_names_and_lists_that_are_no_utf_8(make_folder):
    root = make_folder(4)
    for side in ("images", "masks"):
        (root / side / "000.png").rename(root / side / os.fsdecode(b"caf\xe9.png"))
    report = check_folder(root)
    assert not report.errors
    (root / "masks" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    report = check_folder(root)
    assert f"{root}/masks/caf\\xe9.png: cannot be read as an image" in str(report)
    str(report).encode()
    (root / "train.txt").write_bytes(b"caf\xe9\n001\n")
    (root / "val.txt").write_text("002\n")
    with pytest.raises(DataError, match=r"train\.txt: cannot be read as a list \(it is not UTF-8 text\)\. Save it as"):
        open_folder(root)
    assert [f.code for f in check_folder(root).errors] == ["split_line"]


@pytest.mark.parametrize("problem", [MemoryError(), EOFError(), KeyError("x"), RecursionError(), ValueError("odd")])
@pytest.mark.parametrize("reader", ["read_image", "read_labels"])
def test_the_doctor_goes_on_after_any_error_of_a_decoder(make_folder, monkeypatch, problem, reader):
    from atrous.data import examine

    def read(*arguments, **more):
        pair = arguments[0]
        if str(getattr(pair, "image", pair)).endswith("002.png"):
            raise problem
        return real(*arguments, **more)

    real = getattr(examine, reader)
    monkeypatch.setattr(examine, reader, read)
    report = check_folder(make_folder(6))
    (finding,) = report.errors
    assert "002.png: it or its mask cannot be read: " in str(finding)
    assert sum(report.summary["read"].values()) == 6


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff", b"II*\x00", b"\x89PNG\r\n\x1a\n"])
def test_empty_files_and_damaged_headers_are_findings(make_folder, content):
    root = make_folder(6)
    (root / "classes.yaml").write_text("classes: [{name: a, value: 0}, {name: b, value: [1, 2]}]")
    (root / "images" / "001.png").write_bytes(content)
    (root / "masks" / "003.png").write_bytes(content)
    report = check_folder(root)
    assert sorted(f.file.rsplit("/", 2)[1] for f in report.errors) == ["images", "masks"]
    assert sum(report.summary["kinds"].values()) == 5


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff" + b" " * 99])
def test_damaged_arrays_are_findings(tmp_path, photo, columns, content):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for n in range(4):
        np.save(tmp_path / "images" / f"{n}.npy", photo(n))
        np.save(tmp_path / "masks" / f"{n}.npy", columns(0, 1))
    (tmp_path / "images" / "1.npy").write_bytes(content)
    (tmp_path / "masks" / "2.npy").write_bytes(content)
    report = check_folder(tmp_path)
    assert sorted(f.file.rsplit("/", 2)[1] for f in report.errors) == ["images", "masks"]
