"""Names to builders, and the check of a section's arguments against the builder's own signature.

A table is a literal dict from a name to a function or class. Nothing is built before its name and every one of its
arguments has been checked, and each complaint says where the value stands, what came and what is allowed.
"""

import inspect
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Callable as CallableType
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from atrous.errors import AtrousError, RecipeError, did_you_mean

__all__ = [
    "KeyPath",
    "NamedSection",
    "Place",
    "check_arguments",
    "check_value",
    "describe_hint",
    "describe_value",
    "lookup",
    "read_section",
]

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Where a value stands, for messages.

    Attributes:
        source: a file, "command line", or the function that was called.
        path: the keys that lead to the value.
        lines: for every key path that was written somewhere, where: "unet.yaml line 7" or "command line".

    Example:
        >>> place = Place("unet.yaml", lines={("model", "encoder"): "unet.yaml line 7"})
        >>> str(place / "model" / "encoder")
        'unet.yaml line 7, model.encoder'
    """

    source: str
    path: KeyPath = ()
    lines: Mapping[KeyPath, str] = field(default_factory=dict)

    def __truediv__(self, key: str | int) -> "Place":
        return replace(self, path=(*self.path, key))

    def __str__(self) -> str:
        for end in range(len(self.path), 0, -1):  # a key nobody wrote stands where its parent stands
            if self.path[:end] in self.lines:
                where = self.lines[self.path[:end]]
                break
        else:
            where = self.source
        return f"{where}, {'.'.join(map(str, self.path))}" if self.path else where


class NamedSection(NamedTuple):
    """A section that names something, once it has been checked.

    Attributes:
        build: the builder that it names.
        arguments: the builder's own, with the types that its hints ask for.

    Example:
        >>> NamedSection(max, {"default": 0})([])
        0
    """

    build: Callable[..., Any]
    arguments: dict[str, Any]

    def __call__(self, *values: Any, **given: Any) -> Any:
        """Build it from what the section does not say."""
        return self.build(*values, **given, **self.arguments)


def lookup(
    table: Mapping[str, Any], name: Any, *, kind: str, place: Place, error: type[AtrousError] = RecipeError
) -> Any:
    """The entry of a table, or an error with the nearest spelling.

    Args:
        table: names to entries.
        name: what was asked for.
        kind: what the table holds, in the singular: "model", "loss".
        place: where the name stands.
        error: class of the error to raise.

    Example:
        >>> lookup({"unet": 1}, "uent", kind="model", place=Place("create_model"))
        Traceback (most recent call last):
        atrous.errors.RecipeError: create_model: there is no model 'uent'. Did you mean 'unet'?
    """
    if not isinstance(name, str):
        raise error(f"{place}: the name of a {kind} is text, got {describe_value(name)}. {did_you_mean('', table)}")
    if name not in table:
        raise error(f"{place}: there is no {kind} {name!r}. {did_you_mean(name, table)}")
    return table[name]


def read_section(
    table: Mapping[str, Callable[..., Any]],
    section: Any,
    *,
    kind: str,
    place: Place,
    given: Collection[str] = (),
    error: type[AtrousError] = RecipeError,
) -> NamedSection:
    """The builder and its checked arguments from `{name: ..., argument: ...}`, or from a name alone.

    A builder with a parameter `place: Place` is handed the section's own, for the messages of what it reads itself.

    Example:
        >>> def unet(depth: int = 5) -> None: ...
        >>> read_section({"unet": unet}, {"name": "unet", "depth": 3}, kind="model", place=Place("x.yaml"))[1]
        {'depth': 3}
    """
    if isinstance(section, str):
        section = {"name": section}
    if not isinstance(section, Mapping):
        raise error(
            f"{place}: a {kind} is a name or {{name: ..., its arguments}}, got {describe_value(section)}. "
            f"{did_you_mean('', table)}"
        )
    if "name" not in section:
        raise error(f"{place}: the {kind} needs a name. {did_you_mean('', table)}")
    builder = lookup(table, section["name"], kind=kind, place=place / "name", error=error)
    arguments = {key: value for key, value in section.items() if key != "name"}
    checked = check_arguments(builder, arguments, place=place, given=given, error=error)
    return NamedSection(builder, {**checked, "place": place} if _hints(builder).get("place") is Place else checked)


def check_arguments(
    builder: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    place: Place,
    given: Collection[str] = (),
    error: type[AtrousError] = RecipeError,
) -> dict[str, Any]:
    """Check arguments against a builder's signature and type hints, before anything is built.

    Values are taken strictly: text is not a number and True is not 1. Only an int for a float, a list for a tuple and
    text for a path are turned into what the hint asks for.

    Args:
        builder: a function, class or dataclass.
        arguments: what a section says, without its name.
        place: where the section stands.
        given: parameters that the caller fills itself, and which a section therefore must not name.
        error: class of the error to raise.

    Returns:
        The arguments, with the types that the hints ask for. Defaults are left to the builder.

    Example:
        >>> def unet(encoder: str, depth: int = 5) -> None: ...
        >>> check_arguments(unet, {"encodr": "vgg"}, place=Place("x.yaml"))
        Traceback (most recent call last):
        atrous.errors.RecipeError: x.yaml, encodr: unet takes no argument 'encodr'. Did you mean 'encoder'?
    """
    name = getattr(builder, "__name__", str(builder))
    hints = _hints(builder)
    given = {*given, *(key for key, hint in hints.items() if hint is Place)}
    open_ended: inspect.Parameter | None = None
    parameters: dict[str, inspect.Parameter] = {}
    for parameter in inspect.signature(builder).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = parameter
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            parameters[parameter.name] = parameter
    free = [key for key in parameters if key not in given]

    checked: dict[str, Any] = {}
    for key, value in arguments.items():
        if key in given:
            raise error(f"{place / key}: {name} is handed {key!r} by atrous itself; remove it here.")
        if key in parameters:
            hint = hints.get(key, Any)
        elif open_ended is not None and isinstance(key, str):
            hint = hints.get(open_ended.name, Any)
        else:
            advice = did_you_mean(key, free) if free else "It takes none."
            raise error(f"{place / key}: {name} takes no argument {key!r}. {advice}")
        checked[key] = check_value(value, hint, what=f"{key} of {name}", place=place / key, error=error)

    for key in free:
        if parameters[key].default is inspect.Parameter.empty and key not in checked:
            raise error(f"{place}: {name} needs {key!r} ({describe_hint(hints.get(key, Any))}).")
    return checked


def check_value(value: Any, hint: Any, *, what: str, place: Place, error: type[AtrousError] = RecipeError) -> Any:
    """One value as its type hint wants it, or an error that says what came and what is allowed.

    Example:
        >>> check_value([1, 2], tuple[int, int], what="size", place=Place("x.yaml"))
        (1, 2)
        >>> check_value("2", int, what="size", place=Place("x.yaml"))
        Traceback (most recent call last):
        atrous.errors.RecipeError: x.yaml: got '2' (str), but size must be int.
    """
    if hint is Any or hint is inspect.Parameter.empty:
        return value
    from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

    try:
        try:
            adapter = TypeAdapter(hint, config={"arbitrary_types_allowed": True})
        except PydanticUserError:  # a hint that brings its own configuration, such as a dataclass
            adapter = TypeAdapter(hint)
    except (PydanticSchemaGenerationError, PydanticUserError, TypeError):
        return value  # a hint that cannot be checked is left to the builder
    try:
        return adapter.validate_python(value, strict=True)
    except ValidationError as failed:
        complaint = failed
    # YAML knows lists and text only. JSON's strict rules are the ones that read a tuple or a path from them.
    try:
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as failed:
        complaint = failed
    except (TypeError, ValueError):
        pass  # not a value that a file could hold: the first complaint stands
    culprit, place = _culprit(value, complaint.errors(include_url=False)[0]["loc"], place)
    options = [text for text in _literals(hint) if isinstance(text, str)]
    near = did_you_mean(culprit, options) if isinstance(culprit, str) and options else ""
    advice = f" {near}" if near.startswith("Did") else ""
    raise error(f"{place}: got {describe_value(culprit)}, but {what} must be {describe_hint(hint)}.{advice}")


def describe_value(value: Any) -> str:
    """A value and its type for a message, shortened where long: `'x' (str)`."""
    text = repr(value)
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return "nothing (null)" if value is None else f"{shown} ({type(value).__name__})"


def describe_hint(hint: Any) -> str:
    """A type hint in words that a recipe's author knows.

    Example:
        >>> describe_hint(int | tuple[int, int] | None)
        'int, [int, int] or null'
        >>> describe_hint(Literal["batch", "group"])
        "'batch' or 'group'"
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is None or hint is NoneType:
        return "null"
    if hint is Any or hint is inspect.Parameter.empty:
        return "anything"
    if origin is Annotated:
        return describe_hint(arguments[0]) + _describe_bounds(arguments[1:])
    if origin in (Union, UnionType):
        return _either(describe_hint(argument) for argument in arguments)
    if origin is Literal:
        return _either(repr(argument) for argument in arguments)
    if origin is type:
        return f"a subclass of {describe_hint(arguments[0])}"
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return f"[{', '.join(map(describe_hint, arguments))}]"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping of {describe_hint(arguments[0])} to {describe_hint(arguments[1])}"
    if isinstance(origin, type) and issubclass(origin, Collection) and arguments:
        return f"a list of {describe_hint(arguments[0])}"
    if hint is Path:
        return "a path"
    if isinstance(hint, type) and issubclass(hint, Mapping):
        return "a mapping"
    if hint in (list, tuple, Sequence, Collection):
        return "a list"
    if origin is CallableType or hint is CallableType:
        return "a function"
    return getattr(hint, "__name__", str(hint))


