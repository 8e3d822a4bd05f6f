"""A transformer's single map as a pyramid, for models that need finer and coarser ones, and images of any size for it.

Li, Mao, Girshick, He, "Exploring Plain Vision Transformer Backbones for Object Detection", ECCV 2022,
https://arxiv.org/abs/2203.16527 (ViTDet's simple feature pyramid).

As in the paper
    Every level is made from the last map alone: finer ones by 2x2 transposed convolutions of stride 2 with half the
    channels each, layer normalisation and GELU between them; the map itself; coarser ones by max pooling.

Different from the paper
    - The 1x1 and 3x3 convolutions to 256 channels after each level are left out: decoders here begin with their own.
    - Patches of other sizes than powers of two (14 pixels) are brought to the nearest: the image is interpolated by
      14/16, so that a patch is the square of 16 x 16 pixels of the image and cells of all levels keep their centres.
"""

from collections.abc import Sequence
from math import log2

from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders.base import Encoder, MeanStd, measure_levels
from atrous.layers import fit, resize, unfit

__all__ = ["FINEST", "PlainEncoder", "SimplePyramid", "crop_to_cells", "nearest_power"]

FINEST = 4
"""Stride of the finest level: what the decoders join."""


def nearest_power(patch: int) -> int:
    """The power of two that is nearest to a patch's side, by ratio.

    Example:
        >>> [nearest_power(patch) for patch in (7, 8, 12, 14, 16, 32)]
        [8, 8, 16, 16, 16, 32]
    """
    return int(2 ** round(log2(patch)))


class SimplePyramid(nn.Module):
    """Maps of several strides from one.

    Args:
        channels: of the map.
        stride: of the map, a power of two.
        strides: of the levels, powers of two, finest first.

    Example:
        >>> pyramid = SimplePyramid(64, 16, (4, 8, 16, 32))
        >>> import torch
        >>> [tuple(level.shape) for level in pyramid(torch.ones(1, 64, 4, 6))]
        [(1, 16, 16, 24), (1, 32, 8, 12), (1, 64, 4, 6), (1, 64, 2, 3)]
    """

    def __init__(self, channels: int, stride: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_step(channels, stride, wanted) for wanted in strides)

    def forward(self, x: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """The levels, finest first."""
        return [step(x) for step in self.steps]


def _step(channels: int, stride: int, wanted: int) -> nn.Module:
    if wanted == stride:
        return nn.Identity()
    if wanted > stride:
        return nn.MaxPool2d(wanted // stride)
    layers: list[nn.Module] = []
    while stride > wanted:
        half = max(channels // 2, 1)
        between = [_ChannelNorm(channels), nn.GELU()] if layers else []
        layers += [*between, nn.ConvTranspose2d(channels, half, 2, stride=2)]
        channels, stride = half, stride // 2
    return nn.Sequential(*layers)


class _ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each cell."""

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PlainEncoder(Encoder):
    """A network with one map of patches, and the pyramid above it, on images of any size.

    The image is padded to whole patches inside, and the levels are cropped to the cells that stand on the image.

    Args:
        body: turns an image whose sides are multiples of `patch` into a list with one map (B, C, H / patch, W / patch).
        in_channels: channels of the image.
        channels: of the map.
        patch: side of a patch in pixels of what the body sees.
        output_stride: of the coarsest level: 8, 16 or 32.
        pretrained_normalization: mean and std (0..255) of the images that the weights were trained on.

    Attributes:
        encoder_parts: what a recipe means by `encoder`: the pyramid begins with random weights, and has to learn.
    """

    encoder_parts = ("body",)

    def __init__(
        self,
        body: nn.Module,
        in_channels: int,
        channels: int,
        patch: int,
        *,
        output_stride: int = 32,
        pretrained_normalization: MeanStd | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.in_channels = in_channels
        self.patch = patch
        self.stride = nearest_power(patch)
        self.strides = [2**power for power in range(6) if min(FINEST, self.stride) <= 2**power <= output_stride]
        self.pyramid = SimplePyramid(channels, self.stride, self.strides)
        self.multiple = max(self.stride, self.strides[-1])
        self.pretrained_normalization = pretrained_normalization
        self.levels = measure_levels(self, in_channels)

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Levels at strides 4, 8, 16 and 32, up to the output stride."""
        fitted = fit(image, self.multiple)
        size = [side // self.stride * self.patch for side in fitted.shape[-2:]]
        (tokens,) = self.body(resize(fitted, (size[0], size[1])))
        return crop_to_cells(self.pyramid(tokens), image, self.strides)


def crop_to_cells(features: Sequence[Tensor], image: Tensor, strides: Sequence[int]) -> list[Tensor]:
    """Maps of a padded image without the cells that stand on the padding alone.

    Args:
        features: maps (B, C_l, H_l, W_l) of an image padded right and below.
        image: before padding.
        strides: of the maps.
    """
    height, width = image.shape[-2:]
    return [
        unfit(x, (height + stride - 1) // stride, (width + stride - 1) // stride)
        for x, stride in zip(features, strides, strict=True)
    ]
