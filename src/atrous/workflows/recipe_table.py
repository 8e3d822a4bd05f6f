"""The recipes that come with atrous: what each is for, and its text."""

from pathlib import Path

from atrous.recipe import list_recipes, load_recipe
from atrous.recipes import RECIPES, TABLES, find_file
from atrous.reports.columns import columns

__all__ = ["recipes"]


def recipes(name: str | None = None, *, width: int | None = None) -> str:
    """A table of all recipes, or the text of one of them, which is a file for `train --recipe`.

    Args:
        name: of a recipe, or the path of a file; None for the table.
        width: of the terminal, to which the table is broken; None leaves its lines whole.

    Raises:
        RecipeError: if there is no such recipe.
    """
    if name is None:
        rows = [(each, _words(each)) for each in list_recipes()]
        table = columns(("recipe", "what it is"), rows, width=width)
        return f"{table}\n\nRead one by: atrous recipes NAME. Train by one: atrous train DATA --recipe NAME"
    if name in list_recipes() and not _file(name).is_file():
        return f"{_comments(name)}{load_recipe(name).to_yaml()}".rstrip()
    load_recipe(name)  # is it one?
    return find_file(name, list_recipes())[0].read_text(encoding="utf-8").rstrip()


def _file(name: str) -> Path:
    return RECIPES / f"{name}.yaml"


def _words(name: str) -> str:
    """The first sentence that a recipe says of itself."""
    file = _file(name)
    first = (file.read_text(encoding="utf-8") if file.is_file() else _comments(name)).partition("\n")[0]
    words = first.removeprefix(f"# recipes/{name}.yaml: ").removeprefix("# ")
    return words[0].upper() + words[1:] if words.partition(" ")[0].isalpha() else words  # not: Torchvision's


def _comments(name: str) -> str:
    """The comment above an entry of a table."""
    texts = (table.read_text(encoding="utf-8").splitlines() for table in TABLES)
    lines = next(lines for lines in texts if f"  {name}:" in lines)
    end = lines.index(f"  {name}:")
    begin = end
    while lines[begin - 1].startswith("  #"):
        begin -= 1
    return "".join(f"{line.strip()}\n" for line in lines[begin:end])
