"""Annotation files, read so that whatever is wrong in them is told with the file and the key."""

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from atrous.findings import FindingError, error

__all__ = ["need", "need_points", "read_json", "refuse"]

_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a mapping",
    bool: "true or false",
}


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        FindingError: if it is missing or is no JSON, with the line.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as problem:
        raise FindingError(
            error("annotation", path, f"cannot be read ({problem.strerror})", "Check the name.")
        ) from None
    except UnicodeDecodeError:
        refuse(path, "is not UTF-8 text", "Export it again as JSON.")
    except json.JSONDecodeError as problem:
        refuse(f"{path} line {problem.lineno}", f"is not JSON ({problem.msg})", "Export it again; it may be cut off.")


def need(entry: Any, key: str, kind: type, where: object, *, default: Any = ...) -> Any:
    """The value of a key, of the kind that is needed; whole numbers are numbers too.

    Args:
        entry: a mapping.
        key: of it.
        kind: str, int, float, list, dict or bool.
        where: the file, and the place of the mapping in it.
        default: taken where the key is missing or null; without it that is an error.

    Raises:
        FindingError: if the key is missing, or its value is of another kind.
    """
    if not isinstance(entry, dict):
        refuse(where, f"is {_describe(entry)}, and a mapping is needed", "Export it again.")
    value = entry.get(key)
    if value is None:
        if default is not ...:
            return default
        refuse(where, f"has no key {key!r}", "Export it again with all its entries.")
    wrong = not isinstance(value, (int, float) if kind is float else kind)
    if wrong or (isinstance(value, bool) and kind in (int, float)):
        refuse(f"{where}, {key}", f"is {_describe(value)}, and {_WORDS[kind]} is needed", "Correct it.")
    return value


def need_points(value: Any, where: object, *, least: int = 3) -> np.ndarray:
    """(N, 2) x and y from a list of pairs, or from a flat list.

    Raises:
        FindingError: if they are not finite numbers, or fewer than `least`.
    """
    try:
        points = np.asarray(value, np.float64)
        if points.ndim == 1 and len(points) % 2 == 0:
            points = points.reshape(-1, 2)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        refuse(where, "is no list of points: pairs of x and y are needed", "Correct it, or delete the object.")
    if len(points) < least:
        refuse(where, f"has {len(points)} points, and at least {least} are needed", "Delete the object, or redraw it.")
    return points


def refuse(where: object, message: str, fix: str) -> NoReturn:
    """Raise a finding about an annotation file."""
    raise FindingError(error("annotation", where, message, fix)) from None


def _describe(value: Any) -> str:
    """A value in a few words."""
    text = json.dumps(value, default=str) if not isinstance(value, list | dict) else _WORDS[type(value)]
    return text if len(text) <= 40 else f"{text[:37]}..."
