"""U-Net decoder on any encoder, with same padding: the form that practice settled on.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015,
https://arxiv.org/abs/1505.04597. For the paper's own network see `unet2015`.

As in the paper
    A contracting and an expanding path of mirrored steps; each step up is joined to the map of the same size by
    concatenation and followed by two 3x3 convolutions with ReLU.

Different from the paper (as in segmentation_models_pytorch's `Unet`, whose weights fit)
    - The contracting path is an encoder made for classification, optionally pretrained.
    - Convolutions are padded, so that maps keep their sizes and nothing is cropped.
    - Nearest-neighbour interpolation instead of a 2x2 up-convolution; batch normalisation; no dropout.
    - The expanding path goes on without a skip to the image's own resolution where the finest map is coarser.
    - The head is a 3x3 convolution.
"""

from collections.abc import Sequence
from math import log2

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders import Pretrained, timm_encoder
from atrous.errors import ModelError
from atrous.layers import conv_bn_relu
from atrous.models.base import DenseModel, EncoderDecoder, Paper
from atrous.types import Level

__all__ = ["PAPERS", "UNetDecoder", "unet"]

PAPERS = {
    "unet": Paper(
        year=2015,
        title="U-Net: Convolutional Networks for Biomedical Image Segmentation",
        url="https://arxiv.org/abs/1505.04597",
        idea="A path back up, joined at every size to the path down, gives each pixel both detail and context.",
        num_classes=1,
        parameters=14_328_209,
        facts=("on any classifier as contracting path", "count of segmentation_models_pytorch's Unet on a resnet18"),
    ),
}


def unet(
    num_classes: int,
    in_channels: int = 3,
    encoder: str = "resnet18",
    pretrained: Pretrained = False,
    *,
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16),
) -> DenseModel:
    """U-Net on a timm encoder.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: a name from `timm.list_models()`.
        pretrained: start the encoder from timm's weights.
        decoder_channels: channels after each doubling, coarsest first. Where they end before the image's resolution the
            logits are interpolated; an encoder of stride 32 takes at most five.

    Raises:
        ModelError: if the encoder is unknown or `decoder_channels` does not fit it.
    """
    trunk = timm_encoder(encoder, in_channels=in_channels, pretrained=pretrained)
    decoder = UNetDecoder(trunk.levels, decoder_channels)
    head = nn.Conv2d(decoder.out_channels, num_classes, 3, padding=1)
    return EncoderDecoder(trunk, decoder, num_classes, head=head)


class UNetDecoder(nn.Module):
    """Double, join the next finer map, convolve twice; again, until the image's resolution.

    Args:
        levels: the encoder's maps, finest first.
        channels: channels after each step, coarsest first.

    Raises:
        ModelError: if there are more steps than doublings to the image's resolution, or none, or one without channels.
    """

    def __init__(self, levels: Sequence[Level], channels: Sequence[int]) -> None:
        super().__init__()
        skips = [level.channels for level in reversed(levels[:-1])]
        most = len(skips) + round(log2(levels[0].stride))
        if not 1 <= len(channels) <= most:
            raise ModelError(
                f"decoder_channels has {len(channels)} values, the encoder's maps allow 1 to {most} steps: "
                f"give at most {most} values"
            )
        # Beyond the finest map there is nothing to join.
        joined = (skips + [0] * most)[: len(channels)]
        if min(channels) < 1:
            raise ModelError(f"decoder_channels is {list(channels)}: every step needs at least 1 channel")
        before = [levels[-1].channels, *channels[:-1]]
        self.steps = nn.ModuleList(_Step(*sizes) for sizes in zip(before, joined, channels, strict=True))
        self.out_channels = channels[-1]

    def forward(self, features: list[Tensor]) -> Float[Tensor, "B C H W"]:
        """The finest map that the steps lead to."""
        *skips, x = features
        for index, step in enumerate(self.steps):
            x = step(x, skips[-1 - index] if index < len(skips) else None)
        return x


class _Step(nn.Module):
    """One step up."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            conv_bn_relu(in_channels + skip_channels, out_channels), conv_bn_relu(out_channels, out_channels)
        )

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        if skip is None:
            return self.convs(F.interpolate(x, scale_factor=2, mode="nearest"))
        # The size of the other map, never a multiple: strides are rounded, and some encoders keep one throughout.
        return self.convs(torch.cat([F.interpolate(x, size=skip.shape[-2:], mode="nearest"), skip], dim=1))
