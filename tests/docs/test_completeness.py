"""A model of the package is everywhere where it belongs; docs/adding-a-model.md lists these places."""

import tomllib

from atrous.models import MODELS

from .conftest import DOCS, load_tool

ROOT = DOCS.parent
tool = load_tool("make_models")


def test_every_model_has_a_page() -> None:
    pages = [page.read_text(encoding="utf-8") for page in (DOCS / "models").glob("*.md")]
    named = {key for page in pages for found in tool.BLOCK.finditer(page) for key in tool.keys_of(found)}
    assert named == set(MODELS)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]
    assert [page for page in pages if f": {page}\n" not in navigation] == []


def test_every_model_is_in_the_table_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in MODELS if f"`{name}`" not in readme] == []


def test_no_model_is_left_out_of_the_contract_of_independence() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = config["tool"]["importlinter"]["contracts"]
    independent = next(contract["modules"] for contract in contracts if contract["type"] == "independence")
    files = (ROOT / "src" / "atrous" / "models").glob("*.py")
    assert sorted(independent) == sorted(f"atrous.models.{file.stem}" for file in files if file.stem not in COMMON)


COMMON = ("__init__", "base")
"""Files of `models` that hold no network."""
