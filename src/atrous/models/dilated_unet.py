"""Dilated U-Net: dilated convolutions widen the view of a U-Net, below its poolings or instead of them.

No single paper. The convolutions are those of Yu, Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions",
ICLR 2016, https://arxiv.org/abs/1511.07122; the name is used for two networks, and both are here.

As in those networks
    - `form="cascade"`: three poolings, then 3x3 convolutions of dilation 1, 2, 4, 8, 16, 32, each of which reads the
      one before it. All six results, stacked or summed, go to the expanding path. The coarsest map sees 1044 pixels;
      that of a plain U-Net with four poolings sees 140.
    - `form="unpooled"`: no pooling. Dilation starts at 1 and doubles for every pooling that is left out (1, 1, 2, 4, 8,
      16), nothing is up-sampled, and every map has the image's resolution. The last of these convolutions sees 65.

Different, or chosen where they differ
    - Stacking is the cascade's default. Convolutions are those of `atrous.layers.unet`, with batch normalisation.
    - A level of `unpooled` is a run of equal rates, the step up to it has its rate, and all have `width` channels.
    - `form="substituted"` is the bridge between the two: a plain U-Net whose poolings have stride 1 and whose maps
      behind them are dilated by the stride that was taken away. With a plain U-Net's weights its contracting path gives
      the same numbers at the positions that the plain one computes, and new ones between them.
"""

from functools import partial
from itertools import groupby, pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, MinLen
from jaxtyping import Float
from torch import Tensor, nn

from atrous.errors import ModelError
from atrous.layers.unet import ContractingPath, ExpandingPath, StepUp, double_conv, same_conv, unet_channels
from atrous.models.base import ContractExpand, DenseModel, Paper

__all__ = ["PAPERS", "DensePool", "DilatedCascade", "dilated_unet"]

PAPERS = {
    "dilated_unet": Paper(
        year=2016,
        title="Multi-Scale Context Aggregation by Dilated Convolutions",
        url="https://arxiv.org/abs/1511.07122",
        idea="Dilated convolutions give a U-Net a wide view without a smaller map.",
        facts=("the coarsest map sees 1044 pixels with three poolings, 65 with none; 140 in a plain U-Net",),
    ),
}

CASCADE = (1, 2, 4, 8, 16, 32)
UNPOOLED = (1, 1, 2, 4, 8, 16)
Rates = Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)]


def dilated_unet(
    num_classes: int,
    in_channels: int = 3,
    *,
    width: Annotated[int, Ge(1)] = 64,
    form: Literal["cascade", "unpooled", "substituted"] = "cascade",
    rates: Rates | None = None,
    pools: Annotated[int, Ge(1)] = 3,
    fuse: Literal["concat", "sum"] = "concat",
) -> DenseModel:
    """U-Net with dilated convolutions.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        width: channels of the finest level.
        form: "cascade" puts dilated convolutions below the last pooling, "unpooled" has no pooling, "substituted" has
            the poolings of a plain U-Net at stride 1.
        rates: dilation of the cascade's convolutions (1, 2, 4, 8, 16, 32 where nothing is given) or of the unpooled
            path's (1, 1, 2, 4, 8, 16); "substituted" takes none.
        pools: poolings of "cascade" and "substituted".
        fuse: what becomes of the cascade's maps: all of them side by side, or their sum.

    Raises:
        ModelError: if `rates` are all equal where there is no pooling, or given to a form that takes none.
    """
    if form == "cascade":
        paths = _cascade(in_channels, unet_channels(width, pools + 1), rates or CASCADE, fuse)
    elif form == "unpooled":
        paths = _unpooled(in_channels, width, rates or UNPOOLED)
    elif rates is None:
        paths = _substituted(in_channels, unet_channels(width, pools + 1))
    else:
        raise ModelError(f"dilated_unet got rates {list(rates)}, but form 'substituted' has its own: leave them out")
    head = nn.Conv2d(width, num_classes, 1)
    return ContractExpand(*paths, head, num_classes, in_channels, alignment=2**pools if form == "cascade" else 1)


