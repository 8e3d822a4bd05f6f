"""The plain U-Net that the variants start from: padded 3x3 convolutions, batch normalisation, nearest up-sampling.

Two 3x3 convolutions on each level, 2x2 max pooling between levels; on the way up the map is doubled by its nearest
values, a 3x3 convolution halves its channels, and it is joined to the earlier map as [skip, up-sampled]. This is the
form of a widely used collection of U-Nets (https://github.com/LeeJunHyun/Image_Segmentation), whose counts are known:
34,527,041 parameters for three channels and one class. Its convolutions keep a bias before the normalisation, which
takes it off again; it stays, so that counts and weights are the same.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from atrous.layers.basic import BatchNorm

__all__ = [
    "BlockBuilder",
    "ContractingPath",
    "ExpandingPath",
    "PlainUNet",
    "SkipGate",
    "StepUp",
    "contracting_path",
    "double_conv",
    "expanding_path",
    "same_conv",
    "unet_channels",
]

BlockBuilder = Callable[[int, int], nn.Module]
"""Makes the convolutions of a level from the channels before and after them."""


def unet_channels(width: int, levels: int = 5) -> list[int]:
    """Channels of the levels, finest first: doubled where the size is halved.

    Example:
        >>> unet_channels(64)
        [64, 128, 256, 512, 1024]
    """
    return [width * 2**level for level in range(levels)]


def same_conv(in_channels: int, out_channels: int, kernel_size: int = 3, *, dilation: int = 1) -> nn.Sequential:
    """Convolution with bias, batch normalisation, ReLU; height and width stay for odd kernels.

    The kernel starts Gaussian with variance 2 / (incoming connections) (He et al., ICCV 2015), the bias at zero.

    Example:
        >>> sum(p.numel() for p in same_conv(3, 8).parameters())        # 3 * 8 * 9 + 8, and 2 * 8
        240
    """
    padding = dilation * (kernel_size - 1) // 2
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, dilation=dilation)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, BatchNorm(out_channels), nn.ReLU())


def double_conv(in_channels: int, out_channels: int, *, dilation: int = 1) -> nn.Sequential:
    """Two 3x3 convolutions: one level of a U-Net.

    Example:
        >>> double_conv(3, 8)(torch.ones(1, 3, 5, 7)).shape
        torch.Size([1, 8, 5, 7])
    """
    return nn.Sequential(
        same_conv(in_channels, out_channels, dilation=dilation),
        same_conv(out_channels, out_channels, dilation=dilation),
    )


class ContractingPath(nn.Module):
    """Blocks, and before every block but the first a pooling.

    Args:
        blocks: the convolutions of each level, finest first.
        pools: what stands before the second block and all after it.

    Example:
        >>> path = ContractingPath([double_conv(3, 4), double_conv(4, 8)], [nn.MaxPool2d(2)])
        >>> [tuple(x.shape) for x in path(torch.ones(1, 3, 8, 8))]
        [(1, 4, 8, 8), (1, 8, 4, 4)]
    """

    def __init__(self, blocks: Iterable[nn.Module], pools: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.pools = nn.ModuleList([nn.Identity(), *pools])

    def forward(self, x: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """The map of every level, finest first."""
        maps = []
        for pool, block in zip(self.pools, self.blocks, strict=True):
            x = block(pool(x))
            maps.append(x)
        return maps


class ExpandingPath(nn.Module):
    """Steps from the coarsest map to the finest, each joined by the next finer map.

    Args:
        steps: modules of (coarser map, skip), in the order of the forward.
    """

    def __init__(self, steps: Iterable[nn.Module]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """The map after every step, finest first.

        Args:
            features: the contracting path's maps, finest first, one more than there are steps.
        """
        *skips, x = features
        maps: list[Tensor] = []
        for step, skip in zip(self.steps, reversed(skips), strict=True):
            x = step(x, skip)
            maps.insert(0, x)
        return maps


class StepUp(nn.Module):
    """Nearest up-sampling, 3x3 convolution to the skip's channels, [skip, up-sampled], convolutions.

    Args:
        in_channels: of the coarser map.
        out_channels: of the skip, and of the result.
        block: makes the convolutions after the join.
        gate: a module of (skip, up-sampled map) whose result is joined in the skip's place.
        dilation: of the convolution before the join.

    Example:
        >>> StepUp(8, 4)(torch.ones(1, 8, 2, 3), torch.ones(1, 4, 4, 6)).shape
        torch.Size([1, 4, 4, 6])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        block: BlockBuilder = double_conv,
        gate: nn.Module | None = None,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.up = same_conv(in_channels, out_channels, dilation=dilation)
        self.gate = gate
        self.convs = block(2 * out_channels, out_channels)

    def forward(self, x: Float[Tensor, "B C h w"], skip: Float[Tensor, "B C2 H W"]) -> Float[Tensor, "B C2 H W"]:
        """A map of the skip's size and channels."""
        if x.shape[-2:] != skip.shape[-2:]:  # without pooling there is nothing to take back
            x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
        x = self.up(x)
        if self.gate is not None:
            skip = self.gate(skip, x)
        return self.convs(torch.cat([skip, x], dim=1))


