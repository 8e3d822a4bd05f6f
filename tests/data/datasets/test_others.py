"""Stanford background, pets, DRIVE, nnU-Net, one mask per class, arrays."""

import gzip
import json
import shutil
import struct

import numpy as np
import pytest
import torch
import zarr

from atrous.data import FolderDataset, check_folder, open_folder
from atrous.errors import DataError
from tests.nifti import LPS, RAS, placed


def test_stanford(put, photo, tmp_path):
    for seed in range(5):
        put(f"images/000{seed}.jpg", photo(seed))
        rows = np.tile(np.repeat([-1, 0, 7, 3], 4), (12, 1))
        put(f"labels/000{seed}.regions.txt", "\n".join(" ".join(map(str, row)) for row in rows))
        put(f"labels/000{seed}.layers.txt", "0")
    folder = open_folder(tmp_path)
    assert (folder.layout, folder.classes.names[7], len(folder.classes)) == ("stanford", "foreground object", 8)
    assert FolderDataset(folder, "train")[0]["mask"].unique().tolist() == [0, 3, 7, 255]
    assert not check_folder(tmp_path).errors
    put("labels/0002.regions.txt", "1 2\n3")
    assert "0002.regions.txt: is no table of whole numbers" in str(check_folder(tmp_path).errors[0])
    (tmp_path / "labels/0002.regions.txt").unlink()
    with pytest.raises(DataError, match=r"0002\.jpg: has no mask 0002\.regions\.txt"):
        open_folder(tmp_path)


def test_pets(put, photo, columns, tmp_path):
    lines = [f"Abyssinian_{n} 1 1 1" for n in range(5)]
    for n in range(5):
        put(f"images/Abyssinian_{n}.jpg", photo(n))
        put(f"annotations/trimaps/Abyssinian_{n}.png", columns(1, 2, 3))
        put(f"annotations/trimaps/._Abyssinian_{n}.png", b"resource fork")
    put("annotations/trainval.txt", "#Image CLASS-ID SPECIES BREED-ID\n" + "\n".join(lines[:4]))
    put("annotations/test.txt", lines[4])
    folder = open_folder(tmp_path)
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 3, "val": 1, "test": 1}
    assert (folder.layout, folder.classes.names) == ("pets", ("background", "pet"))
    assert FolderDataset(folder, "test")[0]["mask"][0, [0, 8, 15]].tolist() == [1, 0, 255]
    put("annotations/test.txt", "Birman_1 1 1 1")
    with pytest.raises(DataError, match=r"test\.txt line 1: names .*Birman_1, and there is no such file"):
        open_folder(tmp_path)


def test_drive(put, photo, columns, tmp_path):
    field = np.zeros((12, 16), np.uint8)
    field[2:-2, 2:-2] = 255
    for number in range(21, 25):
        put(f"training/images/{number}_training.tif", photo(number))
        put(f"training/1st_manual/{number}_manual1.gif", columns(0, 255))
        put(f"training/mask/{number}_training_mask.gif", field)
    put("test/images/01_test.tif", photo(1))
    put("test/mask/01_test_mask.gif", field)
    folder = open_folder(tmp_path)
    assert (folder.layout, folder.classes.names) == ("drive", ("background", "vessel"))
    mask = FolderDataset(folder, "train")[0]["mask"]
    assert (mask[0] == 255).all()
    assert mask[5, [3, 12]].tolist() == [0, 1]
    assert (mask == 255).sum() == 192 - 8 * 12
    assert folder.splits["test"][0].mask is None
    assert not check_folder(tmp_path).errors
    put("training/mask/22_training_mask.gif", field[:, 1:])
    assert "22_training_mask.gif: has 12 x 15 pixels, and 22_manual1.gif has 12 x 16" in str(
        check_folder(tmp_path).errors[0]
    )


@pytest.fixture
def nnunet(put, photo, columns, tmp_path):
    for case in range(5):
        for channel in range(2):
            put(f"imagesTr/cell_{case:03}_{channel:04}.png", photo(10 * case + channel, channels=1))
        put(f"labelsTr/cell_{case:03}.png", columns(0, 1, 2, 3))
    for channel in range(2):
        put(f"imagesTs/cell_009_{channel:04}.png", photo(90 + channel, channels=1))
    return tmp_path


