"""ISBI 2012, the Cell Tracking Challenge, the Data Science Bowl, stacks of pages."""

import numpy as np
import pytest

from atrous.data import FolderDataset, check_folder, open_folder
from atrous.errors import DataError


def names(folder, split):
    return [pair.name for pair in folder.splits[split]]


def volume(count, seed=0, size=(12, 16)):
    return np.random.default_rng(seed).integers(0, 256, (count, *size), dtype=np.uint8)


def test_isbi(put, tmp_path):
    images, labels = volume(10), np.where(volume(10, 1) > 80, 255, 0).astype(np.uint8)
    put("train-volume.tif", images)
    put("train-labels.tif", labels)
    put("test-volume.tif", volume(3, 2))
    folder = open_folder(tmp_path)
    assert (folder.layout, folder.classes.names, folder.channels) == ("isbi2012", ("membrane", "cell"), 1)
    assert names(folder, "val") == ["train_08", "train_09"]  # the end, because neighbouring slices are alike
    assert [pair.mask for pair in folder.splits["test"]] == [None] * 3
    sample = FolderDataset(folder, "val")[1]
    assert (sample["image"][0].numpy() == images[9]).all()
    assert (sample["mask"].numpy() == (labels[9] > 0)).all()
    report = check_folder(tmp_path)
    assert not report.findings
    assert report.summary["layout"] == "isbi2012"
    assert str(folder.splits["train"][3].image).endswith("train-volume.tif page 3")


def test_what_may_be_wrong_with_isbi(put, tmp_path):
    put("train-volume.tif", volume(4))
    put("train-labels.tif", np.zeros((3, 12, 16), np.uint8))
    with pytest.raises(
        DataError, match=r"train-labels\.tif: holds 3 slices, and train-volume\.tif holds 4\. Copy both"
    ):
        open_folder(tmp_path)
    put("train-labels.tif", np.full((4, 12, 16), 7, np.uint8))
    errors = check_folder(tmp_path).errors
    assert [finding.code for finding in errors] == ["out_of_range_label"] * 4
    assert "train-labels.tif page 0: label 7" in str(errors[0])
    put("train-labels.tif", np.zeros((4, 12, 15), np.uint8))
    assert "train-labels.tif page 0: has 12 x 15 pixels" in str(check_folder(tmp_path).errors[0])
    put("train-volume.tif", b"no tiff")
    with pytest.raises(DataError, match=r"train-volume\.tif: cannot be read as a stack"):
        open_folder(tmp_path)


@pytest.fixture
def ctc(put, tmp_path):
    for film in ("01", "02"):
        for frame in range(4):
            put(f"{film}/t{frame:03}.tif", volume(1, frame)[0].astype(np.uint16))
            markers = np.zeros((12, 16), np.uint16)
            markers[2, 2], markers[8, 8:10] = 1, 2
            put(f"{film}_GT/TRA/man_track{frame:03}.tif", markers)
        cells = np.zeros((12, 16), np.uint16)
        cells[1:4, 1:4] = 300
        put(f"{film}_GT/SEG/man_seg002.tif", cells)
    return tmp_path


def test_cell_tracking_challenge(ctc):
    folder = open_folder(ctc)
    assert (folder.layout, folder.dtype) == ("ctc", "uint16")
    assert (names(folder, "train"), names(folder, "val")) == (["01_002"], ["02_002"])
    sample = FolderDataset(folder, "train")[0]
    assert (sample["mask"][1:4, 1:4] == 1).all()
    assert sample["mask"][8, 8:10].tolist() == [255, 255]  # a marker that nobody outlined: a cell of unknown extent
    assert sample["mask"][2, 2] == 1
    assert (sample["mask"] == 255).sum() == 2
    assert sample["instances"].max() == 300
    assert not [f for f in check_folder(ctc).findings if f.code != "duplicate_across_splits"]
    (ctc / "01/t002.tif").unlink()
    with pytest.raises(DataError, match=r"man_seg002\.tif: names .*t002\.tif, and there is no such file"):
        open_folder(ctc)


