"""Choices as a recipe: plain values for the machine, and a text with reasons for people."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from atrous.configure.facts import Facts
from atrous.configure.rules import Choice
from atrous.data import Folder
from atrous.recipe import Recipe, make_recipe

__all__ = ["header", "keys_of", "recipe_with_reasons", "to_yaml", "values"]

WIDTH = 118


def values(choices: Sequence[Choice], seed: int = 0) -> dict[str, Any]:
    """The recipe's values.

    Example:
        >>> values([Choice("data.crop", 256, ""), Choice("model", {"name": "unet"}, "")])
        {'data': {'crop': 256}, 'model': {'name': 'unet'}, 'seed': 0}
    """
    result: dict[str, Any] = {}
    for choice in choices:
        section, _, key = choice.key.partition(".")
        if key:
            result.setdefault(section, {})[key] = choice.value
        else:
            result[section] = choice.value
    return {**result, "seed": seed}


def to_yaml(choices: Sequence[Choice], head: Sequence[str], seed: int = 0) -> str:
    """A recipe with the reason above every entry.

    Args:
        choices: in their order.
        head: lines at the top.
        seed: of the run.

    Example:
        >>> print(to_yaml([Choice("data.crop", 256, "small objects")], ["by hand"]), end="")
        # by hand
        data:
          # small objects
          crop: 256
        seed: 0
    """
    lines = [f"# {text}" for line in head for text in _wrapped(line, 0)]
    open_section = ""
    for choice in choices:
        section, _, key = choice.key.partition(".")
        indent = "  " if key else ""
        if key and section != open_section:
            lines.append(f"{section}:")
        open_section = section
        lines += [f"{indent}# {text}" for text in _wrapped(choice.why, len(indent))]
        lines += _entry(key or section, choice.value, indent)
    return "\n".join([*lines, f"seed: {seed}"]) + "\n"


def recipe_with_reasons(choices: Sequence[Choice], head: Sequence[str], overrides: Sequence[str], seed: int) -> Recipe:
    """The recipe with its text; what the command line says takes the place of what was chosen.

    Args:
        choices: in their order.
        head: lines at the top.
        overrides: "KEY=VALUE" entries.
        seed: of the run.

    Raises:
        RecipeError: if an override does not fit.
    """
    recipe = make_recipe(values(choices, seed), source="the recipe for this data", overrides=overrides)
    parts = {choice.key.partition(".")[0] for choice in choices if "." in choice.key}
    asked = {".".join(key.split(".")[: 1 + (key.split(".")[0] in parts)]) for key in keys_of(overrides)}
    whole = {choice.key for choice in choices}
    for key in sorted(asked - whole):  # a section that is given as a whole counts for each of its entries
        section = recipe.section(key)
        if key in parts and isinstance(section, Mapping):
            asked |= {f"{key}.{inner}" for inner in section}
    kept = []
    for key in [*(choice.key for choice in choices), *sorted(asked - whole - parts - {"seed"})]:
        section, _, inner = key.partition(".")
        value = recipe.section(section)
        value = value.get(inner) if inner and isinstance(value, Mapping) else value
        why = next(
            (choice.why for choice in choices if choice.key == key and key not in asked), "as the command line says"
        )
        if value is not None or key in asked:
            kept.append(Choice(key, value, why))
    order = list(dict.fromkeys(choice.key.partition(".")[0] for choice in kept))
    kept.sort(key=lambda choice: order.index(choice.key.partition(".")[0]))
    return replace(recipe, text=to_yaml(kept, head, recipe.seed))


def keys_of(overrides: Sequence[str]) -> list[str]:
    """The keys of "KEY=VALUE" entries."""
    return [text.partition("=")[0].strip() for text in overrides]


def header(folder: Folder, facts: Facts, budget: float | None, seconds: float) -> list[str]:
    """The lines at the top: what was seen, and how to go on from here.

    Args:
        folder: of the data.
        facts: of the data.
        budget: seconds that somebody asked for, or None.
        seconds: that the training takes.
    """
    classes = ", ".join(f"{each.name} {each.share:.1%}" for each in facts.classes[:12])
    lines = [
        f"A recipe for {folder.root}, made by atrous from what is there: {facts.train} training and {facts.val} "
        f"validation images of about {facts.size[0]} x {facts.size[1]} pixels, {facts.channels} "
        f"{'channel' if facts.channels == 1 else 'channels'} of {facts.dtype}.",
        f"Of {facts.looked} images looked at: {classes}.",
        "Change what you know better, and train again with --recipe and this file.",
    ]
    if budget is None:
        lines.append(
            f"Nobody said how long to train: {seconds / 60:.0f} minutes here; say --budget 2h for another time."
        )
    return lines


def _entry(key: str, value: Any, indent: str) -> list[str]:
    """One entry; lists of sections get a line for each."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [f"{indent}{key}:", *(f"{indent}  - {_flow(item)}" for item in value)]
    return [f"{indent}{key}: {_flow(value)}"]


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()
    return text.removesuffix("...").strip()


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, WIDTH - indent) or [""]
