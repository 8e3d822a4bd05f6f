"""The worked examples of the pages on tasks and readers are code that runs."""

import re
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from atrous.data import DATASETS, check_folder, open_folder
from atrous.images import opening
from atrous.tasks import TASKS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), flags=re.M | re.S)


def module_of(text, name, **names):
    module = ModuleType(name)
    vars(module).update(names)
    exec(compile(text, name, "exec"), vars(module))
    return module


def test_the_format_of_the_page_is_read(tmp_path, monkeypatch):
    source, line, test, _ = blocks("adding-a-reader.md")
    nrrd = module_of(source, "nrrd")
    monkeypatch.setattr(opening, "FORMATS", dict(opening.FORMATS))
    exec(line, {**vars(opening), **vars(nrrd)})
    assert list(opening.FORMATS)[-1] == "nrrd"
    module_of(test, "test_nrrd").test_an_nrrd_image_is_read_like_the_array(tmp_path)


def test_the_layout_of_the_page_is_read(tmp_path, monkeypatch):
    beside = module_of(blocks("adding-a-reader.md")[3], "beside")
    monkeypatch.setitem(DATASETS, "beside", beside.BESIDE)
    rng = np.random.default_rng(0)
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.image.png"), rng.integers(0, 255, (8, 8, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f"{number}.label.png"), rng.integers(0, 2, (8, 8), np.uint8))
    folder = open_folder(tmp_path)
    assert folder.layout == "beside"
    assert len(folder.pairs) == 5
    (tmp_path / "3.label.png").unlink()
    assert [finding.code for finding in check_folder(tmp_path).errors] == ["no_partner"]


def test_the_task_of_the_page_trains_and_predicts(tmp_path, monkeypatch):
    from atrous.made import make_cells
    from atrous.workflows import evaluate, predict, train

    source, line = blocks("adding-a-task.md")
    coverage = module_of(source, "coverage")
    monkeypatch.setitem(TASKS, "coverage", coverage.Coverage)
    assert line.strip() == 'TASKS["coverage"] = Coverage'
    data = make_cells(tmp_path / "cells", count=8, size=(64, 64))
    given = ["model={name: unet2015, width: 4}", "data={crop: 64, batch_size: 2, workers: 0}", "task=coverage"]
    given += ["training={max_steps: 3, device: cpu, precision: float32, validate_every: 1}"]
    run = train(data, recipe="unet", out=tmp_path / "run", overrides=given)
    found = evaluate(run.bundle, data, device="cpu", precision="float32")
    assert run.best == pytest.approx(found.summary["coverage_error"], abs=0.02)
    image = sorted((data / "images").iterdir())[0]
    predict(run.bundle, image, tmp_path / "out", device="cpu", precision="float32")
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert written == {f"{image.stem}.png", f"first/{image.stem}.png"}


def test_the_table_of_the_page_names_every_member_of_the_contract():
    from atrous.tasks import Task

    page = (DOCS / "adding-a-task.md").read_text(encoding="utf-8")
    named = {name for cell in re.findall(r"^\| (`.*?) \|", page, flags=re.M) for name in re.findall(r"`(\w+)", cell)}
    public = {name for name in {*vars(Task), *Task.__annotations__} if not name.startswith("_")}
    assert public - {"num_classes", "ignore_index"} <= named
