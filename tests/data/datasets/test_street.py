"""VOC, SBD, CamVid, Cityscapes, ADE20K, mmsegmentation: miniatures, their classes, and what may be wrong with them."""

import pickle

import numpy as np
import pytest

from atrous.data import FolderDataset, check_folder, open_folder
from atrous.data.datasets import DATASETS
from atrous.data.datasets.ade20k import ADE20K_NAMES, ade20k_colors
from atrous.data.datasets.base import voc_colors
from atrous.data.datasets.camvid import CAMVID32_COLORS
from atrous.errors import DataError

NAMES = ("2007_000001", "2007_000002", "2008_000003")


def names(folder, split):
    return [pair.name for pair in folder.splits[split]]


def values(folder, split, number=0):
    return sorted(FolderDataset(folder, split)[number]["mask"].unique().tolist())


@pytest.fixture
def voc(put, photo, columns, tmp_path):
    for seed, name in enumerate(NAMES):
        put(f"JPEGImages/{name}.jpg", photo(seed))
        palette = [number for color in voc_colors(256) for number in color]
        put(f"SegmentationClass/{name}.png", columns(0, 15, 255), palette=palette)
        put(f"SegmentationObject/{name}.png", columns(0, 1, 2, 255), palette=palette)
    put("ImageSets/Segmentation/train.txt", f"{NAMES[0]}\n{NAMES[1]}\n")
    put("ImageSets/Segmentation/val.txt", f"{NAMES[2]}\n\n")
    return tmp_path


def test_voc(voc):
    folder = open_folder(voc)
    assert folder.layout == "voc"
    assert (names(folder, "train"), names(folder, "val")) == ([NAMES[0], NAMES[1]], [NAMES[2]])
    assert folder.classes.names[15] == "person"
    assert folder.classes.colors[15] == (192, 128, 128)
    assert folder.classes.colors[20] == (0, 64, 128)
    assert len(folder.classes) == 21
    assert values(folder, "train") == [0, 15, 255]
    sample = FolderDataset(folder, "train")[0]
    assert sorted(sample["instances"].unique().tolist()) == [0, 1, 2]  # 255 is the void border, no object
    assert not check_folder(voc).errors
    assert "(layout: voc)" in str(check_folder(voc))
    assert pickle.loads(pickle.dumps(folder)) == folder


def test_voc_two_levels_down_as_the_archive_has_it(voc, tmp_path):
    deep = tmp_path / "deep" / "VOCdevkit" / "VOC2012"
    deep.mkdir(parents=True)
    for name in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets"):
        (voc / name).rename(deep / name)
    assert open_folder(tmp_path / "deep").layout == "voc"


def test_other_names_in_the_folders_of_voc_are_no_voc(voc):
    for folder in ("JPEGImages", "SegmentationClass"):
        for path in list((voc / folder).iterdir()):
            path.rename(path.with_name(f"cell{path.name}"))
    for split in ("train", "val"):
        file = voc / "ImageSets" / "Segmentation" / f"{split}.txt"
        file.write_text("\n".join(f"cell{line}" for line in file.read_text().split()))
    folder = open_folder(voc)
    assert folder.layout == "folder"
    assert folder.classes.discovered


def test_what_may_be_wrong_with_voc(voc):
    (voc / "SegmentationClass" / f"{NAMES[1]}.png").unlink()
    with pytest.raises(DataError) as caught:
        open_folder(voc)
    assert f"{NAMES[1]}.jpg: has no mask {NAMES[1]}.png in {voc / 'SegmentationClass'}" in str(caught.value)
    assert "(Read as layout 'voc', Pascal VOC 2012.)" in str(caught.value)
    (voc / "JPEGImages" / f"{NAMES[2]}.jpg").unlink()
    report = check_folder(voc)
    assert [finding.code for finding in report.errors] == ["missing_mask", "missing_file"]
    assert "val.txt line 1: names" in str(report.errors[1])


def test_voc_augmented(voc, put, columns):
    with pytest.raises(DataError, match=r"ImageSets/Segmentation: has no trainaug\.txt\. Copy trainaug\.txt there"):
        open_folder(voc, layout="voc_aug")
    put(f"SegmentationClassAug/{NAMES[0]}.png", columns(0, 3))
    put("ImageSets/Segmentation/trainaug.txt", NAMES[0])
    folder = open_folder(voc, layout="voc_aug")
    assert (names(folder, "train"), names(folder, "val")) == ([NAMES[0]], [NAMES[2]])
    assert values(folder, "train") == [0, 3]


