"""Which images files, folders and data folders mean: what can be trained on is found, what is passed over is told."""

import gzip
import json
import logging
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from atrous.errors import DataError, UsageError
from atrous.images import write_image
from atrous.inference.inputs import find_inputs


def picture(size: tuple[int, ...] = (12, 16)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


def volume(array: np.ndarray) -> bytes:
    """A NIfTI-1 file of (Z, Y, X) bytes."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *array.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, 2, 8)
    struct.pack_into("<3f", head, 108, 352, 0, 0)
    head[344:348] = b"n+1\0"
    return bytes(head) + array.tobytes()


def told(found: list) -> list[tuple[str, int, str]]:
    return [(image.name, len(image.pages), image.suffix) for image in found]


def test_all_that_can_be_trained_on_is_found_in_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "scans"
    (folder / "inner").mkdir(parents=True)
    write_image(folder / "a.png", picture())
    write_image(folder / "inner" / "b.tif", picture())
    tifffile.imwrite(folder / "c.tif", picture((5, 12, 16)), photometric="minisblack")
    place = [(33550, 12, 3, (1, 1, 0), True), (33922, 12, 6, (0, 0, 0, 9, 9, 0), True)]
    tifffile.imwrite(folder / "d.tif", picture(), extratags=place)
    np.save(folder / "e.npy", picture())
    zarr.save(folder / "f.zarr", picture())
    zarr.save(folder / "g.ome.zarr", picture())
    (folder / "h.nii.gz").write_bytes(gzip.compress(volume(picture((3, 12, 16)))))
    (folder / "i.jfif").write_bytes(b"")
    (folder / "notes.txt").write_text("what was done")
    (folder / "d.tfw").write_text("1")
    (folder / ".hidden.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        found = find_inputs(folder)
    assert sorted(told(found)) == [
        ("a", 1, ".png"),
        ("b", 1, ".png"),
        ("c", 5, ".tif"),
        ("d", 1, ".tif"),
        ("e", 1, ".png"),
        ("f", 1, ".png"),
        ("g.ome", 1, ".png"),
        ("h", 3, ".nii.gz"),
        ("i", 1, ".png"),
    ]
    assert caplog.messages == [
        f"{folder}: passed over a file that is no image by the ending: notes.txt; name a file to have it read"
    ]
    assert find_inputs([folder / "notes.txt"])[0].place == folder / "notes.txt"


def test_results_in_a_folder_are_no_images(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture())
    (tmp_path / "out").mkdir()
    write_image(tmp_path / "out" / "a.png", picture())
    assert len(find_inputs(tmp_path)) == 2
    assert len(find_inputs(tmp_path, out=tmp_path / "out")) == 1
    assert len(find_inputs(tmp_path / "out", out=tmp_path / "out")) == 1  # named


def test_images_and_not_masks_of_data_folders(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        for split in ("train", "val"):
            (tmp_path / "one" / split / name).mkdir(parents=True)
            (tmp_path / "other" / name / split).mkdir(parents=True)
            write_image(tmp_path / "one" / split / name / f"{split}.png", picture())
            write_image(tmp_path / "other" / name / split / f"{split}.png", picture())
    for root in ("one", "other"):
        assert [image.name for image in find_inputs(tmp_path / root)] == ["train", "val"]
        assert all("images" in image.place.parts for image in find_inputs(tmp_path / root))


def test_a_data_set_without_a_folder_of_images_gives_those_of_its_splits(tmp_path: Path, caplog) -> None:
    for split in ("train", "val"):
        for folder in (split, f"{split}annot"):
            (tmp_path / folder).mkdir()
            write_image(tmp_path / folder / f"0001TP_00{len(split)}.png", picture())
    with caplog.at_level(logging.INFO):
        found = find_inputs(tmp_path)
    assert [image.place.parent.name for image in found] == ["train", "val"]
    assert caplog.messages == [f"{tmp_path}: 2 images (layout camvid)"]
    (tmp_path / "trainannot" / "0001TP_005.png").unlink()
    caplog.clear()
    assert len(find_inputs(tmp_path)) == 2  # prediction needs no mask
    (tmp_path / "train.txt").write_text("train/0001TP_009.png trainannot/0001TP_009.png")
    assert len(find_inputs(tmp_path)) == 1
    assert "images are left out: " in caplog.text


@pytest.fixture
def nnunet(tmp_path: Path) -> Path:
    for folder in ("imagesTr", "imagesTs", "labelsTr"):
        (tmp_path / folder).mkdir()
    for case in ("a", "b"):
        for channel in range(2):
            (tmp_path / f"imagesTr/{case}_{channel:04}.nii.gz").write_bytes(gzip.compress(volume(picture((3, 12, 16)))))
        (tmp_path / f"labelsTr/{case}.nii.gz").write_bytes(gzip.compress(volume(picture((3, 12, 16)) // 128)))
    for channel in range(2):
        (tmp_path / f"imagesTs/c_{channel:04}.nii.gz").write_bytes(gzip.compress(volume(picture((4, 12, 16)))))
    table = {"channel_names": {"0": "x", "1": "y"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(table))
    return tmp_path


def test_channels_and_slices_of_nnunet_become_its_cases(nnunet: Path) -> None:
    assert told(find_inputs(nnunet)) == [("a", 3, ".nii.gz"), ("b", 3, ".nii.gz"), ("c", 4, ".nii.gz")]
    assert told(find_inputs(nnunet / "imagesTs")) == [("c", 4, ".nii.gz")]
    assert told(find_inputs(nnunet / "imagesTs" / "c_0001.nii.gz")) == [("c_0001", 4, ".nii.gz")]


def test_a_volume_of_isbi_is_one_stack(tmp_path: Path) -> None:
    for name in ("volume", "labels"):
        tifffile.imwrite(tmp_path / f"train-{name}.tif", picture((5, 12, 16)) // 255, photometric="minisblack")
    assert told(find_inputs(tmp_path)) == [("train-volume", 5, ".tif")]
    assert [image.page for image in find_inputs(tmp_path)[0].pages] == list(range(5))


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r": holds no image\. Name a folder with files that end in"):
        find_inputs(tmp_path)
    with pytest.raises(UsageError, match="there is no such file or folder"):
        find_inputs(tmp_path / "a.png")
    with pytest.raises(UsageError, match="no image matches this pattern"):
        find_inputs(f"{tmp_path}/*.png")


def test_a_damaged_stack_is_told_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0 no tiff")
    (tmp_path / "b.nii").write_bytes(b"no volume")
    assert told(find_inputs(tmp_path)) == [("a", 1, ".png"), ("b", 1, ".nii")]
