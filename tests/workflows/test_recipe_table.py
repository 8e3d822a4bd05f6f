"""`atrous recipes`: every recipe is listed, and what is printed of one is a recipe."""

import pytest

from atrous import cli
from atrous.recipe import list_recipes, load_recipe
from atrous.workflows import recipes


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_recipe_is_listed_with_its_words(width):
    lines = recipes(width=width).splitlines()
    names = [line.split()[0] for line in lines[1 : lines.index("")] if not line.startswith(" ")]
    assert names == list_recipes()
    assert all(len(line) < max(width, 80) for line in lines[: lines.index("")])
    told = " ".join(recipes(width=width).split())
    assert "unet A U-Net on a resnet18, for most things" in told
    assert "unet_small A U-Net on timm's smallest residual encoder." in told
    assert "torchvision's DeepLab v3" in told


@pytest.mark.parametrize("name", ["unet", "unet_small", "fcn8s_staged", "gcn_small", "unet_finetune"])
def test_what_is_printed_is_the_recipe(name, tmp_path, capsys):
    assert cli.main(["recipes", name]) == 0
    text = capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text(text)
    assert load_recipe(tmp_path / "mine.yaml").values == load_recipe(name).values
    assert text.startswith("# ")


def test_a_line_for_each_recipe_where_the_output_is_read_by_a_program(capsys):
    assert cli.main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : lines.index("")]] == list_recipes()


def test_a_misspelt_recipe_is_told(capsys):
    assert cli.main(["recipes", "unet_smal"]) == 2
    assert "Did you mean 'unet_small'?" in capsys.readouterr().err
