"""Object-contextual representations: every pixel is described again by the object regions that it resembles.

Yuan, Chen, Wang, "Object-Contextual Representations for Semantic Segmentation", ECCV 2020,
https://arxiv.org/abs/1909.11065.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrous.layers.basic import BatchNorm, conv_bn_relu, resize
from atrous.types import Level

__all__ = ["OCR", "ObjectAttention", "StackedMaps"]

FINEST = 4  # stride; the finer maps of encoders that have them take no part


class StackedMaps(nn.Module):
    """The maps of stride 4 and coarser, interpolated to the finest of them and concatenated (HRNetV2).

    Args:
        levels: the encoder's maps, finest first.

    Example:
        >>> stack = StackedMaps([Level(4, 2), Level(8, 4), Level(16, 8)])
        >>> stack.out_channels, stack([torch.ones(1, 4, 8, 8), torch.ones(1, 8, 4, 4), torch.ones(1, 16, 2, 2)]).shape
        (24, torch.Size([1, 24, 4, 4]))
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        super().__init__()
        stacked = [level for level in levels if level.stride >= FINEST]
        self.num_maps = len(stacked)
        self.stride = stacked[0].stride
        self.out_channels = sum(level.channels for level in stacked)

    def forward(self, features: list[Tensor]) -> Float[Tensor, "B C H W"]:
        """One map of all channels."""
        finest, *coarser = features[-self.num_maps :]
        size = (finest.shape[-2], finest.shape[-1])
        return torch.cat([finest, *(resize(x, size) for x in coarser)], dim=1)


class OCR(nn.Module):
    r"""Features with the context of soft object regions, and the logits that say where those regions are.

    With features :math:`x_i` of the pixels and a first guess :math:`r_{ki}` at their classes,

    .. math::
        f_k = \sum_i \mathrm{softmax}_i(r_{ki})\, x_i, \qquad
        y_i = \sum_k \mathrm{softmax}_k\Big(\frac{\phi(x_i)^\top \psi(f_k)}{\sqrt{d}}\Big)\, \delta(f_k), \qquad
        z_i = g([\rho(y_i), x_i])

    The first softmax runs over the pixels of the image: a region is a weighted mean of all its pixels.

    Args:
        levels: the encoder's maps, finest first; stacked as by `StackedMaps`.
        num_classes: regions, and maps of the first guess.
        width: channels of x and z.
        key_width: channels d of queries, keys and values.
        dropout: share of the maps of z that are dropped in training.

    Example:
        >>> block = OCR([Level(8, 4), Level(16, 8)], num_classes=3, width=32, key_width=16)
        >>> features, regions = block([torch.ones(2, 8, 10, 12), torch.ones(2, 16, 5, 6)])
        >>> features.shape, regions.shape
        (torch.Size([2, 32, 10, 12]), torch.Size([2, 3, 10, 12]))
    """

    def __init__(
        self,
        levels: Sequence[Level],
        num_classes: int,
        *,
        width: int = 512,
        key_width: int = 256,
        dropout: float = 0.05,
    ) -> None:
        super().__init__()
        self.stack = StackedMaps(levels)
        channels = self.stack.out_channels
        self.regions = nn.Sequential(
            nn.Conv2d(channels, channels, 1), BatchNorm(channels), nn.ReLU(), nn.Conv2d(channels, num_classes, 1)
        )
        self.pixels = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), BatchNorm(width), nn.ReLU())
        self.attention = ObjectAttention(width, key_width)
        self.fuse = conv_bn_relu(2 * width, width, 1)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, features: list[Tensor]) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B K H W"]]:
        """Features with context, and the logits of the regions, both on the finest grid."""
        stacked = self.stack(features)
        regions = self.regions(stacked)
        pixels = self.pixels(stacked)
        # (B, C, HW) x (B, HW, K) -> (B, C, K): as an image of K x 1 pixels for the convolutions that follow
        objects = pixels.flatten(2) @ regions.flatten(2).softmax(2).transpose(1, 2)
        context = self.attention(pixels, objects.unsqueeze(3))
        return self.dropout(self.fuse(torch.cat([context, pixels], dim=1))), regions


class ObjectAttention(nn.Module):
    """Every pixel asks the regions and receives their values, weighted by how well their keys match.

    Args:
        width: channels of pixels, regions and of the result.
        key_width: channels of queries, keys and values.
    """

    def __init__(self, width: int, key_width: int) -> None:
        super().__init__()
        self.scale = key_width**-0.5
        self.query = nn.Sequential(conv_bn_relu(width, key_width, 1), conv_bn_relu(key_width, key_width, 1))
        self.key = nn.Sequential(conv_bn_relu(width, key_width, 1), conv_bn_relu(key_width, key_width, 1))
        self.value = conv_bn_relu(width, key_width, 1)
        self.up = conv_bn_relu(key_width, width, 1)

    def forward(self, pixels: Float[Tensor, "B C H W"], objects: Float[Tensor, "B C K 1"]) -> Float[Tensor, "B C H W"]:
        """The context of every pixel."""
        query = self.query(pixels)
        key, value = self.key(objects).flatten(2), self.value(objects).flatten(2)
        # (B, K, D) x (B, D, HW) -> (B, K, HW), and (B, D, K) x (B, K, HW) -> (B, D, HW)
        match = (key.transpose(1, 2) @ query.flatten(2) * self.scale).softmax(1)
        return self.up((value @ match).reshape(query.shape))
