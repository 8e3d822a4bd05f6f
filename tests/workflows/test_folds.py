"""Folds: each image is decided once by a network that has not seen it, and all networks become one bundle."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from atrous.bundle import load_bundle
from atrous.data import open_folder
from atrous.data.splits import Pair, take_fold
from atrous.errors import DataError, RecipeError, UsageError
from atrous.images import read_image
from atrous.inference import Predictor
from atrous.made import make_cells
from atrous.tasks import TASKS
from atrous.workflows import evaluate, folds
from atrous.workflows.training import train

RECIPE = """\
model:     {name: dilated_unet, width: 2}
data:      {crop: 16, batch_size: 2, workers: 0}
optimizer: {name: adamw, lr: 0.01}
training:  {max_steps: 3, validate_every: 3, log_every: 1, device: cpu, precision: float32}
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks as small as these gain nothing from several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> Path:
    return make_cells(tmp_path_factory.mktemp("data") / "cells", count=10, size=32)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "own.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def finished(cells, recipe, tmp_path_factory):
    return train(cells, recipe=recipe, out=tmp_path_factory.mktemp("runs") / "run", folds=3)


# ---------- the division


def pairs(*names: str) -> tuple[Pair, ...]:
    return tuple(Pair(name, Path(f"images/{name}.png"), Path(f"masks/{name}.png")) for name in names)


@pytest.mark.parametrize(("size", "count"), [(10, 5), (11, 3), (7, 7), (23, 4)])
def test_every_image_is_validation_exactly_once_and_never_trained_on_there(size, count):
    names = [f"frame_{index}" for index in range(size)]
    shuffled = np.random.default_rng(0).permutation(names)
    splits = {"train": pairs(*shuffled[: size // 2]), "val": pairs(*shuffled[size // 2 :]), "test": pairs("other")}
    found = [take_fold(splits, (number, count), Path("data")) for number in range(1, count + 1)]
    assert [pair.name for fold in found for pair in fold["val"]] == names  # in blocks, frame_9 before frame_10
    for fold in found:
        assert {pair.name for pair in fold["train"]} == set(names) - {pair.name for pair in fold["val"]}
        assert fold["test"] == splits["test"]
    sizes = [len(fold["val"]) for fold in found]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("fold", "words"),
    [((1, 4), "3 labelled images outside test, too few for 4"), ((0, 2), "from 1"), ((1, 1), "at least 2")],
)
def test_folds_that_cannot_be(fold, words):
    with pytest.raises(DataError, match=words):
        take_fold({"train": pairs("a", "b"), "val": pairs("c")}, fold, Path("data"))


def test_classes_do_not_depend_on_the_fold(cells):
    opened = [open_folder(cells, fold=(number, 3)) for number in (1, 2, 3)]
    assert len({folder.classes for folder in opened}) == 1
    assert opened[0].splits["test"] == open_folder(cells).splits["test"]


# ---------- the run


def test_a_fold_is_an_ordinary_run_on_its_images(finished, cells):
    names = []
    for number in (1, 2, 3):
        place = finished.out / f"fold{number}"
        assert load_bundle(place / "bundle").recipe["data"]["fold"] == [number, 3]
        told = json.loads((place / "evaluation.json").read_text())
        names += [image["name"] for image in told["images"]]
        precision = told["notes"]["precision"]  # what this processor does fast
        assert evaluate(place, cells, device="cpu", precision=precision).matrix == told["matrix"]
        assert (place / "report.html").is_file()
    folder = open_folder(cells)
    assert sorted(names) == sorted(pair.name for split in ("train", "val") for pair in folder.splits[split])
    assert len(set(names)) == len(names)


def test_the_out_of_fold_figures_are_of_one_confusion_matrix(finished):
    each = [json.loads((finished.out / f"fold{number}" / "evaluation.json").read_text()) for number in (1, 2, 3)]
    matrix = sum(np.array(told["matrix"]) for told in each)
    assert finished.evaluation.matrix == matrix.tolist()
    assert finished.evaluation.split == "out-of-fold"
    hits = np.diag(matrix)
    iou = hits / (matrix.sum(0) + matrix.sum(1) - hits)
    assert finished.evaluation.summary["mean_iou"] == pytest.approx(np.nanmean(iou))
    written = json.loads((finished.out / "evaluation.json").read_text())
    assert written["matrix"] == matrix.tolist()
    bundle = load_bundle(finished.bundle)
    assert bundle.metrics["out_of_fold_mean_iou"] == pytest.approx(np.nanmean(iou))
    assert bundle.metrics["out-of-fold"]["iou"]["cell"] == pytest.approx(iou[1])
    assert bundle.metrics["folds"] == 3


def test_the_bundle_is_the_ensemble_of_the_folds(finished, cells):
    image = read_image(open_folder(cells).splits["test"][0].image).array
    scores = [
        Predictor.load(place, device="cpu", precision="float32")(image, scores=True).scores
        for place in (finished.bundle, *(finished.out / f"fold{number}" / "bundle" for number in (1, 2, 3)))
    ]
    assert np.abs(scores[0] - np.mean(scores[1:], axis=0)).max() < 1e-6
    tiled = Predictor.load(finished.bundle, device="cpu", precision="float32")(image, tile=16, scores=True).scores
    assert np.abs(tiled - scores[0]).max() < 1e-5
    recipe = load_bundle(finished.bundle).recipe
    assert recipe["data"] == {"crop": 16, "batch_size": 2, "workers": 0}
    assert recipe["optimizer"]["lr"] == 0.01


def test_the_text_and_the_report_tell_of_the_folds(finished):
    text = str(finished)
    assert "finished after 9 steps" in text
    assert "  fold2: 3 steps" in text
    assert "out-of-fold: " in text
    page = (finished.out / "report.html").read_text()
    assert "out-of-fold images" in page
    assert "--folds 3" in page


def test_a_finished_run_is_left_alone(finished, cells):
    before = {path: path.stat().st_mtime_ns for path in finished.out.rglob("*") if path.is_file()}
    again = train(cells, out=finished.out, resume=True)
    assert (again.trained, again.folds, again.evaluation.matrix) == (False, finished.folds, finished.evaluation.matrix)
    assert {path: path.stat().st_mtime_ns for path in finished.out.rglob("*") if path.is_file()} == before


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "bundle" / "model.safetensors")


@pytest.mark.parametrize("moment", ["second fold", "ensemble"])
def test_an_interrupted_run_goes_on(moment, finished, cells, recipe, tmp_path, monkeypatch):
    out, calls = tmp_path / "run", []
    name = {"second fold": "train_into", "ensemble": "ensemble"}[moment]
    real = getattr(folds, name)

    def interrupt(*args, **kwargs):
        calls.append(1)
        if len(calls) == (2 if moment == "second fold" else 1):
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(folds, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(cells, recipe=recipe, out=out, folds=3, evaluate=False)
    first = (out / "fold1" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    run = train(cells, out=out, resume=True, evaluate=False)
    assert len(run.folds) == 3
    assert run.evaluation is None
    assert (out / "fold1" / "checkpoints" / "last.ckpt").stat().st_mtime_ns == first
    wanted, got = weights(finished.out), weights(out)
    assert wanted.keys() == got.keys()
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)


def test_folds_and_stages_go_together(cells, recipe, tmp_path):
    rest = ["stages=[{name: a, training: {max_steps: 1}}, {name: b, training: {max_steps: 2}}]"]
    run = train(cells, recipe=recipe, out=tmp_path / "run", folds=2, overrides=rest, evaluate=False)
    assert [part.steps for part in run.folds] == [3, 3]
    assert (run.out / "fold2" / "stages" / "1-a" / "bundle").is_dir()


# ---------- every task


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.probabilities])
def test_the_folds_of_every_task_that_makes_ensembles_end_with_a_bundle_and_a_report(cells, recipe, tmp_path, task):
    run = train(cells, recipe=recipe, out=tmp_path / "run", folds=2, overrides=[f"task={task}", "training.max_steps=1"])
    assert run.evaluation.split == "out-of-fold"
    assert len(run.evaluation.images) == 8
    assert load_bundle(run.bundle).task["name"] == task
    assert "out-of-fold images" in (run.out / "report.html").read_text()
    found = Predictor.load(run.bundle, device="cpu")(np.zeros((20, 24), np.uint8))
    assert found.classes.shape == (20, 24)


