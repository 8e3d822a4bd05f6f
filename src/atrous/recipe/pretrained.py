"""Arguments of a model without the wish for weights that would have to be fetched."""

from collections.abc import Callable, Mapping
from typing import Any

from atrous.tables import KeyPath

__all__ = ["without_pretrained"]


def without_pretrained(
    value: Any, path: KeyPath = (), *, unless: Callable[[KeyPath], bool] = lambda path: False
) -> Any:
    """A section of a model, or its arguments, in which every `pretrained` is false, however deep it stands.

    Args:
        value: plain values.
        path: where they stand in their recipe.
        unless: says for the path of a `pretrained` whether it stays.

    Example:
        >>> without_pretrained({"name": "crfrnn", "network": {"name": "fcn8s", "pretrained": True}})
        {'name': 'crfrnn', 'network': {'name': 'fcn8s', 'pretrained': False}}
    """
    if isinstance(value, list):
        return [without_pretrained(inner, (*path, index), unless=unless) for index, inner in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    return {
        key: False
        if key == "pretrained" and not unless((*path, key))
        else without_pretrained(inner, (*path, key), unless=unless)
        for key, inner in value.items()
    }
