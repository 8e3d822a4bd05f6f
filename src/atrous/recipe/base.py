"""The values of a recipe, where each was written, and what the command line changes of them.

A recipe is plain values. Names are looked up, and arguments checked, against tables that the reader of a section hands
in; there is no way to name code.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from atrous.errors import RecipeError, did_you_mean
from atrous.recipe.reading import read_value, read_yaml, write_yaml
from atrous.recipes import TABLES, find_file, names_of, source_of, take_entry
from atrous.tables import KeyPath, NamedSection, Place, check_arguments, describe_value, read_section

__all__ = ["SECTIONS", "Recipe", "list_recipes", "load_recipe", "make_recipe"]

SECTIONS = (
    "model",
    "data",
    "task",
    "optimizer",
    "schedule",
    "training",
    "adversary",
    "stages",
    "engine",
    "refine",
    "clean",
    "tune",
    "seed",
    "input",
    "origin",
)
"""What a recipe may say. `adversary` names a network that learns to tell masks from outputs, see `atrous.adversarial`;
`stages` lists what differs from one training to the next. `engine` says what computes predictions on a CPU, see
`atrous.inference.engines.ENGINES`. `refine` names what predictions are refined by, see
`atrous.inference.REFINERS`; `clean` what is cleaned away from what they decide. `tune` lists which of the two are
chosen by the validation images after the training. Written in bundles, `input` is the kind and channels of images, and
`origin` what the weights were started from."""

SEEDS = 1 << 63
_NAMED = ("model", "task", "optimizer", "schedule")  # sections that are a name and its arguments
_T = TypeVar("_T")


@dataclass(frozen=True)
class Recipe:
    """The values of a recipe and where each was written.

    Attributes:
        values: plain YAML values by section.
        place: the file, and the line of every key path, for messages.
        text: the same with comments, where somebody wrote some that a run should keep.

    Example:
        >>> recipe = load_recipe("unet", ["training.max_steps=50"])
        >>> recipe.section("training")["max_steps"]
        50
        >>> str(recipe.place / "training" / "max_steps")
        'command line, training.max_steps'
    """

    values: dict[str, Any]
    place: Place
    text: str | None = None

    def section(self, key: str, default: Any = None) -> Any:
        """The plain values of a section, or `default` where the recipe has none or leaves it empty."""
        value = self.values.get(key)
        return default if value is None else value

    def named(
        self,
        key: str,
        table: Mapping[str, Callable[..., Any]],
        *,
        kind: str,
        given: Collection[str] = (),
        default: Any = None,
    ) -> NamedSection:
        """The builder that a section names, and its checked arguments.

        Args:
            key: the section.
            table: names to builders.
            kind: what the table holds, in the singular, for messages.
            given: parameters that the caller fills itself.
            default: stands in for a section that is not there.

        Raises:
            RecipeError: if the section is missing without a default, or names something that does not fit.
        """
        section = self.section(key, default)
        if section is None:
            raise RecipeError(
                f"{self.place}: there is no section {key!r}. Add one like `{key}: {{name: {next(iter(table), kind)}}}`."
            )
        return read_section(table, section, kind=kind, place=self.place / key, given=given)

    def options(self, key: str, cls: type[_T]) -> _T:
        """A section that has no name, as an instance of a dataclass; its defaults where the recipe says nothing."""
        section, place = self.section(key, {}), self.place / key
        if not isinstance(section, Mapping):
            raise RecipeError(f"{place}: got {describe_value(section)}, but {key} is a mapping of option to value.")
        return cls(**check_arguments(cls, section, place=place))

    @property
    def seed(self) -> int:
        """The seed of the run; 0 where the recipe says nothing."""
        return int(self.section("seed", 0))

    def to_yaml(self) -> str:
        """The values as a YAML text that `load_recipe` reads back."""
        return write_yaml({key: self.values[key] for key in SECTIONS if key in self.values})


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe that comes with atrous by its name, or any other by its path.

    Args:
        name_or_path: a name in `list_recipes`, or the path of a .yaml file.
        overrides: "KEY=VALUE" with dots between keys, such as "model.encoder=resnet34" or "data.augment.0.p=0.2".
            Values are read as YAML. "model=fcn" stands for "model={name: fcn}".

    Raises:
        RecipeError: naming the file and line, or the command line, and what to write instead.
    """
    values, place = _read(str(name_or_path))
    return _complete(values, place, overrides)


