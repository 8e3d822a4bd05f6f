"""The recipes that come with atrous: a YAML file for every setting of a paper or a measured run, and two tables.

`small.yaml` holds every network scaled down for small data, `finetune.yaml` every network that takes an encoder on one
with pretrained weights. Under `settings` a table says what they share, under `recipes` what is each one's own. An entry
is laid over the settings as a stage is laid over its recipe.
"""

from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from atrous.errors import RecipeError, did_you_mean
from atrous.recipes.overlay import lay_over
from atrous.tables import KeyPath, Place

__all__ = ["RECIPES", "TABLES", "find_file", "names_of", "source_of", "take_entry"]

RECIPES = Path(__file__).parent
TABLES = (RECIPES / "small.yaml", RECIPES / "finetune.yaml")


def source_of(file: Path) -> str:
    """What messages call a file of this folder."""
    return f"recipes/{file.name}"


def names_of(tables: Iterable[Mapping[str, Any]]) -> list[str]:
    """All names that `--recipe` takes: of the files, and of the entries of the tables."""
    files = {path.stem for path in RECIPES.glob("*.yaml") if path not in TABLES}
    return sorted(files.union(*(table["recipes"] for table in tables)))


def find_file(name_or_path: str, names: Collection[str]) -> tuple[Path, str]:
    """The file of a recipe that is in no table, and what messages call it.

    Args:
        name_or_path: one of `names`, or the path of a file.
        names: all that come with atrous.

    Raises:
        RecipeError: if there is no such file.
    """
    if name_or_path in names:
        file = RECIPES / f"{name_or_path}.yaml"
        return file, source_of(file)
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or path.is_file() or len(path.parts) != 1:
        if path.is_file():
            return path, name_or_path
        near = did_you_mean(path.stem, names)
        raise RecipeError(f"{name_or_path}: there is no such recipe file. Recipes that come with atrous: {near}")
    raise RecipeError(
        f"there is no recipe {name_or_path!r}. {did_you_mean(name_or_path, names)} A recipe of your own is named by "
        "its path, which ends in .yaml."
    )


def take_entry(table: Mapping[str, Any], place: Place, name: str) -> tuple[dict[str, Any], Place]:
    """One recipe of the table as if it had a file of its own.

    Args:
        table: the values of one of `TABLES`, which stay as they are.
        place: the line of each of them.
        name: of an entry.

    Returns:
        Its values by section, and the line of each: in the entry where it says so, else in the settings.
    """
    entry = deepcopy(table["recipes"][name])
    values = lay_over(deepcopy(table["settings"]), entry, (), (), {})
    written = {**_lines_under(("settings",), place), **_lines_under(("recipes", name), place)}
    lines = {path: line for path, line in written.items() if _holds(values, path)}
    return values, replace(place, lines=lines)


def _lines_under(prefix: KeyPath, place: Place) -> dict[KeyPath, str]:
    """The lines of what stands under a key path, by the rest of the path."""
    return {path[len(prefix) :]: line for path, line in place.lines.items() if path[: len(prefix)] == prefix}


def _holds(value: Any, path: KeyPath) -> bool:
    """Whether a value has something at a key path; what an entry replaced has nothing there."""
    for key in path:
        if isinstance(value, Mapping):
            if key not in value:
                return False
        elif not isinstance(value, list) or not isinstance(key, int) or key >= len(value):
            return False
        value = value[key]
    return True
