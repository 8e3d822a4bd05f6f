"""Stacked U-Nets: each reads the image and what the one before it made of it.

Tu, "Auto-context and Its Application to High-level Vision Tasks", CVPR 2008,
https://doi.org/10.1109/CVPR.2008.4587436. The idea is older than U-Nets; here the classifiers are plain U-Nets.

As in the paper
    The next classifier's input is the image joined by the probability maps of the former, and every classifier is
    trained on the true mask.

Different from the paper
    - The classifiers are the plain U-Nets of `atrous.layers.unet` and learn together, with the sum of their losses; the
      paper trains boosted trees one after the other. `detach=True` stops the gradient between them, so that each learns
      from its own loss alone, as there.
    - The paper samples the maps at some far positions around a pixel; a U-Net sees them whole.
    - `carry="logits"` hands on logits instead of probabilities.
    - `coarse` above 1 is the cascade from coarse to fine that nnU-Net has (Isensee et al., 2018,
      https://arxiv.org/abs/1809.10486): the first network sees the image reduced by that factor, and its map is
      interpolated to the image's grid. nnU-Net hands on decided classes, which no gradient passes.

Training outputs: `stage1`, `stage2`, ... are the logits of all stages but the last, which is `out`; a recipe sets their
weights by `aux_weight` (1.0 is the sum of the losses).
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.layers import fit, resize, unfit, unfit_grid
from atrous.layers.unet import PlainUNet
from atrous.models.base import DenseModel, Paper
from atrous.types import CellGrid, Outputs

__all__ = ["PAPERS", "StackedUNet", "stacked_unet"]

PAPERS = {
    "stacked_unet": Paper(
        year=2008,
        title="Auto-context and Its Application to High-level Vision Tasks",
        url="https://doi.org/10.1109/CVPR.2008.4587436",
        idea="A second network that sees the first one's map beside the image corrects it from its context.",
        facts=("the map of one stage is an input of the next", "a loss on every stage"),
    ),
}

LEVELS = 5  # of each network: four poolings


def stacked_unet(
    num_classes: int,
    in_channels: int = 3,
    *,
    width: Annotated[int, Ge(1)] = 64,
    stages: Annotated[int, Ge(2)] = 2,
    carry: Literal["softmax", "logits"] = "softmax",
    detach: bool = False,
    coarse: Annotated[int, Ge(1)] = 1,
) -> DenseModel:
    """Plain U-Nets in a row.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        width: channels of each network's finest level.
        stages: how many networks there are.
        carry: what a network hands on: probabilities or logits.
        detach: let no gradient pass from one network to the one before it.
        coarse: factor by which the image is reduced for the first network.
    """
    networks = [
        PlainUNet(in_channels + (num_classes if stage else 0), num_classes, width=width, levels=LEVELS)
        for stage in range(stages)
    ]
    return StackedUNet(networks, num_classes, in_channels, carry=carry, detach=detach, coarse=coarse)


class StackedUNet(DenseModel):
    """The first network reads the image, all others the image and the former's map.

    Args:
        networks: maps of (in_channels), then of (in_channels + num_classes) channels, to logits of the same size.
        num_classes: maps in `out`.
        in_channels: channels of the image.
        carry: "softmax" or "logits".
        detach: stop the gradient between networks.
        coarse: factor by which the image is reduced for the first network.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        num_classes: int,
        in_channels: int,
        *,
        carry: str,
        detach: bool,
        coarse: int,
    ) -> None:
        super().__init__(num_classes, in_channels, alignment=2 ** (LEVELS - 1) * coarse)
        self.stages = nn.ModuleList(networks)
        self.carry = carry
        self.detach = detach
        self.coarse = coarse
        self.grids = {
            f"stage{number}": CellGrid.centred(coarse if number == 1 else 1) for number in range(1, len(networks))
        }

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of the last stage as `out`; in training those of the others as `stage1`, `stage2`, ..."""
        height, width = image.shape[-2:]
        x = fit(self.normalize(image), self.alignment)
        outputs = {}
        logits = self.stages[0](F.avg_pool2d(x, self.coarse) if self.coarse > 1 else x)
        for number, stage in enumerate(self.stages[1:], 1):
            name = f"stage{number}"
            outputs[name] = unfit_grid(logits, height, width, self.grids[name])
            carried = resize(self._carried(logits), (x.shape[-2], x.shape[-1]))
            logits = stage(torch.cat([x, carried], dim=1))
        out = {"out": unfit(logits, height, width)}
        return out | outputs if self.training else out

    def _carried(self, logits: Float[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        """What the next stage is told."""
        if self.detach:
            logits = logits.detach()
        return logits.softmax(1) if self.carry == "softmax" else logits
