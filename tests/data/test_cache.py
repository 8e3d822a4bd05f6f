"""The cache of decoded samples: in memory and on the disk, shared by workers, true to the files."""

import errno
import os
import pickle

import cv2
import numpy as np
import pytest
import tifffile
import torch
import zarr
from torch.utils.data import DataLoader

from atrous.data import FolderDataset, cache, open_folder
from atrous.errors import DataError
from atrous.images import read_image


@pytest.fixture
def folder(make_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    return open_folder(make_folder(6))


def equal(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(first[key].dtype == second[key].dtype for key in first)


def files(folder):
    return list((folder.root.parent / "cache" / "samples").iterdir())


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_what_is_cached_is_what_is_read(folder, where, monkeypatch):
    plain, cached = FolderDataset(folder, "train"), FolderDataset(folder, "train", cache=where)
    for _ in range(2):
        for index in range(len(plain)):
            equal(cached[index], plain[index])
    monkeypatch.setattr("atrous.data.dataset.read_pair", lambda *_: pytest.fail("decoded again"))
    for index in range(len(plain)):
        sample = cached[index]
        before = sample["image"].clone()
        sample["image"].zero_()
        sample["mask"].zero_()
        assert torch.equal(cached[index]["image"], before)


def test_the_file_serves_later_runs_until_an_image_changes(folder, monkeypatch):
    first = FolderDataset(folder, "train", cache="disk")
    wanted = [first[index] for index in range(len(first))]
    del first
    with monkeypatch.context() as patch:
        patch.setattr("atrous.data.dataset.read_pair", lambda *_: pytest.fail("decoded again"))
        again = FolderDataset(folder, "train", cache="disk")
        for index, sample in enumerate(wanted):
            equal(again[index], sample)
    assert len(files(folder)) == 1
    image = folder.splits["train"][0].image
    cv2.imwrite(str(image), 255 - cv2.imread(str(image)))
    changed = FolderDataset(folder, "train", cache="disk")
    assert len(files(folder)) == 2
    assert torch.equal(changed[0]["image"], torch.from_numpy(read_image(image).array).permute(2, 0, 1).float())


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_workers_share_it(folder, where, monkeypatch):
    cached = FolderDataset(folder, "train", cache=where)
    for batch in DataLoader(cached, batch_size=1, num_workers=2, collate_fn=list):
        assert batch[0]["image"].shape == (3, 24, 32)
    monkeypatch.setattr("atrous.data.dataset.read_pair", lambda *_: pytest.fail("the workers' decoding was lost"))
    for index in range(len(cached)):
        assert cached[index]["mask"].shape == (24, 32)


def test_a_disk_cache_may_be_pickled(folder):
    cached = FolderDataset(folder, "train", cache="disk")
    sample = cached[0]
    equal(pickle.loads(pickle.dumps(cached))[0], sample)


def test_too_little_room_is_told_beforehand(folder, monkeypatch):
    monkeypatch.setattr(cache, "free_memory", lambda: 1000)
    with pytest.raises(DataError, match=r"data\.cache: the decoded images take 0\.00 GB of shared memory, and"):
        FolderDataset(folder, "train", cache="memory")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5})())
    with pytest.raises(DataError, match=r"GB are free at .*; set ATROUS_CACHE to a folder on a larger disk"):
        FolderDataset(folder, "train", cache="disk")
    with pytest.raises(DataError, match=r"data\.cache: 'ram' is not one of none, memory, disk"):
        FolderDataset(folder, "train", cache="ram")


def test_the_file_has_no_holes_that_a_full_disk_could_not_fill(folder):
    """A page of a mapped file that finds no room ends the process without a word."""
    FolderDataset(folder, "train", cache="disk")
    (file,) = files(folder)
    size = file.stat().st_size
    assert file.stat().st_blocks * 512 >= size
    file.unlink()
    with file.open("wb") as hole:  # as older versions left it
        hole.truncate(size)
    assert file.stat().st_blocks * 512 < size
    FolderDataset(folder, "train", cache="disk")
    assert file.stat().st_blocks * 512 >= size


def test_a_disk_that_fills_up_beforehand_is_told(folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"\.samples: cannot be written \(No space left on device\); free space there"):
        FolderDataset(folder, "train", cache="disk")
    assert files(folder) == []


def test_instances_and_planes_are_cached_too(tmp_path):
    for part in ("images", "masks", "instances"):
        (tmp_path / part).mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"images/{number}.png"), rng.integers(0, 65535, (9, 11), np.uint16))
        np.save(tmp_path / f"masks/{number}.npy", rng.integers(0, 2, (3, 9, 11), np.uint8))
        np.save(tmp_path / f"instances/{number}.npy", rng.integers(0, 70000, (9, 11), np.int32))
    folder = open_folder(tmp_path)
    plain, cached = FolderDataset(folder, "train"), FolderDataset(folder, "train", cache="memory")
    for _ in range(2):
        equal(cached[1], plain[1])
    assert cached[1]["mask"].shape == (3, 9, 11)


def zarr_folder(root, count=2):
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        image = rng.integers(0, 255, (40, 48), np.uint8)
        zarr.create_array(root / f"images/{number}.zarr", data=image, chunks=(16, 16))
        np.save(root / f"masks/{number}.npy", (image > 100).astype(np.uint8))
    return root


@pytest.mark.parametrize("chunk", ["first", "last"])
def test_a_zarr_that_changes_inside_is_read_anew(tmp_path, monkeypatch, chunk):
    """Its folder keeps its time of change when a chunk is written, two folders below."""
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    folder = open_folder(zarr_folder(tmp_path / "set"))
    first = FolderDataset(folder, "train", cache="disk")
    before = first[0]["image"].clone()
    array = zarr.open(first.pairs[0].image, mode="r+")
    rows = slice(0, 4) if chunk == "first" else slice(36, 40)
    array[rows] = 255 - array[rows]
    again = FolderDataset(folder, "train", cache="disk")
    assert not torch.equal(again[0]["image"], before)
    np.testing.assert_array_equal(again[0]["image"][0], np.asarray(array[:]))


def test_a_mask_beside_an_image_and_its_orientation_count_too(tmp_path, monkeypatch, make_folder):
    root = make_folder(4)
    names = [cache.cache_file(open_folder(root, exif=exif), open_folder(root, exif=exif).pairs, tmp_path)
             for exif in ("oriented", "raw")]  # fmt: skip
    tifffile.imwrite(f"{open_folder(root).pairs[0].image}.msk", np.full((24, 32), 255, np.uint8))
    names.append(cache.cache_file(open_folder(root), open_folder(root).pairs, tmp_path))
    assert len(set(names)) == 3
