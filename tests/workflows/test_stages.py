"""Stages: what each of them says in full, that all are checked first, and that any interruption is harmless."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from atrous.bundle import load_bundle
from atrous.data import background
from atrous.errors import RecipeError
from atrous.made import make_cells
from atrous.recipe import load_recipe, split_stages
from atrous.training.files import read_checkpoint
from atrous.workflows import single
from atrous.workflows.reporting import report
from atrous.workflows.training import train

RECIPE = """\
model:     {name: dilated_unet, width: 2}
data:      {crop: 16, batch_size: 2, workers: 0, augment: [{name: horizontal_flip}]}
task:      {name: segmentation, loss: cross_entropy}
optimizer: {name: adamw, lr: 0.01, groups: {bias: {lr: x2}, head: {lr: x3}}}
schedule:  {name: poly, power: 0.9}
training:  {max_steps: 4, validate_every: 2, checkpoint_every: 2, log_every: 1, device: cpu, precision: float32}
stages:
  - {name: coarse, training: {max_steps: 3}}
  - {name: fine, optimizer: {lr: 0.001, groups: {contracting: {frozen: true}}}, task: {loss: dice}}
  - name: finest
    model: {name: attention_unet, width: 2}
    optimizer: {groups: {head: null}}
    training: {max_steps: 2}
