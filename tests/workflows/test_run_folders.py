"""Who may work in the folder of a run, and what an error leaves of it."""

import json
import os
from pathlib import Path

import pytest

from atrous.errors import AtrousError, UsageError
from atrous.locks import LOCK, locked
from atrous.workflows import demo, train, tune_crf
from atrous.workflows.run_folders import keeping

RECIPE = """\
model:     {name: unet2015, width: 2}
data:      {crop: 32, batch_size: 2, workers: 0, augment: []}
optimizer: {name: adamw, lr: 0.01}
training:  {max_steps: 3, device: cpu, precision: float32, log_every: 1, validate_every: 3}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(RECIPE)
    return tmp_path / "small.yaml"


def listed(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_training_into_the_folder_is_refused_and_harms_nothing(data, recipe, tmp_path, resume):
    out, told = tmp_path / "run", []

    def intrude(done: int, total: int | None) -> None:
        before = listed(out)
        with pytest.raises(UsageError, match=f"process {os.getpid()} has been working in this folder since"):
            train(data, recipe=recipe, out=out, resume=resume, evaluate=False)
        told.append(done)
        assert listed(out) == before

    train(data, recipe=recipe, out=out, evaluate=False, progress=intrude)
    assert told == [1, 2, 3]
    assert (out / "bundle").is_dir()
    assert not (out / LOCK).exists()


def test_folds_and_stages_belong_to_their_run(tmp_path):
    with keeping(tmp_path / "run"):
        for part in ("run/fold1", "run/stages/1-a"):
            with keeping(tmp_path / part):  # as the run itself does
                pass
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"):
        said = json.loads((tmp_path / "run" / LOCK).read_text())
        (tmp_path / "run" / LOCK).write_text(json.dumps(said | {"machine": "00000000", "host": "node7"}))
        for part in ("run", "run/fold1", "run/stages/1-a"):
            with pytest.raises(UsageError, match=r"run: process .* on node7"), keeping(tmp_path / part):
                pass
    (tmp_path / "run" / "fold2").mkdir()
    with locked(tmp_path / "run" / "fold2"):
        said = json.loads((tmp_path / "run" / "fold2" / LOCK).read_text())
        (tmp_path / "run" / "fold2" / LOCK).write_text(json.dumps(said | {"machine": "00000000"}))
        with pytest.raises(UsageError, match="fold2: process"), keeping(tmp_path / "run"):
            pass


def test_processes_that_train_together_share_the_lock(tmp_path, monkeypatch):
    with keeping(tmp_path / "run"):
        for name, value in {"TORCHELASTIC_RUN_ID": "1", "RANK": "1", "WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        with keeping(tmp_path / "run"):
            pass
        assert (tmp_path / "run" / LOCK).exists()


def test_tuning_and_the_demo_leave_a_run_alone_that_is_at_work(run, data, tmp_path):
    with locked(run), pytest.raises(UsageError, match="has been working"):
        tune_crf(run / "bundle", data)
    (tmp_path / ".made-by-atrous-demo").touch()
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"):
        with pytest.raises(UsageError, match="has been working"):
            demo(tmp_path)
        assert (tmp_path / "run" / LOCK).exists()


def test_what_a_killed_training_leaves_before_its_first_word_is_no_run(data, recipe, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with locked(out):
        text = (out / LOCK).read_text()
    (out / LOCK).write_text(json.dumps(json.loads(text) | {"process": (1 << 31) - 2}))
    train(data, recipe=recipe, out=out, evaluate=False)
    assert (out / "bundle").is_dir()


def test_an_error_leaves_no_folder(data, recipe, tmp_path):
    with pytest.raises(AtrousError):
        train(data, recipe=recipe, out=tmp_path / "a" / "b", overrides=["model.width=-1"])
    with pytest.raises(AtrousError):
        train(tmp_path / "nothing", recipe=recipe, out=tmp_path / "a" / "b")
    assert listed(tmp_path) == ["small.yaml"]
