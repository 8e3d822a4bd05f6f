"""Networks: one paper, one file, one line in `MODELS`."""

import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from atrous.encoders import origins_of
from atrous.errors import ModelError
from atrous.models.attention_unet import attention_unet
from atrous.models.base import DenseModel, EncoderDecoder, ModelSpec, Paper, WithinMemory, fcn_head
from atrous.models.context_unet import context_unet
from atrous.models.cpm import cpm, cpm_vgg
from atrous.models.crfrnn import crfrnn
from atrous.models.deconvnet import deconvnet
from atrous.models.deeplabv1 import deeplabv1
from atrous.models.deeplabv2 import deeplabv2
from atrous.models.deeplabv3 import deeplabv3, deeplabv3_cascade, deeplabv3_smp, deeplabv3_torchvision
from atrous.models.deeplabv3plus import deeplabv3plus, deeplabv3plus_smp
from atrous.models.dilated_unet import dilated_unet
from atrous.models.dilation import dilation
from atrous.models.downscaled import downscaled
from atrous.models.enet import enet
from atrous.models.ensemble import ensemble
from atrous.models.fcn import fcn
from atrous.models.fcn2015 import fcn8s, fcn8s_atonce, fcn16s, fcn32s
from atrous.models.fcn_alexnet import fcn_alexnet
from atrous.models.gcn import gcn
from atrous.models.hmsa import hmsa
from atrous.models.hourglass import hourglass, hourglass_bearpaw
from atrous.models.hrnet import hrnet
from atrous.models.hrnet_ocr import hrnet_ocr
from atrous.models.multiscale_unet import multiscale_unet
from atrous.models.pspnet import pspnet, pspnet_smp
from atrous.models.r2unet import r2unet
from atrous.models.refinenet import refinenet
from atrous.models.segnet import segnet, segnet_basic, segnet_bayesian
from atrous.models.stacked_unet import stacked_unet
from atrous.models.unet import unet
from atrous.models.unet2015 import unet2015
from atrous.models.unetplusplus import unetplusplus
from atrous.tables import Place, check_arguments, lookup, read_section

__all__ = [
    "MODELS",
    "DenseModel",
    "EncoderDecoder",
    "ModelSpec",
    "Paper",
    "create_model",
    "fcn_head",
    "list_models",
    "paper",
]

MODELS: dict[str, Callable[..., DenseModel]] = {
    "fcn32s": fcn32s,
    "fcn16s": fcn16s,
    "fcn8s": fcn8s,
    "fcn8s_atonce": fcn8s_atonce,
    "fcn_alexnet": fcn_alexnet,
    "fcn": fcn,
    "segnet": segnet,
    "segnet_basic": segnet_basic,
    "segnet_bayesian": segnet_bayesian,
    "deconvnet": deconvnet,
    "ensemble": ensemble,
    "unet2015": unet2015,
    "unet": unet,
    "dilated_unet": dilated_unet,
    "attention_unet": attention_unet,
    "r2unet": r2unet,
    "stacked_unet": stacked_unet,
    "multiscale_unet": multiscale_unet,
    "unetplusplus": unetplusplus,
    "context_unet": context_unet,
    "dilation": dilation,
    "crfrnn": crfrnn,
    "downscaled": downscaled,
    "enet": enet,
    "deeplabv1": deeplabv1,
    "deeplabv2": deeplabv2,
    "deeplabv3": deeplabv3,
    "deeplabv3_cascade": deeplabv3_cascade,
    "deeplabv3_torchvision": deeplabv3_torchvision,
    "deeplabv3_smp": deeplabv3_smp,
    "deeplabv3plus": deeplabv3plus,
    "deeplabv3plus_smp": deeplabv3plus_smp,
    "pspnet": pspnet,
    "pspnet_smp": pspnet_smp,
    "refinenet": refinenet,
    "gcn": gcn,
    "hrnet": hrnet,
    "hrnet_ocr": hrnet_ocr,
    "hmsa": hmsa,
    "hourglass": hourglass,
    "hourglass_bearpaw": hourglass_bearpaw,
    "cpm": cpm,
    "cpm_vgg": cpm_vgg,
}

