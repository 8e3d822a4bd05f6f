"""Results joined, kept and printed."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from atrous.evaluation import Evaluation, ImageResult, join
from atrous.metrics import summarize
from atrous.metrics.objects import score_objects, summarize_objects
from atrous.tasks import Measure
from atrous.types import Prediction

NAMES = ("background", "cell")


def measured(seed, images):
    """An evaluation of some random images, and the object scores that it was made of."""
    rng = np.random.default_rng(seed)
    counts, objects, results = torch.zeros(2, 2, dtype=torch.int64), [], []
    for number in range(images):
        true, found = (
            np.kron(rng.integers(0, 2 + (3 + seed) * number, (4, 5)), np.ones((3, 3), np.int64)) for _ in range(2)
        )
        found[rng.random(found.shape) < 0.5] = true[0, 0]
        one = Prediction((found > 0).astype(np.uint8), np.ones(found.shape, np.float16), instances=found)
        objects.append(score_objects(one, true, (true > 0).astype(np.uint8)))
        own = torch.from_numpy(rng.integers(0, 9, (2, 2)))
        counts += own
        results.append(
            ImageResult(
                f"{seed}-{number}", 0.5, 0.5, 0.1, 0.25, objects[-1].seg, objects[-1].objects, objects[-1].found
            )
        )
    summary = summarize(counts, NAMES) | summarize_objects(objects)
    notes = {"device": "cpu", "precision": "float32", "tile": "", "refine": ""}
    told = Evaluation("b", "d", "val", NAMES, counts.tolist(), summary, tuple(results), 0.1 * images, notes)
    return told, counts, objects


def test_joined_results_are_those_of_all_images_at_once():
    (one, counts, objects), (two, more, others) = measured(0, 3), measured(1, 5)
    both = join([one, two], bundle="folds", split="out-of-fold")
    expected = summarize(counts + more, NAMES) | summarize_objects([*objects, *others])
    assert both.matrix == (counts + more).tolist()
    for name in expected:
        assert both.summary[name] == pytest.approx(expected[name], nan_ok=True), name
    assert both.summary["mean_boundary_f1"] == 0.25
    assert [image.name for image in both.images] == [image.name for each in (one, two) for image in each.images]
    assert (both.bundle, both.split, both.seconds) == ("folds", "out-of-fold", pytest.approx(0.8))


def test_what_an_older_version_wrote_is_read():
    old = {
        "bundle": "runs/a/bundle", "data": "cells", "split": "val", "class_names": list(NAMES),
        "matrix": [[5, 1], [0, 2]],
        "summary": {"pixel_accuracy": 0.875, "mean_accuracy": None, "mean_iou": 0.75, "iou": {"background": 0.8333,
                    "cell": 0.6667}, "accuracy": {"background": 0.8333, "cell": None}},
        "images": [{"name": "a", "mean_iou": None, "pixel_accuracy": 0.875, "seconds": 0.25}],
        "seconds": 0.25, "notes": {"device": "cpu", "precision": "float32", "tile": "whole images", "refine": ""},
    }  # fmt: skip
    told = Evaluation.from_json(json.dumps(old))
    assert math.isnan(told.images[0].mean_iou)
    assert told.ranked() == []
    assert str(told).splitlines() == [
        "val: 1 images, 8 labelled pixels",
        "",
        "class            IoU  recall  share of pixels",
        "background     0.833   0.833          75.00 %",
        "cell           0.667       -          25.00 %",
        "",
        "mean IoU 0.750   pixel accuracy 87.5 %",
        "250 ms per image (cpu, float32, whole images)",
    ]


def test_the_file_of_a_segmentation_has_the_keys_that_it_always_had():
    values = json.loads(measured(0, 1)[0].to_json())
    assert set(values) == {
        "bundle", "data", "split", "class_names", "matrix", "summary", "images", "seconds", "notes",
    }  # fmt: skip
    assert set(values["images"][0]) == {
        "name", "mean_iou", "pixel_accuracy", "seconds", "boundary_f1", "seg", "objects", "found",
    }  # fmt: skip


def test_images_are_ranked_from_the_worst_to_the_best():
    told = measured(0, 1)[0]
    values = {"a": 0.5, "b": math.nan, "c": 0.25, "d": 0.75}
    ious = tuple(ImageResult(name, mean_iou=value) for name, value in values.items())
    assert [image.name for image in replace(told, images=ious).ranked()] == ["c", "a", "d"]
    errors = tuple(ImageResult(name, others={"error": value}) for name, value in values.items())
    by_error = replace(told, images=errors, rank=Measure("error", higher_is_better=False))
    assert [image.name for image in by_error.ranked()] == ["d", "a", "c"]
