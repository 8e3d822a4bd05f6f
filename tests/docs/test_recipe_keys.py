"""The page of recipe keys is what the code checks recipes against."""

import inspect
import re

import pytest

from atrous.adversarial import DISCRIMINATORS, INPUTS
from atrous.augment import TRANSFORMS
from atrous.encoders.create import ENCODERS
from atrous.errors import RecipeError
from atrous.losses import LOSSES
from atrous.models import MODELS
from atrous.optim import OPTIMIZERS, SCHEDULES
from atrous.postprocess import REFINERS
from atrous.recipe import SECTIONS, list_recipes, load_recipe
from atrous.tables import Place, check_arguments
from atrous.tasks import TASKS

from .conftest import DOCS, load_tool

tool = load_tool("make_recipe_keys")
PAGE = (DOCS / "recipe-keys.md").read_text(encoding="utf-8")
TABLES = [MODELS, ENCODERS, TRANSFORMS, TASKS, LOSSES, OPTIMIZERS, SCHEDULES, DISCRIMINATORS, INPUTS, REFINERS]


def test_the_page_is_up_to_date() -> None:
    assert tool.page() == PAGE, "run python docs/make_recipe_keys.py"


def test_every_section_of_a_recipe_has_its_heading() -> None:
    assert re.findall(r"^## `(\w+)`$", PAGE, flags=re.MULTILINE) == list(SECTIONS)


def test_every_name_of_every_table_is_on_the_page() -> None:
    named = {name for line in PAGE.splitlines() if line.startswith("####") for name in re.findall(r"`(\w+)`", line)}
    assert {name for table in TABLES for name in table} <= named


def test_every_entry_says_what_it_means() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(rows) > 300
    assert [row for row in rows if row.endswith("|  |")] == []


@pytest.mark.parametrize("name", TRANSFORMS)
def test_an_entry_that_is_not_listed_is_refused(name: str) -> None:
    listed = {entry.name for entry in tool.entries(TRANSFORMS[name])}
    assert listed == set(inspect.signature(TRANSFORMS[name]).parameters)
    with pytest.raises(RecipeError, match="takes no argument 'nonsense'"):
        check_arguments(TRANSFORMS[name], {"nonsense": 1}, place=Place("a.yaml"))


@pytest.mark.parametrize("name", list_recipes())
def test_recipes_that_come_along_use_listed_entries_only(name: str) -> None:
    recipe = load_recipe(name)
    for key, table in {"model": MODELS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES}.items():
        section = recipe.section(key)
        entries = {entry.name for entry in tool.entries(table[section["name"]], tool.HANDED[key])}
        assert section.keys() - {"name"} <= entries


def test_types_ranges_and_defaults_are_those_of_the_signature() -> None:
    assert "| `max_steps` | integer or null | ≥ 1 | `2000` |" in PAGE
    assert "| `ema` | number or null | > 0, < 1 | `null` |" in PAGE
    assert "| `cache` | `none`, `memory` or `disk` |  | `none` |" in PAGE
    assert "| `batch_size` | integer | ≥ 1 | `8` |" in PAGE
    assert "| `p` | number | ≥ 0, ≤ 1 | `0.5` |" in PAGE
    assert "| `betas` | [number, number] | ≥ 0, < 1 | `[0.9, 0.999]` |" in PAGE
    assert "| `optimizer` | text or mapping |  | `{name: adam, lr: 0.0001, betas: [0.5, 0.999]}` |" in PAGE
