"""Which tests `make quick` takes for which change."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("quick", Path(__file__).with_name("quick.py"))
assert SPEC is not None
assert SPEC.loader is not None
quick = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(quick)


def test_a_source_file_brings_its_doctests_its_own_tests_its_room_and_who_imports_it():
    chosen = quick.select(["src/atrous/losses/rmi.py"])
    assert (chosen[0], chosen[-1]) == ("tests/losses/test_rmi.py", "src/atrous/losses/rmi.py")
    assert "tests/losses/test_lovasz.py" in chosen
    assert not any(file.startswith("tests/models") for file in chosen)
    assert len(chosen) == len(set(chosen))
    assert "tests/test_cli.py" in quick.select(["src/atrous/errors.py"])
    assert "tests/test_recipe.py" in quick.select(["src/atrous/recipe/stages.py"])
    assert quick.select(["src/atrous/__init__.py"]) == [quick.PUBLIC_NAMES, "src/atrous/__init__.py"]
    assert (quick.ROOT / quick.PUBLIC_NAMES).is_file()


def test_changed_tests_come_first_and_a_conftest_brings_its_folder():
    chosen = quick.select(["src/atrous/losses/rmi.py", "tests/metrics/test_rand.py"])
    assert chosen[0] == "tests/metrics/test_rand.py"
    chosen = quick.select(["tests/inference/conftest.py"])
    assert "tests/inference/test_tiles.py" in chosen
    assert all(file.startswith("tests/inference/") for file in chosen)
    assert quick.select(["tests/conftest.py", "CHANGELOG.md"]) == []


def test_recipes_and_pages_bring_the_tests_that_read_them():
    assert "tests/workflows/test_recipes_run.py" in quick.select(["src/atrous/recipes/unet.yaml"])
    assert "tests/docs/test_model_pages.py" in quick.select(["docs/models/unet.md"])
    for files in quick.ELSEWHERE.values():
        assert all((quick.ROOT / file).exists() for file in files)


@pytest.mark.parametrize(
    ("changed", "models"),
    [
        (["src/atrous/models/fcn.py", "src/atrous/losses/rmi.py"], ["fcn"]),
        (["src/atrous/models/fcn.py", "src/atrous/models/base.py"], []),
        (["src/atrous/models/fcn.py", "tests/models/test_contract.py"], []),
        (["src/atrous/losses/rmi.py"], []),
    ],
)
def test_the_contract_is_tried_on_the_changed_models_unless_all_may_have_changed(changed, models):
    assert quick.changed_models(changed) == models


def test_changes_are_counted_from_where_the_branch_left_main(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], cwd=tmp_path, check=True)

    def commit(name):
        (tmp_path / name).write_text("x\n")
        git("add", name)
        git("commit", "-qm", name)

    monkeypatch.setattr(quick, "ROOT", tmp_path)
    git("init", "-q", "-b", "main")
    commit("first.py")
    commit("second.py")
    assert quick.changed_files(quick.base_commit()) == ["second.py"]
    (tmp_path / "new.py").touch()
    assert quick.changed_files(quick.base_commit()) == ["new.py"]
    git("switch", "-qc", "branch")
    commit("third.py")
    (tmp_path / "first.py").write_text("y\n")
    assert quick.changed_files(quick.base_commit()) == ["first.py", "new.py", "third.py"]
    (tmp_path / "third.py").unlink()
    assert quick.changed_files(quick.base_commit()) == ["first.py", "new.py"]
