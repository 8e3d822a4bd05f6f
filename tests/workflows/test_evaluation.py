"""Evaluation against a loop of our own, and what it says where it cannot judge."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from atrous.data import open_folder
from atrous.errors import BundleError, DataError, UsageError
from atrous.images import read_image, read_mask, write_image
from atrous.inference import Predictor
from atrous.workflows import Evaluation, evaluate


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "cells"))


def test_the_matrix_is_counted_over_all_images(run: Path, data: Path) -> None:
    result = evaluate(run, data, split="test", device="cpu", precision="float32")
    predictor = Predictor.load(run / "bundle", device="cpu", precision="float32")
    matrix = np.zeros((2, 2), int)
    for pair, told in zip(open_folder(data).splits["test"], result.images, strict=True):
        decided, truth = predictor(read_image(pair.image).array).classes, read_mask(pair.mask)
        own = np.array([[((truth == i) & (decided == j)).sum() for j in range(2)] for i in range(2)])
        matrix += own
        assert told.name == pair.name
        assert told.pixel_accuracy == pytest.approx(np.trace(own) / own.sum())
        ious = [own[k, k] / (own[k].sum() + own[:, k].sum() - own[k, k]) for k in range(2)]
        assert told.mean_iou == pytest.approx(np.mean(ious))
    assert result.matrix == matrix.tolist()
    assert result.summary["pixel_accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum())
    assert result.class_names == ("background", "cell")


def test_tiles_give_the_same_scores(run: Path, data: Path) -> None:
    whole = evaluate(run, data, split="test", device="cpu", precision="float32")
    tiled = evaluate(run, data, split="test", tile=48, device="cpu", precision="float32")
    assert whole.matrix == tiled.matrix
    assert "48" in tiled.notes["tile"]


def test_ignored_pixels_and_images_count_for_nothing(run: Path, copy: Path) -> None:
    whole = evaluate(run, copy, split="test")
    pair = open_folder(copy).splits["test"][0]
    write_image(pair.mask, np.full((72, 88), 255, np.uint8))
    less = evaluate(run, copy, split="test")
    assert math.isnan(less.images[0].mean_iou)
    assert np.sum(whole.matrix) - np.sum(less.matrix) == 72 * 88
    assert [image.name for image in less.ranked()] == [
        i.name for i in sorted(less.images[1:], key=lambda image: image.mean_iou)
    ]


def test_boundaries_are_measured_image_by_image(run: Path, data: Path) -> None:
    import torch

    from atrous.metrics import boundary_f1

    result = evaluate(run, data, split="test", device="cpu", precision="float32")
    predictor = Predictor.load(run / "bundle", device="cpu", precision="float32")
    rows = []
    for pair, told in zip(open_folder(data).splits["test"], result.images, strict=True):
        decided, truth = predictor(read_image(pair.image).array).classes, read_mask(pair.mask)
        row = boundary_f1(torch.from_numpy(decided).long(), torch.from_numpy(truth).long(), 2).tolist()
        assert told.boundary_f1 == pytest.approx(np.nanmean(row))
        rows.append(row)
    assert result.summary["mean_boundary_f1"] == pytest.approx(np.mean(np.nanmean(rows, axis=1)))
    assert result.summary["boundary_f1"]["cell"] == pytest.approx(np.nanmean(rows, axis=0)[1])
    assert f"boundary F1 {result.summary['mean_boundary_f1']:.3f}" in str(result)
    without = evaluate(run, data, split="test", boundary=False, device="cpu", precision="float32")
    assert "boundary" not in str(without)
    assert without.matrix == result.matrix
    assert math.isnan(without.images[0].boundary_f1)


def test_older_evaluations_are_read(run: Path, data: Path) -> None:
    values = json.loads(evaluate(run, data, split="test", boundary=False).to_json())
    for image in values["images"]:
        del image["boundary_f1"]
    assert math.isnan(Evaluation.from_json(json.dumps(values)).images[0].boundary_f1)


def test_json_and_back(run: Path, copy: Path, tmp_path: Path) -> None:
    write_image(open_folder(copy).splits["test"][0].mask, np.full((72, 88), 255, np.uint8))
    result = evaluate(run, copy, split="test")
    path = result.write(tmp_path / "new" / "scores.json")
    assert "NaN" not in path.read_text()
    json.loads(path.read_text())
    again = Evaluation.from_json(path.read_text())
    assert str(again) == str(result)
    assert again.matrix == result.matrix
    assert math.isnan(again.images[0].mean_iou)


def test_the_table_names_every_class_and_the_means(run: Path, data: Path) -> None:
    result = evaluate(run, data, split="test")
    text = str(result)
    assert f"mean IoU {result.summary['mean_iou']:.3f}" in text
    assert "background" in text
    assert f"{result.summary['iou']['cell']:.3f}" in text


def test_images_without_masks_are_left_out(run: Path, copy: Path) -> None:
    pairs = open_folder(copy).splits["test"]
    pairs[0].mask.unlink()
    assert len(evaluate(run, copy, split="test").images) == len(pairs) - 1
    for pair in pairs[1:]:
        pair.mask.unlink()
    with pytest.raises(DataError, match="no image of the split 'test' has a mask"):
        evaluate(run, copy, split="test")


def test_without_split_files_the_split_is_that_of_the_training(run: Path, copy: Path) -> None:
    for name in ("train", "val", "test"):
        (copy / f"{name}.txt").unlink()
    names = {image.name for image in evaluate(run, copy, split="val").images}
    assert names == {pair.name for pair in open_folder(copy, val_fraction=0.2, seed=0).splits["val"]}


def test_progress_goes_from_none_to_all(run: Path, data: Path) -> None:
    told: list[tuple[int, int]] = []
    evaluate(run, data, split="test", progress=lambda done, total: told.append((done, total)))
    count = told[-1][1]
    assert told == [(i, count) for i in range(count + 1)]


def test_a_bundle_for_other_images_is_refused(make_bundle, data: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("classes: [{name: c0, value: 0}, {name: c1, value: 1}]")
    with pytest.raises(BundleError, match=r"takes uint8 images of 4 channels, but .* has uint8 images of 1"):
        evaluate(make_bundle(in_channels=4), data, classes=tmp_path / "c.yaml")
    assert evaluate(make_bundle(in_channels=3), data, classes=tmp_path / "c.yaml").images  # grey is repeated
    with pytest.raises(BundleError, match=r"decides the classes .*'c2'.*--classes"):
        evaluate(make_bundle(num_classes=3), data)


def test_an_unknown_split_is_named(run: Path, data: Path) -> None:
    with pytest.raises(UsageError, match=r"no split 'tset'\. Did you mean 'test'"):
        evaluate(run, data, split="tset")
