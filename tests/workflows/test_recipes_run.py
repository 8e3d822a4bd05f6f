"""Every recipe that comes along takes a step on made data and leaves a bundle that loads; every model has recipes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from atrous.analysis import parameters
from atrous.bundle import load_bundle
from atrous.made import make_figures, make_scenes
from atrous.made.figures import FIGURE_LANDMARKS
from atrous.models import MODELS, create_model
from atrous.recipe import list_recipes, load_recipe, without_pretrained
from atrous.training.inputs import open_inputs
from atrous.training.preparation import check_stages
from atrous.training.resolved import resolve_run
from atrous.workflows.training import train

SMALL = [
    *("training.max_steps=1", "training.budget=null", "training.validate_every=1", "training.accumulate=1"),
    *("data.crop=32", "data.batch_size=2", "data.workers=0"),
]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scenes(tmp_path_factory.mktemp("made") / "scenes", count=4, size=48)


@pytest.fixture(scope="module")
def data_of(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Made data that can teach a recipe's task."""
    figures = make_figures(tmp_path_factory.mktemp("made") / "figures", count=6, size=48)
    return lambda name: figures if load_recipe(name).section("task")["name"] == "landmarks" else scenes


def in_small(name: str) -> list[str]:
    """The paper's setting runs on the network of its scaled-down twin, stage by stage, a step each."""
    recipe = load_recipe(name)
    twin = f"{recipe.section('model')['name']}_small"  # without weights
    if twin not in list_recipes():
        return []
    model = load_recipe(twin).section("model")
    overrides = [f"model={json.dumps(model)}"]
    for number, stage in enumerate(recipe.section("stages", [])):
        if "max_steps" in stage.get("training", {}):
            overrides.append(f"stages.{number}.training.max_steps=1")
        named = stage.get("model", {}).get("name", model["name"])
        if named != model["name"]:  # on the same encoder as the twin, or what is inside of it
            overrides.append(f"stages.{number}.model={json.dumps({**model.get('network', model), 'name': named})}")
    return overrides


TUNED = [name for name in list_recipes() if name.endswith("_finetune")]


@pytest.mark.parametrize("name", TUNED)
def test_a_fine_tuning_takes_a_step(name: str, scenes: Path, tmp_path: Path):
    """On the encoder that is installed with atrous; what needs the Hub, on random weights and narrow."""
    recipe = load_recipe(name)
    lite = recipe.section("model").get("encoder") == "tf_efficientnet_lite0"
    overrides = [*SMALL, *([] if lite else in_small(name))]
    run = train(scenes, recipe=name, out=tmp_path / "run", overrides=overrides, evaluate=False, progress=False)
    bundle = load_bundle(run.bundle)
    assert run.steps == 1
    assert [origin.part for origin in bundle.origins] == ["tf_efficientnet_lite0"] * lite
    assert not lite or bundle.model.mean.tolist() == [127.0] * 3


@pytest.mark.parametrize("name", [name for name in list_recipes() if name not in TUNED])
def test_a_recipe_takes_a_step(
    name: str, data_of: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", logger="atrous")
    data = data_of(name)
    run = train(data, recipe=name, out=tmp_path / "run", overrides=[*SMALL, *in_small(name)], evaluate=False)
    stages = load_recipe(name).section("stages", [])
    assert [part.name for part in run.stages] == [f"{n}-{stage['name']}" for n, stage in enumerate(stages, start=1)]
    assert [part.steps for part in run.stages] == [1] * len(stages)
    assert caplog.text.count("took over") == max(0, len(stages) - 1)
    assert run.steps == max(1, len(stages))
    assert (tmp_path / "run" / "log.csv").read_text().splitlines()[-1].startswith("1,")
    bundle = load_bundle(run.bundle)
    assert bundle.channels == 3
    assert len(bundle.class_names) == (6 if data.name == "scenes" else len(FIGURE_LANDMARKS))


def build(name: str) -> torch.nn.Module:
    """The recipe's own network, without numbers."""
    with torch.device("meta"):
        return create_model(**without_pretrained(load_recipe(name).section("model")), num_classes=6)


@pytest.mark.parametrize("name", [name for name in list_recipes() if load_recipe(name).section("stages")])
def test_the_stages_of_a_paper_follow_on_each_other(name: str, scenes: Path, tmp_path: Path):
    """At full size, without numbers; every name and argument of every stage."""
    run = resolve_run(load_recipe(name))
    check_stages(run.stages, open_inputs(scenes, run, tmp_path, None).folder)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_the_setting_of_its_paper_and_a_twin_of_at_most_5_million_weights(name: str):
    assert load_recipe(name).section("model")["name"] == name
    assert load_recipe(f"{name}_small").section("model")["name"] == name
    build(name)
    assert parameters(build(f"{name}_small")) <= 5_000_000
