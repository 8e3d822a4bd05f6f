"""Reading `classes.yaml`, so that every mistake in it is told with its line."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from atrous.data.classes import Classes
from atrous.errors import DataError, did_you_mean
from atrous.findings import FindingError, error
from atrous.images.colors import Color, default_colors, from_hex
from atrous.types import IGNORE_INDEX

__all__ = ["load_classes"]

_TABLE_KEYS = ("classes", "ignore", "flip_pairs")
_CLASS_KEYS = ("name", "value", "color")


class _ClassRow(NamedTuple):
    """One class as written; the colour is None where it is not."""

    name: str
    values: tuple[int, ...]
    color: Color | None


def load_classes(path: str | Path) -> Classes:
    """Read a class table.

    The file holds `classes`, a list of `{name, value, color}` where a class has a value, a list of values, a colour
    "#rrggbb", or both, and may hold `ignore`, a list of values and colours. Without `ignore`, 255 is ignored unless it
    is a class. A grey colour without a value stands for its grey value too. `flip_pairs` is a list of two names each:
    classes that are each other's mirror image.

    Raises:
        DataError: if the file is missing or anything in it is not as above; the text names the line.
    """
    path = Path(path)
    try:
        tree = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as problem:
        raise FindingError(error("classes", path, f"cannot be read ({problem.strerror})", "Check the name.")) from None
    except RecursionError:
        raise FindingError(
            error("classes", path, "is too deeply nested", "Write: classes: [{name: ..., value: ...}].")
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        text = f"is not YAML: {getattr(problem, 'problem', problem)}"
        raise FindingError(error("classes", f"{path}{line}", text, "Correct the line.")) from None
    if not isinstance(tree, MappingNode):
        fix = "Write: classes: [{name: background, value: 0}, {name: cell, value: 1}]."
        raise FindingError(error("classes", path, "holds no class table", fix))
    table = _entries(tree, _TABLE_KEYS, path)
    rows = _rows(table.get("classes"), tree, path)
    values, colors = _ignored(table.get("ignore"), {value for row in rows for value in row.values}, path)
    names = tuple(row.name for row in rows)
    chosen = tuple(row.color or color for row, color in zip(rows, default_colors(names), strict=True))
    coded = any(row.color for row in rows)
    pairs = _flip_pairs(table.get("flip_pairs"), names, path)
    try:
        return Classes(names, chosen, tuple(row.values for row in rows), values, colors, coded, flip_pairs=pairs)
    except DataError as problem:
        message, _, fix = str(problem).partition(". ")
        raise FindingError(error("classes", path, message, fix)) from None


def _rows(node: Node | None, tree: Node, path: Path) -> list[_ClassRow]:
    """The classes, each checked."""
    if not isinstance(node, SequenceNode) or not node.value:
        _refuse(path, node or tree, "'classes' must be a list", "Write: classes: [{name: background, value: 0}, ...].")
    rows: list[_ClassRow] = []
    for item in node.value:
        if not isinstance(item, MappingNode):
            _refuse(path, item, "a class must be a mapping", "Write: {name: cell, value: 1}.")
        entries = _entries(item, _CLASS_KEYS, path)
        name, value, color = (entries.get(key) for key in _CLASS_KEYS)
        if not isinstance(name, ScalarNode) or not name.value:
            _refuse(path, item, "a class has no name", "Write: {name: cell, value: 1}.")
        shade = None if color is None else _color(color, path)
        values = () if value is None else _values(value, path)
        if value is None and shade is None:
            _refuse(path, item, f"class {name.value!r} has neither value nor color", "Say which mask value it is.")
        if value is None and shade and len(set(shade)) == 1:
            values = (shade[0],)
        if name.value in [row.name for row in rows]:
            _refuse(path, item, f"class {name.value!r} stands twice", "Give one class a list of values: value: [2, 3].")
        if shade and shade in [row.color for row in rows]:
            _refuse(path, item, f"class {name.value!r} has the color of another", "Choose another color.")
        rows.append(_ClassRow(name.value, values, shade))
    return rows


def _ignored(node: Node | None, taken: set[int], path: Path) -> tuple[tuple[int, ...], tuple[Color, ...]]:
    """Ignored values and colours."""
    if node is None:
        return (() if IGNORE_INDEX in taken else (IGNORE_INDEX,)), ()
    values: list[int] = []
    colors: list[Color] = []
    for item in node.value if isinstance(node, SequenceNode) else [node]:
        if isinstance(item, ScalarNode) and item.tag.endswith(":str"):
            colors.append(_color(item, path))
        else:
            values.extend(_values(item, path))
    return tuple(dict.fromkeys(values)), tuple(dict.fromkeys(colors))


def _flip_pairs(node: Node | None, names: Sequence[str], path: Path) -> tuple[tuple[int, int], ...]:
    """The numbers of classes that are each other's mirror image."""
    if node is None:
        return ()
    fix = "Write: flip_pairs: [[left hand, right hand], ...]."
    if not isinstance(node, SequenceNode):
        _refuse(path, node, "'flip_pairs' must be a list of pairs", fix)
    pairs: list[tuple[int, int]] = []
    for item in node.value:
        given = [each.value for each in item.value] if isinstance(item, SequenceNode) else []
        if len(given) != 2:
            _refuse(path, item, "one of 'flip_pairs' is no pair of class names", fix)
        for name in given:
            if name not in names:
                _refuse(path, item, f"'flip_pairs' names {name!r}, which is no class", did_you_mean(str(name), names))
            if given[0] == given[1] or any(names.index(name) in pair for pair in pairs):
                _refuse(path, item, f"'flip_pairs' names {name!r} twice", "A class has one mirror image.")
        pairs.append((names.index(given[0]), names.index(given[1])))
    return tuple(pairs)


def _entries(node: MappingNode, keys: tuple[str, ...], path: Path) -> dict[str, Node]:
    """A mapping's entries by key, unknown and doubled keys refused."""
    entries: dict[str, Node] = {}
    for key, value in node.value:
        name = str(getattr(key, "value", "?"))
        if name not in keys:
            _refuse(path, key, f"unknown key {name!r}", did_you_mean(name, keys))
        if name in entries:
            _refuse(path, key, f"key {name!r} stands twice", "Keep one of them.")
        entries[name] = value
    return entries


def _values(node: Node, path: Path) -> tuple[int, ...]:
    """One mask value or a list of them."""
    if isinstance(node, SequenceNode):
        return tuple(value for item in node.value for value in _values(item, path))
    if not isinstance(node, ScalarNode) or not node.tag.endswith(":int"):
        given = repr(node.value) if isinstance(node, ScalarNode) else "a mapping"
        _refuse(path, node, f"a mask value must be a whole number, not {given}", "Write: value: 1, or value: [2, 3].")
    return (int(yaml.safe_load(node.value)),)


def _color(node: Node, path: Path) -> Color:
    """A colour written as "#rrggbb"."""
    try:
        return from_hex(str(node.value))
    except ValueError:
        given = repr(node.value) if isinstance(node, ScalarNode) and node.value else "nothing"
        fix = 'Write six hexadecimal digits in quotes, because # starts a comment: color: "#785a28".'
        _refuse(path, node, f'a color must be "#rrggbb", not {given}', fix)


def _refuse(path: Path, node: Node, message: str, fix: str) -> NoReturn:
    """Raise a finding that names the line of a node."""
    raise FindingError(error("classes", f"{path} line {node.start_mark.line + 1}", message, fix))