LOG = logging.getLogger(__name__)
_SHARED = ("num_classes", "in_channels")  # what a model and the one inside it have in common


def create_model(name: str, *, num_classes: int, **arguments: Any) -> DenseModel:
    """Build a model by its key in `MODELS`.

    Args:
        name: a key of `MODELS`; see `list_models`.
        num_classes: maps in `out`, the background included.
        **arguments: the builder's own; unknown names and values that do not fit are refused. A `network` inside a model
            is a name, a section `{name: ..., its arguments}` or a model; `members` is a list of such.

    Returns:
        The model, untrained, its `spec` set. The spec holds every argument, the defaults too, so that a bundle outlives
        a change of defaults; `pretrained` is false in it, because a bundle brings its own weights.

    Raises:
        ModelError: if the name, an argument's name or an argument's value is not known; with the nearest spelling. Or
            if there is no memory for the weights; then none of it was asked for.
    """
    place = Place("create_model")
    builder = lookup(MODELS, name, kind="model", place=place, error=ModelError)
    checked = check_arguments(builder, {"num_classes": num_classes, **arguments}, place=place, error=ModelError)
    call = inspect.signature(builder).bind(**checked)
    call.apply_defaults()
    shared = {key: call.arguments[key] for key in _SHARED if key in call.arguments}
    if "network" in call.arguments:  # a model in a model: builders do not know each other
        call.arguments["network"] = _network(call.arguments["network"], shared, place / "network")
    if "members" in call.arguments:
        sections = enumerate(call.arguments["members"])
        call.arguments["members"] = [_network(each, shared, place / "members" / i) for i, each in sections]
    with WithinMemory(name):
        model = builder(*call.args, **call.kwargs)
    model.spec = ModelSpec(name, {key: _plain(key, value) for key, value in call.arguments.items()})
    model.origins = origins_of(model)
    inner = [call.arguments.get("network"), *call.arguments.get("members", ())]
    told = {origin for each in inner if isinstance(each, DenseModel) for origin in each.origins}
    for origin in model.origins:
        if origin not in told:
            LOG.info("%s starts from %s", origin.part, origin)
    return model


def list_models() -> list[str]:
    """The names that `create_model` knows, in alphabetical order.

    Example:
        >>> "unet" in list_models()
        True
    """
    return sorted(MODELS)


def paper(name: str) -> Paper | None:
    """What the file of a model says of the paper it comes from; None where it says nothing.

    Args:
        name: a key of `MODELS`.

    Example:
        >>> paper("pspnet").year
        2017
    """
    papers: dict[str, Paper] = getattr(sys.modules.get(MODELS[name].__module__), "PAPERS", {})
    return papers.get(name)


def _network(section: Any, shared: Mapping[str, Any], place: Place) -> DenseModel:
    """The model that another one is built around, from its section; with the same classes and channels."""
    if isinstance(section, DenseModel):
        if not hasattr(section, "spec"):
            raise ModelError(f"{place}: this model was not made by create_model, so no bundle could name it.")
        return section
    _, own = read_section(MODELS, section, kind="model", place=place, given=_SHARED, error=ModelError)
    return create_model(section if isinstance(section, str) else section["name"], **shared, **own)


def _plain(key: str, value: Any) -> Any:
    """An argument as a bundle writes it down: lists for tuples, sections for models, and no weights to fetch."""
    if key == "pretrained":
        return False
    if isinstance(value, DenseModel):
        own = {inner: item for inner, item in value.spec.arguments.items() if inner not in _SHARED}
        return {"name": value.spec.name, **own}
    if isinstance(value, dict):
        return {inner: _plain(inner, item) for inner, item in value.items()}
    return [_plain("", item) for item in value] if isinstance(value, tuple | list) else value
