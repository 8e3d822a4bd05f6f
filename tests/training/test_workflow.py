"""`train` as a whole, on made cells; what it calls at the end is tested where it stands."""

import csv
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from atrous.bundle import load_bundle
from atrous.errors import AtrousError, BundleError, DataError, RecipeError, UsageError
from atrous.made import make_cells
from atrous.training.files import COLUMNS, write_checkpoint
from atrous.training.loaders import explaining_lost_workers
from atrous.workflows.training import train

SMALL = [
    "model.width=4",
    "data={crop: 16, batch_size: 2, augment: [horizontal_flip]}",
    "training={max_steps: 6, validate_every: 3, checkpoint_every: 2, log_every: 2}",
    "schedule=poly",
]


@pytest.fixture(autouse=True)
def heard(caplog):
    """What the package reports while it works."""
    caplog.set_level("INFO", logger="atrous")


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> Path:
    return make_cells(tmp_path_factory.mktemp("data") / "cells", count=12, size=32)


@pytest.fixture(scope="module")
def finished(cells, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    return train(cells, recipe="unet2015", out=out, overrides=SMALL, evaluate=False)


def test_a_run_leaves_what_the_others_need(finished, cells):
    out = finished.out
    assert (finished.steps, finished.trained, finished.stopped) == (6, True, False)
    assert 0 <= finished.best <= 1
    bundle = load_bundle(finished.bundle)
    best = torch.load(out / "checkpoints" / "best.ckpt", weights_only=True)
    assert all(torch.equal(value, best["model"][name]) for name, value in bundle.model.state_dict().items())
    assert (bundle.dtype, bundle.channels, bundle.recipe["training"]["max_steps"]) == ("uint8", 1, 6)
    assert bundle.metrics["val_mean_iou"] == finished.best
    assert float(bundle.model.mean) > 1
    with (out / "log.csv").open(newline="") as file:
        assert next(csv.reader(file)) == list(COLUMNS)
    checked = json.loads((out / "check.json").read_text())
    assert checked["summary"]["complete"]
    assert json.loads((out / "run.json").read_text())["data"] == str(cells)
    assert {"recipe.yaml", "environment.json", "tensorboard"} <= {path.name for path in out.iterdir()}
    assert not list(out.rglob("*.part"))


def test_the_text_says_how_it_went(finished):
    assert "finished after 6 steps" in str(finished)
    assert f"bundle: {finished.bundle}" in str(finished)


def test_a_finished_run_is_said_to_be_finished(finished, cells):
    before = {path: path.stat().st_mtime_ns for path in finished.out.rglob("*") if path.is_file()}
    again = train(cells, out=finished.out, resume=True, evaluate=False)
    assert (again.trained, again.steps, again.best) == (False, 6, finished.best)
    assert "was finished before" in str(again)
    assert {path: path.stat().st_mtime_ns for path in finished.out.rglob("*") if path.is_file()} == before


def test_a_used_folder_is_refused(finished, cells, tmp_path):
    with pytest.raises(UsageError, match="--resume"):
        train(cells, recipe="unet2015", out=finished.out, overrides=SMALL)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        train(cells, recipe="unet2015", out=tmp_path, overrides=SMALL)
    with pytest.raises(UsageError, match=r"no run to go on with"):
        train(cells, recipe="unet2015", out=tmp_path, overrides=SMALL, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("folds", [None, 2])
def test_nothing_to_go_on_with_is_no_new_run(cells, tmp_path, folds):
    words = r"no run to go on with here: no run\.json; name the run's folder with -o, or leave out --resume"
    with pytest.raises(UsageError, match=words):
        train(cells, recipe="unet2015", out=tmp_path / "run", overrides=SMALL, resume=True, folds=folds)
    (tmp_path / "begun").mkdir()  # what a kill leaves that came before anything was written
    (tmp_path / "begun" / ".run.json.1.part").write_text("")
    with pytest.raises(UsageError, match=words):
        train(cells, recipe="unet2015", out=tmp_path / "begun", overrides=SMALL, resume=True, folds=folds)
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


def test_a_run_remembers_full_paths(cells, finished, tmp_path, monkeypatch):
    (tmp_path / "classes.yaml").write_text("classes: [{name: background, value: 0}, {name: cell, value: 1}]\n")
    monkeypatch.chdir(tmp_path)
    given = {"recipe": "unet2015", "overrides": [*SMALL, "training.max_steps=1"], "evaluate": False}
    from_bundle, data = os.path.relpath(finished.out, tmp_path), os.path.relpath(cells, tmp_path)
    train(data, out="run", from_bundle=from_bundle, classes="classes.yaml", **given)
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert {**told, "data": Path(told["data"]).resolve(), "from": Path(told["from"]).resolve()} == {
        "data": cells.resolve(),
        "from": finished.out.resolve(),
        "classes": str(tmp_path / "classes.yaml"),
        "data_from_run": os.path.relpath(cells, (tmp_path / "run").resolve()),
    }


def test_another_recipe_is_no_resumption(finished, cells):
    with pytest.raises(RecipeError, match=r"optimizer\.lr=0\.001, not 0\.5"):
        train(cells, out=finished.out, overrides=["optimizer.lr=0.5"], resume=True)
    with pytest.raises(RecipeError, match=r"training\.max_steps=6, not 9"):
        train(cells, out=finished.out, overrides=["training.max_steps=9"], resume=True)
    train(cells, out=finished.out, overrides=["data.workers=0"], resume=True, evaluate=False)


def test_other_data_is_no_resumption(finished, tmp_path):
    other = make_cells(tmp_path / "cells", count=13, size=32)
    with pytest.raises(DataError, match="other data"):
        train(other, out=finished.out, resume=True)


def test_weights_of_a_bundle_are_taken_over(finished, cells, tmp_path, caplog):
    overrides = [*SMALL, "optimizer.lr=0.0", "optimizer.weight_decay=0.0"]
    start = load_bundle(finished.bundle).model
    run = train(
        cells, recipe="unet2015", out=tmp_path / "tuned", overrides=overrides, from_bundle=finished.out, evaluate=False
    )
    assert "took over" in caplog.text
    tuned = load_bundle(run.bundle).model
    for name, value in start.named_parameters():
        assert torch.equal(value, tuned.get_parameter(name))
    assert torch.equal(start.mean, tuned.mean)
    with pytest.raises(BundleError, match="not one"):
        train(
            cells,
            recipe="fcn",
            out=tmp_path / "wrong",
            overrides=["model.encoder=resnet18", "training.max_steps=1"],
            from_bundle=finished.out,
        )
    assert not (tmp_path / "wrong").exists()


def test_weights_of_another_librarys_file_are_taken_over(cells, tmp_path, caplog):
    from torchvision.models import resnet18

    torch.manual_seed(0)
    theirs = resnet18(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    overrides = [
        *SMALL,
        "optimizer.lr=0.0",
        "optimizer.weight_decay=0.0",
        "training.max_steps=1",
        "model={name: refinenet, encoder: resnet18, width: 8}",
    ]
    out = tmp_path / "run"
    run = train(cells, recipe="unet", out=out, overrides=overrides, from_bundle=tmp_path / "theirs.pth", evaluate=False)
    assert "took over" in caplog.text
    assert torch.equal(load_bundle(run.bundle).model.encoder.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)


def test_a_killed_fine_tuning_remembers_its_start(finished, cells, tmp_path, caplog):
    out = tmp_path / "tuned"
    out.mkdir()
    (out / "run.json").write_text(json.dumps({"data": str(cells), "from": str(finished.out), "classes": None}))
    train(cells, recipe="unet2015", out=out, overrides=SMALL, resume=True, evaluate=False)
    assert f"{finished.out}: took over" in caplog.text


def test_class_weights_wait_for_the_whole_check(cells, tmp_path, caplog):
    overrides = [*SMALL, "task.loss={name: cross_entropy, weights: median_frequency}", "training.max_steps=1"]
    run = train(cells, recipe="unet2015", out=tmp_path / "run", overrides=overrides, evaluate=False)
    assert "reading all training masks" in caplog.text
    assert run.steps == 1


def test_an_error_in_the_data_leaves_nothing(tmp_path):
    data = make_cells(tmp_path / "cells", count=60, size=32)
    from atrous.data import open_folder, quick_check

    folder = open_folder(data)
    for pair in folder.splits["train"]:  # one that only the whole check, or the training itself, will meet
        content = pair.mask.read_bytes()
        pair.mask.write_bytes(content[: len(content) // 2])
        if not quick_check(folder).errors:
            break
        pair.mask.write_bytes(content)
    with pytest.raises(DataError, match=pair.mask.name):
        train(
            data, recipe="unet2015", out=tmp_path / "runs" / "bad", overrides=[*SMALL, "training.checkpoint_every=99"]
        )
    assert not (tmp_path / "runs").exists()


def test_a_lost_run_is_told_in_one_line(cells, tmp_path):
    with pytest.raises(AtrousError, match="went astray at step") as caught:
        train(cells, recipe="unet2015", out=tmp_path / "run", overrides=[*SMALL, "optimizer={name: sgd, lr: 1.0e+30}"])
    assert "images/" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.name=sdg", "Did you mean 'sgd'"),
        ("schedule=polly", "Did you mean 'poly'"),
        ("data.augment=[{name: flip}]", "there is no transform 'flip'"),
        ("data.crop=big", "data.crop"),
        ("data.batch_size=0", "data.batch_size: got 0"),
        ("data.workers=-1", "data.workers: got -1"),
        ("task=segmentatoin", "Did you mean 'segmentation'"),
        ("training.max_steps=many", "training.max_steps"),
    ],
)
def test_a_wrong_recipe_leaves_nothing(cells, tmp_path, override, words):
    with pytest.raises(RecipeError, match=words):
        train(cells, recipe="unet2015", out=tmp_path / "runs" / "bad", overrides=[*SMALL, override])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lost_loader_process_is_one_message_with_the_cure(cells, tmp_path, number):
    def lose(done: int, total: int) -> None:
        if done == 2:
            os.kill(multiprocessing.active_children()[0].pid, number)

    out, more = tmp_path / "run", ["data.workers=1", "training.max_steps=400", "training.checkpoint_every=1"]
    with pytest.raises(AtrousError, match=r"loads images was ended .* data\.workers=0, .*--resume") as caught:
        train(cells, recipe="unet2015", out=out, overrides=[*SMALL, *more], progress=lose, evaluate=False)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert (out / "checkpoints" / "last.ckpt").is_file()


def test_a_loader_process_lost_while_a_checkpoint_is_written_is_no_full_disk(tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise RuntimeError("DataLoader worker (pid 32065) is killed by signal: Killed. ")

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(AtrousError, match="loads images was ended"), explaining_lost_workers():
        write_checkpoint(tmp_path / "last.ckpt", {})
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_our_own_is_no_lost_process():
    with pytest.raises(RuntimeError, match="something else"), explaining_lost_workers():
        raise RuntimeError("something else")
