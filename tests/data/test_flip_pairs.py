"""The pairs of a class table reach every sample that is read, however it is read, and conversions keep them."""

import json

import cv2
import numpy as np
import pytest
import torch
import yaml

from atrous.data import FolderDataset, check_folder, open_folder
from atrous.recipe import load_recipe
from atrous.training.augment import augmented_samples
from atrous.workflows.conversion import convert

TABLE = """\
classes: [{name: background, value: 0}, {name: left eye, value: 10}, {name: right eye, value: 20}]
flip_pairs: [[left eye, right eye]]
"""


@pytest.fixture
def faces(tmp_path):
    """Eight images: bright where the left eye is, dark where the right one is."""
    folder = tmp_path / "faces"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.yaml").write_text(TABLE)
    mask = np.zeros((16, 24), np.uint8)
    mask[4:8, 4:8], mask[4:8, 16:20] = 10, 20
    for number in range(8):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), np.where(mask, 240 - 6 * mask, 128).astype(np.uint8))
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
    return folder


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_every_way_to_read_a_sample_knows_them(faces, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    dataset = FolderDataset(open_folder(faces), "train", cache=cache)
    for sample in (dataset[0], dataset[0], dataset.window(1, slice(2, 9), slice(3, 12)),
                   dataset.draw(0, np.random.default_rng(0))):  # fmt: skip
        assert sample["flip_pairs"].tolist() == [[1, 2]]


def test_a_flip_of_training_shows_each_eye_on_its_own_side(faces):
    text = ["data.augment=[{name: horizontal_flip}, {name: vertical_flip}, rotate90]", "data.crop=16"]
    exchanged = []
    for sample in augmented_samples(open_folder(faces), load_recipe("unet", text), 24):
        image, mask = sample["image"][0], sample["mask"]
        first, second = image > 150, image < 128
        assert torch.equal(first | second, (mask == 1) | (mask == 2))
        if first.any():
            exchanged.append(bool((mask[first] == 2).all()))
            assert (mask[first] == (2 if exchanged[-1] else 1)).all()
            assert (mask[second] == (1 if exchanged[-1] else 2)).all()
    assert {True, False} == set(exchanged)


def test_folders_without_pairs_have_none(faces):
    (faces / "classes.yaml").write_text(TABLE.splitlines()[0])
    assert "flip_pairs" not in FolderDataset(open_folder(faces), "train")[0]


def test_the_doctor_asks_for_pairs_that_the_names_suggest(faces):
    def told():
        return [finding for finding in check_folder(open_folder(faces)).findings if finding.code == "unpaired_sides"]

    assert not told()
    (faces / "classes.yaml").write_text(TABLE.splitlines()[0])
    (finding,) = told()
    assert finding.severity == "warning"
    assert finding.fix.endswith("write into classes.yaml: flip_pairs: [[left eye, right eye]].")


def test_converted_folders_keep_them(faces, tmp_path):
    source = tmp_path / "drawn"
    source.mkdir()
    cv2.imwrite(str(source / "a.png"), np.zeros((16, 24), np.uint8))
    shapes = [{"label": "left eye", "points": [[2, 2], [8, 2], [8, 8]], "shape_type": "polygon", "group_id": None}]
    table = {"shapes": shapes, "imagePath": "a.png", "imageData": None, "imageHeight": 16, "imageWidth": 24}
    (source / "a.json").write_text(json.dumps(table))
    convert(source, tmp_path / "out", classes=faces / "classes.yaml")
    assert yaml.safe_load((tmp_path / "out" / "classes.yaml").read_text())["flip_pairs"] == [["left eye", "right eye"]]
    assert open_folder(tmp_path / "out", val_fraction=0).classes.flip_pairs == ((1, 2),)
