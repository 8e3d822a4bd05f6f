"""Choices as a recipe: plain values for the machine, and a text with reasons for people."""

from collections.abc import Sequence
from typing import Any

import yaml

from atrous.configure.rules import Choice

__all__ = ["to_yaml", "values"]

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


def _entry(key: str, value: Any, indent: str) -> list[str]:
    """One entry; lists of sections get a line for each."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [f"{indent}{key}:", *(f"{indent}  - {_flow(item)}" for item in value)]
    return [f"{indent}{key}: {_flow(value)}"]


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()
    return text.removesuffix("...").strip()


def _wrapped(text: str, indent: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, WIDTH - indent) or [""]
