"""Any backbone of timm as an encoder: named, measured, and refused with a reason where it cannot do what is asked.

timm: Wightman, "PyTorch Image Models", https://github.com/huggingface/pytorch-image-models (Apache-2.0). This
file and those of its weights import it, inside the functions, because the import takes seconds.
"""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher, get_close_matches
from functools import partial
from itertools import product
from math import lcm
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders.base import OUTPUT_STRIDES, Encoder, Pretrained, check_stride, lines_up, measure_levels
from atrous.encoders.fetching import fetch_network
from atrous.encoders.hiera import HieraMaps
from atrous.encoders.pyramid import FINEST, PlainEncoder, crop_to_cells
from atrous.encoders.registry import architecture
from atrous.errors import ModelError
from atrous.layers import BatchNorm, fit, resize
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
        output_stride: the coarsest stride allowed: 8, 16 or 32. A coarser backbone has its last stages dilated; one
            that cannot has its coarsest maps interpolated; a plain transformer has a pyramid that ends there.

    Raises:
        ModelError: if the name is unknown, the weights cannot be fetched, or the backbone has no maps of any size.
    """
    check_name(name)
    if in_channels < 1:
        raise ModelError(f"encoder {name!r}: in_channels is {in_channels}; give at least 1")
    check_stride(name, output_stride)
    plan = _plan(name, in_channels, output_stride)
    found = fetch_network(name, in_channels, pretrained, features_only=True, **plan.options) if pretrained else None
    body = _build(name, in_channels, plan.options) if found is None else found[0]
    encoder = plan.encoder(_train_on_one(body), in_channels, output_stride)
    if found is not None:
        _, encoder.pretrained_normalization, encoder.origin = found
    return encoder


class TimmEncoder(Encoder):
    """A network of timm with maps of several strides, turned to (B, C, H, W).

    Args:
        body: turns an image into a list of maps, finest first.
        in_channels: channels of the image.
        native: the levels of its maps.
        multiple: of which the sides of the images are that the body takes; others are padded.
        output_stride: coarser maps are interpolated to it.
    """

    def __init__(
        self,
        body: nn.Module,
        in_channels: int,
        native: tuple[Level, ...],
        *,
        multiple: int = 1,
        output_stride: int = 32,
    ) -> None:
        super().__init__()
        self.body = body
        self.in_channels = in_channels
        self.native = native
        self.levels = tuple(Level(level.channels, min(level.stride, output_stride)) for level in native)
        # Whole cells alone are interpolated by a whole factor.
        self.multiple = multiple if self.levels == native else lcm(multiple, max(level.stride for level in native))
        self.channels_last = _is_channels_last(body)

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Feature maps (B, C_l, H_l, W_l), finest first."""
        if self.multiple == 1:
            return _turned(self.body(image), self.channels_last)
        features = _turned(self.body(fit(image, self.multiple)), self.channels_last)
        finer = list(map(_finer, features, self.native, self.levels))
        return crop_to_cells(finer, image, [level.stride for level in self.levels])


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


def _finer(x: Tensor, own: Level, wanted: Level) -> Tensor:
    """A map interpolated to a stride that divides its own."""
    factor = own.stride // wanted.stride
    return resize(x, (x.shape[-2] * factor, x.shape[-1] * factor))


class _Plan(NamedTuple):
    """How a backbone becomes an encoder.

    Attributes:
        options: of `timm.create_model(..., features_only=True)`.
        multiple: of which the sides of the images are that it takes.
        native: the levels of its maps, measured.
    """

    options: dict[str, Any]
    multiple: int = 1
    native: tuple[Level, ...] = ()

    def encoder(self, body: Any, in_channels: int, output_stride: int) -> Encoder:
        """The encoder of a body that was built with the options."""
        maps = _maps(body)
        if _is_plain(body):
            (own,) = self.native
            return PlainEncoder(maps, in_channels, own.channels, self.multiple, output_stride=output_stride)
        return TimmEncoder(maps, in_channels, self.native, multiple=self.multiple, output_stride=output_stride)


