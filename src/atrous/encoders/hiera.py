"""Hiera on images of any size: timm's blocks and weights between our own ordering of the tokens.

Ryali, Hu, Bolya et al., "Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles", ICML 2023,
https://arxiv.org/abs/2306.00989. Bolya, Ryali, Hoffman, Feichtenhofer, "Window Attention is Bugged: How not to
Interpolate Position Embeddings", ICLR 2024, https://arxiv.org/abs/2311.05613.

The blocks pool and attend along one axis of tokens, which therefore stand in an order in which those that are pooled
together, and those of one window, are equally far apart. timm fixes that order, and the grid of positions, for one size
of image; here both follow the image. A grid of positions that was learned for one size is the mean over its windows,
which repeats, and a rest, which is interpolated: interpolating the whole would blur what the windows repeat.
"""

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["HieraMaps", "from_pooling_order", "resized_positions", "to_pooling_order"]


def to_pooling_order(x: Float[Tensor, "B H W C"], doublings: int) -> Float[Tensor, "B N C"]:
    """Tokens in the order in which 2x2 poolings take them from the first axis, `doublings` times.

    Example:
        >>> import torch
        >>> to_pooling_order(torch.arange(8.0).reshape(1, 2, 4, 1), 1)[0, :, 0]
        tensor([0., 2., 1., 3., 4., 6., 5., 7.])
    """
    batch, height, width, channels = x.shape
    split = [2] * doublings
    x = x.reshape(batch, height >> doublings, *split, width >> doublings, *split, channels)
    # The halves of the last pooling stand first in a row, those of the first pooling last.
    across = doublings + 1
    halves = [axis for step in range(doublings, 0, -1) for axis in (1 + step, 1 + across + step)]
    return x.permute(0, *halves, 1, 1 + across, -1).reshape(batch, height * width, channels)


def from_pooling_order(x: Float[Tensor, "B N C"], height: int, width: int, doublings: int) -> Float[Tensor, "B C H W"]:
    """The map of tokens of which `doublings` poolings are still to come.

    Args:
        x: tokens.
        height: of the map.
        width: of the map.
        doublings: poolings to come.

    Example:
        >>> import torch
        >>> from_pooling_order(to_pooling_order(torch.arange(8.0).reshape(1, 2, 4, 1), 1), 2, 4, 1)[0, 0]
        tensor([[0., 1., 2., 3.],
                [4., 5., 6., 7.]])
    """
    x = x.reshape(x.shape[0], *[2] * (2 * doublings), height >> doublings, width >> doublings, x.shape[-1])
    rows, columns = 2 * doublings + 1, 2 * doublings + 2
    halves = [2 * step + 1 for step in reversed(range(doublings))]
    order = (0, x.ndim - 1, rows, *halves, columns, *(axis + 1 for axis in halves))
    return x.permute(order).reshape(x.shape[0], x.shape[-1], height, width)


def resized_positions(positions: Float[Tensor, "1 C h w"], window: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """A grid of positions that was learned with windows, for a grid of another size.

    Args:
        positions: as learned; whole windows.
        window: height and width of a window.
        size: height and width wanted; whole windows.

    Returns:
        (1, C, H, W): the mean of the windows repeated, and the rest interpolated.
    """
    height, width = positions.shape[-2:]
    rows, columns = window
    mean = positions.reshape(1, -1, height // rows, rows, width // columns, columns).mean((2, 4))
    rest = positions - mean.tile(1, 1, height // rows, width // columns)
    if (height, width) != size:
        rest = F.interpolate(rest, size=size, mode="bicubic", align_corners=False)
    return rest + mean.tile(1, 1, size[0] // rows, size[1] // columns)


class HieraMaps(nn.Module):
    """The map after each stage of timm's Hiera, of an image whose sides are multiples of 32.

    Args:
        model: timm's `Hiera` for images.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.doublings = len(model.stage_ends) - 1
        self.window = tuple(model.mask_unit_size)
        self.strides = [model.patch_stride[0] << min(stage, model.q_pool) for stage in range(len(model.stage_ends))]

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Maps (B, C_l, H_l, W_l), finest first."""
        height, width = (side // self.strides[0] for side in image.shape[-2:])
        x = self.model.patch_embed(image) + self._positions((height, width))
        x = to_pooling_order(x.reshape(x.shape[0], height, width, -1), self.doublings)
        features: list[Tensor] = []
        for index, block in enumerate(self.model.blocks):
            x = block(x)
            if index in self.model.stage_ends:
                done = min(len(features), self.model.q_pool)
                features.append(from_pooling_order(x, height >> done, width >> done, self.doublings - done))
        return features

    def _positions(self, size: tuple[int, int]) -> Float[Tensor, "1 N C"]:
        model = self.model
        if model.pos_embed_win is not None:  # made for this: the windows' part stands by itself
            rows, columns = self.window
            whole = F.interpolate(model.pos_embed, size=size, mode="bicubic", antialias=True)
            grid = whole + model.pos_embed_win.tile(1, 1, size[0] // rows, size[1] // columns)
        else:
            learned = model.pos_embed.reshape(1, *model.tokens_spatial_shape, -1).permute(0, 3, 1, 2)
            grid = resized_positions(learned, self.window, size)
        return grid.flatten(2).transpose(1, 2)
