"""Annotation files, read so that whatever is wrong in them is told with the file and the key."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from atrous.errors import DataError
from atrous.findings import Finding, FindingError, FindingsError, error

__all__ = ["Gathered", "need", "need_points", "read_json", "read_lines", "refuse"]

_LARGEST = 1 << 53
"""Whole numbers up to here are told apart by floats."""

_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a mapping",
    bool: "true or false",
}


@dataclass
class Gathered:
    """What was left out of annotations, and all that is wrong in them: reading goes on after an error.

    Attributes:
        left_out: what, and how often.
        findings: in the order in which they were met, none of them twice; a mapping to None.
    """

    left_out: dict[str, int] = field(default_factory=dict)
    findings: dict[Finding, None] = field(default_factory=dict)

    def note(self, what: str, count: int = 1) -> None:
        """Count what was left out."""
        if count:
            self.left_out[what] = self.left_out.get(what, 0) + count

    def add(self, problem: DataError) -> None:
        """Keep an error."""
        finding = problem.finding if isinstance(problem, FindingError) else error("annotation", "", str(problem), "")
        self.findings[finding] = None

    def raise_all(self) -> None:
        """Raise one error that lists all that were met.

        Raises:
            DataError: if there is any.
        """
        found = list(self.findings)
        if len(found) == 1:
            raise FindingError(found[0])
        if found:
            raise FindingsError(f"{len(found)} entries cannot be converted:", found)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Keep the error that the body raises, if any, and go on behind it."""
        try:
            yield
        except DataError as problem:
            self.add(problem)


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
    except (ValueError, RecursionError):  # a number of thousands of digits; lists within lists within lists
        refuse(path, "is JSON that no labelling tool writes: its numbers or its nesting are too large", "Check it.")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text with their numbers from 1 on, blanks around them taken off; empty ones are left out.

    Raises:
        FindingError: if it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        refuse(path, f"cannot be read ({problem.strerror})", "Check the name.")
    except UnicodeDecodeError:
        refuse(path, "is not UTF-8 text", "Save it as UTF-8.")
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def need(entry: Any, key: str, kind: type, where: object, *, default: Any = ...) -> Any:
    """The value of a key, of the kind that is needed; whole numbers are numbers too, and 512.0 is a whole number.

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
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    wrong = not isinstance(value, (int, float) if kind is float else kind)
    if kind in (int, float) and not wrong:
        wrong = not abs(value) <= _LARGEST  # neither what is not a number
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
    except (TypeError, ValueError, OverflowError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not (np.abs(points) <= _LARGEST).all():
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
