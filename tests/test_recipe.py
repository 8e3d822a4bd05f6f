"""Recipes: what is read, where each value is said to stand, what overrides do, and every complaint."""

import math
import re
from dataclasses import dataclass
from inspect import signature
from itertools import pairwise

import pytest
import yaml

from atrous.errors import RecipeError
from atrous.models import MODELS
from atrous.optim import OPTIMIZERS, SCHEDULES
from atrous.recipe import Recipe, list_recipes, load_recipe, read_yaml, write_yaml
from atrous.recipes import RECIPES, TABLES, take_entry
from atrous.tasks import TASKS
from atrous.workflows.demonstration import RECIPE as DEMO

TEXT = """\
# a comment
model: {name: unet, encoder: resnet18}
data:
  crop: [128, 96]
  augment:
    - name: horizontal_flip
      p: 0.5
    - {name: random_scale, low: 0.5}
optimizer: {name: sgd, lr: 1e-2, weight_decay: 1E-4}
training: {max_steps: 20}
seed: 3
"""


SMALL, FINETUNE = TABLES
TWINS, TUNED = (read_yaml(table)[0]["recipes"] for table in TABLES)
"""Entries of the table of scaled-down networks."""


@dataclass(frozen=True)
class Options:
    max_steps: int | None = 2000
    precision: str = "auto"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return path


def test_values_and_lines(file):
    recipe = load_recipe(file)
    assert recipe.values == {
        "model": {"name": "unet", "encoder": "resnet18"},
        "data": {
            "crop": [128, 96],
            "augment": [{"name": "horizontal_flip", "p": 0.5}, {"name": "random_scale", "low": 0.5}],
        },
        "optimizer": {"name": "sgd", "lr": 0.01, "weight_decay": 0.0001},
        "training": {"max_steps": 20},
        "seed": 3,
    }
    for path, line in [
        (("model",), 2), (("model", "encoder"), 2), (("data",), 3), (("data", "crop"), 4), (("data", "augment", 0), 6),
        (("data", "augment", 0, "p"), 7), (("data", "augment", 1, "low"), 8), (("seed",), 11),
    ]:  # fmt: skip
        assert recipe.place.lines[path] == f"{file} line {line}"
    assert str(recipe.place / "data" / "augment" / 0 / "p") == f"{file} line 7, data.augment.0.p"
    assert recipe.seed == 3


def test_sections(file):
    recipe = load_recipe(file)
    assert recipe.section("training") == {"max_steps": 20}
    assert recipe.section("schedule", {"name": "poly"}) == {"name": "poly"}
    assert recipe.options("training", Options) == Options(max_steps=20)
    assert load_recipe(file, ["training={}"]).options("training", Options) == Options()
    assert load_recipe(file, ["training="]).options("training", Options) == Options()
    builder, arguments = recipe.named("schedule", SCHEDULES, kind="schedule", given=("max_steps",), default="poly")
    assert builder is SCHEDULES["poly"]
    assert arguments == {}
    builder, arguments = recipe.named("model", MODELS, kind="model", given=("num_classes", "in_channels"))
    assert builder is MODELS["unet"]
    assert arguments == {"encoder": "resnet18"}


def test_what_is_written_is_read_back(file, tmp_path):
    recipe = load_recipe(file, ["model.encoder=x", "optimizer.lr=1e-7", "data.crop=[1, 2]"])
    again = tmp_path / "again.yaml"
    again.write_text(recipe.to_yaml())
    assert load_recipe(again).values == recipe.values