def test_sbd(put, photo, columns, tmp_path):
    io = pytest.importorskip("scipy.io")
    for seed, name in enumerate(NAMES):
        put(f"dataset/img/{name}.jpg", photo(seed))
        for folder, key, mask in (("cls", "GTcls", columns(0, 7)), ("inst", "GTinst", columns(0, 1, 2))):
            (tmp_path / "dataset" / folder).mkdir(exist_ok=True)
            io.savemat(tmp_path / "dataset" / folder / f"{name}.mat", {key: {"Segmentation": mask, "Boundaries": 0}})
    put("dataset/train.txt", "\n".join(NAMES[:2]))
    put("dataset/val.txt", NAMES[2])
    folder = open_folder(tmp_path)
    assert folder.layout == "sbd"
    assert values(folder, "train") == [0, 7]
    assert FolderDataset(folder, "val")[0]["instances"].max() == 2
    io.savemat(tmp_path / "dataset" / "cls" / f"{NAMES[1]}.mat", {"other": 1})
    (finding,) = check_folder(tmp_path).errors
    assert str(finding).startswith(
        f"{tmp_path / 'dataset' / 'cls' / NAMES[1]}.mat: has no GTcls.Segmentation; it holds other"
    )


def test_camvid_of_eleven_classes(put, photo, columns, tmp_path):
    for seed, (split, name) in enumerate(
        [("train", "0001TP_006690"), ("train", "0006R0_f00930"), ("val", "0016E5_07959")]
    ):
        put(f"{split}/{name}.png", photo(seed))
        put(f"{split}annot/{name}.png", columns(0, 10, 11))
    folder = open_folder(tmp_path)
    assert (folder.layout, len(folder.classes), folder.classes.names[3]) == ("camvid", 11, "road")
    assert values(folder, "train") == [0, 10, 255]
    # The lists of the tutorial hold the paths of its authors' machine.
    put("train.txt", "/SegNet/CamVid/train/0006R0_f00930.png /SegNet/CamVid/trainannot/0006R0_f00930.png\n")
    assert names(open_folder(tmp_path), "train") == ["0006R0_f00930"]
    put("train.txt", "/SegNet/CamVid/train/0006R0_f00931.png /SegNet/CamVid/trainannot/0006R0_f00931.png\n")
    with pytest.raises(DataError, match=r"train\.txt line 1: names 0006R0_f00931\.png, and there is no such file"):
        open_folder(tmp_path)


def test_lists_of_camvid_may_divide_a_folder_anew(put, photo, columns, tmp_path):
    frames = ["0001TP_006690", "0001TP_006720", "0006R0_f00930"]
    for seed, name in enumerate(frames):
        put(f"train/{name}.png", photo(seed))
        put(f"trainannot/{name}.png", columns(0, 10, 11))
    put("val.txt", f"train/{frames[1]}.png trainannot/{frames[1]}.png\n")
    folder = open_folder(tmp_path)
    assert (names(folder, "train"), names(folder, "val")) == ([frames[0], frames[2]], [frames[1]])
    put("train.txt", f"train/{frames[2]}.png trainannot/{frames[2]}.png\n")
    assert (names(open_folder(tmp_path), "train"), names(open_folder(tmp_path), "val")) == ([frames[2]], [frames[1]])


def test_camvid_of_thirty_two_colours(put, photo, tmp_path):
    assert len(CAMVID32_COLORS) == 31
    mask = np.zeros((12, 16, 3), np.uint8)
    mask[:, 4:8], mask[:, 8:] = CAMVID32_COLORS["Car"], CAMVID32_COLORS["Sky"]
    for seed in range(5):
        put(f"701_StillsRaw_full/0001TP_00{seed}.png", photo(seed))
        put(f"LabeledApproved_full/0001TP_00{seed}_L.png", mask)
    folder = open_folder(tmp_path)
    assert (folder.layout, len(folder.classes)) == ("camvid32", 31)
    assert values(folder, "train") == [5, 21, 255]
    assert names(folder, "val") == ["0001TP_004"]  # frames of a film are held out at its end
    put("LabeledApproved_full/0001TP_001_L.png", mask + np.uint8(1))
    assert check_folder(tmp_path).errors[0].code == "out_of_range_label"


def test_camvid_of_thirty_two_colours_in_split_folders(put, photo, tmp_path):
    for split in ("train", "val"):
        put(f"{split}/0016E5_0{len(split)}.png", photo(len(split)))
        put(f"{split}_labels/0016E5_0{len(split)}_L.png", np.full((12, 16, 3), (128, 64, 128), np.uint8))
    folder = open_folder(tmp_path)
    assert (folder.layout, values(folder, "val")) == ("camvid32", [17])