def _describe_bounds(metadata: Iterable[Any]) -> str:
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most", "multiple_of": "a multiple of"}
    words |= {"min_length": "of length at least", "max_length": "of length at most"}
    text = ""
    for item in metadata:
        for part in (item, *getattr(item, "metadata", ())):  # pydantic.Field keeps its bounds in a list
            for attribute, word in words.items():
                bound = getattr(part, attribute, None)
                text += f", {word} {bound}" if bound is not None else ""
    return text


def _either(parts: Iterable[str]) -> str:
    unique = list(dict.fromkeys(parts))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} or {unique[-1]}"


def _literals(hint: Any) -> list[Any]:
    """All values of the Literals inside a hint."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [value for argument in get_args(hint) for value in _literals(argument)]


def _culprit(value: Any, location: KeyPath, place: Place) -> tuple[Any, Place]:
    """Follow the keys of a complaint into the value, as far as they are its own (a union adds names)."""
    for key in location:
        inside = isinstance(value, Mapping) and key in value
        if isinstance(value, list | tuple) and isinstance(key, int):
            inside = key < len(value)
        if inside:
            value, place = value[key], place / key  # type: ignore[index, call-overload]
    return value, place


def _hints(builder: Callable[..., Any]) -> dict[str, Any]:
    """Type hints of a function, or of what a class is built with."""
    from dataclasses import is_dataclass

    target = builder.__init__ if isinstance(builder, type) and not is_dataclass(builder) else builder  # type: ignore[misc]
    try:
        return get_type_hints(target, include_extras=True)
    except (NameError, TypeError):  # hints that only a type checker can resolve, or none at all (functools.partial)
        raw = getattr(target, "__annotations__", {})
        return {key: hint for key, hint in raw.items() if not isinstance(hint, str)}