def make_recipe(values: dict[str, Any], *, source: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from plain values that no file holds yet.

    Args:
        values: by section; they are changed.
        source: what messages call them.
        overrides: as for `load_recipe`.

    Raises:
        RecipeError: as `load_recipe`.
    """
    return _complete(values, Place(source), overrides)


def _complete(values: dict[str, Any], place: Place, overrides: Sequence[str]) -> Recipe:
    """Apply overrides, and write names as sections."""
    _check_sections(values, place)
    lines = dict(place.lines)
    for text in _entries(overrides):
        _override(values, lines, text)
    for key in _NAMED:
        if isinstance(values.get(key), str):
            values[key] = {"name": values[key]}
            if (key,) in lines:
                lines[key, "name"] = lines[key,]
    place = replace(place, lines=lines)
    seed = values.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < SEEDS):
        raise RecipeError(
            f"{place / 'seed'}: got {describe_value(seed)}, but a seed is a whole number from 0 to 2^63 - 1."
        )
    _check_finite(values, place)
    return Recipe(values, place)


def _check_finite(value: Any, place: Place) -> None:
    """Refuse NaN and infinity wherever they stand: no setting means anything by them."""
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{place}: got {describe_value(value)}, but every number of a recipe is finite.")
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        _check_finite(inner, place / key)


def list_recipes() -> list[str]:
    """Names of the recipes that come with atrous."""
    return names_of(table for table, _ in _tables())


@cache
def _tables() -> tuple[tuple[dict[str, Any], Place], ...]:
    """The tables of scaled-down networks and of those to fine-tune."""
    return tuple(read_yaml(table, source=source_of(table)) for table in TABLES)


def _read(name_or_path: str) -> tuple[dict[str, Any], Place]:
    """The values of a recipe, and where each stands."""
    for table, place in _tables():
        if name_or_path in table["recipes"]:
            return take_entry(table, place, name_or_path)
    path, source = find_file(name_or_path, list_recipes())
    return read_yaml(path, source=source)


def _check_sections(values: Mapping[str, Any], place: Place) -> None:
    for key in values:
        if key not in SECTIONS:
            raise RecipeError(f"{place / key}: a recipe has no section {key!r}. {did_you_mean(key, SECTIONS)}")


def _entries(overrides: Any) -> Sequence[str]:
    """The entries, if it is a list of text.

    Raises:
        RecipeError: with the list that was meant.
    """
    if not isinstance(overrides, str | Mapping) and all(isinstance(text, str) for text in overrides):
        return overrides
    if isinstance(overrides, Mapping):
        meant = [f"{key}={value}" for key, value in overrides.items() if not isinstance(value, Mapping)]
        meant += [
            f"{key}.{inner}={value}"
            for key, section in overrides.items()
            if isinstance(section, Mapping)
            for inner, value in section.items()
        ]
    else:
        meant = [overrides] if isinstance(overrides, str) else []
    raise RecipeError(
        f"overrides: got {describe_value(overrides)}, but they are a list of KEY=VALUE; give "
        f"overrides={meant or ['model.encoder=resnet34']!r}."
    )


def _override(values: dict[str, Any], lines: dict[KeyPath, str], text: str) -> None:
    """Set one KEY=VALUE in the values, and note that it came from the command line."""
    key, equals, written = text.partition("=")
    parts: list[str] = key.strip().split(".")
    if not equals or not all(parts):
        raise RecipeError(f"command line: got {text!r}, but an override is KEY=VALUE, such as model.encoder=resnet34.")
    here = Place("command line")
    if parts[0] not in SECTIONS:
        raise RecipeError(f"command line: a recipe has no section {parts[0]!r}. {did_you_mean(parts[0], SECTIONS)}")
    value = read_value(written, source=f"command line, {key}")
    box: Any = values
    path: KeyPath = ()
    for part in parts[:-1]:
        key_or_index = _follow(box, part, here)
        path, here = (*path, key_or_index), here / key_or_index
        inner = box.get(key_or_index) if isinstance(box, dict) else box[key_or_index]
        if inner is None or isinstance(inner, str):  # nothing yet, or a section that is a name alone
            inner = {} if inner is None else {"name": inner}
            box[key_or_index] = inner
            lines.setdefault(path, "command line")
        box = inner
    last = _follow(box, parts[-1], here)
    box[last] = value
    path = (*path, last)
    for stale in [old for old in lines if old[: len(path)] == path]:
        del lines[stale]
    lines[path] = "command line"


def _follow(box: Any, part: str, here: Place) -> str | int:
    """The key or the list index that `part` means in a value."""
    if isinstance(box, dict):
        return part
    if isinstance(box, list):
        if part.isdecimal() and int(part) < len(box):
            return int(part)
        count = f"entries 0 to {len(box) - 1}" if box else "no entries"
        raise RecipeError(f"{here}: there is no entry {part!r}; the list has {count}.")
    raise RecipeError(f"{here}: the value is {describe_value(box)} and has no entry {part!r}; set it as a whole.")
