"""One part of a recipe laid over another: a stage over its recipe, an entry of a table over its settings."""

from collections.abc import Mapping
from typing import Any

from atrous.tables import KeyPath

__all__ = ["lay_over"]

NAMED = (("model",), ("task",), ("optimizer",), ("schedule",))
"""Sections that may be a name alone."""


def lay_over(below: Any, above: Any, path: KeyPath, origin: KeyPath, origins: dict[KeyPath, KeyPath]) -> Any:
    """One value over another.

    A mapping over a mapping merges their keys; where both have a `name` and the names differ, it replaces. Anything
    else replaces, lists too. Null empties a section or an argument; deeper down it takes the key out.

    Args:
        below: the value that is there; it stays as it is.
        above: what is laid over it.
        path: where the two stand in the merged recipe; () for whole recipes.
        origin: where `above` is written.
        origins: takes up, for every key path of the merged recipe, the path under which it is written.

    Example:
        >>> lay_over({"name": "sgd", "lr": 0.1}, {"lr": 0.2}, ("optimizer",), ("optimizer",), {})
        {'name': 'sgd', 'lr': 0.2}
        >>> lay_over({"name": "sgd", "lr": 0.1}, {"name": "adam"}, ("optimizer",), ("optimizer",), {})
        {'name': 'adam'}
    """
    if path in NAMED and isinstance(above, str):
        above = {"name": above}
    origins[path] = origin
    mappings = isinstance(below, Mapping) and isinstance(above, Mapping)
    if not mappings or ("name" in below and "name" in above and below["name"] != above["name"]):
        return above
    merged = dict(below)
    for key in below:
        origins.setdefault((*path, key), (*path, key))
    for key, value in above.items():
        if value is None and len(path) > 1:
            merged.pop(key, None)
        else:
            merged[key] = lay_over(below.get(key), value, (*path, key), (*origin, key), origins)
    return merged