@pytest.mark.parametrize(
    "value",
    ["no", "1e-4", "12:30", "0o17", "010", "2020-01-01", "~", "", "a: b", "- a", "#", 1e-7, 1e22, math.inf, -0.5, 0,
     True, None, [], {}, "ünï", [1, [2.5, "x"]], {"a": {"b": [None]}}, "0x10", ".5", "1_000", "yes", "<<"],
)  # fmt: skip
def test_any_plain_value_survives_the_round_trip(value, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(write_yaml({"model": {"name": "unet", "x": value}}), encoding="utf-8")
    found = read_yaml(path)[0]["model"]["x"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-4", 1e-4), ("1E5", 1e5), ("-.5", -0.5), ("3.", 3.0), ("no", "no"), ("off", "off"), ("12:30", "12:30"),
     ("010", 10), ("0x1F", 31), ("0o17", 15), ("true", True), ("True", True), ("null", None), ("~", None), ("+3", 3),
     (".inf", math.inf), ("-.inf", -math.inf), ("2020-01-01", "2020-01-01"), ("1_000", "1_000"), ("x10", "x10"),
     ("'1e-4'", "1e-4"), ("1.2.3", "1.2.3"), (".NaN.", ".NaN."), (".INF", math.inf)],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(written, value, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(f"seed: 0\ntraining: {{x: {written}}}\n")
    found = read_yaml(path)[0]["training"]["x"]
    assert found == value
    assert type(found) is type(value)


def test_overrides(file):
    recipe = load_recipe(
        file,
        ["model.encoder=resnet34", "data.augment.0.p=0.2", "training.max_steps=50", "schedule.name=poly", "seed=7",
         "optimizer.groups.head.lr=x10", "data.crop={a: 1}", "optimizer.lr=1e-4"],
    )  # fmt: skip
    assert recipe.values["model"] == {"name": "unet", "encoder": "resnet34"}
    assert recipe.values["data"]["augment"][0]["p"] == 0.2
    assert recipe.values["data"]["crop"] == {"a": 1}
    assert recipe.values["schedule"] == {"name": "poly"}
    assert recipe.values["optimizer"] == {
        "name": "sgd", "lr": 1e-4, "weight_decay": 1e-4, "groups": {"head": {"lr": "x10"}}
    }  # fmt: skip
    assert recipe.seed == 7
    assert str(recipe.place / "model" / "encoder") == "command line, model.encoder"
    assert str(recipe.place / "data" / "crop" / "a") == "command line, data.crop.a"
    assert str(recipe.place / "model" / "name") == f"{file} line 2, model.name"


def test_an_override_by_a_name_alone_replaces_the_section(file):
    recipe = load_recipe(file, ["model=fcn", "model.encoder=resnet50"])
    assert recipe.values["model"] == {"name": "fcn", "encoder": "resnet50"}
    with pytest.raises(
        RecipeError, match=r"^command line, model\.name: there is no model 'fnc'\. Did you mean 'fcn'\?$"
    ):
        load_recipe(file, ["model=fnc"]).named("model", MODELS, kind="model", given=("num_classes",))


def test_a_section_that_is_a_name_alone(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("model: unet\nschedule: poly\n")
    recipe = load_recipe(path, ["schedule.power=2", "task={name: segmentation, loss: dice}", "task.loss.smooth=1"])
    assert recipe.values == {
        "model": {"name": "unet"},
        "schedule": {"name": "poly", "power": 2},
        "task": {"name": "segmentation", "loss": {"name": "dice", "smooth": 1}},
    }


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("modle.encoder=x", "command line: a recipe has no section 'modle'. Did you mean 'model'?"),
        ("model", "command line: got 'model', but an override is KEY=VALUE, such as model.encoder=resnet34."),
        ("model..x=1", "command line: got 'model..x=1', but an override is KEY=VALUE, such as model.encoder=resnet34."),
        ("=1", "command line: got '=1', but an override is KEY=VALUE, such as model.encoder=resnet34."),
        ("data.augment.2.p=1", "command line, data.augment: there is no entry '2'; the list has entries 0 to 1."),
        ("data.augment.first.p=1", "command line, data.augment: there is no entry 'first'; "
                                   "the list has entries 0 to 1."),
        ("training.max_steps.x=1", "command line, training.max_steps: the value is 20 (int) and has no entry 'x'; "
                                   "set it as a whole."),
        ("model.x=[1", "command line, model.x: this is not YAML: expected ',' or ']', but got '<stream end>'."),
        ("seed=x", "command line, seed: got 'x' (str), but a seed is a whole number from 0 to 2^63 - 1."),
        ("seed=-1", "command line, seed: got -1 (int), but a seed is a whole number from 0 to 2^63 - 1."),
        ("seed=1.5", "command line, seed: got 1.5 (float), but a seed is a whole number from 0 to 2^63 - 1."),
    ],
)  # fmt: skip
def test_wrong_overrides(file, override, text):
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, [override])
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "FILE: it is empty, but it needs sections, such as `model: {name: unet}`."),
        ("# nothing\n", "FILE: it is empty, but it needs sections, such as `model: {name: unet}`."),
        ("- model\n", "FILE: it holds ['model'] (list), but it needs sections, such as `model: {name: unet}`."),
        ("unet\n", "FILE: it holds 'unet' (str), but it needs sections, such as `model: {name: unet}`."),
        ("model: {name: unet}\nmodle: 3\n", "FILE line 2, modle: a recipe has no section 'modle'. "
                                            "Did you mean 'model'?"),
        ("model:\n\tname: unet\n", "FILE line 2: this is not YAML: a tab; indent with spaces."),
        ("model: {name: unet\nseed: 3\n", "FILE line 2: this is not YAML: expected ',' or '}', but got ':'."),
        ("model: {name: unet}\nseed: 1\nseed: 2\n", "FILE line 3, seed: the key stands here a second time."),
        ("model: {name: unet, name: fcn}\n", "FILE line 1, model.name: the key stands here a second time."),
        ("a: &x 1\n<<: *x\n", "FILE line 2: '<<' (str) cannot be a key; put text in quotes."),
        ("model: {true: 1}\n", "FILE line 1: True (bool) cannot be a key; put text in quotes."),
        ("model: {[1, 2]: 1}\n", "FILE line 1: 'tag:yaml.org,2002:seq' is not used in recipes; "
                                 "write text, numbers, lists and mappings."),
        ("model: !!python/object/apply:os.system ['echo']\n", None),
        ("model: !!python/name:os.system ''\n",
         "FILE line 1: 'tag:yaml.org,2002:python/name:os.system' is not used in recipes; "
         "write text, numbers, lists and mappings."),
        ("model: !!int x\n", "FILE line 1: 'x' is not a number."),
        ("model: &a [*a]\n", "FILE line 1: an alias (*) that repeats without end; write the values out."),
        ("model: {name: unet}\n---\nmodel: x\n", "FILE line 2: this is not YAML: but found another document."),
        ("model: \x07\n", "FILE: this is not YAML: a character that YAML does not allow."),
        ("seed: true\n", "FILE line 1, seed: got True (bool), but a seed is a whole number from 0 to 2^63 - 1."),
        ("model: " + "[" * 5000 + "]" * 5000, "FILE: too deeply nested."),
    ],
)  # fmt: skip
def test_wrong_files(tmp_path, content, text):
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    if text is None:  # a list under an unknown tag is a list: nothing is ever constructed
        assert load_recipe(path).values == {"model": ["echo"]}
        return
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value).replace(str(path), "FILE") == text


