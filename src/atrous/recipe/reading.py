"""YAML as plain values with the line of every key path, and plain values as YAML.

Values are read as YAML 1.2 reads them: `1e-4` is a number, `no` and `12:30` are text. Nothing that a file says can name
code.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from atrous.errors import AtrousError, RecipeError
from atrous.tables import KeyPath, Place, describe_value

__all__ = ["read_value", "read_yaml", "write_yaml"]

MOST_VALUES = 100_000
"""Values in one file. Aliases multiply; a file that means well has a few dozen."""


def read_yaml(
    path: Path, *, source: str | None = None, error: type[AtrousError] = RecipeError
) -> tuple[dict[str, Any], Place]:
    """The mapping in a YAML file, and the line of each of its key paths.

    Args:
        path: the file.
        source: what messages call it; its path where None.
        error: class of the error to raise.

    Raises:
        RecipeError: (or `error`) on a file that cannot be read, is not YAML, is not a mapping or has a key twice.
    """
    source = source or str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise error(f"{source}: this is not a text file in UTF-8; a recipe is YAML.") from None
    except OSError as failed:
        raise error(f"{source}: cannot be read ({failed.strerror}).") from None
    reader = _Reader(source, error)
    values = reader.read(text)
    if not isinstance(values, dict):
        came = "it is empty" if values is None else f"it holds {describe_value(values)}"
        raise error(f"{source}: {came}, but it needs sections, such as `model: {{name: unet}}`.")
    return values, Place(source, lines=reader.lines)


def read_value(text: str, *, source: str, error: type[AtrousError] = RecipeError) -> Any:
    """One value written as in a recipe, such as `1e-4` on the command line.

    Args:
        text: YAML.
        source: what messages call it.
        error: class of the error to raise.

    Example:
        >>> read_value("1e-4", source="command line"), read_value("no", source="command line")
        (0.0001, 'no')
    """
    return _Reader(source, error, numbered=False).read(text)


def write_yaml(values: Mapping[str, Any]) -> str:
    """Plain values as YAML, inner collections in one line; tuples become lists.

    Example:
        >>> print(write_yaml({"model": {"name": "unet", "rates": (1, 2)}, "seed": 0}), end="")
        model:
          name: unet
          rates: [1, 2]
        seed: 0
    """
    return yaml.dump(_plain(values), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2 in the place of YAML 1.1's."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (the name and shape are PyYAML's)


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the text that `_Loader` would not read as text, and 1.1 readers neither."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: list(found) for first, found in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True


_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
for _tag, _pattern, _first in (
    ("null", re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    _anchored = re.compile(f"^(?:{_pattern.pattern})$")
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _anchored, _first)
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _anchored, _first)


class _Reader:
    """Turns a YAML text into plain values and keeps the line of every key path."""

    def __init__(self, source: str, error: type[AtrousError], *, numbered: bool = True) -> None:
        self.source = source
        self.error = error
        self.numbered = numbered
        self.lines: dict[KeyPath, str] = {}
        self._open: set[int] = set()  # nodes that are being read: an alias to one of them would never end
        self._count = 0

    def read(self, text: str) -> Any:
        try:
            node = yaml.compose(text, Loader=_Loader)
        except yaml.YAMLError as failed:
            where = self._where(getattr(failed, "problem_mark", None))
            problem = getattr(failed, "problem", None) or "a character that YAML does not allow"
            if "\\t" in problem:
                problem = "a tab; indent with spaces"
            raise self.error(f"{where}: this is not YAML: {problem}.") from None
        except RecursionError:
            raise self.error(f"{self.source}: too deeply nested.") from None
        try:
            return None if node is None else self._value(node, ())
        except RecursionError:
            raise self.error(f"{self.source}: too deeply nested.") from None

    def _where(self, mark: yaml.Mark | None) -> str:
        return f"{self.source} line {mark.line + 1}" if mark and self.numbered else self.source

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        line = self._where(node.start_mark)
        self.lines.setdefault(path, line)
        self._count += 1
        if id(node) in self._open or self._count > MOST_VALUES:
            raise self.error(f"{line}: an alias (*) that repeats without end; write the values out.")
        self._open.add(id(node))
        value: Any
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode):
            value = [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        else:
            value = self._scalar(node, line)
        self._open.discard(id(node))
        return value

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str | int, Any]:
        result: dict[str | int, Any] = {}
        for key_node, value_node in node.value:
            line = self._where(key_node.start_mark)
            key = self._scalar(key_node, line)
            if key == "<<" or not isinstance(key, str | int) or isinstance(key, bool):
                raise self.error(f"{line}: {describe_value(key)} cannot be a key; put text in quotes.")
            if key in result:
                raise self.error(f"{line}, {'.'.join(map(str, (*path, key)))}: the key stands here a second time.")
            self.lines[(*path, key)] = line
            result[key] = self._value(value_node, (*path, key))
        return result

    def _scalar(self, node: yaml.Node, line: str) -> Any:
        text = node.value
        kind = node.tag.rpartition(":")[2]
        if not isinstance(text, str) or kind not in ("null", "bool", "int", "float", "str"):
            raise self.error(f"{line}: {node.tag!r} is not used in recipes; write text, numbers, lists and mappings.")
        try:
            if kind == "int":
                return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
            if kind == "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            raise self.error(f"{line}: {text!r} is not a number.") from None
        if kind == "bool":
            return text.lower() == "true"
        return None if kind == "null" else text
