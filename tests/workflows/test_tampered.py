"""Files of a run and of a bundle that hold something else end in one line that names them."""

import json
import shutil
from pathlib import Path

import pytest

from atrous.bundle import load_bundle
from atrous.data.class_table import load_classes
from atrous.errors import AtrousError, BundleError, DataError, RecipeError, UsageError
from atrous.evaluation import Evaluation
from atrous.recipe import load_recipe
from atrous.workflows import report, train
from atrous.workflows.outcome import STAGES, read_parts
from atrous.workflows.run_folders import read_begun, stored_evaluation
from atrous.workflows.state_files import read_log

DEEP = "[" * 100_000
NO_JSON = ["", "{", "\0", DEEP, '{"a": ' + "9" * 5000 + "}"]


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text", [*NO_JSON, "[]", "3", '{"data": 3}', '{"from": ["a"]}', '{"classes": {}}', '{"folds": 5}', '"data"']
)
def test_run_json(tmp_path, text):
    path = put(tmp_path / "run.json", text)
    with pytest.raises(UsageError, match=r"^\S*run\.json.*(remove it|remove the file) and make it again\.$"):
        read_begun(tmp_path, True)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"run\.json: cannot be read .*; remove it"):
        read_begun(tmp_path, True)


@pytest.mark.parametrize("folds", ["x", "-3", "1", "²", "9" * 5000])
def test_folds_of_a_run(run, data, tmp_path, folds):
    shutil.copytree(run, tmp_path / "run")
    put(tmp_path / "run" / "run.json", json.dumps({"data": str(data), "folds": folds}))
    with pytest.raises(UsageError, match=r"run\.json: says folds=.*start a new run"):
        train(data, out=tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    "text", ["\xff\xfe", "a,b\n1,2\n", "[]\n", "²\n", "step;loss\n1;2\n", '"' + "x" * 200_000 + '"\n']
)
def test_a_log_that_is_none(tmp_path, text):
    path = tmp_path / "log.csv"
    path.write_bytes((text if text.endswith("\n") else f"{text}\n").encode("latin-1"))
    with pytest.raises(UsageError, match=r"log\.csv: is not the log of a run, .*; delete it to do without\.$"):
        read_log(path)


def test_rows_of_a_log_without_a_step_are_no_rows(tmp_path):
    text = "step,loss\n²,1\n" + "9" * 5000 + ",1\n-1,1\nx,1\n,1\n7,0.5\n8"
    assert read_log(put(tmp_path / "log.csv", text)) == [{"step": "7", "loss": "0.5"}]
    assert read_log(tmp_path / "none.csv") == []


def changed(run: Path, **entries: object) -> str:
    return json.dumps(json.loads((run / "evaluation.json").read_text()) | entries)


@pytest.mark.parametrize("text", [*NO_JSON, "[]", "3", "{}", '{"summary": 3}', '{"summary": {}, "images": 3}'])
def test_an_evaluation_that_is_none(tmp_path, text):
    put(tmp_path / "evaluation.json", text)
    with pytest.raises(UsageError, match=r"^\S*evaluation\.json.*write it again: atrous evaluate"):
        stored_evaluation(tmp_path)


@pytest.mark.parametrize(
    "entries",
    [
        {"class_names": ["a", 3]},
        {"class_names": 3},
        {"summary": {"mean_iou": "x"}},
        {"summary": {"iou": {"a": []}}},
        {"summary": []},
        {"images": [3]},
        {"images": [{"name": 3, "seconds": 1.0}]},
        {"images": [{"name": "a"}]},
        {"images": [{"name": "a", "seconds": "x"}]},
        {"images": [{"name": "a", "seconds": 1.0, "mean_iou": {}}]},
        {"images": [{"name": "a", "seconds": 1.0, "extra": "x"}]},
        {"notes": {"device": 3}},
        {"seconds": "x"},
        {"rank": 3},
        {"rank": [3, 4, 5, 6, 7, 8]},
        {"more": 1},
        {"matrix": 3},
    ],
)
def test_an_evaluation_with_other_entries(run, tmp_path, entries):
    path = put(tmp_path / "evaluation.json", changed(run, **entries))
    with pytest.raises(UsageError, match=r"^\S*evaluation\.json.*write it again"):
        Evaluation.read(path)


def test_an_evaluation_is_read_as_it_was_written(run):
    text = (run / "evaluation.json").read_text()
    assert Evaluation.read(run / "evaluation.json").to_json() + "\n" == text


