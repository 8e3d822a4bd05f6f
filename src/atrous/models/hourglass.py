"""Stacked hourglass: down to a few pixels and back up, again and again, each time with what was found before.

Newell, Yang, Deng, "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016, https://arxiv.org/abs/1603.06937.

As in the paper
    - A stem to a quarter of the image, then 1 to 8 hourglasses of 256 channels: four 2x2 max poolings, at each size a
      residual on the way down, another on the way up and a third on the skip between them, nearest up-sampling, sums.
    - The residual is the pre-activation bottleneck: normalisation and ReLU before each of the 1x1, 3x3 and 1x1
      convolutions, half the channels in between, a shortcut that is a 1x1 convolution where channels change.
    - A residual, a 1x1 convolution and a 1x1 classifier after each hourglass; features and logits return by 1x1
      convolutions into the sum that the next one reads. Every stack is supervised.
    - `hourglass` has the stem of the authors' Torch and PyTorch releases, residuals of 64 -> 128, 128 -> 128 and
      128 -> 256 channels; `hourglass_bearpaw` that of the much used port pytorch-pose: 64 -> 128, 128 -> 256 and
      256 -> 256. All else is alike.

Different from the paper
    - The authors' PyTorch release makes a 1x1 shortcut in every residual and uses it only where channels change.
      Without those that are never used, eight stacks of 16 maps have 25,434,112 parameters in place of 32,819,328.
    - Any image size: padded to a multiple of 64, in evaluation to 128 at least, and logits cropped. The paper has
      256x256.
    - As they are, the maps are logits of classes; with `task=landmarks` they are the paper's belief maps. The last
      stack's are interpolated to the image as `out`.
    - Kernels start as PyTorch's convolutions do, as in both releases.

Training outputs: `stack1`, `stack2`, ... are the maps of all stacks but the last, on squares of 4 pixels; a recipe sets
their weights by `aux_weight` (1.0 is the sum of the losses).
"""

from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor, nn

from atrous.layers import BatchNorm, fit, nearest_neighbour, resize, unfit, unfit_grid
from atrous.models.base import DenseModel, Paper
from atrous.types import CellGrid, Outputs

__all__ = ["PAPERS", "Hourglass", "StackedHourglass", "hourglass", "hourglass_bearpaw"]

_TITLE = "Stacked Hourglass Networks for Human Pose Estimation"
_URL = "https://arxiv.org/abs/1603.06937"

PAPERS = {
    "hourglass": Paper(
        year=2016,
        title=_TITLE,
        url=_URL,
        idea="From fine to coarse and back, repeatedly, a network reconsiders its guess with the whole figure in view.",
        num_classes=16,
        parameters=25_434_112,
        facts=(
            "32,819,328 parameters as built in the authors' release, with shortcuts that are never used",
            "256x256 becomes maps of 64x64; the coarsest map is 4x4",
            "8 stacks, each supervised",
            "MPII validation PCKh 90.2 (8 stacks), 88.3 (2 stacks), as the authors' PyTorch release reports",
        ),
    ),
    "hourglass_bearpaw": Paper(
        year=2016,
        title=_TITLE,
        url=_URL,
        idea="The same behind the stem of a much used port, which doubles the channels earlier.",
        num_classes=16,
        parameters=25_594_624,
        facts=("MPII validation PCKh 88.78 (8 stacks), 86.95 (2 stacks), as the port reports",),
    ),
}

STRIDE = 4  # of the maps behind the stem

StackWidth = Annotated[int, Ge(4)]
Stacks = Annotated[int, Ge(1), Le(8)]
Blocks = Annotated[int, Ge(1)]
Levels = Annotated[int, Ge(1), Le(6)]


