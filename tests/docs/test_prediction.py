"""The page of prediction: its numbers, options and files are those of the code."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image

import atrous
from atrous.cli import main
from atrous.cli.base import app
from atrous.inference import VIEWS, reach
from atrous.inference import predictor as code
from atrous.inference.canvas import SCORES_LIMIT

from .conftest import DOCS

PAGE = (DOCS / "prediction.md").read_text(encoding="utf-8")


def test_numbers_are_those_of_the_code() -> None:
    assert f"An image of up to {code.ONE_PASS // 2**20} megapixels is predicted in one pass" in PAGE
    assert f"a larger one in tiles of {code.TILE} pixels" in PAGE
    assert f"`exact` then reads {reach.NEAR_MARGIN} pixels of context" in PAGE
    assert f"| half of that, at most {reach.LARGEST_AUTO_MARGIN} pixels |" in PAGE
    assert f"keeps them up to {SCORES_LIMIT // 10**9} GB" in PAGE


def test_every_view_and_option_is_named() -> None:
    assert all(f"`{name}`" in PAGE for name in VIEWS)
    command = typer.main.get_command(app)
    options = {option for each in command.commands["predict"].params for option in each.opts if option[:2] == "--"}
    named = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", PAGE))
    assert named <= options
    assert options - named == {"--view", "--out", "--help"} & options


@pytest.mark.parametrize(
    ("model", "task", "extra"),
    [
        ("segnet_bayesian_small", "segmentation", ["--view", "mc:2"]),
        ("unet_small", "instances", []),
        ("unet_small", "multilabel", []),
    ],
)
def test_the_files_of_the_page_are_written(model: str, task: str, extra: list[str], tmp_path: Path) -> None:
    section = atrous.recipe.load_recipe(model).section("model")
    torch.manual_seed(0)
    maps = 3 if task == "instances" else 2
    network = atrous.create_model(num_classes=maps, in_channels=1, **section).eval()
    bundle = atrous.save_bundle(tmp_path / "a.bundle", network, task=task, class_names=["background", "cell"])
    Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(tmp_path / "a.png")
    line = ["predict", str(bundle), str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--overlay", "--confidence"]
    assert main([*line, *extra]) == 0
    documented = re.findall(r"^\| `([\w/.]*NAME[\w.]*)` \|", PAGE, flags=re.MULTILINE)
    assert len(documented) == 6
    names = [name if "." in name else f"{name}.png" for name in documented]
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")} - {"counts.csv"}
    possible = {name.replace("NAME", "a").replace("CLASS", each) for name in names for each in ("background", "cell")}
    assert found <= possible
    own = {"segmentation": "uncertainty", "instances": "instances", "multilabel": "labels"}[task]
    assert {name.split("/")[0] for name in found} == {"a.png", "overlay", "confidence", own}
