"""What every encoder promises: feature maps, finest first, described before they are computed."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders.origin import WeightsOrigin
from atrous.errors import ModelError
from atrous.types import Level

__all__ = [
    "AUTO",
    "OUTPUT_STRIDES",
    "Encoder",
    "EncoderSection",
    "MeanStd",
    "Pretrained",
    "Weights",
    "check_stride",
    "copy_weights",
    "keeps_corners",
    "lines_up",
    "measure_levels",
]

OUTPUT_STRIDES = (8, 16, 32)

EncoderSection = str | dict[str, Any]
"""An encoder's name, or its name with options: `{"name": "resnet50", "width": 16}`."""

MeanStd = tuple[tuple[float, ...], tuple[float, ...]]
"""(mean, std) per channel of 8-bit images (0..255)."""


Pretrained = bool | str | Path
"""What a network starts from: false, true, auto, a place, a package, a tag of timm's, a repository or a file.

The module `sources` says what each of them means.
"""
AUTO = "auto"
"""Pretrained weights where there are some, and random numbers where there are none."""


class Weights(NamedTuple):
    """Pretrained weights.

    Attributes:
        state: the state dict.
        normalization: how the images were normalised that they were trained on.
        origin: where they come from.
    """

    state: dict[str, Tensor]
    normalization: MeanStd
    origin: WeightsOrigin | None = None


class Encoder(nn.Module):
    """An image becomes a list of feature maps, finest first.

    Attributes:
        in_channels: channels of the image.
        levels: channels and stride of each map, in the order of the list; measured, never declared by hand.
        multiple: sides that are no multiples of it are padded inside, right and below; 1 where none are.
        pretrained_normalization: (mean, std) of the 8-bit images (0..255) that the weights were trained on, or None;
            of three channels for weights of ImageNet, whatever `in_channels` is.
        origin: where its first weights come from, or None for random numbers.
    """

    in_channels: int
    levels: tuple[Level, ...]
    multiple: int = 1
    pretrained_normalization: MeanStd | None = None
    origin: WeightsOrigin | None = None

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Feature maps (B, C_l, H_l, W_l) of a normalised image."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def started_from(self, weights: Weights | None) -> None:
        """Note what it was started from; None for random numbers."""
        if weights is not None:
            self.pretrained_normalization, self.origin = weights.normalization, weights.origin

    def fitted(self, image: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Feature maps of an image whose sides are multiples of the coarsest stride: size / stride cells each.

        What a network reads that keeps pixel centres; one that aligns corners has images of a pixel more.
        """
        return self(image)


def measure_levels(module: nn.Module, in_channels: int, size: int = 256) -> tuple[Level, ...]:
    """Channels and stride of every map that `module` makes, found by running a copy without numbers.

    The copy stands on the meta device: shapes are computed, nothing is multiplied, no weight is duplicated.

    Args:
        module: anything that turns an image into a list of (B, C, H, W) maps.
        in_channels: channels of the image.
        size: height and width of the smaller of the two images measured with. The stride is the rounded quotient of
            what the image and the map grow by, so that a border added or lost does not count.

    Example:
        >>> measure_levels(nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.Identity()), 1)
        (Level(channels=8, stride=2),)
    """
    small, large = (_run_without_numbers(module, in_channels, (length, length)) for length in (size, 2 * size))
    pairs = zip(small, large, strict=True)
    return tuple(Level(less.shape[1], _stride(size, less.shape[2], more.shape[2])) for less, more in pairs)


def _stride(size: int, less: int, more: int) -> int:
    """Pixels of a cell, from the cells of `size` pixels and of twice as many; all of them where a map never grows."""
    return max(1, round(size / (more - less or less)))


def lines_up(module: nn.Module, levels: Sequence[Level], in_channels: int, size: int) -> bool:
    """Whether an image of `size` x 2 `size` pixels gets as many cells as the strides of the levels say, rounded.

    It does not where a network is made for one size or for squares, or eats its borders.
    """
    maps = _run_without_numbers(module, in_channels, (size, 2 * size))
    return all(
        round(size / feature.shape[2]) == round(2 * size / feature.shape[3]) == level.stride
        for feature, level in zip(maps, levels, strict=True)
    )


def keeps_corners(encoder: Encoder) -> bool:
    """Whether an image of k x stride + 1 pixels has maps of k' + 1, so that the corners of all grids coincide.

    Strided convolutions with padding do; stems that cut the image into patches do not, nor do encoders that pad the
    image to whole patches or windows.

    Args:
        encoder: with its levels measured.

    Example:
        >>> from atrous.encoders import create_encoder
        >>> [keeps_corners(create_encoder(name)) for name in ("resnet18", "convnext_atto")]
        [True, False]
    """
    if encoder.multiple > 1:
        return False
    size = 4 * max(level.stride for level in encoder.levels)
    maps = _run_without_numbers(encoder, encoder.in_channels, (size + 1, size + 1))
    return all(
        feature.shape[2] == size // level.stride + 1 for feature, level in zip(maps, encoder.levels, strict=True)
    )


def _run_without_numbers(module: nn.Module, in_channels: int, size: tuple[int, int]) -> list[Tensor]:
    """The maps of an image of (height, width) on the meta device."""
    tensors = [*module.parameters(), *module.buffers()]
    shells: dict[int, object] = {id(tensor): _shell(tensor) for tensor in tensors}
    twin = copy.deepcopy(module, shells).eval()
    with torch.no_grad(), torch.device("meta"):
        features = twin(torch.empty(1, in_channels, *size))
    return [features] if isinstance(features, Tensor) else list(features)


def _shell(tensor: Tensor) -> Tensor:
    """A tensor of the same shape and type without numbers."""
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def check_stride(name: str, output_stride: int) -> None:
    """Refuse an output stride that no trunk has.

    Raises:
        ModelError: if it is none of 8, 16 and 32.
    """
    if output_stride not in OUTPUT_STRIDES:
        raise ModelError(f"encoder {name!r}: output_stride is {output_stride}; choose 8, 16 or 32")


def copy_weights(own: Sequence[Tensor], given: Sequence[Tensor]) -> None:
    """Copy tensor by tensor, in order; shapes must be equal."""
    with torch.no_grad():
        for target, value in zip(own, given, strict=True):
            target.copy_(value)
