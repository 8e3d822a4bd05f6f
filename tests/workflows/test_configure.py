"""Training without a recipe."""

import numpy as np
import pytest
from PIL import Image

from atrous.errors import RecipeError
from atrous.postprocess.choosing import choose, read_tune
from atrous.postprocess.search import LabelledScores
from atrous.recipe import load_recipe, make_recipe
from atrous.workflows import train
from atrous.workflows.configuration import configure

SMALL = ["model={name: unet2015, width: 2}", "data.workers=0", "training.device=cpu", "data.crop=64"]


@pytest.fixture(scope="module")
def made(data):
    return configure(data, overrides=SMALL, budget=30.0)


def test_the_text_reads_back_as_the_values(made, tmp_path):
    (tmp_path / "r.yaml").write_text(made.recipe.text)
    assert load_recipe(tmp_path / "r.yaml").values == made.recipe.values


def test_the_command_line_takes_the_place_of_what_was_chosen(made):
    assert made.recipe.values["model"] == {"name": "unet2015", "width": 2}
    assert made.recipe.values["data"]["crop"] == 64
    assert "# as the command line says\n  crop: 64" in made.recipe.text
    assert "workers: 0" in made.recipe.text


def test_measuring_is_part_of_the_budget(made):
    assert 10 < float(made.recipe.values["training"]["budget"].rstrip("s")) < 30


def test_a_run_follows_the_recipe_keeps_its_reasons_and_is_resumed(data, tmp_path, caplog):
    caplog.set_level("INFO", logger="atrous")
    run = train(data, out=tmp_path / "run", overrides=[*SMALL, "training.max_steps=4"])
    text = (run.out / "recipe.yaml").read_text()
    assert text.startswith("# A recipe for")
    assert "no recipe was named" in caplog.text
    caplog.clear()
    assert run.steps == 4
    assert (run.out / "report.html").is_file()
    again = train(data, out=tmp_path / "run", resume=True)
    assert not again.trained
    assert "no recipe was named" not in caplog.text


def test_large_images_of_wide_things_are_seen_smaller(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for number in range(4):
        mask = np.zeros((600, 640), np.uint8)
        top, left = rng.integers(0, 400, 2)
        mask[top : top + 180, left : left + 160] = 1
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
        Image.fromarray((mask * 120 + rng.integers(0, 40, mask.shape)).astype(np.uint8)).save(
            tmp_path / "images" / f"{number}.png"
        )
    made = configure(tmp_path, overrides=["training.device=cpu", "data.workers=0"], budget=10.0).recipe
    model = made.section("model")
    assert (model["name"], model["factor"], model["network"]["name"]) == ("downscaled", 2, "unet")
    assert made.section("data")["crop"] >= 512
    assert "smaller" in made.text
    own = configure(tmp_path, overrides=["training.device=cpu", *SMALL], budget=10.0).recipe
    assert own.section("model")["name"] == "unet2015"


def test_a_wrong_override_is_an_error_before_anything_is_measured(data):
    for wrong in ("data.crop=small", "data.batch_size=x", "modl=unet"):
        with pytest.raises(RecipeError):
            configure(data, overrides=[wrong], budget=10.0)


def test_an_argument_of_a_network_needs_the_network(data):
    words = r"command line, model\.encoder: without a recipe the data decides .* model=unet, or give --recipe unet"
    with pytest.raises(RecipeError, match=words):
        configure(data, overrides=["model.encoder=resnet34"])


def test_a_task_that_is_named_is_measured_and_keeps_nothing_of_another_one(data, monkeypatch):
    from atrous.workflows import configuration

    built = []
    plain = configuration.build_task
    monkeypatch.setattr(configuration, "build_task", lambda section, *rest, **more: built.append(section) or plain(
        section, *rest, **more))  # fmt: skip
    overrides = [*SMALL, "task.name=instances", "task.border=2"]
    section = configure(data, overrides=overrides, budget=10.0).recipe.section("task")
    assert section["name"] == "instances"
    assert section["border"] == 2
    assert {each["name"] for each in built} == {"instances"}
    assert "weights" not in str(section)  # which the proposal for classes may have


def test_a_misspelt_task_is_refused_before_the_data_is_looked_at(tmp_path):
    for wrong in ("task=instancs", "task.name=instancs"):
        with pytest.raises(RecipeError, match="Did you mean 'instances'"):
            configure(tmp_path / "nowhere", overrides=[wrong])
    with pytest.raises(RecipeError, match=r"task\.bordr"):
        configure(tmp_path / "nowhere", overrides=["task={name: instances, bordr: 2}"])


def test_tune_names_what_can_be_tuned():
    assert read_tune(make_recipe({"tune": ["crf"]}, source="x")) == ["crf"]
    assert read_tune(make_recipe({}, source="x")) == []
    for wrong in (["crff"], 3, [{}]):
        with pytest.raises(RecipeError, match="tune"):
            read_tune(make_recipe({"tune": wrong}, source="x"))


def speckled(share: float) -> list[LabelledScores]:
    rng = np.random.default_rng(0)
    truth = np.zeros((120, 160), np.uint8)
    truth[30:90, 40:120] = 1
    decided = np.where(rng.random(truth.shape) < share, 1 - truth, truth)
    scores = np.stack([1 - decided, decided]).astype(np.float32) * 0.6 + 0.2
    image = (60 + 120 * truth[..., None] + rng.normal(0, 4, (*truth.shape, 3))).clip(0, 255).astype(np.uint8)
    return [LabelledScores(scores, image, truth)]


def test_speckles_are_cleaned_away_only_where_there_are_some():
    objects = [[14400], [4800]]
    sizes = choose("min_size", speckled(0.02), objects).section["clean"]["min_size"]
    assert min(sizes) >= 8
    assert choose("min_size", speckled(0), objects).section == {}


def test_a_crf_is_kept_only_where_it_helps():
    found = choose("crf", speckled(0.1))
    assert found.section["refine"]["name"] == "crf"
    assert (found.samples[0].scores.argmax(0) == found.samples[0].mask).mean() > 0.99
    samples = speckled(0)
    assert choose("crf", samples)[:2] == (samples, {})


def test_processes_that_train_together_need_one_recipe(data, tmp_path, monkeypatch):
    from atrous.errors import UsageError
    from atrous.training import distributed
    from atrous.workflows import training

    monkeypatch.setattr(training, "join", lambda: None)
    monkeypatch.setattr(training, "world", lambda: distributed.World(processes=2))
    with pytest.raises(UsageError, match="--recipe"):
        train(data, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
