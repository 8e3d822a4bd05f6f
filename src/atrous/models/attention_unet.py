"""Attention U-Net: gates decide which part of every skip goes on.

Oktay, Schlemper, Le Folgoc, Lee, Heinrich, Misawa, Mori, McDonagh, Hammerla, Kainz, Glocker, Rueckert, "Attention
U-Net: Learning Where to Look for the Pancreas", MIDL 2018, https://arxiv.org/abs/1804.03999.

As in the paper
    - Additive attention: alpha = sigmoid(psi(ReLU(W_x x + W_g g))), one number per pixel, times the skip x.
    - `form="paper"`: the gating signal g is the coarsest map behind a 1x1 convolution to half of its channels, the same
      for all gates; the sum is made on a grid half as fine as the skip's (W_x is a 2x2 convolution of stride 2 without
      bias, W_g x is interpolated to that grid), alpha is interpolated back, and the gated skip passes a 1x1 convolution
      with batch normalisation. The finest skip has no gate. Of the authors' three-dimensional networks this is the one
      whose gates share a signal (`unet_grid_attention`); in others, such as `unet_ct_multi_att_dsv`, the signal is the
      map of the next coarser step.

Different from the paper
    - Two dimensions, and the plain U-Net of `atrous.layers.unet` around the gates.
    - `form="popular"`, the default because its counts and weights are known (LeeJunHyun/Image_Segmentation): g is the
      up-sampled map that the skip is about to be joined to, on the skip's own grid; all four skips have a gate, all
      convolutions of the gate are 1x1 with batch normalisation, and there is none behind the product.
    - psi's bias starts at 3 in `form="paper"`, so that gates begin 95 % open (the authors' later networks do so).
    - No deep supervision, which the paper's final network has.
"""

from typing import Annotated, Literal

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.layers import BatchNorm, fit, resize, unfit
from atrous.layers.unet import (
    ContractingPath,
    ExpandingPath,
    SkipGate,
    contracting_path,
    expanding_path,
    same_conv,
    unet_channels,
)
from atrous.models.base import DenseModel, Paper
from atrous.types import Outputs

__all__ = ["PAPERS", "AttentionUNet", "GridGate", "attention_unet"]

PAPERS = {
    "attention_unet": Paper(
        year=2018,
        title="Attention U-Net: Learning Where to Look for the Pancreas",
        url="https://arxiv.org/abs/1804.03999",
        idea="Gates that look at the coarse map silence the parts of a skip that do not belong to the target.",
        num_classes=1,
        parameters=34_878_573,
        facts=(
            "one gating signal from the coarsest map, three gated skips, the finest without a gate",
            "popular two-dimensional form: four gates of 263,939, 66,435, 16,835 and 4,323 parameters",
            "alpha is one number per pixel, between 0 and 1",
        ),
    ),
}

OPEN = 3.0  # psi's bias at the start: sigmoid(3) = 0.95


def attention_unet(
    num_classes: int,
    in_channels: int = 3,
    *,
    width: Annotated[int, Ge(1)] = 64,
    form: Literal["popular", "paper"] = "popular",
) -> DenseModel:
    """Attention U-Net with five levels.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        width: channels of the finest level, doubled on each level below; 64 in both forms.
        form: "popular" gates all skips on their own grids by the map from below; "paper" gates all but the finest by
            the coarsest map.
    """
    channels = unet_channels(width)
    popular = form == "popular"
    gates = None if popular else GridGates(channels)
    return AttentionUNet(
        contracting_path(in_channels, channels),
        gates,
        expanding_path(channels, gate=SkipGate if popular else None),
        nn.Conv2d(width, num_classes, 1),
        num_classes,
        in_channels,
        alignment=2 ** (len(channels) - 1),
    )


class AttentionUNet(DenseModel):
    """Contract, gate the skips, expand.

    Args:
        contracting: image to maps, finest first.
        gates: all maps to all maps, the skips gated; None where the steps of the expanding path have gates.
        expanding: maps to maps, finest first.
        head: finest map to logits.
        num_classes: maps in `out`.
        in_channels: channels of the image.
        alignment: stride of the coarsest map.
    """

    def __init__(
        self,
        contracting: ContractingPath,
        gates: nn.Module | None,
        expanding: ExpandingPath,
        head: nn.Module,
        num_classes: int,
        in_channels: int,
        *,
        alignment: int,
    ) -> None:
        super().__init__(num_classes, in_channels, alignment)
        self.contracting = contracting
        self.gates = gates
        self.expanding = expanding
        self.head = head

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`."""
        height, width = image.shape[-2:]
        features = self.contracting(fit(self.normalize(image), self.alignment))
        if self.gates is not None:
            features = self.gates(features)
        return {"out": unfit(self.head(self.expanding(features)[0]), height, width)}


class GridGates(nn.Module):
    """One gating signal from the coarsest map, and a gate for every skip but the finest.

    Args:
        channels: of all maps, finest first.
    """

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        signal = channels[-2]
        self.signal = same_conv(channels[-1], signal, 1)
        self.gates = nn.ModuleList(GridGate(before, signal, inner=before) for before in channels[1:-1])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """The maps, the gated ones in the place of the skips."""
        finest, *skips, coarsest = features
        signal = self.signal(coarsest)
        return [finest, *(gate(skip, signal) for gate, skip in zip(self.gates, skips, strict=True)), coarsest]


class GridGate(nn.Module):
    """The paper's gate: the attention is computed on a grid half as fine as the skip's.

    Args:
        channels: of the skip.
        signal: channels of the gating signal, which lies on the same grid or a coarser one.
        inner: channels of the hidden sum; the authors' network takes `channels`.
    """

    def __init__(self, channels: int, signal: int, *, inner: int) -> None:
        super().__init__()
        self.from_skip = nn.Conv2d(channels, inner, 2, stride=2, bias=False)
        self.from_signal = nn.Conv2d(signal, inner, 1)
        self.psi = nn.Conv2d(inner, 1, 1)
        self.out = nn.Sequential(nn.Conv2d(channels, channels, 1), BatchNorm(channels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.constant_(module.bias, OPEN if module is self.psi else 0.0)

    def attention(self, skip: Float[Tensor, "B C H W"], signal: Float[Tensor, "B S h w"]) -> Float[Tensor, "B 1 H W"]:
        """The share of every pixel that passes, between 0 and 1."""
        coarse = self.from_skip(skip)
        hidden = torch.relu(coarse + resize(self.from_signal(signal), (coarse.shape[-2], coarse.shape[-1])))
        return resize(torch.sigmoid(self.psi(hidden)), (skip.shape[-2], skip.shape[-1]))

    def forward(self, skip: Float[Tensor, "B C H W"], signal: Float[Tensor, "B S h w"]) -> Float[Tensor, "B C H W"]:
        """The gated skip behind a 1x1 convolution."""
        return self.out(skip * self.attention(skip, signal))
