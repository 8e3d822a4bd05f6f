"""Any backbone of timm as an encoder: named, measured, and refused with a reason where it cannot do what is asked.

timm: Wightman, "PyTorch Image Models", https://github.com/huggingface/pytorch-image-models (Apache-2.0). This file
and `fetching.py` import it, inside the functions, because the import takes seconds.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher, get_close_matches
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders.base import (
    OUTPUT_STRIDES,
    Encoder,
    MeanStd,
    Pretrained,
    check_stride,
    lines_up,
    measure_levels,
)
from atrous.encoders.fetching import architecture, fetch_network
from atrous.errors import ModelError
from atrous.layers import BatchNorm
from atrous.types import Level

__all__ = ["TimmEncoder", "check_name", "timm_encoder"]

# Ways to ask a transformer for any image size; a convolutional network knows none of them and needs none.
FREE_SIZE: tuple[dict[str, Any], ...] = ({}, {"strict_img_size": False}, {"dynamic_img_size": True})
NEAR = 3  # names that are offered for one that is unknown
# What timm raises where a backbone does not know an argument, or refuses a size or a stride.
REFUSALS = (AssertionError, AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError)


def timm_encoder(
    name: str, *, in_channels: int = 3, pretrained: Pretrained = False, output_stride: int = 32
) -> Encoder:
    """A backbone of timm that returns its feature maps, finest first.

    Args:
        name: a name from `timm.list_models()`, with or without a weights tag.
        in_channels: channels of the image; timm adapts pretrained weights to any number.
        pretrained: what it starts from, see `Pretrained`; timm's weights are fetched once and then kept in the Hugging
            Face cache.
        output_stride: the coarsest stride allowed: 8, 16 or 32. A coarser backbone has its last stages dilated.

    Raises:
        ModelError: if the name is unknown, the weights cannot be fetched, or the backbone cannot run at the stride.
    """
    import timm

    check_name(name)
    if in_channels < 1:
        raise ModelError(f"encoder {name!r}: in_channels is {in_channels}; give at least 1")
    check_stride(name, output_stride)
    levels, options = _plan(name, in_channels, output_stride)
    found = fetch_network(name, in_channels, pretrained, features_only=True, **options) if pretrained else None
    if found is None:
        body = timm.create_model(architecture(name), features_only=True, in_chans=in_channels, **options)
        return TimmEncoder(_train_on_one(body), in_channels, levels)
    body, normalization, origin = found
    encoder = TimmEncoder(_train_on_one(body), in_channels, levels, normalization)
    encoder.origin = origin
    return encoder


class TimmEncoder(Encoder):
    """A features-only network of timm, its maps turned to (B, C, H, W).

    Args:
        body: what `timm.create_model(..., features_only=True)` returns.
        in_channels: channels of the image.
        levels: channels and stride of each map.
        pretrained_normalization: mean and std (0..255) of the images that the weights were trained on.
    """

    def __init__(
        self,
        body: nn.Module,
        in_channels: int,
        levels: tuple[Level, ...],
        pretrained_normalization: MeanStd | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.in_channels = in_channels
        self.levels = levels
        self.pretrained_normalization = pretrained_normalization
        self.channels_last = _is_channels_last(body)

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Feature maps (B, C_l, H_l, W_l), finest first."""
        return _turned(self.body(image), self.channels_last)


