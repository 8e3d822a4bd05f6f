"""What the documentation names is there: Python names, files, links, headings, commands, recipes, models."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from atrous.cli import app
from atrous.data import DATASETS
from atrous.losses import LOSSES
from atrous.models import MODELS
from atrous.recipe import list_recipes

from .conftest import DOCS

ROOT = DOCS.parent
PAGES = sorted(
    [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"], key=str
)
EXAMPLE = "hypercolumn"  # the model that adding-a-model.md adds
EXAMPLES = (EXAMPLE, "nrrd", "coverage")  # and the reader and the task of the other pages
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def resolve(name: str) -> object:
    """A dotted name: a module, or something in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"there is no module {parts[0]}")


def imports(text: str) -> Iterator[str]:
    """The names that Python blocks import from atrous."""
    for module, names in re.findall(r"^from (atrous[\w.]*) import ([\w, ]+)$", text, flags=re.MULTILINE):
        yield from (f"{module}.{name.strip()}" for name in names.split(","))


@pages
def test_python_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    names = re.findall(r"(?<![\w/.-])atrous(?:\.[A-Za-z_]\w*)+", text)
    for name in sorted({*names, *imports(text)}):
        if not any(example in name for example in EXAMPLES):
            assert resolve(name) is not None


@pages
def test_modules_that_are_run_exist(page: Path) -> None:
    for name in re.findall(r"python -m ((?:atrous|benchmarks)[\w.]*\w)", page.read_text(encoding="utf-8")):
        path = ROOT.joinpath("src" if name.startswith("atrous") else "", *name.split("."))
        there = path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
        assert there, f"{page.name}: {name}"


@pages
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http:", "https:", "data:")):
            continue
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), f"{page.name}: {link}"
        if heading:
            assert heading in anchors(target), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as MkDocs and GitHub make them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


@pages
def test_source_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:[\w-]+/)+[\w-]+\.(?:py|css|j2))`", text)
    for name in [*named, *re.findall(r"`((?:src|tests|docs|benchmarks)/[\w/-]+\.\w+)`", text)]:
        if not any(example in name for example in EXAMPLES):
            places = [ROOT / name, ROOT / "src" / name, ROOT / "src" / "atrous" / name]
            assert any(place.is_file() for place in places), f"{page.name}: {name}"


@pages
def test_commands_options_and_recipes_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = typer.main.get_command(app).commands
    for line in re.findall(r"(?:^|`|\$ )atrous ([a-z][^`\n]*)", text, flags=re.MULTILINE):
        line = line.split("#")[0]
        name = line.split()[0]
        if name not in commands:
            continue  # prose that begins with the name of the package
        known = {option for each in commands[name].params for option in each.opts} | {"--help"}
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", line)) <= known, f"{page.name}: atrous {line}"
    for recipe in re.findall(r"--recipe ([a-z][\w]*)(?![\w/.])", text):
        if EXAMPLE not in recipe:
            assert recipe in list_recipes(), f"{page.name}: {recipe}"
    for model in re.findall(r"create_model\(\"(\w+)\"", text):
        assert model in {*MODELS, EXAMPLE}, f"{page.name}: {model}"


def test_the_counts_of_the_readme_hold() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files = [ROOT / "tests" / name for name in ("test_errors.py", "test_landmark_errors.py")]
    errors = sum(file.read_text(encoding="utf-8").count("\n@case") for file in files)
    counted = {
        "Twenty-five other layouts": len(DATASETS),
        "seventeen losses": len(LOSSES),
        "A hundred and thirty-three of them": errors,
    }
    assert list(counted.values()) == [25, 17, 133]
    assert all(words in readme for words in counted)