@pytest.mark.parametrize("text", [*NO_JSON, "3", "{}", "[3]", '[{"name": 3}]', '[{"name": "a", "steps": "x"}]'])
def test_stages(tmp_path, text):
    put(tmp_path / STAGES, text)
    with pytest.raises(UsageError, match=r"^\S*stages\.json.*and make it again\.$"):
        read_parts(tmp_path)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("check.json", "3"),
        ("check.json", '{"summary": 3}'),
        ("check.json", '{"summary": {"classes": [{"name": 3, "share": 1.0}]}}'),
        ("check.json", '{"findings": [3]}'),
        ("environment.json", "[3]"),
        ("environment.json", '{"a": 3}'),
        ("run.json", '{"data": 3}'),
        ("log.csv", "a,b\n"),
        ("bundle/metrics.json", "3"),
        ("bundle/metrics.json", DEEP),
        ("bundle/classes.json", DEEP),
    ],
)
def test_a_report_names_the_file(run, tmp_path, file, text):
    shutil.copytree(run, tmp_path / "run")
    put(tmp_path / "run" / file, text)
    with pytest.raises((UsageError, BundleError)) as told:
        report(tmp_path / "run")
    assert str(told.value).startswith(str(tmp_path / "run" / file))


def test_class_names_are_text(run, tmp_path):
    shutil.copytree(run / "bundle", tmp_path / "bundle")
    rows = [{"name": ["a"], "color": [1, 2, 3]}, {"name": "b", "color": [1, 2, 3]}]
    put(tmp_path / "bundle" / "classes.json", json.dumps({"classes": rows}))
    with pytest.raises(BundleError, match=r"classes\.json: class names must be text"):
        load_bundle(tmp_path / "bundle")
    path = put(tmp_path / "classes.yaml", "classes: [{name: [a], value: 0}]")
    with pytest.raises(DataError, match=r"classes\.yaml line 1: a class has no name"):
        load_classes(path)


def test_deep_yaml(tmp_path):
    path = put(tmp_path / "classes.yaml", f"classes: {DEEP}")
    with pytest.raises(DataError, match=r"classes\.yaml: is too deeply nested"):
        load_classes(path)
    path = put(tmp_path / "deep.yaml", f"model: {DEEP}")
    with pytest.raises(RecipeError, match=r"deep\.yaml: too deeply nested"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=.nan", "optimizer.lr: got nan (float), but every number of a recipe is finite."),
        ("optimizer.lr=1e999", "optimizer.lr: got inf (float), but every number of a recipe is finite."),
        ("data.augment=[{name: scale, low: -.inf}]", "data.augment.0.low: got -inf (float), but every number"),
        ("schedule.power=.nan", "schedule.power: got nan (float), but every number of a recipe is finite."),
        ("seed=1" + "0" * 30, "but a seed is a whole number from 0 to 2^63 - 1."),
        ("seed=9223372036854775808", "but a seed is a whole number from 0 to 2^63 - 1."),
    ],
)
def test_numbers_that_no_setting_can_be(override, message):
    with pytest.raises(RecipeError) as told:
        load_recipe("unet", [override])
    assert message in str(told.value)


@pytest.mark.parametrize(
    "override",
    ["optimizer.lr=-1", "optimizer.weight_decay=-1", "optimizer.betas=[1, 2]", "schedule.power=-1",
     "schedule={name: step, every: 0}", "schedule.warmup=-1", "optimizer={name: sgd, momentum: 0, nesterov: true}",
     "optimizer={name: sgd, momentum: 2}"],
)  # fmt: skip
def test_numbers_out_of_their_range_are_refused_by_name(data, tmp_path, override):
    with pytest.raises(RecipeError, match=r"^command line, (optimizer|schedule)"):
        train(data, recipe="unet2015", out=tmp_path / "run", overrides=["model.width=2", override])
    assert not (tmp_path / "run").exists()


def test_the_largest_seed_trains(data, tmp_path):
    small = ["model.width=2", "data.crop=32", "data.batch_size=1", "training.max_steps=1", "training.device=cpu"]
    train(data, recipe="unet2015", out=tmp_path / "run", overrides=[*small, f"seed={(1 << 63) - 1}"], evaluate=False)
    with pytest.raises(AtrousError, match=r"holds a run already"):
        train(data, recipe="unet2015", out=tmp_path / "run", overrides=small)