class _Turned(nn.Module):
    """The body with its maps turned, for measuring."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, image: Tensor) -> list[Tensor]:
        return _turned(self.body(image), _is_channels_last(self.body))


def _is_channels_last(body: nn.Module) -> bool:
    return getattr(getattr(body, "output_fmt", None), "value", "NCHW") == "NHWC"


def _turned(features: list[Tensor], channels_last: bool) -> list[Tensor]:
    # (B, H, W, C) -> (B, C, H, W)
    return [feature.permute(0, 3, 1, 2) for feature in features] if channels_last else list(features)


def _plan(name: str, in_channels: int, output_stride: int) -> tuple[tuple[Level, ...], dict[str, Any]]:
    """The levels at the stride, and the arguments that make timm build them."""
    native = _attempt(name, in_channels, max(OUTPUT_STRIDES))
    if native is None:
        raise ModelError(
            f"encoder {name!r} does not give feature maps that line up with images of any size; "
            f"choose another, for example resnet18"
        )
    if _coarsest(native) <= output_stride:
        return native
    dilated = _attempt(name, in_channels, output_stride)
    if dilated is None or _coarsest(dilated) > output_stride:
        raise ModelError(_stride_refusal(name, in_channels, output_stride, native))
    return dilated


def _coarsest(plan: tuple[tuple[Level, ...], dict[str, Any]]) -> int:
    return max(level.stride for level in plan[0])


def _attempt(name: str, in_channels: int, output_stride: int) -> tuple[tuple[Level, ...], dict[str, Any]] | None:
    """Build without numbers and measure, asking for free image sizes in each way timm knows; None where all fail."""
    import timm

    dilate = {"output_stride": output_stride} if output_stride < max(OUTPUT_STRIDES) else {}
    # Older releases of timm need numbers while they build some networks, so that the meta device is not enough.
    for device, free in product(("meta", "cpu"), FREE_SIZE):
        options = {**dilate, **free}
        try:
            with torch.device(device):
                body = timm.create_model(architecture(name), features_only=True, in_chans=in_channels, **options)
            levels = measure_levels(_Turned(body), in_channels)
            sizes = (256, 64 + max(level.stride for level in levels))
            fits = all(lines_up(_Turned(body), levels, in_channels, size) for size in sizes)
        except REFUSALS:
            continue
        if fits:
            return levels, options
    return None


def _stride_refusal(
    name: str, in_channels: int, output_stride: int, native: tuple[tuple[Level, ...], dict[str, Any]]
) -> str:
    """Which strides the encoder can run at instead."""
    able = [
        stride
        for stride in OUTPUT_STRIDES
        if output_stride < stride < _coarsest(native)
        and (found := _attempt(name, in_channels, stride)) is not None
        and _coarsest(found) <= stride
    ]
    strides = " and ".join(map(str, [*able, _coarsest(native)]))
    return (
        f"encoder {name!r} cannot run at output stride {output_stride}: it can run at {strides}; "
        f"set output_stride to that, or choose an encoder that dilates, for example resnet50"
    )


def check_name(name: str, others: Sequence[str] = ()) -> None:
    """Refuse a name that is neither one of the others nor timm's.

    Args:
        name: of an encoder.
        others: names that go before timm's among those that are as near.

    Raises:
        ModelError: with up to three near names.
    """
    if name in others:
        return
    import timm  # slow

    if timm.is_model(name):
        return
    names = timm.list_models()
    near = [*get_close_matches(name, others, NEAR), *get_close_matches(name, names, NEAR)]
    near = sorted(dict.fromkeys(near), key=lambda each: -SequenceMatcher(None, each, name).ratio())[:NEAR]
    if near:
        advice = f"Did you mean {', '.join(map(repr, near[:-1]))}{' or ' if near[1:] else ''}{near[-1]!r}?"
    else:
        advice = (
            f"Choose one of the {len(names)} of timm.list_models(), for example resnet18, resnet50 or convnext_tiny."
        )
    raise ModelError(f"unknown encoder {name!r}. {advice}")


class _BatchNormAct(BatchNorm):
    """timm's batch normalisation with its activation, able to train where a channel has a single value."""

    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))


def _train_on_one(module: nn.Module) -> nn.Module:
    """Give batch normalisations our forward; weights, statistics, names and hooks stay."""
    from timm.layers import BatchNormAct2d

    ours = {nn.BatchNorm2d: BatchNorm, BatchNormAct2d: _BatchNormAct}
    for part in module.modules():
        if type(part) in ours:
            part.__class__ = ours[type(part)]
    return module
