"""The demo's folder: its own things are made anew, other people's are never touched."""

from pathlib import Path

import pytest

from atrous import workflows
from atrous.errors import UsageError
from atrous.workflows import demo as run_demo
from atrous.workflows.demonstration import COUNT, MARK, PARTS, RECIPE


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole job at the smallest size: two steps of the smallest network."""
    import importlib

    module = importlib.import_module("atrous.workflows.demonstration")
    monkeypatch.setattr(module, "COUNT", 14)
    monkeypatch.setattr(module, "SIZE", 64)
    monkeypatch.setattr(module, "LARGE", (90, 130))
    train = workflows.train

    def short(data: Path, *, recipe: str, out: Path) -> object:
        assert recipe == RECIPE
        overrides = ["model={name: unet2015, width: 2}", "data.crop=32", "data.workers=0", "training={max_steps: 2}"]
        return train(data, recipe="unet2015", out=out, overrides=overrides)

    monkeypatch.setattr("atrous.workflows.training.train", short)


def test_twice_gives_the_same_and_spares_what_is_not_its_own(small: None, tmp_path: Path) -> None:
    lines: list[str] = []
    page = run_demo(tmp_path / "demo", say=lines.append)
    assert page.is_file()
    assert str(page.resolve()) in lines[-1]
    assert lines[-1].count("\n  atrous ") == 10
    assert (tmp_path / "demo" / "masks" / "large.png").is_file()
    assert (tmp_path / "demo" / "masks" / "overlay" / "large.jpg").is_file()
    assert "Measured on the <strong>test</strong> images" in page.read_text()
    (tmp_path / "demo" / "notes.txt").write_text("mine")
    before = {p.name for p in (tmp_path / "demo").iterdir()}
    assert before == {*PARTS, MARK, "notes.txt"}
    run_demo(tmp_path / "demo", say=lines.append)
    assert {p.name for p in (tmp_path / "demo").iterdir()} == before
    assert (tmp_path / "demo" / "notes.txt").read_text() == "mine"


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "mine.png").write_text("mine")
    with pytest.raises(UsageError, match="was not made by a demo"):
        run_demo(tmp_path)
    assert [p.name for p in tmp_path.rglob("*")] == ["cells", "mine.png"]


def test_the_demo_has_a_recipe_and_enough_images() -> None:
    from atrous.recipe import list_recipes

    assert RECIPE in list_recipes()
    assert COUNT >= 40
