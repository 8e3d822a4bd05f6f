"""Blocks that refine a map and keep its size: residual units, chained residual pooling, global convolution.

Lin, Milan, Shen, Reid, "RefineNet", CVPR 2017, https://arxiv.org/abs/1611.06612 (residual convolution unit, chained
residual pooling); Peng, Zhang, Yu, Luo, Sun, "Large Kernel Matters", CVPR 2017, https://arxiv.org/abs/1703.02719
(global convolution, boundary refinement). None of them normalises.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrous.errors import ModelError

__all__ = ["BoundaryRefinement", "ChainedResidualPooling", "GlobalConvolution", "ResidualConvUnit"]


class ResidualConvUnit(nn.Module):
    r"""A map plus what two convolutions make of it, activation first (RefineNet).

    .. math:: y = x + W_2 * \mathrm{ReLU}(W_1 * \mathrm{ReLU}(x) + b_1)

    Both kernels are 3x3; the second has no bias. (B, C, H, W) stays (B, C, H, W).

    Args:
        channels: of the map.

    Example:
        >>> unit = ResidualConvUnit(1)
        >>> for part in (unit.conv1, unit.conv2):
        ...     part.weight.data.fill_(0)[..., 1, 1] = 1            # kernels that change nothing
        >>> unit.conv1.bias.data.zero_()
        tensor([0.])
        >>> unit(torch.tensor([[[[-1.0, 2.0]]]]))[0, 0].tolist()    # x + ReLU(ReLU(x))
        [[-1.0, 4.0]]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The map, refined."""
        return x + self.conv2(torch.relu(self.conv1(torch.relu(x))))


class ChainedResidualPooling(nn.Module):
    r"""Context from a chain of poolings, each a step wider than the one before, all added to the map (RefineNet).

    .. math:: y = p_0 + p_1 + \dots + p_n, \quad p_0 = \mathrm{ReLU}(x), \quad p_i = W_i * \mathrm{pool}(p_{i-1})

    The pooling takes the largest of 5x5 with stride 1, the kernels are 3x3 without bias: (B, C, H, W) stays
    (B, C, H, W), and `steps` of them see 3 `steps` pixels to each side.

    Args:
        channels: of the map.
        steps: the n above.
        improved: convolve first and pool then, as in the authors' later models.

    Example:
        >>> chain = ChainedResidualPooling(1, steps=2)
        >>> for conv in chain.convs:
        ...     conv.weight.data.fill_(0)[..., 1, 1] = 1            # kernels that change nothing
        >>> x = torch.zeros(1, 1, 1, 7)
        >>> x[..., 0] = 1.0
        >>> chain(x)[0, 0].tolist()                                 # itself, two pixels further, four pixels further
        [[3.0, 2.0, 2.0, 1.0, 1.0, 0.0, 0.0]]
    """

    def __init__(self, channels: int, steps: int = 4, *, improved: bool = False) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(steps))
        self.improved = improved

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The map and its context."""
        step = out = torch.relu(x)
        for conv in self.convs:
            step = self.pool(conv(step)) if self.improved else conv(self.pool(step))
            out = out + step
        return out


class GlobalConvolution(nn.Module):
    r"""A kernel of k x k pixels from four thin ones (GCN): dense connections at the price of lines.

    .. math:: y = R_2 * (C_2 * x) + C_1 * (R_1 * x), \quad R: 1 \times k,\ C: k \times 1

    There is no activation inside. (B, C, H, W) becomes (B, C2, H, W) with 2 k (C + C2) C2 weights instead of
    k k C C2.

    Args:
        in_channels: C.
        out_channels: C2.
        k: side of the kernel, odd.

    Raises:
        ModelError: if `k` is even or less than 1.

    Example:
        >>> block = GlobalConvolution(1, 1, 3)
        >>> for part in block.parameters():
        ...     _ = part.data.fill_(1.0 if part.ndim > 1 else 0.0)
        >>> x = torch.zeros(1, 1, 3, 5)
        >>> x[..., 1, 1] = 1.0
        >>> block(x)[0, 0].tolist()                                 # both branches reach all of 3x3
        [[2.0, 2.0, 2.0, 0.0, 0.0], [2.0, 2.0, 2.0, 0.0, 0.0], [2.0, 2.0, 2.0, 0.0, 0.0]]
    """

    def __init__(self, in_channels: int, out_channels: int, k: int) -> None:
        super().__init__()
        if k < 1 or k % 2 == 0:
            raise ModelError(
                f"a global convolution got k = {k}, but only an odd k keeps the map's size: give for example 7 or 15"
            )
        half = k // 2
        self.left = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, (k, 1), padding=(half, 0)),
            nn.Conv2d(out_channels, out_channels, (1, k), padding=(0, half)),
        )
        self.right = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, (1, k), padding=(0, half)),
            nn.Conv2d(out_channels, out_channels, (k, 1), padding=(half, 0)),
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H W"]:
        """The sum of both branches."""
        return self.left(x) + self.right(x)


class BoundaryRefinement(nn.Module):
    r"""A map of scores plus a correction, which the network can learn to place at the boundaries (GCN).

    .. math:: y = x + W_2 * \mathrm{ReLU}(W_1 * x + b_1) + b_2

    Both kernels are 3x3. (B, C, H, W) stays (B, C, H, W).

    Args:
        channels: of the map.

    Example:
        >>> block = BoundaryRefinement(1)
        >>> for conv in (block.conv1, block.conv2):
        ...     conv.weight.data.fill_(0)[..., 1, 1] = 1            # kernels that change nothing
        ...     _ = conv.bias.data.zero_()
        >>> block(torch.tensor([[[[-1.0, 2.0]]]]))[0, 0].tolist()   # x + ReLU(x)
        [[-1.0, 4.0]]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The scores, corrected."""
        return x + self.conv2(torch.relu(self.conv1(x)))
