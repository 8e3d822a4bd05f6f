"""A kind of work that the house does not know: one class here, one entry in TASKS, and everything goes on with it."""

import csv
import json
from typing import Annotated

import cv2
import numpy as np
import pytest
import torch
from annotated_types import Ge
from torch import nn

from atrous import Predictor
from atrous.errors import DataError, RecipeError
from atrous.evaluation import Evaluation, join
from atrous.images import read_image
from atrous.made import make_cells
from atrous.tasks import TASKS, Measure, Output, Proposal, Task, propose
from atrous.tasks.outputs import mask
from atrous.training.files import read_checkpoint
from atrous.types import Prediction
from atrous.workflows import PredictionFiles, evaluate, predict, report, train

COUNT_ERROR = Measure("count_error", higher_is_better=False, label="error of the count", perfect=0.0)
RED = (255, 0, 0)


def peaks(heat, reach):
    """(P, 3) x, y, score of the places that nothing around them exceeds."""
    size = 2 * reach + 1
    top = (heat >= cv2.dilate(heat, np.ones((size, size), np.uint8))) & (heat > 0.3)
    y, x = np.nonzero(top)
    return np.stack([x, y, heat[top]], 1).astype(np.float32)


class Points(Task):
    """Where cells are: one heat map, whose peaks are counted."""

    shows_classes = False
    measures = (COUNT_ERROR,)
    monitor = COUNT_ERROR

    def __init__(self, num_classes: int, *, reach: Annotated[int, Ge(1)] = 3):
        self.num_classes, self.reach = num_classes, reach

    def losses(self, outputs, batch):
        heat, target = outputs["out"][:, 1].float().sigmoid(), (batch["instances"] > 0).float()
        return {"heat": (heat - target).square().mean()}

    def scores(self, outputs):
        return outputs["out"].float().sigmoid()

    def decode(self, scores):
        heat = np.ascontiguousarray(scores[1].cpu().numpy())
        classes = (heat > 0.5).astype(np.uint8)
        return Prediction(classes, heat.astype(np.float16), keypoints=peaks(heat, self.reach))

    def validator(self):
        return Counter(self)

    def evaluator(self, class_names, *, boundary=True):
        return Counts(class_names)

    def files(self, class_names, colors):
        heat = Output("heat", lambda prediction, exact: np.rint(prediction.confidence * 255).astype(np.uint8))
        return [mask(class_names, colors), heat]

    def draw(self, prediction, image, colors):
        drawn = prediction.overlay(image, colors)
        for x, y, _ in prediction.keypoints:
            cv2.circle(drawn, (int(x), int(y)), 3, RED, -1)
        return drawn

    @classmethod
    def accepts(cls, data):
        if not any(pair.instances for pair in data.splits["train"]):
            raise DataError(f"{data.root}: has no numbered objects to count; add instances/.")

    @classmethod
    def propose(cls, facts):
        return Proposal({"name": "points"}, "they are many") if facts.touching > 0.9 else None


class Counter(nn.Module):
    def __init__(self, task):
        super().__init__()
        self.task, self.errors = task, []

    def reset(self):
        self.errors = []

    def update(self, scores, batch):
        for one, numbers in zip(scores, batch["instances"], strict=True):
            self.errors.append(abs(len(self.task.decode(one).keypoints) - len(numbers.unique()) + 1))

    def compute(self):
        return {"count_error": float(np.mean(self.errors))}


class Counts:
    ranks = COUNT_ERROR

    def __init__(self, class_names):
        self.class_names, self.errors, self.matrix = class_names, [], []

    def update(self, prediction, truth):
        true = len(np.unique(truth["instances"][truth["instances"] > 0]))
        self.errors.append(abs(len(prediction.keypoints) - true))
        return {"count_error": float(self.errors[-1])}

    def compute(self):
        return {"count_error": float(np.mean(self.errors)), "worst": {"cell": float(max(self.errors))}}


@pytest.fixture(scope="module")
def known():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "points", Points)
        yield


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return make_cells(tmp_path_factory.mktemp("made") / "cells", count=14, size=(72, 88))


@pytest.fixture(scope="module")
def finished(known, cells, tmp_path_factory):
    given = ["model={name: unet2015, width: 4}", "data={crop: 64, batch_size: 2, workers: 0}"]
    given += ["training={max_steps: 3, device: cpu, precision: float32, validate_every: 1}"]
    given += ["task={name: points, reach: 2}", "optimizer.lr=0.01"]
    return train(cells, recipe="unet", out=tmp_path_factory.mktemp("runs") / "run", overrides=given)


