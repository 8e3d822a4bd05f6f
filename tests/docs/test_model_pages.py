"""The pages of the networks say what the networks cost today, and show them."""

from pathlib import Path

import pytest

from .conftest import DOCS, load_tool

PAGES = sorted((DOCS / "models").glob("*.md"))
tool = load_tool("make_models")
KNOWN = tool.known_figures()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_costs_of_a_page_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert tool.BLOCK.search(text), f"{page.name} has no block of costs"
    assert tool.filled(text, KNOWN) == text, "run python docs/make_models.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_networks_of_a_page_are_drawn(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for key in [key for found in tool.BLOCK.finditer(text) for key in tool.keys_of(found)]:
        picture = DOCS / "images" / "models" / f"{key}.png"
        assert picture.is_file(), "run python docs/make_models.py"
        assert picture.stat().st_size < 80_000


def test_pages_are_of_networks_that_exist() -> None:
    from atrous.models import MODELS

    named = {key for page in PAGES for found in tool.BLOCK.finditer(page.read_text()) for key in tool.keys_of(found)}
    assert named <= set(MODELS)
    assert len(named) > 20


def test_filling_twice_changes_nothing() -> None:
    page = "# A\n\n<!-- costs: enet, segnet_basic -->\n<!-- end -->\nrest\n"
    once = tool.filled(page, KNOWN)
    assert "| `enet` | 20 | 364,376 | 2.0 |" in once
    assert once.endswith("<!-- end -->\nrest\n")
    assert tool.filled(once, KNOWN) == once
