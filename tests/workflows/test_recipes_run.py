"""Every recipe that comes along takes a step on made data and leaves a bundle that loads; every model has recipes."""

import json
from pathlib import Path

import pytest
import torch

from atrous.analysis import parameters
from atrous.bundle import load_bundle
from atrous.data.made import make_scenes
from atrous.models import MODELS, create_model
from atrous.recipe import list_recipes, load_recipe
from atrous.workflows.train import train

SMALL = ["training.max_steps=1", "training.validate_every=1", "data.crop=32", "data.batch_size=2", "data.workers=0"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scenes(tmp_path_factory.mktemp("made") / "scenes", count=4, size=48)


def in_small(name: str) -> list[str]:
    """The paper's setting runs on the network of its scaled-down twin."""
    twin = f"{load_recipe(name).section('model')['name']}_small"
    return [f"model={json.dumps(load_recipe(twin).section('model'))}"] if twin in list_recipes() else []


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_takes_a_step(name: str, scenes: Path, tmp_path: Path):
    run = train(scenes, recipe=name, out=tmp_path / "run", overrides=[*SMALL, *in_small(name)], evaluate=False)
    assert run.steps == 1
    assert (tmp_path / "run" / "log.csv").read_text().splitlines()[-1].startswith("1,")
    bundle = load_bundle(run.bundle)
    assert bundle.channels == 3
    assert len(bundle.class_names) == 6


def build(name: str) -> torch.nn.Module:
    """The recipe's own network, without numbers."""
    section = {**load_recipe(name).section("model")}
    accepted = {"pretrained": False} if "pretrained" in section else {}
    with torch.device("meta"):
        return create_model(**{**section, **accepted}, num_classes=6)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_the_setting_of_its_paper_and_a_twin_of_at_most_5_million_weights(name: str):
    assert load_recipe(name).section("model")["name"] == name
    assert load_recipe(f"{name}_small").section("model")["name"] == name
    build(name)
    assert parameters(build(f"{name}_small")) <= 5_000_000