class DilatedCascade(nn.Module):
    """Dilated 3x3 convolutions in a row; the results of all of them, side by side or summed.

    Args:
        in_channels: before the first convolution.
        out_channels: after each convolution.
        rates: one dilation for each.
        fuse: "concat" or "sum".
    """

    def __init__(self, in_channels: int, out_channels: int, rates: tuple[int, ...], fuse: str) -> None:
        super().__init__()
        channels = [in_channels, *[out_channels] * (len(rates) - 1)]
        self.convs = nn.ModuleList(
            same_conv(before, out_channels, dilation=rate) for before, rate in zip(channels, rates, strict=True)
        )
        self.fuse = fuse

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H W"]:
        """A map of the same size."""
        maps: list[Tensor] = []
        for conv in self.convs:
            maps.append(conv(maps[-1] if maps else x))
        return torch.cat(maps, dim=1) if self.fuse == "concat" else torch.stack(maps).sum(0)


class DensePool(nn.Module):
    """2x2 max pooling at stride 1 whose taps lie `dilation` apart.

    At multiples of the stride that was taken away it holds what the strided pooling holds.

    Example:
        >>> x = torch.rand(1, 1, 8, 8)
        >>> torch.equal(DensePool(1)(x)[:, :, ::2, ::2], nn.MaxPool2d(2)(x))
        True
    """

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """A map of the same size."""
        around = F.pad(x, (0, self.dilation, 0, self.dilation), mode="replicate")
        return F.max_pool2d(around, 2, stride=1, dilation=self.dilation)


Paths = tuple[ContractingPath, ExpandingPath]


def _cascade(in_channels: int, channels: list[int], rates: Rates, fuse: str) -> Paths:
    *above, bottom = channels
    blocks: list[nn.Module] = [double_conv(*pair) for pair in zip([in_channels, *above[:-1]], above, strict=True)]
    blocks.append(DilatedCascade(above[-1], bottom, rates, fuse))
    fused = bottom * len(rates) if fuse == "concat" else bottom
    steps = [StepUp(*pair) for pair in pairwise([fused, *reversed(above)])]
    return ContractingPath(blocks, [nn.MaxPool2d(2) for _ in above]), ExpandingPath(steps)


def _unpooled(in_channels: int, width: int, rates: Rates) -> Paths:
    levels = [list(run) for _, run in groupby(rates)]
    if len(levels) < 2:
        raise ModelError(f"dilated_unet got rates {list(rates)}: without pooling it takes two different ones at least")
    blocks = []
    for index, level in enumerate(levels):
        before = [width if index else in_channels, *[width] * (len(level) - 1)]
        convs = [same_conv(channels, width, dilation=rate) for channels, rate in zip(before, level, strict=True)]
        blocks.append(nn.Sequential(*convs))
    expanding = ExpandingPath(_step(width, width, level[0]) for level in reversed(levels[:-1]))
    return ContractingPath(blocks, [nn.Identity() for _ in levels[1:]]), expanding


def _substituted(in_channels: int, channels: list[int]) -> Paths:
    strides = [2**level for level in range(len(channels))]
    before = [in_channels, *channels[:-1]]
    blocks = [double_conv(a, b, dilation=stride) for a, b, stride in zip(before, channels, strides, strict=True)]
    pairs = zip(pairwise(reversed(channels)), reversed(strides[:-1]), strict=True)
    steps = [_step(coarse, fine, stride) for (coarse, fine), stride in pairs]
    return ContractingPath(blocks, [DensePool(stride) for stride in strides[:-1]]), ExpandingPath(steps)


def _step(in_channels: int, out_channels: int, dilation: int) -> StepUp:
    return StepUp(in_channels, out_channels, block=partial(double_conv, dilation=dilation), dilation=dilation)