def test_cell_tracking_challenge_in_three_dimensions(put, tmp_path):
    stack = volume(5)
    put("01/t000.tif", stack)
    for z in (1, 3):
        put(f"01_GT/SEG/man_seg_000_{z:03}.tif", (stack[z] > 128).astype(np.uint16))
    folder = open_folder(tmp_path)
    assert (names(folder, "train"), names(folder, "val")) == (["01_000_001"], ["01_000_003"])
    sample = FolderDataset(folder, "val")[0]
    assert (sample["image"][0].numpy() == stack[3]).all()
    assert (sample["mask"].numpy() == (stack[3] > 128)).all()


@pytest.fixture
def dsb(put, photo, tmp_path):
    for seed, name in enumerate(("aa", "bb", "cc")):
        put(f"stage1_train/{name}/images/{name}.png", photo(seed))
        for number in range(300 if name == "cc" else 2):
            nucleus = np.zeros((12, 16), np.uint8)
            nucleus[number % 12, number // 12 % 16] = 255
            put(f"stage1_train/{name}/masks/{number:04}.png", nucleus)
    put("stage1_test/dd/images/dd.png", photo(9))
    return tmp_path


def test_data_science_bowl(dsb):
    folder = open_folder(dsb)
    assert (folder.layout, folder.classes.names) == ("dsb2018", ("background", "nucleus"))
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 2, "val": 1, "test": 1}
    samples = {d.names[i]: d[i] for d in (FolderDataset(folder, s) for s in ("train", "val")) for i in range(len(d))}
    assert samples["aa"]["mask"].sum() == 2
    assert sorted(samples["aa"]["instances"].unique().tolist()) == [0, 1, 2]
    assert samples["cc"]["instances"].max() == 300  # more than 255
    assert not check_folder(dsb).errors


def test_what_may_be_wrong_with_the_bowl(dsb, put):
    put("stage1_train/aa/masks/0000.png", np.zeros((12, 15), np.uint8))
    for path in (dsb / "stage1_train/bb/masks").iterdir():
        path.unlink()
    texts = [str(finding) for finding in check_folder(dsb).errors]
    assert any("masks/0001.png: has 12 x 16 pixels, and 0000.png beside it has others" in text for text in texts)
    assert any("stage1_train/bb/masks: holds no mask, and one file per object is needed" in text for text in texts)
    put("stage1_train/cc/images/more.png", np.zeros((12, 16), np.uint8))
    with pytest.raises(DataError, match=r"cc/images: holds 2 images, and one is needed"):
        open_folder(dsb, layout="dsb2018")


def test_stacks(put, tmp_path):
    images, labels = volume(6).astype(np.uint16), (volume(6, 1) // 64).astype(np.uint8)
    put("images/a.tif", images)
    put("masks/a.tif", labels)
    folder = open_folder(tmp_path)
    assert (folder.layout, folder.dtype, len(folder.classes)) == ("stacks", "uint16", 4)
    assert names(folder, "val") == ["a_0005"]
    sample = FolderDataset(folder, "val")[0]
    assert (sample["image"][0].numpy() == images[5]).all()
    assert (sample["mask"].numpy() == labels[5]).all()
    put("masks/a.tif", labels[:5])
    with pytest.raises(DataError, match=r"masks/a\.tif: holds 5 pages, and its image a\.tif holds 6 pages\."):
        open_folder(tmp_path)


@pytest.mark.shared
def test_real_16_bit_stack(shared):
    folder = open_folder(shared / "tiff16")
    assert (folder.layout, folder.dtype, folder.channels, len(folder.pairs)) == ("stacks", "uint16", 1, 32)
    sample = FolderDataset(folder, "train")[0]
    assert "instances" in sample
    assert (sample["mask"] == (sample["instances"] > 0)).all()
    assert not check_folder(folder).errors