def describe(put, **changes):
    table = {
        "channel_names": {"0": "DAPI", "1": "GFP"},
        "labels": {"background": 0, "cell": 1, "edge": 2, "ignore": 3},
        "numTraining": 5,
        "file_ending": ".png",
        **changes,
    }
    put("dataset.json", json.dumps(table))


def test_nnunet(nnunet, put, photo):
    describe(put)
    folder = open_folder(nnunet)
    assert (folder.layout, folder.channels, folder.classes.names) == ("nnunet", 2, ("background", "cell", "edge"))
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 4, "val": 1, "test": 1}
    dataset = FolderDataset(folder, "train")
    case = int(dataset.names[0][-3:])
    sample = dataset[0]
    assert all((sample["image"][c].numpy() == photo(10 * case + c, channels=1)).all() for c in range(2))
    assert sample["mask"].unique().tolist() == [0, 1, 2, 255]
    assert not check_folder(nnunet).errors
    put("splits_final.json", json.dumps([{"train": ["cell_001", "cell_002"], "val": ["cell_004"]}]))
    assert [p.name for p in open_folder(nnunet).splits["val"]] == ["cell_004"]


def test_nnunet_of_the_first_version_and_of_regions(nnunet, put):
    describe(
        put, channel_names=None, modality={"0": "a", "1": "b"}, labels={"0": "nothing", "1": "a", "2": "b", "3": "c"}
    )
    assert open_folder(nnunet).classes.names == ("nothing", "a", "b", "c")
    describe(put, labels={"background": 0, "whole": [1, 2], "core": [2], "ignore": 3})
    folder = open_folder(nnunet)
    assert folder.multilabel
    assert folder.classes.names == ("whole", "core")
    mask = FolderDataset(folder, "train")[0]["mask"]
    assert mask.dtype == torch.float32
    assert mask[:, 0, [0, 5, 9, 15]].tolist() == [[0, 1, 1, 255], [0, 0, 1, 255]]
    assert not check_folder(nnunet).errors


def test_nnunet_of_volumes(put, tmp_path):
    stack = np.random.default_rng(0).integers(0, 255, (5, 12, 16), dtype=np.uint8)
    put("imagesTr/a_0000.tif", stack)
    put("labelsTr/a.tif", (stack > 99).astype(np.uint8))
    describe(put, channel_names={"0": "x"}, labels={"background": 0, "cell": 1}, file_ending=".tif")
    folder = open_folder(tmp_path)
    assert [pair.name for pair in folder.splits["val"]] == ["a_0004"]
    assert (FolderDataset(folder, "val")[0]["image"][0].numpy() == stack[4]).all()


def nifti(volume, *, code, slope=0.0, shift=0.0, order="<"):
    """A NIfTI-1 file of a (Z, Y, X) volume, written from the description of its header."""
    head = bytearray(352)
    struct.pack_into(f"{order}i", head, 0, 348)
    struct.pack_into(f"{order}8h", head, 40, 3, *volume.shape[::-1], 1, 1, 1, 1)
    struct.pack_into(f"{order}2h", head, 70, code, 8 * volume.dtype.itemsize)
    struct.pack_into(f"{order}3f", head, 108, 352, slope, shift)
    head[344:348] = b"n+1\0"
    return bytes(head) + volume.astype(volume.dtype.newbyteorder(order)).tobytes()


