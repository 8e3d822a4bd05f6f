"""The file of a bundle's classes: names, colours, and what masks hold for each.

    {"classes": [{"name": "cell", "color": [242, 110, 61], "value": [255]}, ...],
     "ignore": [254, "#000000"],
     "color_coded": false,
     "flip_pairs": [["left hand", "right hand"]]}

The values are those of the training masks; a class that only a colour stands for has none. `flip_pairs` are there where
classes are each other's mirror image. A bundle that was saved with
names alone has neither `value` nor what follows: its classes are numbered.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from atrous.bundle.base import check_classes, read_color
from atrous.data.classes import Classes
from atrous.drawing import Color
from atrous.errors import BundleError, DataError
from atrous.images.colors import to_hex

__all__ = ["BundleClasses", "class_values", "read_classes"]


class BundleClasses(NamedTuple):
    """Names and colours, one per class; and the class table of the masks, None where it is not known."""

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    table: Classes | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; `read_classes` reads them."""
        rows = [{"name": name, "color": list(color)} for name, color in zip(self.names, self.colors, strict=True)]
        if self.table is None:
            return {"classes": rows}
        valued = [{**row, "value": list(values)} for row, values in zip(rows, self.table.values, strict=True)]
        ignore = [*self.table.ignore, *map(to_hex, self.table.ignore_colors)]
        pairs = {"flip_pairs": self.table.named_flip_pairs()} if self.table.flip_pairs else {}
        return {"classes": valued, "ignore": ignore, "color_coded": self.table.color_coded, **pairs}


def read_classes(content: Any, path: Path) -> BundleClasses:
    """What the file says.

    Args:
        content: as JSON.
        path: of the file, for messages.

    Raises:
        BundleError: if it is not of the form above, or two classes share a name or a value.
    """
    try:
        rows = [(row["name"], row["color"]) for row in content["classes"]]
        known = bool(rows) and all("value" in row for row in content["classes"])
    except (TypeError, KeyError):
        raise BundleError(
            f'{path}: the file needs the form {{"classes": [{{"name": "soil", "color": [120, 90, 40]}}, ...]}}.'
        ) from None
    names, colors = tuple(name for name, _ in rows), tuple(read_color(color, path) for _, color in rows)
    check_classes(names, colors, len(names), path)
    return BundleClasses(names, colors, _table(names, colors, content, path) if known else None)


def _table(names: tuple[str, ...], colors: tuple[Color, ...], content: Mapping[str, Any], path: Path) -> Classes:
    coded = bool(content.get("color_coded", False))
    try:
        rows = [
            {"name": name, "color": to_hex(color), "value": _list(row["value"], int)}
            for name, color, row in zip(names, colors, content["classes"], strict=True)
        ]
        ignore = _list(content.get("ignore", []), int, str)
        pairs = [_list(pair, str) for pair in _list(content.get("flip_pairs", []), list)]
        table = {"classes": rows, "ignore": ignore, "color_coded": coded, "flip_pairs": pairs}
        return Classes.from_dict(table)
    except (DataError, ValueError) as problem:
        raise BundleError(f"{path}: the mask values do not fit, or the flip_pairs: {problem}") from None


def _list(value: Any, *kinds: type) -> list[Any]:
    """A list of such values.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(value, list) or not all(type(one) in kinds for one in value):
        raise ValueError(f"{value!r} is no list of {' and '.join(kind.__name__ for kind in kinds)}")
    return value


def class_values(row: Mapping[str, Any], number: int) -> str:
    """The mask values of a class as words: its own, its colour where it has none, its number where they are unknown.

    Example:
        >>> class_values({"value": [2, 3]}, 1), class_values({"value": []}, 1), class_values({}, 1)
        ('2, 3', 'colour', '1')
    """
    values = row.get("value", [number])
    return ", ".join(map(str, values)) or "colour"
