"""Context U-Net: a second network looks at a larger window, coarsely, and tells the first one what it saw.

Havaei, Davy, Warde-Farley, Biard, Courville, Bengio, Pal, Jodoin, Larochelle, "Brain Tumor Segmentation with Deep
Neural Networks", Medical Image Analysis 2017, https://arxiv.org/abs/1505.03540, and Kamnitsas et al., "Efficient
Multi-Scale 3D CNN with Fully Connected CRF for Accurate Brain Lesion Segmentation", Medical Image Analysis 2017,
https://arxiv.org/abs/1603.05959 (DeepMedic). Both defer context to another network; neither is a U-Net.

As in those papers
    - One network sees a large window around a patch, and its map is joined to the patch where the other one reads it
      (Havaei's InputCascadeCNN).
    - The large window is reduced before it is seen, so that a small network covers it (DeepMedic).

Different from those papers
    - Both are plain U-Nets of `atrous.layers.unet` and run over the whole image instead of patches, so every pixel has
      its own window without one being cut out. The context network has four poolings and sees the image reduced by
      `scale`; the local one has two, sees all pixels, and need not see far.
    - What is joined are `context_width` features, not class probabilities. A 1x1 classifier on them is the training
      output `context`, on the reduced grid, so that the context network learns from the mask directly too.
    - Centres are aligned: pixel u lies at (u + 0.5) / scale - 0.5 in the reduced grid, where the map is interpolated
      linearly. DeepMedic repeats values.
"""

from math import lcm
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.layers import fit, resize, unfit, unfit_grid
from atrous.layers.unet import PlainUNet
from atrous.models.base import DenseModel, Paper
from atrous.types import CellGrid, Outputs

__all__ = ["PAPERS", "ContextUNet", "context_unet"]

PAPERS = {
    "context_unet": Paper(
        year=2017,
        title="Brain Tumor Segmentation with Deep Neural Networks",
        url="https://arxiv.org/abs/1505.03540",
        idea="Context is left to a second network that sees a larger window at a lower resolution.",
        facts=(
            "the map of a network with a larger window is an input of a network with a smaller one",
            "pixel u of the patch is (u + 0.5) / s - 0.5 in a window reduced by s",
        ),
    ),
}


def context_unet(
    num_classes: int,
    in_channels: int = 3,
    *,
    width: Annotated[int, Ge(1)] = 64,
    context_width: Annotated[int, Ge(1)] = 64,
    scale: Annotated[int, Ge(1)] = 4,
    levels: Annotated[int, Ge(2)] = 3,
    context_levels: Annotated[int, Ge(2)] = 5,
) -> DenseModel:
    """A local U-Net on all pixels, and a context U-Net on the reduced image.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        width: channels of the local network's finest level.
        context_width: channels of the context network's finest level, and of what it hands over.
        scale: factor by which the image is reduced for the context network.
        levels: sizes of maps in the local network; one pooling less.
        context_levels: sizes of maps in the context network.
    """
    return ContextUNet(
        PlainUNet(in_channels, context_width, width=context_width, levels=context_levels),
        PlainUNet(in_channels + context_width, num_classes, width=width, levels=levels),
        nn.Conv2d(context_width, num_classes, 1),
        num_classes,
        in_channels,
        scale=scale,
        alignment=lcm(scale * 2 ** (context_levels - 1), 2 ** (levels - 1)),
    )


class ContextUNet(DenseModel):
    """out = local([image, enlarge(context(reduce(image)))]).

    Args:
        context: the reduced image to features of the same size.
        local: image and features to logits of the same size.
        context_head: features to logits, for training.
        num_classes: maps in `out`.
        in_channels: channels of the image.
        scale: factor of the reduction.
        alignment: a multiple of both networks' strides in pixels.
    """

    def __init__(
        self,
        context: nn.Module,
        local: nn.Module,
        context_head: nn.Module,
        num_classes: int,
        in_channels: int,
        *,
        scale: int,
        alignment: int,
    ) -> None:
        super().__init__(num_classes, in_channels, alignment)
        self.context = context
        self.local = local
        self.context_head = context_head
        self.scale = scale
        self.grids = {"context": CellGrid.centred(scale)}

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`; in training the context network's own as `context`, on the reduced grid."""
        height, width = image.shape[-2:]
        x = fit(self.normalize(image), self.alignment)
        features = self.context(F.avg_pool2d(x, self.scale))
        # Half-pixel centres on both sides: a mean of `scale` pixels, and interpolation without aligned corners.
        enlarged = resize(features, (x.shape[-2], x.shape[-1]))
        outputs = {"out": unfit(self.local(torch.cat([x, enlarged], dim=1)), height, width)}
        if self.training:
            outputs["context"] = unfit_grid(self.context_head(features), height, width, self.grids["context"])
        return outputs