def test_nnunet_of_nifti(put, tmp_path):
    rng = np.random.default_rng(0)
    volumes = {case: rng.integers(-900, 900, (3, 12, 16)).astype(np.int16) for case in "abc"}
    for case, volume in volumes.items():
        put(f"imagesTr/{case}_0000.nii.gz", gzip.compress(nifti(volume, code=4, slope=2.0, shift=1.0)))
        labels = (volume > 0).astype(np.float32)
        put(f"labelsTr/{case}.nii.gz", gzip.compress(nifti(labels, code=16, order=">")))
    describe(put, channel_names={"0": "CT"}, labels={"background": 0, "organ": 1}, file_ending=".nii.gz")
    folder = open_folder(tmp_path)
    assert (folder.dtype, folder.channels) == ("float32", 1)
    assert [pair.name for pair in folder.splits["val"]] == ["c_0000", "c_0001", "c_0002"]  # a whole case
    sample = FolderDataset(folder, "val")[1]
    assert (sample["image"][0].numpy() == 2 * volumes["c"][1].astype(np.float32) + 1).all()
    assert (sample["mask"].numpy() == (volumes["c"][1] > 0)).all()
    assert not check_folder(tmp_path).errors
    put("labelsTr/b.nii.gz", gzip.compress(nifti(np.zeros((2, 12, 16), np.uint8), code=2)))
    with pytest.raises(DataError, match=r"b\.nii\.gz: holds 2 slices, and b_0000\.nii\.gz holds 3\. Export both"):
        open_folder(tmp_path)
    for content, message in (
        (b"nothing", "it has no NIfTI header"),
        (nifti(np.zeros((3, 12, 16), np.complex64), code=32), "its numbers are of type 32"),
        (b"n" * 20_000, "it has no NIfTI header"),
    ):
        put("labelsTr/b.nii.gz", gzip.compress(content))
        with pytest.raises(DataError, match=rf"b\.nii\.gz: cannot be read as a stack: {message}"):
            open_folder(tmp_path)
    put("labelsTr/b.nii.gz", gzip.compress(nifti(np.zeros((3, 12, 16), np.uint8), code=2)[:-100]))
    assert "b.nii.gz page 0: cannot be read as an image: it is cut off before its end" in str(
        check_folder(tmp_path).errors[0]
    )


def test_what_may_be_wrong_with_nnunet(nnunet, put):
    put("dataset.json", "{}")
    with pytest.raises(DataError, match=r"dataset\.json: has no key 'modality'"):
        open_folder(nnunet)
    describe(put, file_ending=".mha")
    with pytest.raises(DataError, match=r"dataset\.json, file_ending: is '\.mha', which is not read\. Write the data"):
        open_folder(nnunet)
    describe(put, labels={"cell": "one"})
    with pytest.raises(DataError, match=r"dataset\.json, labels\.cell: is 'one', and a whole number"):
        open_folder(nnunet)
    describe(put, labels={"cell": 1, "other": 1})
    with pytest.raises(DataError, match=r"dataset\.json, labels: mask value 1 means both 'cell' and 'other'"):
        open_folder(nnunet)
    describe(put)
    (nnunet / "imagesTr/cell_002_0001.png").unlink()
    (nnunet / "labelsTr/cell_003.png").unlink()
    texts = [str(finding) for finding in check_folder(nnunet).errors]
    assert any(
        "dataset.json: names" in text and "cell_002_0001.png, and there is no such file" in text for text in texts
    )
    assert any("cell_003_0000.png: has no mask cell_003.png" in text for text in texts)