def test_its_own_figure_chooses_the_weights(finished):
    with (finished.out / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = {int(row["step"]): float(row["val_count_error"]) for row in rows}
    assert set(scores) == {1, 2, 3}
    assert "val_mean_iou" not in rows[0]
    assert finished.best == min(scores.values())
    assert finished.best_step == min(scores, key=scores.get)
    assert f"best validation error of the count {finished.best:.3f}" in str(finished)
    state = read_checkpoint(finished.out / "checkpoints" / "last.ckpt")["state"]
    assert state["monitor"][:2] == ["count_error", False]


def test_it_is_measured_by_its_own_figures(finished, cells):
    found = evaluate(finished.bundle, cells, split="test", device="cpu", precision="float32")
    errors = [image.figure("count_error") for image in found.images]
    assert found.summary["count_error"] == pytest.approx(np.mean(errors))
    assert [image.figure("count_error") for image in found.ranked()] == sorted(errors, reverse=True)
    text = found.table()
    assert f"error of the count {np.mean(errors):.3f}" in text
    assert f"{max(errors):.3f}" in next(line for line in text.splitlines() if line.startswith("cell "))
    again = Evaluation.from_json(found.to_json())
    assert str(again) == str(found)
    assert again.ranked() == found.ranked()
    assert json.loads(found.to_json())["images"][0]["count_error"] == errors[0]
    both = join([found, found], bundle="both", split="test")
    assert both.summary["count_error"] == pytest.approx(found.summary["count_error"])
    assert len(both.images) == 2 * len(errors)


def test_it_writes_and_draws_what_it_likes(finished, cells, tmp_path, caplog):
    image = sorted((cells / "images").iterdir())[0]
    predictor = Predictor.load(finished.bundle, device="cpu", precision="float32")
    (written,) = predict(
        finished.bundle, image, tmp_path, outputs=PredictionFiles(overlay=True, confidence=True), device="cpu",
        precision="float32",
    )  # fmt: skip
    assert "has no confidence, so none is written" in caplog.text
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {written.name, "counts.csv", f"heat/{image.stem}.png", f"overlay/{image.stem}.jpg"}
    prediction, array = predictor(image), read_image(image).array
    heat = read_image(tmp_path / "heat" / f"{image.stem}.png").array[..., 0]
    assert (heat == np.rint(prediction.confidence * 255)).all()
    drawn = read_image(tmp_path / "overlay" / f"{image.stem}.jpg").array.astype(int)
    expected = predictor.task.draw(prediction, array, predictor.colors).astype(int)
    plain = prediction.overlay(array, predictor.colors).astype(int)
    assert len(prediction.keypoints) > 0
    assert abs(drawn - expected).mean() < abs(drawn - plain).mean()


def test_its_report_shows_its_figures_and_its_pictures(finished):
    page = report(finished.out, device="cpu").read_text()
    assert "Error of the count on validation images" in page
    assert "Lower is better, 0 is perfect" in page
    assert "by the error of the count within each" in page
    assert f"{finished.evaluation.summary['count_error']:.3f}" in page
    assert "What was taken for what" not in page
    assert "mean IoU" not in page
    assert "Pictures</dt><dd>none" not in page


def test_it_is_finished_and_resumed_like_any_run(finished, cells):
    again = train(cells, out=finished.out, resume=True)
    assert not again.trained
    assert again.best == finished.best


def test_it_refuses_data_and_settings_in_its_own_words(known, tmp_path):
    from atrous.made import make_scenes

    scenes = make_scenes(tmp_path / "scenes", count=6, size=(64, 96))
    with pytest.raises(DataError, match="has no numbered objects to count"):
        train(scenes, recipe="unet_small", out=tmp_path / "run", overrides=["task=points"])
    with pytest.raises(RecipeError, match=r"task\.reach"):
        train(scenes, recipe="unet_small", out=tmp_path / "run", overrides=["task={name: points, reach: 0}"])
    assert not (tmp_path / "run").exists()


def test_it_is_proposed_before_the_others(known):
    from dataclasses import replace

    from tests.configure.test_rules import CELLS  # plain facts

    assert propose(replace(CELLS, touching=0.95)).section == {"name": "points"}
    assert propose(CELLS).section["name"] == "segmentation"


def test_a_task_says_what_it_cannot_leave_open():
    class Half(Points):
        losses = Task.losses

    with pytest.raises(TypeError, match="abstract"):
        Half(2)
    assert torch.is_tensor(Points(2).scores({"out": torch.zeros(1, 2, 3, 3)}))
