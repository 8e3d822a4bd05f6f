"""The table of encoders is as old as timm's families, says what its facts say, and what they say is so."""

import json

import timm

from .conftest import DOCS, load_tool

tool = load_tool("make_encoder_table")
FACTS = json.loads((DOCS / "encoders.json").read_text(encoding="utf-8"))


def test_the_page_is_what_its_facts_say() -> None:
    page = (DOCS / "encoders.md").read_text(encoding="utf-8")
    assert tool.page(FACTS) == page, "run python docs/make_encoder_table.py"


def test_every_family_of_this_timm_is_there() -> None:
    assert set(FACTS["families"]) == set(timm.list_modules()), "run python docs/make_encoder_table.py"


def test_a_row_of_each_kind_is_still_so() -> None:
    for family in ("resnet", "swin_transformer", "deit", "levit"):  # dilated, interpolated, a pyramid, refused
        kept = FACTS["families"][family]
        assert tool.row(kept["name"]) == kept, f"run python docs/make_encoder_table.py {family}"
