r"""Pyramid pooling: averages over a coarse grid of regions, whose borders follow from the map's size by arithmetic.

Zhao, Shi, Qi, Wang, Jia, "Pyramid Scene Parsing Network", CVPR 2017, https://arxiv.org/abs/1612.01105.

The averages are two matrix products. They equal adaptive average pooling at every size, and because the matrices are
computed from the sizes at hand, an exported network computes them anew for each image. An exporter that writes adaptive
pooling down with the windows of the traced size gives wrong numbers at all others, without a word.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from atrous.errors import ModelError

__all__ = ["PyramidPooling", "averaging_matrix", "block_average", "pyramid_average"]


def averaging_matrix(size: int, bins: Sequence[int], like: Tensor) -> Float[Tensor, "N size"]:
    r"""The matrix that averages a line of `size` pixels over bins, for several numbers of bins one below the other.

    Of b bins, bin i is the mean of the pixels from :math:`\lfloor i n / b \rfloor` to
    :math:`\lceil (i + 1) n / b \rceil - 1`: neighbours share a pixel where n is no multiple of b.

    Args:
        size: n, pixels of the line.
        bins: the numbers of bins.
        like: a tensor of the wanted type and device.

    Returns:
        (sum of `bins`, `size`), every row adding up to 1.

    Example:
        >>> averaging_matrix(5, (1, 2), torch.empty(0))
        tensor([[0.2000, 0.2000, 0.2000, 0.2000, 0.2000],
                [0.3333, 0.3333, 0.3333, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.3333, 0.3333, 0.3333]])
    """
    device = like.device
    index = torch.cat([torch.arange(count, device=device) for count in bins]).unsqueeze(1)
    count = torch.cat([torch.full((count,), count, device=device) for count in bins]).unsqueeze(1)
    start = index * size // count
    end = ((index + 1) * size + count - 1) // count
    pixel = torch.arange(size, device=device)
    inside = (pixel >= start) & (pixel < end)
    return inside.to(like.dtype) / (end - start)


def pyramid_average(x: Float[Tensor, "B C H W"], bins: Sequence[int]) -> list[Float[Tensor, "B C b b"]]:
    r"""Averages of a map over grids of b x b regions, for several b: adaptive average pooling as arithmetic.

    .. math:: y_b = A_b(H) \, x \, A_b(W)^\top

    with the matrices of `averaging_matrix`. One pass over the map serves all grids.

    Args:
        x: the map, of any size; it may be smaller than the grid.
        bins: regions per axis of each grid.

    Returns:
        One map (B, C, b, b) for each b.

    Example:
        >>> x = torch.arange(20.0).view(1, 1, 4, 5)
        >>> [grid[0, 0].tolist() for grid in pyramid_average(x, (1, 2))]
        [[[9.5]], [[3.5, 5.5], [13.5, 15.5]]]
    """
    # (B, C, H, W) -> (B, H, W, C): as it lies in memory under channels_last, so that the products copy nothing.
    pixels = x.permute(0, 2, 3, 1)
    across = torch.matmul(averaging_matrix(x.shape[3], bins, x), pixels)  # (B, H, sum of bins, C)
    down = averaging_matrix(x.shape[2], bins, x)
    grids = []
    parts = zip(torch.split(down, list(bins)), torch.split(across, list(bins), dim=2), strict=True)
    for rows, columns in parts:
        grid = torch.matmul(rows, columns.flatten(2))  # (B, b, b * C)
        # (B, b, b * C) -> (B, b, b, C) -> (B, C, b, b); copied, so that what follows is free to choose its layout.
        grids.append(grid.view(grid.shape[0], grid.shape[1], grid.shape[1], -1).permute(0, 3, 1, 2).contiguous())
    return grids


def block_average(x: Float[Tensor, "B C H W"], bins: int) -> Float[Tensor, "B C b b"]:
    """Averages over equal blocks: the authors' Caffe form, a window of 60, 30, 20 or 10 on their 60x60 map.

    Where it is defined it equals `pyramid_average`, whose regions then have no pixel in common.

    Args:
        x: the map.
        bins: blocks per axis; height and width must be multiples of it.

    Raises:
        ModelError: if they are not.

    Example:
        >>> block_average(torch.arange(8.0).view(1, 1, 2, 4), 2)[0, 0]
        tensor([[0.5000, 2.5000],
                [4.5000, 6.5000]])
    """
    height, width = x.shape[-2:]
    if height % bins or width % bins:
        raise ModelError(
            f"a map of {height} x {width} cannot be cut into {bins} x {bins} equal blocks: give sizes that are "
            f"multiples of {bins}, or use pyramid_average"
        )
    return F.avg_pool2d(x, (height // bins, width // bins))


class PyramidPooling(nn.Module):
    r"""What the image shows in the whole and in parts, told to every pixel (PSPNet's pyramid pooling module).

    .. math:: y_b = \mathrm{resize}(P_b(A_b(H) \, x \, A_b(W)^\top))

    Each grid of averages is projected and interpolated to the map's size with aligned corners. The maps come as a list;
    the network joins them with its own map, in its own order.

    Args:
        bins: regions per axis of each grid.
        projections: what each grid goes through, usually a 1x1 convolution to a quarter of the channels.

    Example:
        >>> pooling = PyramidPooling((1, 2), [nn.Conv2d(8, 2, 1), nn.Conv2d(8, 2, 1)])
        >>> [tuple(context.shape) for context in pooling(torch.rand(1, 8, 5, 7))]
        [(1, 2, 5, 7), (1, 2, 5, 7)]
    """

    def __init__(self, bins: Sequence[int], projections: Sequence[nn.Module]) -> None:
        super().__init__()
        if len(bins) != len(projections) or not bins or min(bins) < 1:
            raise ModelError(
                f"pyramid pooling has bins {list(bins)} and {len(projections)} projections: give numbers of at least "
                f"1, and one projection for each"
            )
        self.bins = tuple(bins)
        self.projections = nn.ModuleList(projections)

    def forward(self, x: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B D H W"]]:
        """One map of the size of `x` for each grid."""
        size = (x.shape[-2], x.shape[-1])
        grids = pyramid_average(x, self.bins)
        # Not `resize`: its question whether the size is there already would forbid an exported network those sizes.
        return [
            F.interpolate(project(grid), size=size, mode="bilinear", align_corners=True)
            for project, grid in zip(self.projections, grids, strict=True)
        ]
