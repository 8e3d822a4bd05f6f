"""The notebook runs from top to bottom, and its page shows the same cells."""

import json
import re
from pathlib import Path

from .conftest import load_tool

tool = load_tool("make_notebook")
TEXT = tool.NOTEBOOK.read_text(encoding="utf-8")


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    notebook = json.loads(TEXT)
    names = tool.run(notebook, tmp_path)
    assert names["evaluation"].summary["mean_iou"] > 0.5
    assert names["prediction"].classes.shape == names["image"].shape[:2]
    assert (names["whole"].classes == names["tiled"].classes).mean() > 0.999
    outputs = [output for cell in tool.code_cells(notebook) for output in cell["outputs"]]
    assert [next(iter(output["data"])) for output in outputs if "data" in output] == ["text/html", "image/png"]


def test_the_stored_notebook_has_the_outputs_of_every_cell() -> None:
    notebook = json.loads(TEXT)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    cells = tool.code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    showing = [cell for cell in cells if "print(" in "".join(cell["source"]) or cell["outputs"]]
    assert all(cell["outputs"] for cell in showing)
    assert len(showing) >= 6
    assert len(TEXT) < 200_000


def test_the_page_shows_the_notebook() -> None:
    notebook = json.loads(TEXT)
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page(notebook), "run python docs/make_notebook.py"
    shown = re.findall(r"^```python\n(.*?)\n```$", tool.page(notebook), flags=re.MULTILINE | re.DOTALL)
    assert shown == ["".join(cell["source"]) for cell in tool.code_cells(notebook)]


def test_a_cell_that_fails_fails_the_run(tmp_path: Path) -> None:
    cell = {"cell_type": "code", "source": ["1 / 0"], "outputs": []}
    before = Path.cwd()
    try:
        tool.run({"cells": [cell]}, tmp_path)
    except ZeroDivisionError:
        pass
    else:
        raise AssertionError("an error in a cell was lost")
    assert Path.cwd() == before