def test_an_alias_bomb_is_defused(tmp_path):
    lines = ["seed: 0", "data:", "  a: &a [x, x, x, x, x, x, x, x, x]"]
    names = "abcdefghi"
    lines += [f"  {b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise(names)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(RecipeError, match="an alias"):
        load_recipe(path)


def test_files_that_are_no_text(tmp_path):
    path = tmp_path / "picture.yaml"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(RecipeError, match=r"picture\.yaml: this is not a text file in UTF-8"):
        load_recipe(path)
    path.write_bytes(b"\xef\xbb\xbfseed: 1\r\n")  # as Windows editors write it
    assert load_recipe(path).seed == 1


def test_recipes_that_are_not_there():
    with pytest.raises(RecipeError) as caught:
        load_recipe("unett")
    assert str(caught.value) == (
        "there is no recipe 'unett'. Did you mean 'unet'? "
        "A recipe of your own is named by its path, which ends in .yaml."
    )
    with pytest.raises(RecipeError, match=r"no recipe 'zzz'\. Choose from: attention_unet, .* and \d+ more\. A recipe"):
        load_recipe("zzz")
    with pytest.raises(RecipeError, match=r"^a/unett\.yaml: there is no such recipe file.*Did you mean 'unet'"):
        load_recipe("a/unett.yaml")


def test_a_section_that_is_missing_or_no_mapping(file):
    with pytest.raises(RecipeError, match=r"mine\.yaml: there is no section 'task'\. Add one like `task: \{name: seg"):
        load_recipe(file).named("task", TASKS, kind="task")
    with pytest.raises(RecipeError, match=r"^command line, training: got 3 \(int\), but training is a mapping"):
        load_recipe(file, ["training=3"]).options("training", Options)
    with pytest.raises(RecipeError, match=r"^command line, training\.max_step: Options takes no argument 'max_step'"):
        load_recipe(file, ["training.max_step=3"]).options("training", Options)


def file_of(name):
    """Where a recipe is written."""
    return SMALL if name in TWINS else FINETUNE if name in TUNED else RECIPES / f"{name}.yaml"


@pytest.mark.parametrize("name", list_recipes())
def test_the_recipes_that_come_along(name):
    recipe = load_recipe(name)
    assert str(recipe.place / "model" / "name").startswith(f"recipes/{file_of(name).name} line ")
    recipe.named("model", MODELS, kind="model", given=("num_classes", "in_channels"))
    task, arguments = recipe.named("task", TASKS, kind="task", given=("num_classes", "frequencies"))
    assert task(2, **arguments).num_classes == 2
    recipe.named("optimizer", OPTIMIZERS, kind="optimizer", given=("model",))
    recipe.named("schedule", SCHEDULES, kind="schedule", given=("max_steps",))


def opening(lines):
    """The three things that a recipe opens with, by their word."""
    named = dict(line[2:].split(": ", 1) for line in lines)
    assert list(named) == ["command", "time", "score"]
    return named


def check_figures(time, score):
    """A length of time, and a score or the word that there is none."""
    assert re.search(r"\d (s|min|h|days)\b", time), time
    assert re.search(r"\d\.\d", score) or score.startswith("not measured"), score


@pytest.mark.parametrize("name", [name for name in list_recipes() if name not in TWINS and name not in TUNED])
def test_a_recipe_opens_with_command_time_and_score(name):
    title, *lines = file_of(name).read_text().splitlines()[:4]
    assert title.startswith(f"# recipes/{name}.yaml: ")
    head = opening(lines)
    command = r"atrous demo \S+" if name == DEMO else rf"atrous train \S+ --recipe {name}( --from \S+)? -o \S+"
    assert re.fullmatch(command, head["command"])
    assert re.search("core|machine", head["time"]), "whose time?"
    check_figures(head["time"], head["score"])


def test_the_table_opens_with_its_command_and_every_entry_with_time_and_score():
    text = SMALL.read_text()
    title, *lines = text.splitlines()[:4]
    assert title.startswith("# recipes/small.yaml: ")
    assert opening(lines)["command"] == "atrous train DATA --recipe NAME -o RUN"
    found = re.findall(r"^  # time: (.*); score: (.*)\n  (\w+):$", text, flags=re.MULTILINE)
    assert [name for *_, name in found] == list(TWINS)
    for time, score, _ in found:
        check_figures(time, score)


def test_every_network_that_takes_weights_has_a_recipe_that_fine_tunes_it():
    text = FINETUNE.read_text()
    title, *lines = text.splitlines()[:4]
    assert title.startswith("# recipes/finetune.yaml: ")
    assert opening(lines)["command"] == "atrous train DATA --recipe NAME -o RUN"
    assert re.findall(r"^  # .*\n  (\w+):$", text, flags=re.MULTILINE) == list(TUNED)
    weighty = {name for name, build in MODELS.items() if "pretrained" in signature(build).parameters}
    assert {f"{name}_finetune" for name in weighty} == set(TUNED)
    for name in TUNED:
        recipe = load_recipe(name)
        assert recipe.section("model")["name"] == name.removesuffix("_finetune")
        # A fine-tuning of random weights would learn slowly and say nothing: true insists.
        assert recipe.section("model")["pretrained"] is True
        assert recipe.section("optimizer")["groups"]["encoder"] == {"lr": "x0.2"}


def test_every_scaled_down_network_is_in_the_table_and_in_the_list():
    names = list_recipes()
    assert names == sorted(set(names))
    assert [name for name in names if name.endswith("_small")] == sorted(TWINS)
    assert len(TWINS) >= 41
    assert "small" not in names, "the table itself is no recipe"
    with pytest.raises(RecipeError, match=r"^there is no recipe 'small'\."):
        load_recipe("small")


def test_an_entry_of_the_table_is_laid_over_its_settings():
    assert load_recipe("pspnet_small").values == {
        "model": {
            "name": "pspnet",
            "encoder": {"name": "resnet50s", "width": 16, "depths": [1, 1, 1, 1]},
            "width": 64,
            "aux": True,
        },
        "data": {"crop": 96, "batch_size": 4, "augment": [{"name": "horizontal_flip"}]},
        "task": {"name": "segmentation", "loss": "cross_entropy", "aux_weight": 0.4},
        "optimizer": {"name": "adamw", "lr": 3e-3, "weight_decay": 0.01},
        "schedule": {"name": "poly", "power": 0.9, "warmup": 20},
        "training": {"max_steps": 1000, "precision": "auto"},
        "seed": 0,
    }
    assert load_recipe("unet_small").section("training") == {"max_steps": 1000, "precision": "auto", "clip": 1.0}
    staged = load_recipe("fcn8s_staged_small")
    assert [stage["name"] for stage in staged.section("stages")] == ["32s", "16s", "8s"]
    assert (staged.section("training")["max_steps"], staged.section("optimizer")["lr"]) == (300, 3e-4)


def test_a_section_of_another_name_replaces_that_of_the_settings():
    heavy = load_recipe("fcn8s_heavy_small")
    assert heavy.section("optimizer") == {
        "name": "sgd",
        "lr": 1e-8,
        "momentum": 0.99,
        "weight_decay": 5e-4,
        "groups": {"bias": {"lr": "x2", "weight_decay": 0}},
    }
    assert heavy.section("schedule") == {"name": "constant"}
    assert heavy.section("task") == {"name": "segmentation", "loss": {"name": "cross_entropy", "reduction": "sum"}}
    assert ("schedule", "power") not in heavy.place.lines


def test_a_value_of_the_table_stands_at_the_line_that_says_it():
    lines = SMALL.read_text().splitlines()
    recipe = load_recipe("fcn8s_heavy_small")
    entry = next(number for number, line in enumerate(lines, 1) if line.startswith("  fcn8s_heavy_small:"))
    for path, number in [
        (("data", "augment", 0, "name"), 1 + next(n for n, line in enumerate(lines) if line.startswith("  data:"))),
        (("model", "fc_width"), entry + 1),
        (("data", "crop"), entry + 2),
        (("optimizer", "lr"), next(n for n, line in enumerate(lines, 1) if n > entry and "lr: 1.0e-8" in line)),
    ]:
        assert recipe.place.lines[path] == f"recipes/small.yaml line {number}"
    other = load_recipe("fcn8s_heavy_small", ["model.fc_width=wide"])
    with pytest.raises(RecipeError, match=r"^command line, model\.fc_width: "):
        other.named("model", MODELS, kind="model", given=("num_classes", "in_channels"))


def test_an_error_in_an_entry_or_in_the_settings_names_its_line(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text(
        "settings:\n  schedule: {name: poly, powre: 0.9}\nrecipes:\n  a_small:\n    model: {name: unet, encodr: x}\n"
    )
    values, place = take_entry(*read_yaml(path), "a_small")
    recipe = Recipe(values, place)
    with pytest.raises(RecipeError, match=r"table\.yaml line 5, model\.encodr: unet takes no argument 'encodr'"):
        recipe.named("model", MODELS, kind="model", given=("num_classes", "in_channels"))
    with pytest.raises(RecipeError, match=r"table\.yaml line 2, schedule\.powre: poly takes no argument 'powre'"):
        recipe.named("schedule", SCHEDULES, kind="schedule", given=("max_steps",))


def test_an_override_of_one_entry_leaves_the_table_alone():
    changed = load_recipe("pspnet_small", ["data.augment.0.p=0.2", "model.encoder.width=8", "training=null"])
    assert changed.values["data"]["augment"] == [{"name": "horizontal_flip", "p": 0.2}]
    assert load_recipe("pspnet_small").values["data"]["augment"] == [{"name": "horizontal_flip"}]
    assert load_recipe("pspnet_small").values["model"]["encoder"]["width"] == 16
    assert load_recipe("unet_small").values["training"]["max_steps"] == 1000


def test_other_readers_understand_what_we_write(file):
    assert yaml.safe_load(load_recipe(file).to_yaml()) == load_recipe(file).values


def test_values_that_no_file_holds_may_be_names_alone():
    from atrous.recipe import make_recipe

    recipe = make_recipe({"model": "unet"}, source="a notebook")
    assert recipe.section("model") == {"name": "unet"}
    assert str(recipe.place / "model" / "name") == "a notebook, model.name"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"optimizer.lr": 0.1}, "['optimizer.lr=0.1']"),
        ({"optimizer": {"lr": 0.1}, "seed": 3}, "['seed=3', 'optimizer.lr=0.1']"),
        ("optimizer.lr=0.1", "['optimizer.lr=0.1']"),
        ([3], "['model.encoder=resnet34']"),
        ({}, "['model.encoder=resnet34']"),
    ],
)
def test_overrides_that_are_no_list_of_entries_are_answered_with_the_list(given, meant):
    with pytest.raises(RecipeError) as caught:
        load_recipe("unet", given)
    assert str(caught.value).startswith("overrides: got ")
    assert str(caught.value).endswith(f", but they are a list of KEY=VALUE; give overrides={meant}.")
