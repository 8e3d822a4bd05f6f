"""M-Net: a U-Net that reads the image at several scales and is supervised at several scales.

Fu, Cheng, Xu, Wong, Liu, Cao, "Joint Optic Disc and Cup Segmentation Based on Multi-label Deep Network and Polar
Transformation", IEEE Transactions on Medical Imaging 2018, https://arxiv.org/abs/1801.00926.

As in the paper
    - The image is halved by averaging, again and again; on every scale a 3x3 convolution of it is joined to the pooled
      map of the level of that size, as [image, pooled].
    - Each of the four finest levels of the expanding path has a 1x1 classifier, enlarged by nearest values; the output
      is their mean, and each has a loss of its own. Channels 32, 64, 128, 256, 512.

Different from the paper
    - Classifiers give logits of exclusive classes, and the mean is that of logits; the paper has a sigmoid per class.
    - Losses of the classifiers are taken on their own grids, as training outputs `side1`, `side2`, `side4`, `side8`
      (named by their strides). A recipe sets their weights by `aux_weight`: the authors' code has 0.1 for each and 0.6
      for the mean, which is 1/6 against 1.
    - `output="finest"` is deep supervision as other networks have it: the finest classifier alone is the output, and
      the others are for training (weights 1/2, 1/4, 1/8 are usual).
    - The plain U-Net of `atrous.layers.unet` around the pyramids, with batch normalisation, and its up-sampling
      instead of transposed convolutions. The polar transformation belongs to the data.
"""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor, nn

from atrous.layers import fit, unfit, unfit_grid
from atrous.layers.unet import double_conv, expanding_path, same_conv, unet_channels
from atrous.models.base import DenseModel, Paper
from atrous.types import CellGrid, Outputs

__all__ = ["PAPERS", "MultiscaleUNet", "PyramidPath", "multiscale_unet"]

PAPERS = {
    "multiscale_unet": Paper(
        year=2018,
        title="Joint Optic Disc and Cup Segmentation Based on Multi-label Deep Network and Polar Transformation",
        url="https://arxiv.org/abs/1801.00926",
        idea="Every level of a U-Net gets the image at its own scale, and a loss of its own.",
        facts=(
            "four scales of the image, halved by averaging",
            "four classifiers, one per level of the expanding path; the output is their mean",
            "loss weights 0.1 for each classifier, 0.6 for the mean",
        ),
    ),
}

LEVELS = 5


def multiscale_unet(
    num_classes: int,
    in_channels: int = 3,
    *,
    width: Annotated[int, Ge(1)] = 32,
    scales: Annotated[int, Ge(1), Le(LEVELS - 1)] = 4,
    output: Literal["mean", "finest"] = "mean",
) -> DenseModel:
    """M-Net with five levels.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        width: channels of the finest level, doubled on each level below.
        scales: how many levels, from the finest, read the image and have a classifier.
        output: "mean" of all classifiers, or the "finest" alone.
    """
    return MultiscaleUNet(num_classes, in_channels, width, scales, output)


class MultiscaleUNet(DenseModel):
    """Pyramid of the image in, pyramid of logits out."""

    def __init__(self, num_classes: int, in_channels: int, width: int, scales: int, output: str) -> None:
        super().__init__(num_classes, in_channels, alignment=2 ** (LEVELS - 1))
        channels = unet_channels(width, LEVELS)
        self.contracting = PyramidPath(in_channels, channels, scales)
        self.expanding = expanding_path(channels)
        self.heads = nn.ModuleList(nn.Conv2d(channels[level], num_classes, 1) for level in range(scales))
        self.output = output
        first = 0 if output == "mean" else 1  # the finest is already the output
        self.grids = {f"side{2**level}": CellGrid.centred(2**level) for level in range(first, scales)}

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`; in training each classifier's on its own grid, as `side` and its stride."""
        height, width = image.shape[-2:]
        x = fit(self.normalize(image), self.alignment)
        maps = self.expanding(self.contracting(x))
        use = len(self.heads) if self.training or self.output == "mean" else 1
        sides = [head(feature) for head, feature in zip(self.heads[:use], maps[:use], strict=True)]
        logits = _mean(sides) if self.output == "mean" else sides[0]
        outputs = {"out": unfit(logits, height, width)}
        if self.training:
            for (name, grid), side in zip(self.grids.items(), sides[use - len(self.grids) :], strict=True):
                outputs[name] = unfit_grid(side, height, width, grid)
        return outputs


class PyramidPath(nn.Module):
    """A contracting path whose levels read the image at their own scale beside the pooled map.

    Args:
        in_channels: channels of the image.
        channels: of the levels, finest first.
        scales: how many levels, from the finest, read the image.
    """

    def __init__(self, in_channels: int, channels: list[int], scales: int) -> None:
        super().__init__()
        self.entries = nn.ModuleList(same_conv(in_channels, channels[level]) for level in range(1, scales))
        self.blocks = nn.ModuleList([double_conv(in_channels, channels[0])])
        for level, after in enumerate(channels[1:], 1):
            entering = after if level < scales else 0
            self.blocks.append(double_conv(channels[level - 1] + entering, after))

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """The map of every level, finest first."""
        x = self.blocks[0](image)
        maps = [x]
        for level, block in enumerate(self.blocks[1:]):
            x = F.max_pool2d(x, 2)
            if level < len(self.entries):
                image = F.avg_pool2d(image, 2)
                x = torch.cat([self.entries[level](image), x], dim=1)
            x = block(x)
            maps.append(x)
        return maps


def _mean(sides: list[Tensor]) -> Tensor:
    """The mean of all classifiers on the finest grid."""
    size = sides[0].shape[-2:]
    coarser = [F.interpolate(side, size=size, mode="nearest") for side in sides[1:]]
    return torch.stack([sides[0], *coarser]).mean(0)
