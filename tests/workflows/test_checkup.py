"""The check as a command: entries of the recipe decide which images it reads, `--all` lists every finding."""

import shutil

import numpy as np
import pytest

from atrous import workflows
from atrous.cli import main
from atrous.errors import RecipeError
from atrous.images import write_image
from tests.folders import make_folder, picture  # noqa: F401


def test_entries_of_the_recipe_decide_what_is_read(make_folder):  # noqa: F811
    root = make_folder(10)
    (root / "masks" / "003.png").unlink()
    assert [f.code for f in workflows.check(root).errors] == ["missing_mask"]
    report = workflows.check(
        root, overrides=["data.unlabelled=skip", "data.test_fraction=0.3", "data.val_fraction=0.5"]
    )
    assert [f.code for f in report.findings] == ["unlabelled"]
    assert report.summary["splits"] == {"train": 3, "val": 3, "test": 3}
    with pytest.raises(RecipeError, match=r"data\.unlabelled: .*'error'.*'skip'"):
        workflows.check(root, overrides=["data.unlabelled=drop"])
    with pytest.raises(RecipeError, match=r"data\.fold: a check reads all images"):
        workflows.check(root, overrides=["data.fold=[1,5]"])


def test_all_lists_every_finding(make_folder, capsys):  # noqa: F811
    root = make_folder(16)
    for number in range(14):
        write_image(root / "masks" / f"{number:03}.png", np.zeros((7, 9), np.uint8))
    assert main(["check", str(root)]) == 2
    assert "error [size_mismatch] ... and 4 more; --all lists them" in capsys.readouterr().out
    assert main(["check", str(root), "--all"]) == 2
    out = capsys.readouterr().out
    assert out.count("has 7 x 9 pixels") == 14
    assert "more; --all" not in out
    shutil.rmtree(root / "masks")
    (root / "masks").mkdir()
    assert main(["check", str(root), "data.unlabelled=skip"]) == 2
