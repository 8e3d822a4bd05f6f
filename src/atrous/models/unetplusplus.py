"""U-Net++: U-Nets of every depth on one contracting path, joined by dense skips.

Zhou, Siddiquee, Tajbakhsh, Liang, "UNet++: A Nested U-Net Architecture for Medical Image Segmentation", DLMIA 2018,
https://arxiv.org/abs/1807.10165.

As in the paper
    - A grid of nodes X^{i,j}, i poolings deep: X^{i,0} is the contracting path, and every other node reads all nodes
      before it on its level and the enlarged node below, X^{i,j} = H([X^{i,0}, ..., X^{i,j-1}, up(X^{i+1,j-1})]).
    - Channels 32, 64, 128, 256, 512; H is two 3x3 convolutions with ReLU, up a 2x2 transposed convolution.
    - Deep supervision: a 1x1 classifier on each of X^{0,1..4}, each with a loss of its own. Their mean is the paper's
      accurate mode, one of them its fast mode.
    - Pruning: `levels=3` is UNet++ L^2, whose weights are a part of those of `levels=5`, under the same names.

Different from the paper
    - 9,041,700 parameters for one channel and one class. The authors' code has 9,041,601, which is one classifier
      instead of four (3 x 33 less); three channels add 576.
    - Classifiers give logits of exclusive classes, and the mean is that of logits; the paper has a sigmoid.
    - No dropout: the authors' code has p = 0.5 after every 3x3 convolution, the paper says nothing of it.
"""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor, nn

from atrous.layers import fit, unfit
from atrous.layers.unet import contracting_path, unet_channels
from atrous.models.base import DenseModel, Paper
from atrous.types import CellGrid, Outputs

__all__ = ["PAPERS", "UNetPlusPlus", "unetplusplus"]

PAPERS = {
    "unetplusplus": Paper(
        year=2018,
        title="UNet++: A Nested U-Net Architecture for Medical Image Segmentation",
        url="https://arxiv.org/abs/1807.10165",
        idea="Convolutions on the skips, each fed by all before it, bring both sides of a U-Net nearer to each other.",
        num_classes=1,
        parameters=9_041_601,
        facts=(
            "the authors' count is for one channel, and one classifier of four",
            "U-Nets of depth 1 to 4 in one network; the output is the mean of their classifiers, or one of them",
            "IoU with deep supervision 92.52 (cell nuclei), 32.12 (colon polyps), 82.90 (liver), 77.21 (lung nodules)",
            "IoU of a U-Net of these channels 90.77, 30.08, 76.62, 71.47",
        ),
    ),
}


def unetplusplus(
    num_classes: int,
    in_channels: int = 3,
    *,
    width: Annotated[int, Ge(1)] = 32,
    levels: Annotated[int, Ge(2), Le(5)] = 5,
    output: Literal["mean", "last"] = "mean",
) -> DenseModel:
    """The network of the paper's figure 1.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        width: channels of the finest level, doubled on each level below.
        levels: how many sizes there are; the paper's L^d has d + 1.
        output: in evaluation, the "mean" of all classifiers, or the "last" alone.
    """
    return UNetPlusPlus(num_classes, in_channels, width, levels, output)


class UNetPlusPlus(DenseModel):
    """A contracting path, the columns of the grid one after the other, a classifier for each."""

    def __init__(self, num_classes: int, in_channels: int, width: int, levels: int, output: str) -> None:
        super().__init__(num_classes, in_channels, alignment=2 ** (levels - 1))
        channels = unet_channels(width, levels)
        self.contracting = contracting_path(in_channels, channels, block=_double_conv)
        self.columns = nn.ModuleList(_Column(channels, column) for column in range(1, levels))
        self.heads = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for _ in self.columns)
        self.output = output
        self.grids = {f"depth{depth}": CellGrid.centred(1) for depth in range(1, levels - 1)}
        self.apply(_initialize)

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`; in training those of the last classifier, the others as `depth1` and on."""
        height, width = image.shape[-2:]
        rows = [[x] for x in self.contracting(fit(self.normalize(image), self.alignment))]
        for column in self.columns:
            rows = [[*row, x] for row, x in zip(rows[:-1], column(rows), strict=True)]
        finest = rows[0][1:]
        if not self.training and self.output == "last":
            return {"out": unfit(self.heads[-1](finest[-1]), height, width)}
        logits = [unfit(head(x), height, width) for head, x in zip(self.heads, finest, strict=True)]
        if not self.training:
            return {"out": torch.stack(logits).mean(0)}
        return {"out": logits[-1]} | {f"depth{depth}": x for depth, x in enumerate(logits[:-1], 1)}


class _Column(nn.Module):
    """The nodes X^{i,j} of one j.

    Args:
        channels: of the levels, finest first.
        column: j, at least 1.
    """

    def __init__(self, channels: list[int], column: int) -> None:
        super().__init__()
        self.nodes = nn.ModuleList(
            _Node(channels[level], channels[level + 1], column) for level in range(len(channels) - column)
        )

    def forward(self, rows: list[list[Tensor]]) -> list[Tensor]:
        """The next node of every level but the coarsest, from the nodes so far; both finest level first."""
        return [node(row, below[-1]) for node, row, below in zip(self.nodes, rows[:-1], rows[1:], strict=True)]


class _Node(nn.Module):
    """X^{i,j}: the earlier nodes of the level, the enlarged node below, two convolutions."""

    def __init__(self, channels: int, below: int, column: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(below, channels, 2, stride=2)
        self.convs = _double_conv((column + 1) * channels, channels)

    def forward(self, row: list[Tensor], below: Tensor) -> Tensor:
        return self.convs(torch.cat([*row, self.up(below)], dim=1))


def _double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.ReLU(),
    )


def _initialize(module: nn.Module) -> None:
    """As the authors' code: He's Gaussian for convolutions, Glorot's uniform numbers for those that enlarge."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    elif isinstance(module, nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