def test_a_task_that_makes_no_ensemble_is_refused_before_the_first_step(cells, recipe, tmp_path, monkeypatch):
    from atrous.tasks import MultiLabel

    monkeypatch.setattr(MultiLabel, "probabilities", "")
    words = r"--folds 2: the scores of the task 'multilabel' are no probabilities.*Train without folds"
    with pytest.raises(RecipeError, match=words):
        train(cells, recipe=recipe, out=tmp_path / "run", folds=2, overrides=["task=multilabel"])
    assert not (tmp_path / "run").exists()


# ---------- errors


def test_what_does_not_go_together_leaves_nothing(cells, recipe, tmp_path):
    out = tmp_path / "runs" / "run"
    with pytest.raises(DataError, match="too few for 99 folds"):
        train(cells, recipe=recipe, out=out, folds=99)
    with pytest.raises(UsageError, match="--folds 1: give at least 2"):
        train(cells, recipe=recipe, out=out, folds=1)
    with pytest.raises(RecipeError, match=r"data\.fold: the recipe names a fold, and --folds all of them"):
        train(cells, recipe=recipe, out=out, folds=2, overrides=["data.fold=[1, 2]"])
    with pytest.raises(RecipeError, match=r"model\.widht"):
        train(cells, recipe=recipe, out=out, folds=2, overrides=["model.widht=3"])
    with pytest.raises(RecipeError, match="data: got 3"):
        train(cells, recipe=recipe, out=out, folds=2, overrides=["data=3"])
    assert not (tmp_path / "runs").exists()


def test_other_folds_are_no_resumption(finished, cells, tmp_path):
    with pytest.raises(UsageError, match="started with --folds 3, not --folds 4"):
        train(cells, out=finished.out, resume=True, folds=4)
    single = tmp_path / "single"
    shutil.copytree(finished.out / "fold1", single)
    with pytest.raises(UsageError, match="started without folds, not --folds 3"):
        train(cells, out=single, resume=True, folds=3)
