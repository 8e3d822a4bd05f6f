"""A recipe of several stages: what each of them is in full.

A stage is a part of a recipe. It is laid over the rest of the recipe, section by section and key by key:

    a mapping over a mapping    their keys are merged; where both have a `name` and the names differ, it replaces
    anything else, lists too    replaces
    null                        empties a section, or an argument; deeper down it takes the key out

Every stage after the first starts from the weights of the one before it, wherever names and shapes fit, and fetches no
pretrained ones unless it says so itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atrous.errors import RecipeError, did_you_mean
from atrous.recipe.base import SECTIONS, Recipe
from atrous.recipe.pretrained import without_pretrained
from atrous.recipes.overlay import lay_over
from atrous.tables import KeyPath, Place, describe_value

__all__ = ["TrainingStage", "split_stages"]

STAGED = tuple(section for section in SECTIONS if section not in ("stages", "seed", "input", "origin"))
"""Sections that a stage may change."""
NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class TrainingStage:
    """One stage of a recipe.

    Attributes:
        name: of its folder: its number and what the recipe calls it, "1-32s"; empty where the recipe has no stages.
        recipe: the whole recipe of this stage.
    """

    name: str
    recipe: Recipe


@dataclass(frozen=True)
class StagePlace(Place):
    """Where a value of a merged recipe stands in the file.

    Attributes:
        origins: for every key path of the merged recipe, the path under which the file has it.
        number: position of the stage, from 0.
    """

    origins: Mapping[KeyPath, KeyPath] = field(default_factory=dict)
    number: int = 0

    def __str__(self) -> str:
        if not self.path:
            return str(Place(self.source, ("stages", self.number), self.lines))
        for end in range(len(self.path), 0, -1):
            if self.path[:end] in self.origins:
                origin = (*self.origins[self.path[:end]], *self.path[end:])
                inherited = "" if origin[0] == "stages" else f" (in stages.{self.number})"
                return f"{Place(self.source, origin, self.lines)}{inherited}"
        return super().__str__()


def split_stages(recipe: Recipe) -> list[TrainingStage]:
    """The stages of a recipe, each merged into a whole one; a recipe without any is one stage without a name.

    Raises:
        RecipeError: if `stages` is no list of parts of recipes, or two have one name.

    Example:
        >>> from atrous.recipe import load_recipe
        >>> stages = split_stages(load_recipe("unet", ["stages=[{name: a}, {name: b, optimizer: {lr: 1e-4}}]"]))
        >>> [(stage.name, stage.recipe.section("optimizer")["lr"]) for stage in stages]
        [('1-a', 0.001), ('2-b', 0.0001)]
    """
    listed = recipe.values.get("stages")
    base = {key: value for key, value in recipe.values.items() if key != "stages"}
    if listed is None:
        return [TrainingStage("", Recipe(base, recipe.place))]
    place = recipe.place / "stages"
    if not isinstance(listed, list) or not listed:
        raise RecipeError(
            f"{place}: got {describe_value(listed)}, but stages is a list of what differs from one training to the "
            "next, such as [{name: first}, {name: second, optimizer: {lr: 1e-4}}]; null is one training."
        )
    names = [_name(given, place / number) for number, given in enumerate(listed)]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise RecipeError(f"{place / number / 'name'}: there is a stage {name!r} before; give each its own name.")
    return [
        TrainingStage(f"{number + 1}-{name}", _merged(base, given, recipe.place, number))
        for number, (name, given) in enumerate(zip(names, listed, strict=True))
    ]


def _name(given: Any, place: Place) -> str:
    """The name of a stage that is one."""
    if not isinstance(given, Mapping):
        raise RecipeError(f"{place}: got {describe_value(given)}, but a stage is like {{name: fine, model: ...}}.")
    for key in given:
        if key not in (*STAGED, "name"):
            if key in SECTIONS:
                raise RecipeError(f"{place / key}: is the same in all stages; say it outside of them.")
            raise RecipeError(f"{place / key}: a stage has no section {key!r}. {did_you_mean(key, STAGED)}")
    for key in ("val_fraction", "test_fraction", "unlabelled", "fold", "layout", "exif"):
        if isinstance(given.get("data"), Mapping) and key in given["data"]:
            raise RecipeError(
                f"{place / 'data' / key}: all stages keep the same images for validation; say it outside of them."
            )
    name = given.get("name")
    if not isinstance(name, str) or not NAMES.fullmatch(name):
        raise RecipeError(
            f"{place / 'name'}: got {describe_value(name)}, but the name of a stage is text of letters, digits, "
            "points, dashes and underscores."
        )
    return name


def _merged(base: Mapping[str, Any], given: Mapping[str, Any], place: Place, number: int) -> Recipe:
    """The recipe of one stage."""
    origins: dict[KeyPath, KeyPath] = {(key,): (key,) for key in base}
    values = dict(base)
    for key, value in given.items():
        if key != "name":
            values[key] = lay_over(values.get(key), value, (key,), ("stages", number, key), origins)
    if number and isinstance(values.get("model"), Mapping):
        values["model"] = without_pretrained(values["model"], ("model",), unless=lambda path: _written(path, origins))
    return Recipe(values, StagePlace(place.source, lines=place.lines, origins=origins, number=number))


def _written(path: KeyPath, origins: Mapping[KeyPath, KeyPath]) -> bool:
    """Whether a stage itself says what stands at this path."""
    known = next(path[:end] for end in range(len(path), 0, -1) if path[:end] in origins)
    return origins[known][:1] == ("stages",)
