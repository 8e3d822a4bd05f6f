"""Bundles become one whose scores are the mean of theirs; what does not go together is told."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from atrous import cli, create_model, load_bundle, save_bundle
from atrous.errors import BundleError, UsageError
from atrous.inference import Predictor
from atrous.tasks import TASKS
from atrous.workflows import ensemble


def bundle(
    path: Path, seed: int, *, num_classes: int = 3, in_channels: int = 1, name: str = "unet2015", **more
) -> Path:
    torch.manual_seed(seed)
    model = create_model(name, num_classes=num_classes, in_channels=in_channels, width=2).eval()
    model.set_normalization([90.0 + 20 * seed] * in_channels, [30.0 + seed] * in_channels)
    names = [f"c{k}" for k in range(num_classes)]
    return save_bundle(path, model, **{"class_names": names, "dtype": "uint8", **more})


@pytest.fixture
def two(tmp_path) -> list[Path]:
    return [bundle(tmp_path / "a", 0), bundle(tmp_path / "b", 1, name="dilated_unet")]


def test_scores_are_the_mean_of_the_members_scores(two, tmp_path):
    joined = ensemble(two, tmp_path / "both")
    image = np.random.default_rng(0).integers(0, 256, (40, 52), np.uint8)
    scores = [
        Predictor.load(path, device="cpu", precision="float32")(image, scores=True).scores for path in (joined, *two)
    ]
    assert np.abs(scores[0] - (scores[1] + scores[2]) / 2).max() < 1e-6
    again = load_bundle(joined)
    assert [member.spec.name for member in again.model.members] == ["unet2015", "dilated_unet"]
    assert [member.mean.item() for member in again.model.members] == [90.0, 110.0]
    assert (again.class_names, again.dtype, again.channels) == (("c0", "c1", "c2"), "uint8", 1)


def test_the_common_recipe_is_kept(tmp_path):
    shared = {"seed": 3, "task": {"name": "segmentation", "loss": "dice"}, "optimizer": {"name": "adamw"}}
    first = bundle(
        tmp_path / "a", 0, recipe={**shared, "data": {"crop": 64, "fold": [1, 2]}, "schedule": {"name": "poly"}}
    )
    second = bundle(tmp_path / "b", 1, recipe={**shared, "data": {"crop": 64, "fold": [2, 2]}})
    recipe = load_bundle(ensemble([first, second], tmp_path / "both", metrics={"a": 1})).recipe
    assert recipe["data"] == {"crop": 64}
    assert recipe["task"]["loss"] == "dice"
    assert (recipe["seed"], recipe["optimizer"]) == (3, {"name": "adamw"})
    assert "schedule" not in recipe
    assert json.loads((tmp_path / "both" / "metrics.json").read_text()) == {"a": 1}


def test_an_ensemble_may_be_a_member(two, tmp_path):
    inner = ensemble(two, tmp_path / "inner")
    outer = load_bundle(ensemble([inner, two[0]], tmp_path / "outer")).model
    parts = [load_bundle(path).model for path in two]
    image = torch.rand(1, 1, 24, 24) * 255
    with torch.inference_mode():
        first, second = (part(image)["out"].softmax(1) for part in parts)
        assert torch.allclose(outer(image)["out"].softmax(1), 0.75 * first + 0.25 * second, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"num_classes": 2}, r"b: decides the classes \['c0', 'c1'\], but .*a decides \['c0', 'c1', 'c2'\]"),
        ({"class_names": ["c0", "c2", "c1"]}, "the same classes in the same order"),
        ({"in_channels": 3}, "b: takes uint8 images of 3 channels, but .*a takes uint8 images of 1"),
        ({"dtype": "uint16"}, "b: takes uint16 images of 1 channels"),
    ],
)
def test_what_does_not_go_together_is_told(more, words, tmp_path):
    places = [bundle(tmp_path / "a", 0), bundle(tmp_path / "b", 1, **more)]
    with pytest.raises(BundleError, match=words):
        ensemble(places, tmp_path / "both")
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.probabilities])
def test_every_task_whose_scores_are_probabilities_is_averaged(task, tmp_path):
    from atrous.tasks import extra_maps

    names = ["background", "cell", "nucleus"]
    maps = len(names) + extra_maps(task)
    places = [
        bundle(tmp_path / name, seed, num_classes=maps, task=task, class_names=names)
        for seed, name in enumerate(["a", "b"])
    ]
    joined = ensemble(places, tmp_path / "both")
    assert load_bundle(joined).class_names == tuple(names)
    image = np.random.default_rng(0).integers(0, 256, (40, 52), np.uint8)
    scores, one, other = (
        Predictor.load(path, device="cpu", precision="float32")(image, scores=True).scores for path in (joined, *places)
    )
    assert scores.shape[0] == maps
    assert np.abs(scores - (one + other) / 2).max() < 1e-6
    assert np.abs(one - other).max() > 1e-3
    again = ensemble([joined, places[0]], tmp_path / "again")
    nested = Predictor.load(again, device="cpu", precision="float32")(image, scores=True).scores
    assert np.abs(nested - (0.75 * one + 0.25 * other)).max() < 1e-6


def test_one_class_that_is_there_or_not_is_averaged(tmp_path):
    places = [bundle(tmp_path / name, seed, num_classes=1, task="multilabel") for seed, name in enumerate("ab")]
    assert load_bundle(ensemble(places, tmp_path / "both")).class_names == ("c0",)
    with pytest.raises(BundleError, match=r"ensemble has 1 class"):
        ensemble([bundle(tmp_path / "c", 0, num_classes=1)] * 2, tmp_path / "none")


def test_another_task_and_too_few_bundles_are_told(two, tmp_path, monkeypatch):
    from atrous.tasks import Segmentation

    with pytest.raises(UsageError, match="at least 2 members, got 1"):
        ensemble(two[:1], tmp_path / "both")
    third = bundle(tmp_path / "c", 2, task="multilabel")
    with pytest.raises(BundleError, match=r"c: is for the task 'multilabel', but .*a for 'segmentation'"):
        ensemble([two[0], third], tmp_path / "both")
    monkeypatch.setattr(Segmentation, "probabilities", "")
    words = r"a: the scores of the task 'segmentation' are no probabilities.*averages: .*multilabel"
    with pytest.raises(BundleError, match=words):
        ensemble(two, tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_the_command_joins_runs_and_bundles(two, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    two[0].rename(run / "bundle")
    assert cli.main(["ensemble", str(run), str(two[1]), "-o", str(tmp_path / "both")]) == 0
    assert capsys.readouterr().out == f"bundle: {tmp_path / 'both'}\n"
    assert cli.main(["ensemble", str(run), str(tmp_path / "none"), "-o", str(tmp_path / "both")]) == 2
    assert "none: there is no such folder" in capsys.readouterr().err


def test_an_ensemble_that_starts_from_an_ensemble_keeps_each_members_normalisation(two, tmp_path):
    from atrous.data import open_folder
    from atrous.made import make_cells
    from atrous.training.start import initialize

    joined = ensemble(
        [bundle(tmp_path / "c", 0, num_classes=2), bundle(tmp_path / "d", 1, num_classes=2)], tmp_path / "both"
    )
    model = create_model(**{"name": "ensemble", **load_bundle(joined).model.spec.arguments})
    initialize(model, open_folder(make_cells(tmp_path / "cells", count=4, size=32)), joined)
    assert [part.mean.item() for part in (model, *model.members)] == [100.0, 90.0, 110.0]
