"""Every recipe that comes along takes a step on made data and leaves a bundle that loads."""

from pathlib import Path

import pytest

from atrous.bundle import load_bundle
from atrous.data.made import make_scenes
from atrous.recipe import list_recipes
from atrous.workflows.train import train

SMALL = ["training.max_steps=1", "training.validate_every=1", "data.crop=32", "data.batch_size=2", "data.workers=0"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scenes(tmp_path_factory.mktemp("made") / "scenes", count=4, size=48)


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_takes_a_step(name: str, scenes: Path, tmp_path: Path):
    run = train(scenes, recipe=name, out=tmp_path / "run", overrides=SMALL, evaluate=False)
    assert run.steps == 1
    assert (tmp_path / "run" / "log.csv").read_text().splitlines()[-1].startswith("1,")
    bundle = load_bundle(run.bundle)
    assert bundle.channels == 3
    assert len(bundle.class_names) == 6