@pytest.fixture
def cityscapes(put, photo, columns, tmp_path):
    for seed, (split, city) in enumerate([("train", "aachen"), ("train", "ulm"), ("val", "lindau"), ("test", "bonn")]):
        name = f"{split}/{city}/{city}_000000_000019"
        put(f"leftImg8bit/{name}_leftImg8bit.png", photo(seed))
        put(f"gtFine/{name}_gtFine_labelIds.png", columns(0, 7, 26, 33))
        put(f"gtFine/{name}_gtFine_instanceIds.png", columns(0, 7, 26001, 33000, dtype=np.uint16))
        put(f"gtFine/{name}_gtFine_color.png", photo(9))
    return tmp_path


def test_cityscapes(cityscapes, put, columns):
    folder = open_folder(cityscapes)
    assert folder.layout == "cityscapes"
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 2, "val": 1, "test": 1}
    assert len(folder.classes) == 19
    assert values(folder, "train") == [0, 13, 18, 255]
    assert folder.classes.colors[13] == (0, 0, 142)
    assert sorted(FolderDataset(folder, "val")[0]["instances"].unique().tolist()) == [0, 26001, 33000]
    assert folder.splits["test"][0].mask is None
    assert not check_folder(cityscapes).errors
    (cityscapes / "gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError, match=r"ulm_000000_000019_leftImg8bit\.png: has no mask .*_gtFine_labelIds\.png in"):
        open_folder(cityscapes)


def test_cityscapes_in_training_numbers(cityscapes, columns, put):
    for path in list(cityscapes.glob("gtFine/*/*/*_labelIds.png")):
        put(str(path.relative_to(cityscapes)).replace("labelIds", "labelTrainIds"), columns(255, 0, 13, 18))
        path.unlink()
    assert values(open_folder(cityscapes), "train") == [0, 13, 18, 255]


def test_ade20k(put, photo, columns, tmp_path):
    assert (len(ADE20K_NAMES), len(ade20k_colors()), ADE20K_NAMES[12]) == (150, 150, "person")
    for seed, (split, word) in enumerate([("training", "train"), ("validation", "val")]):
        put(f"images/{split}/ADE_{word}_0000000{seed}.jpg", photo(seed))
        put(f"annotations/{split}/ADE_{word}_0000000{seed}.png", columns(0, 1, 150))
    folder = open_folder(tmp_path)
    assert folder.layout == "ade20k"
    assert values(folder, "train") == [0, 149, 255]
    put("annotations/validation/ADE_val_00000001.png", columns(0, 151))
    assert "label 151 (96 pixels) is not in the class table" in str(check_folder(tmp_path).errors[0])


def test_mmsegmentation(put, photo, columns, tmp_path):
    for seed, split in enumerate(("train", "val")):
        put(f"img_dir/{split}/a{seed}.jpg", photo(seed))
        put(f"ann_dir/{split}/a{seed}_labelTrainIds.png", columns(0, 1, 2))
    folder = open_folder(tmp_path)
    assert (folder.layout, len(folder.classes), names(folder, "val")) == ("mmseg", 3, ["a1"])
    put("classes.yaml", "classes: [{name: a, value: 0}, {name: b, value: [1, 2]}]")
    assert open_folder(tmp_path).classes.names == ("a", "b")
    (tmp_path / "ann_dir/val/a1_labelTrainIds.png").unlink()
    with pytest.raises(DataError, match=r"a1\.jpg: has no mask a1\.\* in .*ann_dir/val\. Copy the masks again"):
        open_folder(tmp_path)


def test_a_layout_by_name(voc):
    with pytest.raises(DataError, match=r"there is no layout 'vok'\. Did you mean 'voc'\?"):
        open_folder(voc, layout="vok")
    assert open_folder(voc, layout="folder").layout == "folder"
    for name, dataset in DATASETS.items():
        if name not in ("voc", "voc_aug"):
            assert not dataset.fits(voc)
    with pytest.raises(DataError) as caught:
        open_folder(voc, layout="cityscapes")
    assert "holds no image of Cityscapes. Its folder holds leftImg8bit/train/CITY/" in str(caught.value)


@pytest.mark.shared
def test_real_voc(shared):
    folder = open_folder(shared / "voc2012")
    assert (folder.layout, folder.classes.names[1]) == ("voc", "aeroplane")
    assert not check_folder(folder).errors
