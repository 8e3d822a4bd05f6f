"""Weights are read once: the reads and writes of their file, counted for each job."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from atrous import workflows
from atrous.bundle import update_bundle
from tests.workflows.conftest import RECIPE


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    counted: Counter[str] = Counter()

    def watch(name: str, really: Callable[..., Any]) -> None:
        def call(*args: Any, **more: Any) -> Any:
            counted[name] += 1
            return really(*args, **more)

        monkeypatch.setattr(safetensors.torch, f"{name}_file", call)

    watch("load", safetensors.torch.load_file)
    watch("save", safetensors.torch.save_file)
    return counted


@pytest.mark.parametrize(
    ("more", "load", "save"),
    [
        ("", 1, 1),
        ("tune: [crf, min_size]\n", 1, 1),
        ("stages: [{name: first}, {name: second}]\n", 2, 2),  # the second starts from the bundle of the first
    ],
)
def test_a_training_reads_its_weights_once(
    data: Path, tmp_path: Path, counts: Counter[str], more: str, load: int, save: int
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("max_steps: 12", "max_steps: 2").replace("validate_every: 6", "") + more)
    workflows.train(data, recipe=recipe, out=tmp_path / "run")
    assert counts == {"load": load, "save": save}


def test_other_jobs_read_them_once(run: Path, data: Path, tmp_path: Path, counts: Counter[str]) -> None:
    image = str(next((data / "images").iterdir()))
    jobs: dict[str, Callable[[], Any]] = {
        "evaluate": lambda: workflows.evaluate(run, data),
        "predict": lambda: workflows.predict(run, [image], tmp_path / "masks"),
        "report": lambda: workflows.report(run),
    }
    for name, job in jobs.items():
        counts.clear()
        job()
        assert counts == {"load": 1}, name


def test_an_update_reads_and_writes_none(run: Path, counts: Counter[str]) -> None:
    update_bundle(run, sections={}, metrics={"noted": 1.0})
    assert not counts
