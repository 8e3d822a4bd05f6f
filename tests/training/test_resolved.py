"""A recipe is checked once, as a whole, and handed down as one object."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from atrous import tables, workflows
from atrous.errors import RecipeError
from atrous.made import make_cells
from atrous.postprocess import clean
from atrous.recipe import base, load_recipe, make_recipe, without_pretrained
from atrous.training import adversary
from atrous.training.resolved import resolve, resolve_run

RECIPE = """\
model: {name: unet2015, width: 2}
data: {crop: 32, batch_size: 2, workers: 0, augment: [{name: horizontal_flip}, {name: rotate90}]}
task: {name: segmentation, loss: {name: cross_entropy, weights: enet}}
optimizer: {name: adamw, lr: 0.01}
schedule: {name: poly, power: 0.9}
training: {max_steps: 1, device: cpu, precision: float32}
adversary: {name: small_fov_light, weight: 0.1}
refine: {name: local_crf, iterations: 1}
clean: {min_size: 2}
"""
WHOLE = ("model", "data", "task", "optimizer", "schedule", "training", "adversary", "refine", "clean")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cells(tmp_path_factory.mktemp("made") / "cells", count=6, size=48)


def test_all_sections_become_one_object() -> None:
    found = resolve(load_recipe("unet", ["refine=crf", "clean={min_size: 5}", "tune=[crf]", "adversary=small_fov"]))
    assert (found.model_name, found.model.arguments["encoder"]) == ("unet", "resnet18")
    assert found.data.batch_size == found.recipe.section("data").get("batch_size", 8)
    assert found.optimizer.arguments["lr"] == found.recipe.section("optimizer")["lr"]
    assert found.refine is not None
    assert found.refine.name == "crf"
    assert found.clean is not None
    assert found.clean.min_size == 5
    assert found.tune == ("crf",)
    assert found.adversary is not None
    assert found.extra_maps == 0
    assert resolve(make_recipe({"model": "unet", "task": {"name": "instances"}}, source="x")).extra_maps == 1


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("optimizer: {name: adamw, lr: fast}", r"line 2, optimizer\.lr: got 'fast'"),
        ("data: {augment: [{name: flip}]}", r"line 2, data\.augment\.0\.name: there is no transform 'flip'"),
        ("schedule: {name: polly}", r"line 2, schedule\.name: there is no schedule 'polly'\. Did you mean 'poly'"),
        ("training: {max_step: 5}", r"line 2, training\.max_step: TrainingOptions takes no argument"),
        (
            "data: {batch_size: 0}",
            r"line 2, data\.batch_size: got 0 \(int\), but batch_size of DataOptions must be",
        ),
        ("tune: [crv]", r"line 2, tune: 'crv' \(str\) cannot be tuned\. Did you mean 'crf'"),
    ],
)
def test_a_mistake_is_told_with_its_line_before_the_data_is_looked_at(line: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"model: unet\n{line}\n")
    with pytest.raises(RecipeError, match=text):
        workflows.train(tmp_path / "no-such-data", recipe=tmp_path / "a.yaml", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_each_section_is_read_once_in_a_training(cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, seen, really = tmp_path / "recipe.yaml", Counter[str](), tables.check_arguments
    file.write_text(RECIPE)

    def check(builder: Any, arguments: Any, **more: Any) -> dict[str, Any]:
        place = more["place"]
        if place.source == str(file):
            seen[".".join(map(str, place.path))] += 1
        return really(builder, arguments, **more)

    for module in (tables, base, clean, adversary):
        monkeypatch.setattr(module, "check_arguments", check)
    workflows.train(cells, recipe=file, out=tmp_path / "run", evaluate=False)
    counted = {name: seen[name] for name in (*WHOLE, "data.augment.0", "data.augment.1")}
    assert counted == dict.fromkeys(counted, 1) | {"adversary": 2}  # its options, and the arguments of its network


def test_folds_share_what_was_resolved(cells: Path) -> None:
    run = resolve_run(load_recipe("unet", ["stages=[{name: a}, {name: b}]", "seed=3"]))
    first, second = run.in_fold(1, 2), run.in_fold(2, 2)
    assert [run.stages[0].recipe.model is fold.stages[0].recipe.model for fold in (first, second)] == [True, True]
    assert [(fold.data.fold, fold.recipe.section("data")["fold"]) for fold in (first, second)] == [
        ((1, 2), [1, 2]),
        ((2, 2), [2, 2]),
    ]
    assert all(stage.recipe.data.fold == (2, 2) for stage in second.stages)
    assert run.data.fold is None
    with pytest.raises(RecipeError, match="the recipe names a fold, and --folds all of them"):
        first.in_fold(2, 2)


def test_no_wish_for_pretrained_weights_is_left() -> None:
    section = {"name": "ensemble", "members": [{"name": "unet", "pretrained": True}], "pretrained": True}
    found = without_pretrained(section)
    assert found == {"name": "ensemble", "members": [{"name": "unet", "pretrained": False}], "pretrained": False}
    assert without_pretrained(section, unless=lambda path: path == ("pretrained",))["pretrained"] is True
    assert section["pretrained"] is True


def test_progress_is_told_step_by_step_and_unknown_keywords_are_refused(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[int, int]] = []
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("max_steps: 1", "max_steps: 3"))
    workflows.train(
        cells, recipe=tmp_path / "recipe.yaml", out=tmp_path / "run", evaluate=False,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert "step 3/3" not in capsys.readouterr().err
    with pytest.raises(TypeError, match=r"train\(\) got an unexpected keyword argument 'fold'\. Did you mean 'folds'"):
        workflows.train(cells, out=tmp_path / "other", fold=2)  # type: ignore[call-arg]