class SkipGate(nn.Module):
    """Additive attention on maps of one size: alpha = sigmoid(psi(ReLU(W_x skip + W_g signal))), result alpha * skip.

    All three are 1x1 convolutions with batch normalisation; alpha is one number per pixel.

    Args:
        channels: of the skip and of the signal.
        inner: channels of the hidden sum; half of `channels` where it is not given.

    Example:
        >>> sum(p.numel() for p in SkipGate(512).parameters())
        263939
    """

    def __init__(self, channels: int, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or max(channels // 2, 1)
        self.from_skip = nn.Sequential(nn.Conv2d(channels, inner, 1), BatchNorm(inner))
        self.from_signal = nn.Sequential(nn.Conv2d(channels, inner, 1), BatchNorm(inner))
        self.psi = nn.Sequential(nn.Conv2d(inner, 1, 1), BatchNorm(1))

    def attention(self, skip: Float[Tensor, "B C H W"], signal: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
        """The share of every pixel that passes, between 0 and 1."""
        return torch.sigmoid(self.psi(torch.relu(self.from_skip(skip) + self.from_signal(signal))))

    def forward(self, skip: Float[Tensor, "B C H W"], signal: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The gated skip."""
        return skip * self.attention(skip, signal)


def contracting_path(
    in_channels: int, channels: Sequence[int], *, block: BlockBuilder = double_conv
) -> ContractingPath:
    """A block for each of `channels`, 2x2 max pooling between them.

    Example:
        >>> len(contracting_path(3, [4, 8, 16]).blocks)
        3
    """
    blocks = [block(*pair) for pair in zip([in_channels, *channels[:-1]], channels, strict=True)]
    return ContractingPath(blocks, [nn.MaxPool2d(2) for _ in channels[1:]])


def expanding_path(
    channels: Sequence[int], *, block: BlockBuilder = double_conv, gate: Callable[[int], nn.Module] | None = None
) -> ExpandingPath:
    """One `StepUp` for every pair of neighbouring levels.

    Args:
        channels: of the contracting path's maps, finest first.
        block: makes the convolutions of a step.
        gate: makes the gate of a skip from its channels.
    """
    return ExpandingPath(
        StepUp(before, after, block=block, gate=gate(after) if gate else None)
        for before, after in pairwise(reversed(channels))
    )


class PlainUNet(nn.Module):
    """Contracting path, expanding path, 1x1 convolution: a whole U-Net as a part of another network.

    Heights and widths must be multiples of 2 ** (levels - 1).

    Args:
        in_channels: of the map that comes in.
        out_channels: of the map that goes out.
        width: channels of the finest level.
        levels: how many sizes there are.

    Example:
        >>> PlainUNet(3, 2, width=4)(torch.ones(1, 3, 32, 48)).shape
        torch.Size([1, 2, 32, 48])
    """

    def __init__(self, in_channels: int, out_channels: int, *, width: int = 64, levels: int = 5) -> None:
        super().__init__()
        channels = unet_channels(width, levels)
        self.contracting = contracting_path(in_channels, channels)
        self.expanding = expanding_path(channels)
        self.head = nn.Conv2d(width, out_channels, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        """A map of the same size."""
        return self.head(self.expanding(self.contracting(x))[0])