def hourglass(
    num_classes: int,
    in_channels: int = 3,
    *,
    stacks: Stacks = 8,
    width: StackWidth = 256,
    blocks: Blocks = 1,
    levels: Levels = 4,
) -> DenseModel:
    """Stacked hourglasses behind the stem of the authors.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        stacks: how many hourglasses stand in a row.
        width: channels of the hourglasses; the stem begins with a quarter of them.
        blocks: residuals at each place of an hourglass; the releases have 1.
        levels: poolings of each hourglass.
    """
    stem = HourglassStem(in_channels, (width // 4, width // 2, width // 2, width))
    return StackedHourglass(stem, num_classes, stacks=stacks, blocks=blocks, levels=levels)


def hourglass_bearpaw(
    num_classes: int,
    in_channels: int = 3,
    *,
    stacks: Stacks = 8,
    width: StackWidth = 256,
    blocks: Blocks = 1,
    levels: Levels = 4,
) -> DenseModel:
    """Stacked hourglasses behind the stem of pytorch-pose.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        stacks: how many hourglasses stand in a row.
        width: channels of the hourglasses; the stem begins with a quarter of them.
        blocks: residuals at each place of an hourglass; the port has 4 where nothing is said.
        levels: poolings of each hourglass.
    """
    stem = HourglassStem(in_channels, (width // 4, width // 2, width, width))
    return StackedHourglass(stem, num_classes, stacks=stacks, blocks=blocks, levels=levels)


class StackedHourglass(DenseModel):
    """A stem, and stacks that each read what the one before made of the map and of its classes.

    Args:
        encoder: image to a map of stride 4, with `in_channels` and `out_channels`.
        num_classes: maps in `out`.
        stacks: how many there are.
        blocks: residuals at each place.
        levels: poolings of each hourglass.
    """

    def __init__(self, encoder: "HourglassStem", num_classes: int, *, stacks: int, blocks: int, levels: int) -> None:
        super().__init__(num_classes, encoder.in_channels, alignment=STRIDE * 2**levels)
        width = encoder.out_channels
        self.encoder = encoder
        self.stacks = nn.ModuleList(Stack(width, num_classes, blocks, levels) for _ in range(stacks))
        self.merges = nn.ModuleList(Merge(width, num_classes) for _ in range(stacks - 1))
        self.grids = {f"stack{number}": CellGrid.centred(STRIDE) for number in range(1, stacks)}

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of the last stack as `out`; in training those of the others at stride 4, as `stack1`, `stack2`, ..."""
        height, width = image.shape[-2:]
        fitted = fit(self.normalize(image), self.alignment, twice=not self.training)
        x, outputs = self.encoder(fitted), {}
        for (name, grid), stack, merge in zip(self.grids.items(), self.stacks, self.merges, strict=False):
            features, logits = stack(x)
            outputs[name] = unfit_grid(logits, height, width, grid)
            x = merge(x, features, logits)
        _, logits = self.stacks[-1](x)
        out = {"out": unfit(resize(logits, (fitted.shape[-2], fitted.shape[-1])), height, width)}
        return out | outputs if self.training else out


class HourglassStem(nn.Module):
    """7x7 convolution of stride 2, a residual, 2x2 max pooling, two more residuals.

    Args:
        in_channels: channels of the image.
        channels: of the convolution and of each residual.
    """

    def __init__(self, in_channels: int, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, channels[-1]
        first, second, third, last = channels
        self.conv = nn.Sequential(nn.Conv2d(in_channels, first, 7, 2, 3), BatchNorm(first), nn.ReLU())
        self.fine = Residual(first, second)
        self.coarse = nn.Sequential(Residual(second, third), Residual(third, last))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 h w"]:
        """The map at stride 4."""
        return self.coarse(F.max_pool2d(self.fine(self.conv(x)), 2))


class Stack(nn.Module):
    """An hourglass, and what becomes of its map: features, and logits made of them."""

    def __init__(self, width: int, num_classes: int, blocks: int, levels: int) -> None:
        super().__init__()
        self.hourglass = Hourglass(width, blocks, levels)
        self.features = nn.Sequential(
            *residuals(width, blocks), nn.Conv2d(width, width, 1), BatchNorm(width), nn.ReLU()
        )
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Float[Tensor, "B C h w"]) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B K h w"]]:
        """The features and the logits."""
        features = self.features(self.hourglass(x))
        return features, self.head(features)


class Merge(nn.Module):
    """What a stack read, found and guessed, summed for the next."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(width, width, 1)
        self.logits = nn.Conv2d(num_classes, width, 1)

    def forward(
        self, x: Float[Tensor, "B C h w"], features: Float[Tensor, "B C h w"], logits: Float[Tensor, "B K h w"]
    ) -> Float[Tensor, "B C h w"]:
        """The map that the next stack reads."""
        return x + self.features(features) + self.logits(logits)


class Hourglass(nn.Module):
    """Residuals on a map, plus the same at half its size: a residual, an hourglass of a level less, a residual.

    Args:
        width: channels, before and after.
        blocks: residuals at each place.
        levels: how often the size is halved; it divides by 2**levels.

    Example:
        >>> import torch
        >>> [sum(p.numel() for p in Hourglass(256, 1, levels).parameters()) for levels in (1, 4)]  # 4 and 13 residuals
        [858112, 2788864]
        >>> Hourglass(4, 1, 2)(torch.zeros(1, 4, 8, 12)).shape
        torch.Size([1, 4, 8, 12])
    """

    def __init__(self, width: int, blocks: int, levels: int) -> None:
        super().__init__()
        self.skip = nn.Sequential(*residuals(width, blocks))
        self.before = nn.Sequential(*residuals(width, blocks))
        self.inner: nn.Module = (
            Hourglass(width, blocks, levels - 1) if levels > 1 else nn.Sequential(*residuals(width, blocks))
        )
        self.after = nn.Sequential(*residuals(width, blocks))

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """A map of the same size."""
        low = self.after(self.inner(self.before(F.max_pool2d(x, 2))))
        return self.skip(x) + nearest_neighbour(low)


class Residual(nn.Module):
    """A map plus what three convolutions make of it, normalisation and ReLU before each.

    Example:
        >>> sum(p.numel() for p in Residual(256, 256).parameters())
        214528
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = max(out_channels // 2, 1)
        self.branch = nn.Sequential(
            *_activated(in_channels, nn.Conv2d(in_channels, half, 1)),
            *_activated(half, nn.Conv2d(half, half, 3, padding=1)),
            *_activated(half, nn.Conv2d(half, out_channels, 1)),
        )
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C2 h w"]:
        """A map of the same size."""
        return self.branch(x) + self.shortcut(x)


def residuals(width: int, blocks: int) -> list[Residual]:
    """As many residuals as stand at a place."""
    return [Residual(width, width) for _ in range(blocks)]


def _activated(channels: int, conv: nn.Module) -> list[nn.Module]:
    return [BatchNorm(channels), nn.ReLU(), conv]