"""
FOLDERS = ("stages/1-coarse", "stages/2-fine", "")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks as small as these gain nothing from several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> Path:
    return make_cells(tmp_path_factory.mktemp("data") / "cells", count=6, size=32)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "three.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def finished(cells, recipe, tmp_path_factory):
    return train(cells, recipe=recipe, out=tmp_path_factory.mktemp("runs") / "whole", evaluate=False)


def contents(out: Path) -> dict[str, torch.Tensor]:
    """Every number that a run leaves: weights and optimisers of all its stages."""
    flat = {}
    for folder in FOLDERS:
        flat |= {f"{folder}/{k}": v for k, v in load_file(out / folder / "bundle" / "model.safetensors").items()}
        saved = read_checkpoint(out / folder / "checkpoints" / "last.ckpt")
        flat |= {f"{folder}/last/{name}": value for name, value in saved["model"].items()}
        for index, state in saved["optimizer"]["state"].items():
            flat |= {f"{folder}/optimizer/{index}/{k}": torch.as_tensor(v) for k, v in state.items()}
    return flat


def same(first: Path, second: Path) -> bool:
    a, b = contents(first), contents(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ---------- merging


def merged(tmp_path: Path, stages: str, *overrides: str) -> list:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE[: RECIPE.index("stages:")] + f"stages:\n{stages}")
    return [stage.recipe.values for stage in split_stages(load_recipe(path, overrides))]


def test_keys_merge_names_replace_and_null_takes_out(tmp_path):
    first, second, third = merged(
        tmp_path,
        "  - {name: a, optimizer: {lr: 0.5, groups: {bias: null, norm: {lr: x7}}}, data: {augment: [], crop: null}}\n"
        "  - {name: b, optimizer: {name: sgd, lr: 0.1}, schedule: constant, model: {name: unet2015, width: 3}}\n"
        "  - {name: c, optimizer: {groups: null}, schedule: null}\n",
    )
    assert first["optimizer"] == {"name": "adamw", "lr": 0.5, "groups": {"head": {"lr": "x3"}, "norm": {"lr": "x7"}}}
    assert first["data"] == {"crop": None, "batch_size": 2, "workers": 0, "augment": []}
    assert second["optimizer"] == {"name": "sgd", "lr": 0.1}
    assert second["schedule"] == {"name": "constant"}
    assert second["model"] == {"name": "unet2015", "width": 3}
    assert third["optimizer"] == {"name": "adamw", "lr": 0.01, "groups": None}
    assert third["schedule"] is None
    assert all("stages" not in values for values in (first, second, third))


def test_later_stages_fetch_no_weights_unless_they_say_so(tmp_path):
    given = merged(
        tmp_path,
        "  - {name: a}\n  - {name: b, model: {num: 1}}\n  - {name: c, model: {pretrained: true}}\n",
        "model={name: fcn, pretrained: true}",
    )
    assert [values["model"]["pretrained"] for values in given] == [True, False, True]


def test_overrides_reach_the_base_and_a_stage(tmp_path):
    given = merged(
        tmp_path, "  - {name: a}\n  - {name: b, training: {max_steps: 9}}\n", "stages.1.training.max_steps=5",
        "training.max_steps=7", "stages.0.model=fcn8s",
    )  # fmt: skip
    assert [values["training"]["max_steps"] for values in given] == [7, 5]
    assert given[0]["model"] == {"name": "fcn8s"}
    assert len(merged(tmp_path, "  - {name: a}\n", "stages=null")) == 1


# ---------- errors come before the first stage


def refused(stages: str, words: str, cells: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"{RECIPE[: RECIPE.index('stages:')]}stages:\n{stages}\n")
    with pytest.raises(RecipeError, match=words):
        train(cells, recipe=path, out=tmp_path / "runs" / "bad")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("model: {widht: 3}", r"model\.widht: .*'width'"),
        ("model: {name: uent}", r"model\.name: .*Did you mean 'unet'"),
        ("optimizer: {groups: {haed: {lr: x2}}}", r"optimizer\.groups\.haed: the model has no part"),
        ("task: {loss: dise}", r"task\.loss\.name: .*'dice'"),
        ("data: {augment: [flip]}", r"data\.augment\.0.* no transform 'flip'"),
        ("schedule: {name: step, evry: 3}", r"schedule\.evry"),
        ("training: {max_steps: many}", r"training\.max_steps: got 'many'"),
        ("refine: crff", r"refine: "),
        ("model: {name: fcn, encoder: nothing}", r"model: .*nothing"),
        ("model: {name: unet2015, width: 6}", r"model: the stage before: not one of its kernels"),
        ("modle: {}", r"modle: a stage has no section 'modle'\. Did you mean 'model'"),
        ("seed: 3", r"seed: is the same in all stages"),
        ("data: {val_fraction: 0.3}", r"data\.val_fraction: all stages keep the same images"),
    ],
)
def test_a_wrong_stage_is_told_before_anything_is_trained(given, words, cells, tmp_path):
    refused(f"  - {{name: a}}\n  - {{name: b, {given}}}", rf"r\.yaml line 9, stages\.1\.{words}", cells, tmp_path)


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ("  - {name: a}\n  - {name: a}", r"line 9, stages\.1\.name: there is a stage 'a' before"),
        ("  - {name: a/b}", r"line 8, stages\.0\.name: got 'a/b' \(str\)"),
        ("  - {training: {max_steps: 3}}", r"line 8, stages\.0\.name: got nothing"),
        ("  - fine", r"line 8, stages\.0: got 'fine' \(str\), but a stage is like"),
        ("  []", r"stages: got \[\] \(list\), but stages is a list"),
        (
            "  - {name: a}\n  - {name: b, model: {name: ensemble, members: [enet]}}",
            r"line 4, optimizer\.groups\.head \(in stages\.1\): the model has no part 'head'",
        ),
    ],
)
def test_what_are_no_stages_is_told(stages, words, cells, tmp_path):
    refused(stages, words, cells, tmp_path)


# ---------- running


def test_each_stage_is_a_run_and_starts_from_the_last(finished, cells, capfd):
    out = finished.out
    assert [(part.name, part.steps) for part in finished.stages] == [("1-coarse", 3), ("2-fine", 4), ("3-finest", 2)]
    assert (finished.steps, finished.trained) == (9, True)
    assert json.loads((out / "stages.json").read_text())[1]["best"] == finished.stages[1].best
    coarse, fine, last = (load_bundle(out / folder / "bundle") for folder in FOLDERS)
    frozen = [name for name in coarse.model.state_dict() if name.startswith("contracting.")]
    assert all(torch.equal(coarse.model.state_dict()[name], fine.model.state_dict()[name]) for name in frozen)
    assert last.model.spec.name == "attention_unet"
    for bundle in (fine, last):
        assert torch.equal(bundle.model.mean, coarse.model.mean)
    assert float(coarse.model.mean) > 1
    assert json.loads((out / "stages/2-fine/run.json").read_text())["from"] == str(out / "stages/1-coarse")
    assert not (out / "stages/1-coarse" / "check.json").exists()
    assert (out / "check.json").is_file()
    assert not list(out.rglob("*.part"))


def test_the_bundle_has_the_last_stages_recipe_and_the_run_the_whole(finished, recipe):
    bundle = load_bundle(finished.bundle)
    assert "stages" not in bundle.recipe
    assert bundle.recipe["training"]["max_steps"] == 2
    assert "head" not in bundle.recipe["optimizer"]["groups"]
    assert load_recipe(finished.out / "recipe.yaml").values == load_recipe(recipe).values


def test_the_stages_are_told(finished):
    text = str(finished)
    assert "finished after 9 steps" in text
    assert f"stage 2-fine: 4 steps, {finished.stages[1].seconds:.0f} s, best validation mean IoU" in text
    page = report(finished.out, device="cpu")
    try:
        assert "Stage 2-fine" in page.read_text()
    finally:
        page.unlink()


def test_what_was_taken_over_is_said(cells, recipe, tmp_path, caplog):
    caplog.set_level("INFO", logger="atrous")
    train(cells, recipe=recipe, out=tmp_path / "run", evaluate=False, overrides=["stages.1.training.max_steps=1"])
    said = caplog.text
    assert f"{tmp_path / 'run' / 'stages' / '1-coarse'}: took over" in said
    assert f"{tmp_path / 'run' / 'stages' / '2-fine'}: took over" in said


def test_from_goes_to_the_first_stage(finished, cells, recipe, tmp_path, capfd):
    rest = ["stages.0.optimizer={lr: 0, weight_decay: 0}", "stages.0.training.max_steps=1"]
    run = train(
        cells, recipe=recipe, out=tmp_path / "run", from_bundle=finished.out / "stages/1-coarse", overrides=rest,
        evaluate=False,
    )  # fmt: skip
    old, new = (load_bundle(out / "stages/1-coarse/bundle").model for out in (finished.out, run.out))
    assert all(torch.equal(value, new.get_parameter(name)) for name, value in old.named_parameters())
    assert json.loads((run.out / "stages/2-fine/run.json").read_text())["from"] == str(run.out / "stages/1-coarse")


def test_a_finished_run_is_left_alone(finished, cells):
    before = {path: path.stat().st_mtime_ns for path in finished.out.rglob("*") if path.is_file()}
    again = train(cells, out=finished.out, resume=True, evaluate=False)
    assert (again.trained, again.steps, again.stages) == (False, 9, finished.stages)
    assert {path: path.stat().st_mtime_ns for path in finished.out.rglob("*") if path.is_file()} == before


def test_another_stage_is_no_resumption(finished, cells):
    with pytest.raises(RecipeError, match=r"stages\.1\.optimizer\.lr=0\.001, not 0\.002"):
        train(cells, out=finished.out, resume=True, overrides=["stages.1.optimizer.lr=0.002"])
    with pytest.raises(RecipeError, match=r"stages\.0\.name=coarse, not unset"):
        train(cells, out=finished.out, resume=True, overrides=["stages=null"])


@pytest.mark.parametrize("step", [0, 2, 3, 5])
def test_an_interruption_inside_a_stage_changes_no_bit(step, finished, cells, recipe, tmp_path, monkeypatch):
    out, calls = tmp_path / "run", []

    def watch(self) -> None:
        calls.append(1)
        if len(calls) == step + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(background.BackgroundCheck, "watch", watch)
    monkeypatch.setattr(background.BackgroundCheck, "finish", lambda self: None)
    with pytest.raises(KeyboardInterrupt):
        train(cells, recipe=recipe, out=out, evaluate=False)
    done = {path: path.stat().st_mtime_ns for path in out.glob("stages/*/checkpoints/*") if done_before(path, step)}
    run = train(cells, out=out, resume=True, evaluate=False)
    assert [part.steps for part in run.stages] == [3, 4, 2]
    assert same(out, finished.out)
    assert {path: path.stat().st_mtime_ns for path in done} == done


def done_before(path: Path, step: int) -> bool:
    """Whether a checkpoint is of a stage that was over when step number `step` of all was interrupted."""
    return step >= {"1-coarse": 3, "2-fine": 7}[path.parts[-3]]


@pytest.mark.parametrize(
    ("moment", "number"), [("bundle written", 1), ("bundle renamed", 2), ("stage begun", 1), ("stage prepared", 2)]
)
def test_an_interruption_between_stages_changes_no_bit(moment, number, finished, cells, recipe, tmp_path, monkeypatch):
    out, count = tmp_path / "run", []
    place, name = {
        "bundle written": ("atrous.bundle.write", "_texts"),
        "bundle renamed": ("atrous.disk", "_discard"),
        "stage begun": ("atrous.workflows.single", "begin"),
        "stage prepared": ("atrous.workflows.single", "prepare"),
    }[moment]
    import importlib

    module = importlib.import_module(place)
    real = getattr(module, name)
    due = {
        "bundle written": number,
        "bundle renamed": 2 * number,
        "stage begun": 2 * number + 1,
        "stage prepared": number + 1,
    }

    def interrupt(*args, **kwargs):
        count.append(1)
        if len(count) == due[moment]:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(cells, recipe=recipe, out=out, evaluate=False)
    train(cells, out=out, resume=True, evaluate=False)
    assert same(out, finished.out)
    assert not list(out.rglob(".*.part"))


def test_a_half_written_bundle_is_never_started_from(finished, cells, recipe, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished.out, out)
    for folder in ("stages/2-fine", ""):
        shutil.rmtree(out / folder / "checkpoints")
        shutil.rmtree(out / folder / "bundle")
    half = out / "stages/1-coarse/.bundle.part"
    (out / "stages/1-coarse/bundle").rename(half)
    (half / "model.safetensors").write_bytes(b"half")
    train(cells, out=out, resume=True, evaluate=False)
    assert same(out, finished.out)


def test_other_data_is_no_resumption_between_stages(finished, tmp_path):
    from atrous.errors import DataError

    out = tmp_path / "run"
    shutil.copytree(finished.out, out)
    shutil.rmtree(out / "checkpoints")
    shutil.rmtree(out / "bundle")
    other = make_cells(tmp_path / "cells", count=7, size=32)
    with pytest.raises(DataError, match="other data"):
        train(other, out=out, resume=True, evaluate=False)
    assert single.is_complete(out / "stages/1-coarse", evaluate=False)
