"""One plane per class: what 255 means is decided over the whole data set, and refused where it could be either."""

import json

import cv2
import numpy as np
import pytest
import zarr

from atrous.data import FolderDataset, check_folder, open_folder
from atrous.errors import DataError

KNOWN = np.zeros((2, 12, 16), np.uint8)
KNOWN[0, :6], KNOWN[1, :, :4] = 1, 1
UNKNOWN = np.zeros((2, 12, 16), np.uint8)
UNKNOWN[0, :6], UNKNOWN[1, 3] = 255, 255
BOTH = np.where(UNKNOWN == 255, 255, KNOWN).astype(np.uint8)


@pytest.fixture
def planes(put, photo, tmp_path):
    """Makes a folder of planes: planes(suffix, *arrays)."""

    def make(suffix, *arrays):
        for n, array in enumerate(arrays):
            put(f"images/{n}.png", photo(n))
            if suffix == ".zarr":
                (tmp_path / "masks").mkdir(exist_ok=True)
                zarr.save(tmp_path / "masks" / f"{n}.zarr", array)
            else:
                put(f"masks/{n}{suffix}", array)
        return tmp_path

    return make


def masks(root):
    folder = open_folder(root, val_fraction=0)
    return [sample["mask"].numpy() for sample in FolderDataset(folder, "train")]


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".zarr"])
def test_a_file_of_unknown_pixels_alone_stays_unknown_among_files_that_show_both(planes, suffix):
    for mask, array in zip(masks(planes(suffix, BOTH, UNKNOWN, KNOWN)), (BOTH, UNKNOWN, KNOWN), strict=True):
        np.testing.assert_array_equal(mask, array)


def test_nan_is_unknown_whatever_the_other_files_hold(planes):
    floats = np.where(UNKNOWN == 255, np.nan, 0).astype(np.float32)
    for mask, array in zip(masks(planes(".npy", KNOWN, floats)), (KNOWN, UNKNOWN), strict=True):
        np.testing.assert_array_equal(mask, array)
    for mask, array in zip(masks(planes(".npy", KNOWN * 255, floats)), (KNOWN, UNKNOWN), strict=True):
        np.testing.assert_array_equal(mask, array)


def test_planes_of_0_and_255_throughout_show_the_class(planes):
    for mask in masks(planes(".tif", KNOWN * 255, KNOWN * 255, 0 * KNOWN)):
        assert set(np.unique(mask)) <= {0, 1}


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".zarr"])
def test_planes_that_could_be_either_are_refused_by_both_names(planes, suffix):
    root = planes(suffix, KNOWN, UNKNOWN)
    message = (
        rf"masks/1\{suffix}: holds 255 and no 1, and .*masks/0\{suffix} holds 1 and no 255: 255 may be the class, "
    )
    with pytest.raises(DataError, match=message + r"or unknown\. Write the class as 1 in all masks"):
        open_folder(root)
    assert [finding.code for finding in check_folder(root).errors] == ["ambiguous_255"]


def test_a_file_beyond_those_that_were_looked_at_is_refused_when_it_is_read(planes, monkeypatch):
    from atrous.data.datasets import plane_files

    monkeypatch.setattr(plane_files, "_LOOKED_AT", 1)
    assert [f.code for f in check_folder(planes(".npy", KNOWN, UNKNOWN)).errors] == ["ambiguous_255"]
    assert [f.code for f in check_folder(planes(".npy", 255 * KNOWN, KNOWN)).errors] == ["ambiguous_255"]


def test_other_values_in_planes_are_refused(planes):
    (finding,) = check_folder(planes(".npy", KNOWN, -KNOWN.astype(np.int16))).errors
    assert "1.npy: holds int16 values that are not 0, 1 or 255. Write the planes as 0 and 1, and 255 where" in str(
        finding
    )


@pytest.fixture
def class_files(put, photo, tmp_path):
    for n in range(3):
        put(f"images/{n}.png", photo(n))
        for k, name in enumerate(("cell", "edge")):
            put(f"masks/{name}/{n}.png", KNOWN[k] * 255)
    return tmp_path


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            BOTH[0] + KNOWN[1],
            r"cell/1\.png: holds 0, 1 and 255: 255 may be the class, or unknown.*\.npy of \(K, H, W\)",
        ),
        (
            cv2.GaussianBlur(KNOWN[0] * 255, (5, 5), 0),
            r"cell/1\.png: holds 0, 255 and \d values between: it was smoothed",
        ),
    ],
)
def test_a_file_per_class_that_could_mean_two_things_is_refused(class_files, put, array, message):
    put("masks/cell/1.png", array)
    with pytest.raises(DataError, match=message):
        check_folder(class_files).raise_errors()


def test_a_file_per_class_may_number_its_objects_or_use_any_value(class_files, put):
    put("masks/cell/1.png", KNOWN[0] * 7 + KNOWN[0] * KNOWN[1])
    for mask in masks(class_files):
        np.testing.assert_array_equal(mask, KNOWN)


def test_a_jpeg_per_class_is_refused(class_files):
    cv2.imwrite(str(class_files / "masks/cell/1.jpg"), KNOWN[0] * 255)
    (class_files / "masks/cell/1.png").unlink()
    with pytest.raises(DataError, match=r"cell/1\.jpg: is a JPEG, .* a class is wherever its file is not 0"):
        open_folder(class_files)


@pytest.mark.parametrize(("ignore", "value"), [(None, 255), (3, 3)])
def test_regions_of_nnunet_know_what_is_unknown_and_refuse_other_labels(put, photo, columns, tmp_path, ignore, value):
    labels = {"background": 0, "whole": [1, 2], "core": [2], **({} if ignore is None else {"ignore": ignore})}
    table = {"channel_names": {"0": "a"}, "labels": labels, "file_ending": ".png", "numTraining": 2}
    put("dataset.json", json.dumps(table))
    for n in range(2):
        put(f"imagesTr/a{n}_0000.png", photo(n, channels=1))
        put(f"labelsTr/a{n}.png", columns(0, 1, 2, value))
    for mask in masks(tmp_path):
        assert mask[:, 0, [0, 5, 9, 15]].tolist() == [[0, 1, 1, 255], [0, 0, 1, 255]]
    put("labelsTr/a1.png", columns(0, 1, 2, 7))
    message = r"a1\.png: label 7 is in no region of dataset\.json, which have 1, 2"
    with pytest.raises(DataError, match=message):
        check_folder(tmp_path, val_fraction=0).raise_errors()


@pytest.mark.parametrize(
    ("names", "folders"),
    [(("<5 mm", ">5 mm"), ("_5 mm", "_5 mm_2")), (("Cell", "cell"), ("Cell", "cell_2"))],
)
def test_classes_that_are_one_folder_are_told(planes, names, folders):
    root = planes(".npy", KNOWN, KNOWN)
    (root / "classes.yaml").write_text(f"classes: [{{name: '{names[0]}', value: 0}}, {{name: '{names[1]}', value: 1}}]")
    (finding,) = [finding for finding in check_folder(root).findings if finding.code == "names_alike"]
    assert finding.message == f"classes {names[0]!r} and {names[1]!r} are the same as names of folders"
    assert f"go to labels/{folders[0]} and labels/{folders[1]}" in finding.fix
    (root / "classes.yaml").write_text("classes: [{name: '..', value: 0}, {name: 'a/b', value: 1}]")
    assert "names_alike" not in {finding.code for finding in check_folder(root).findings}
