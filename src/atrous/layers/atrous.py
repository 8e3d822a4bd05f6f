r"""Atrous convolution, and the spatial pyramid that samples one map at several rates (ASPP).

Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017,
https://arxiv.org/abs/1706.05587 (ASPP with batch normalisation and image pooling); Chen, Zhu, Papandreou, Schroff,
Adam, "Encoder-Decoder with Atrous Separable Convolution", ECCV 2018, https://arxiv.org/abs/1802.02611 (the separable
form).
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from atrous.layers.basic import conv_bn_relu

__all__ = ["ASPP", "ImagePooling", "atrous_convolution", "effective_size", "separable_conv_bn_relu"]


def effective_size(kernel_size: int, rate: int) -> int:
    r"""Pixels from the first to the last tap of an atrous kernel: :math:`k + (k - 1)(r - 1)`.

    Example:
        >>> [effective_size(3, rate) for rate in (1, 2, 6, 12)]
        [3, 5, 13, 25]
    """
    return kernel_size + (kernel_size - 1) * (rate - 1)


def atrous_convolution(
    x: Float[Tensor, "B C H W"], weight: Float[Tensor, "D C k k2"], rate: int
) -> Float[Tensor, "B D H W"]:
    r"""Convolution with holes ("à trous") between the taps of the kernel; zeros outside keep height and width.

    .. math:: y[i] = \sum_{k=-K}^{K} x[i + r k] \, w[k]

    along each axis: rate :math:`r` spreads the taps and adds no weight. It equals an ordinary convolution of each of
    the :math:`r \times r` maps that are left when every r-th pixel is kept.

    Args:
        x: the map.
        weight: kernels of odd height and width.
        rate: distance between neighbouring taps, at least 1.

    Example:
        >>> x = torch.tensor([[[[1.0, 2.0, 4.0, 8.0, 16.0]]]])
        >>> weight = torch.tensor([[[[1.0, 0.0, 1.0]]]])                # the neighbours to the left and to the right
        >>> [atrous_convolution(x, weight, rate)[0, 0, 0].tolist() for rate in (1, 2)]
        [[2.0, 5.0, 10.0, 20.0, 8.0], [4.0, 8.0, 17.0, 2.0, 4.0]]
    """
    padding = [effective_size(size, rate) // 2 for size in weight.shape[2:]]
    return F.conv2d(x, weight, padding=padding, dilation=rate)


def separable_conv_bn_relu(
    in_channels: int, out_channels: int, kernel_size: int = 3, *, dilation: int = 1
) -> nn.Sequential:
    """A kernel for each channel alone, then a 1x1 convolution across channels, batch normalisation, ReLU.

    For 3x3 and 256 channels it has 9 + 256 weights per input channel, where a full kernel has 9 x 256. (B, C, H, W)
    becomes (B, out_channels, H, W).

    Args:
        in_channels: of the map.
        out_channels: of the result.
        kernel_size: odd.
        dilation: rate of the kernels; "atrous separable convolution" where it is above 1.

    Example:
        >>> block = separable_conv_bn_relu(256, 256, dilation=6)
        >>> [part.weight.numel() for part in block[:2]]
        [2304, 65536]
        >>> block(torch.ones(1, 256, 5, 7)).shape
        torch.Size([1, 256, 5, 7])
    """
    padding = effective_size(kernel_size, dilation) // 2
    across = conv_bn_relu(in_channels, out_channels, 1)
    depthwise = nn.Conv2d(
        in_channels, in_channels, kernel_size, padding=padding, dilation=dilation, groups=in_channels, bias=False
    )
    # No activation follows it, so its variance is 1 / (incoming connections), without the factor of 2 for a ReLU.
    nn.init.kaiming_normal_(depthwise.weight, nonlinearity="linear")
    return nn.Sequential(depthwise, *across)


class ImagePooling(nn.Module):
    r"""What the whole image shows, told to every pixel: the mean of each channel, projected, spread over the map.

    .. math:: y[i] = \mathrm{ReLU}(\mathrm{BN}(W \cdot \tfrac{1}{H W} \textstyle\sum_j x[j]))

    (B, C, H, W) becomes (B, out_channels, H, W), equal at every position; bilinear interpolation of one pixel is that
    pixel everywhere, whatever is done with the corners.

    Args:
        in_channels: of the map.
        out_channels: of the result.

    Example:
        >>> ImagePooling(8, 4)(torch.rand(2, 8, 5, 7)).std((2, 3)).max().item()
        0.0
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.project = conv_bn_relu(in_channels, out_channels, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """The projected mean at every position."""
        return self.project(x.mean((2, 3), keepdim=True)).expand(-1, -1, x.shape[-2], x.shape[-1])


class ASPP(nn.Module):
    r"""Atrous spatial pyramid pooling: one map seen through a pixel, through 3x3 kernels at several rates, and whole.

    .. math:: y = P * [\, W_0 * x,\ W_1 *_{r_1} x,\ \dots,\ W_n *_{r_n} x,\ \mathrm{pool}(x) \,]

    Every branch and the projection P, a 1x1 convolution of the concatenation, ends in batch normalisation and ReLU.
    (B, C, H, W) becomes (B, channels, H, W). A rate near the map's size leaves the kernel its middle tap alone, which
    is why the image is pooled beside.

    Args:
        in_channels: of the map.
        rates: of the 3x3 branches, one each.
        channels: of every branch and of the result.
        conv: makes a 3x3 branch from channels in, channels out and `dilation`: `conv_bn_relu`, or
            `separable_conv_bn_relu`.
        image_pooling: whether the branch of the whole image is there.
        dropout: share of values dropped after the projection.

    Example:
        >>> aspp = ASPP(2048, (6, 12, 18))
        >>> sum(parameter.numel() for parameter in aspp.parameters())
        15535104
        >>> ASPP(16, (1, 2), channels=4)(torch.ones(2, 16, 5, 7)).shape
        torch.Size([2, 4, 5, 7])
    """

    def __init__(
        self,
        in_channels: int,
        rates: Sequence[int],
        channels: int = 256,
        *,
        conv: Callable[..., nn.Module] = conv_bn_relu,
        image_pooling: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        branches: list[nn.Module] = [conv_bn_relu(in_channels, channels, 1)]
        branches += [conv(in_channels, channels, dilation=rate) for rate in rates]
        if image_pooling:
            branches.append(ImagePooling(in_channels, channels))
        self.branches = nn.ModuleList(branches)
        self.project = conv_bn_relu(len(branches) * channels, channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.out_channels = channels

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """All branches, joined and projected."""
        return self.dropout(self.project(torch.cat([branch(x) for branch in self.branches], dim=1)))
