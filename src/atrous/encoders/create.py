"""One way to name an encoder: the papers' own trunks, and any backbone of timm."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from atrous.encoders.base import Encoder, EncoderSection, Pretrained
from atrous.encoders.hrnet import hrnet_w18, hrnet_w32, hrnet_w48
from atrous.encoders.resnet import RESNETS
from atrous.encoders.timm import check_name, timm_encoder
from atrous.encoders.vgg import vgg16, vgg16_bn
from atrous.errors import ModelError
from atrous.tables import Place, check_arguments

__all__ = ["ENCODERS", "create_encoder", "encoder_name"]

ENCODERS: dict[str, Callable[..., Encoder]] = {
    "vgg16": vgg16,
    "vgg16_bn": vgg16_bn,
    **RESNETS,
    "hrnet_w18": hrnet_w18,
    "hrnet_w32": hrnet_w32,
    "hrnet_w48": hrnet_w48,
}
"""The papers' own trunks. Every other name is looked up in timm."""

SINGLE_GRID = (1, 1, 1)


def create_encoder(
    encoder: EncoderSection,
    *,
    in_channels: int = 3,
    pretrained: Pretrained = False,
    output_stride: int = 32,
    multi_grid: Sequence[int] = SINGLE_GRID,
) -> Encoder:
    """Build an encoder by name, or by name and options.

    Args:
        encoder: a key of `ENCODERS`, or a name from `timm.list_models()`; or a section such as
            `{"name": "resnet50", "width": 16}` with options of the trunk's builder.
        in_channels: channels of the image.
        pretrained: what it starts from, see `Pretrained`; what is fetched is kept in the Hugging Face cache.
        output_stride: the coarsest stride allowed: 8, 16 or 32. A coarser encoder has its last stages dilated.
        multi_grid: factors on the rates of the last stage; only the ResNets of `ENCODERS` have them.

    Raises:
        ModelError: if the name or an option is unknown, or the encoder cannot do what is asked; it is named.

    Example:
        >>> [level.stride for level in create_encoder({"name": "resnet18", "width": 4}, output_stride=8).levels]
        [2, 4, 8, 8, 8]
    """
    name = encoder_name(encoder)
    options = {key: value for key, value in encoder.items() if key != "name"} if isinstance(encoder, dict) else {}
    check_name(name, list(ENCODERS))
    builder = ENCODERS.get(name, timm_encoder)
    accepted = inspect.signature(builder).parameters
    given: dict[str, Any] = {"in_channels": in_channels, "pretrained": pretrained, "output_stride": output_stride}
    if "multi_grid" in accepted:
        given["multi_grid"] = tuple(multi_grid)
    elif tuple(multi_grid) != SINGLE_GRID:
        raise ModelError(
            f"encoder {name!r} has no multi-grid rates, and {list(multi_grid)} are asked for: set multi_grid to "
            f"{list(SINGLE_GRID)}, or choose one of {', '.join(RESNETS)}"
        )
    place = Place(f"encoder {name!r}")
    # What the model decides a section may not name.
    checked = check_arguments(builder, options, place=place, given=(*given, "name"), error=ModelError)
    named = {"name": name} if builder is timm_encoder else {}
    return builder(**named, **given, **checked)


def encoder_name(encoder: EncoderSection) -> str:
    """The name of an encoder section.

    Raises:
        ModelError: if a section has no name.
    """
    name = encoder.get("name") if isinstance(encoder, dict) else encoder
    if not isinstance(name, str):
        raise ModelError(f"the encoder section {encoder} has no name: add one, for example name: resnet50")
    return name
