"""Networks: one paper, one file, one line in `MODELS`."""

import inspect
from collections.abc import Callable
from typing import Any

from atrous.errors import ModelError
from atrous.models.base import DenseModel, EncoderDecoder, ModelSpec, fcn_head
from atrous.models.fcn import fcn
from atrous.models.unet import unet
from atrous.models.unet2015 import unet2015
from atrous.tables import Place, check_arguments, lookup

__all__ = ["MODELS", "DenseModel", "EncoderDecoder", "ModelSpec", "create_model", "fcn_head", "list_models"]

MODELS: dict[str, Callable[..., DenseModel]] = {
    "unet2015": unet2015,
    "unet": unet,
    "fcn": fcn,
}


def create_model(name: str, *, num_classes: int, **arguments: Any) -> DenseModel:
    """Build a model by its key in `MODELS`.

    Args:
        name: a key of `MODELS`; see `list_models`.
        num_classes: maps in `out`, the background included.
        **arguments: the builder's own; unknown names and values that do not fit are refused.

    Returns:
        The model, untrained, its `spec` set. The spec holds every argument, the defaults too, so that a bundle outlives
        a change of defaults; `pretrained` is false in it, because a bundle brings its own weights.

    Raises:
        ModelError: if the name, an argument's name or an argument's value is not known; with the nearest spelling.
    """
    place = Place("create_model")
    builder = lookup(MODELS, name, kind="model", place=place, error=ModelError)
    checked = check_arguments(builder, {"num_classes": num_classes, **arguments}, place=place, error=ModelError)
    model = builder(**checked)
    call = inspect.signature(builder).bind(**checked)
    call.apply_defaults()
    model.spec = ModelSpec(name, {key: _plain(key, value) for key, value in call.arguments.items()})
    return model


def list_models() -> list[str]:
    """The names that `create_model` knows, in alphabetical order.

    Example:
        >>> "unet" in list_models()
        True
    """
    return sorted(MODELS)


def _plain(key: str, value: Any) -> Any:
    """An argument as a bundle writes it down: a list for a tuple, and no weights to fetch."""
    if key == "pretrained":
        return False
    return list(value) if isinstance(value, tuple) else value