def _maps(body: Any) -> nn.Module:
    """What turns an image of any size into maps."""
    return HieraMaps(body.model) if _is_hiera(body) else body  # type: ignore[no-any-return]


def _is_plain(body: Any) -> bool:
    """Whether all maps have one stride, coarser than what decoders join."""
    strides = set(body.feature_info.reduction())
    return len(strides) == 1 and max(strides) > FINEST


def _is_hiera(body: Any) -> bool:
    from timm.models.hiera import Hiera

    return isinstance(getattr(body, "model", None), Hiera)


def _plan(name: str, in_channels: int, output_stride: int) -> _Plan:
    """The first way in which the backbone gives maps of images of any size: dilated before interpolated.

    Raises:
        ModelError: if there is none.
    """
    dilated = _attempt(name, in_channels, output_stride) if output_stride < max(OUTPUT_STRIDES) else ""
    found = dilated if isinstance(dilated, _Plan) else _attempt(name, in_channels)
    if isinstance(found, _Plan):
        return found
    raise ModelError(
        f"encoder {name!r} does not give feature maps that line up with images of any size ({found}); "
        f"choose another, for example resnet18"
    )


def _attempt(name: str, in_channels: int, dilate_to: int | None = None) -> _Plan | str:
    """Build without numbers and measure, asking for free image sizes in each way timm knows; else why the first failed.

    Args:
        name: of the backbone.
        in_channels: of the image.
        dilate_to: the output stride to ask timm for; None leaves the backbone as it is.
    """
    reasons = []
    # Older releases of timm need numbers while they build some networks, so that the meta device is not enough.
    for device, free in product(("meta", "cpu"), FREE_SIZE):
        options = {"output_stride": dilate_to, **free} if dilate_to else free
        try:
            with torch.device(device):
                body = _build(name, in_channels, options)
        except REFUSALS as error:
            reasons.append(_first_line(error))
            continue
        strides = body.feature_info.reduction()
        if not _is_plain(body) and any(stride & (stride - 1) for stride in strides):
            return f"its maps have the strides {', '.join(map(str, strides))}, which are no powers of two"
        for plan in _plans(body, options):
            try:
                with torch.device(device):
                    again = body if plan.options is options else _build(name, in_channels, plan.options)
                    found = _measured(plan, _Turned(_maps(again)), in_channels)
            except REFUSALS as error:
                found = _first_line(error)
            if isinstance(found, _Plan) and dilate_to and max(level.stride for level in found.native) > dilate_to:
                found = "it does not dilate"
            if isinstance(found, _Plan):
                return found
            reasons.append(found)
    return reasons[0]


def _build(name: str, in_channels: int, options: dict[str, Any]) -> Any:
    import timm

    return timm.create_model(architecture(name), features_only=True, in_chans=in_channels, **options)


def _plans(body: Any, options: dict[str, Any]) -> Iterator[_Plan]:
    """What to try with a body, the best first."""
    coarsest, made_for = max(body.feature_info.reduction()), body.pretrained_cfg["input_size"][-1]
    if _is_plain(body):  # its last map, with the normalisation that the classifier saw
        getter: Any = type(body)
        yield _Plan({**options, "out_indices": 1, "feature_cls": partial(getter, norm=True)}, coarsest)
        yield _Plan({**options, "out_indices": 1}, coarsest)
    elif _is_hiera(body):
        yield _Plan(options, coarsest)
    else:  # as it is; on whole cells; on whole windows, of which the size that it was made for is a number
        yield from (_Plan(options, multiple) for multiple in (1, coarsest, made_for) if multiple % coarsest in (0, 1))


def _measured(plan: _Plan, maps: nn.Module, in_channels: int) -> _Plan | str:
    """The plan with its levels, or why it does not do."""
    whole = [-(-size // plan.multiple) * plan.multiple for size in (256, 96)]
    levels = measure_levels(maps, in_channels, whole[0])
    if not all(lines_up(maps, levels, in_channels, size) for size in whole):
        return "its maps are not as large as their strides say"
    if plan.multiple == 1:  # any other size must run, too
        lines_up(maps, levels, in_channels, 129)
    return plan._replace(native=levels)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


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