@pytest.fixture
def classes(put, photo, tmp_path):
    for n in range(4):
        put(f"images/{n}.png", photo(n))
        square = np.zeros((12, 16), np.uint8)
        square[:6] = 255
        put(f"masks/cell/{n}.png", square)
        if n != 3:
            put(f"masks/edge/{n}.png", square.T.copy().reshape(12, 16) // 255)
    return tmp_path


def test_one_mask_per_class(classes, put):
    folder = open_folder(classes, val_fraction=0.25)
    assert (folder.layout, folder.multilabel, folder.classes.names) == ("class_folders", True, ("cell", "edge"))
    dataset = FolderDataset(folder, "train")
    shown = {name: dataset[i]["mask"] for i, name in enumerate(dataset.names)}
    assert all(mask.shape == (2, 12, 16) and mask.dtype == torch.float32 for mask in shown.values())
    assert all(mask[0].sum() == 96 for mask in shown.values())
    report = check_folder(folder)
    assert not report.findings
    assert report.summary["classes"][0]["pixels"] == 96 * 3
    shutil.rmtree(classes / "masks/edge")
    assert open_folder(classes, layout="class_folders").classes.names == ("cell",)
    assert not check_folder(classes, layout="class_folders").errors  # one class of its own can be learnt
    with pytest.raises(DataError, match="has no mask"):
        open_folder(classes)
    put("masks/edge/0.png", np.zeros((12, 16), np.uint8))
    (classes / "masks/cell/3.png").unlink()
    with pytest.raises(DataError, match=r"3\.png: has no mask CLASS/3\.png"):
        open_folder(classes)
    put("masks/edge/0.png", np.zeros((12, 15), np.uint8))
    assert any("differs in size from the files of other classes" in str(f) for f in check_folder(classes).errors)


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".zarr"])
def test_planes_in_one_file(put, photo, tmp_path, suffix):
    planes = np.zeros((3, 12, 16), np.uint8)
    planes[0, :6], planes[1, 3:9], planes[2, 0, 0] = 1, 1, 255
    for n in range(3):
        put(f"images/{n}.png", photo(n))
        if suffix == ".zarr":
            (tmp_path / "masks").mkdir(exist_ok=True)
            zarr.save(tmp_path / "masks" / f"{n}.zarr", planes)
        else:
            put(f"masks/{n}{suffix}", planes)
    folder = open_folder(tmp_path)
    assert (folder.layout, folder.multilabel, len(folder.classes)) == ("arrays", True, 3)
    mask = FolderDataset(folder, "train")[0]["mask"]
    assert (mask.numpy() == planes).all()
    put("classes.yaml", "classes: [{name: a, value: 0}, {name: b, value: 1}]")
    assert "has 3 planes, and there are 2 classes" in str(check_folder(tmp_path).errors[0])


def test_arrays_as_images_and_masks(tmp_path, photo, columns):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for n in range(3):
        zarr.save(tmp_path / "images" / f"{n}.zarr", photo(n).astype(np.uint16))
        np.save(tmp_path / "masks" / f"{n}.npy", columns(0, 1, 255))
    folder = open_folder(tmp_path)
    assert (folder.layout, folder.dtype, folder.channels, len(folder.classes)) == ("arrays", "uint16", 3, 2)
    assert FolderDataset(folder, "val")[0]["mask"].unique().tolist() == [0, 1, 255]
    assert not check_folder(tmp_path).errors
    np.save(tmp_path / "masks" / "1.npy", np.zeros((12, 15), np.uint8))
    assert "1.npy: has 12 x 15 pixels" in str(check_folder(tmp_path).errors[0])
    np.save(tmp_path / "masks" / "1.npy", np.array([{}], object), allow_pickle=True)
    assert any("1.npy: cannot be read as" in str(finding) for finding in check_folder(tmp_path).errors)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_mask_that_lies_elsewhere_in_the_patient_is_refused_or_told(put, tmp_path, suffix):
    volume = np.arange(3 * 12 * 16).reshape(3, 12, 16) % 2

    def write(name, sform):
        content = placed(volume, sform=sform)
        put(f"{name}{suffix}", gzip.compress(content) if suffix.endswith(".gz") else content)

    describe(put, channel_names={"0": "MR"}, labels={"background": 0, "organ": 1}, file_ending=suffix)
    for case in "ab":
        write(f"imagesTr/{case}_0000", RAS)
        write(f"labelsTr/{case}", RAS)
    assert "other_space" not in {finding.code for finding in check_folder(tmp_path).findings}
    write("labelsTr/b", LPS)
    message = (
        r"labelsTr/b\.nii.*: lies in the patient as LPS, 2 x 2 x 5 mm, from \(9, 4, 1\) .*, and b_0000\.nii.* as RAS, "
    )
    with pytest.raises(DataError, match=message + r"2 x 2 x 5 mm, from \(-9, 4, 1\)\. Resample one onto the other"):
        open_folder(tmp_path)
    write("labelsTr/b", [[2, 0, 0, -5], *RAS[1:]])
    assert [f.severity for f in check_folder(tmp_path).findings if f.code == "other_space"] == ["warning"]
    assert len(open_folder(tmp_path).pairs) == 6
