"""R2U-Net: the convolutions of a U-Net become small recurrent networks with a shortcut around them.

Alom, Hasan, Yakopcic, Taha, Asari, "Recurrent Residual Convolutional Neural Network based on U-Net (R2U-Net) for
Medical Image Segmentation", 2018, https://arxiv.org/abs/1802.06955.

As in the paper
    - On every level a 1x1 convolution, two recurrent layers, and a shortcut around the two.
    - A recurrent layer runs its convolution once, and then `steps` = 2 times more.
    - `form="paper"`: the layer's input and its former state have kernels of their own,
      h(t) = ReLU(norm(W_f x + W_r h(t - 1) + b)), h(0) = ReLU(norm(W_f x + b)).

Different from the paper
    - `form="popular"`, the default because its counts and weights are known (LeeJunHyun/Image_Segmentation): one kernel
      for both, the input added to the state before it, h(t) = f(x + h(t - 1)), h(0) = f(x), where f is convolution,
      batch normalisation and ReLU. 39.1 M parameters instead of 70.5 M.
    - Batch normalisation in both forms, with one set of statistics for all steps.
    - The up-sampling of the plain U-Net of `atrous.layers.unet`; five levels from 64 to 1024 channels.
    - `attention=True` puts the gates of the popular Attention U-Net on the skips: what is known as R2AttU-Net.
"""

from functools import partial
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.layers import BatchNorm
from atrous.layers.unet import (
    SkipGate,
    contracting_path,
    expanding_path,
    unet_channels,
)
from atrous.models.base import ContractExpand, DenseModel, Paper

__all__ = ["PAPERS", "RecurrentConv", "RecurrentResidual", "SharedRecurrentConv", "r2unet"]

PAPERS = {
    "r2unet": Paper(
        year=2018,
        title="Recurrent Residual Convolutional Neural Network based on U-Net (R2U-Net) for Medical Image Segmentation",
        url="https://arxiv.org/abs/1802.06955",
        idea="Running the same convolution several times gathers context and depth without further weights.",
        num_classes=1,
        parameters=39_091_393,
        facts=(
            "two recurrent layers per level, t = 2: each convolution runs three times",
            "a unit from 64 to 128 channels has 304,000 parameters (popular form)",
            "39,442,925 parameters with attention gates (popular form)",
        ),
    ),
}


def r2unet(
    num_classes: int,
    in_channels: int = 3,
    *,
    width: Annotated[int, Ge(1)] = 64,
    form: Literal["popular", "paper"] = "popular",
    steps: Annotated[int, Ge(1)] = 2,
    attention: bool = False,
) -> DenseModel:
    """R2U-Net with five levels.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        width: channels of the finest level, doubled on each level below.
        form: "popular" has one kernel for a layer's input and its state, "paper" one for each.
        steps: t, how often a recurrent layer runs after its first time.
        attention: gate the skips.
    """
    channels = unet_channels(width)
    block = partial(RecurrentResidual, layer=SharedRecurrentConv if form == "popular" else RecurrentConv, steps=steps)
    return ContractExpand(
        contracting_path(in_channels, channels, block=block),
        expanding_path(channels, block=block, gate=SkipGate if attention else None),
        nn.Conv2d(width, num_classes, 1),
        num_classes,
        in_channels,
        alignment=2 ** (len(channels) - 1),
    )


class RecurrentResidual(nn.Module):
    """1x1 convolution x, then x + layer(layer(x)).

    Args:
        in_channels: before the 1x1 convolution.
        out_channels: after it, and of the result.
        layer: makes a recurrent layer from its channels and `steps`.
        steps: how often a layer runs after its first time.
    """

    def __init__(self, in_channels: int, out_channels: int, *, layer: type[nn.Module], steps: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(in_channels, out_channels, 1)
        self.layers = nn.Sequential(layer(out_channels, steps), layer(out_channels, steps))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H W"]:
        """A map of the same size."""
        x = self.enter(x)
        return x + self.layers(x)


class SharedRecurrentConv(nn.Module):
    """h(0) = f(x), h(t) = f(x + h(t - 1)): one convolution for everything."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(_summand(channels), BatchNorm(channels), nn.ReLU())
        self.steps = steps

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The state after the last step."""
        state = self.conv(x)
        for _ in range(self.steps):
            state = self.conv(x + state)
        return state


class RecurrentConv(nn.Module):
    """h(0) = g(W_f x + b), h(t) = g(W_f x + b + W_r h(t - 1)), g normalisation and ReLU."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.forward_conv = _summand(channels)
        self.recurrent_conv = _summand(channels, bias=False)
        self.norm = BatchNorm(channels)
        self.steps = steps

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The state after the last step."""
        driven = self.forward_conv(x)  # the input does not change: once is enough
        state = torch.relu(self.norm(driven))
        for _ in range(self.steps):
            state = torch.relu(self.norm(driven + self.recurrent_conv(state)))
        return state


def _summand(channels: int, *, bias: bool = True) -> nn.Conv2d:
    """A 3x3 convolution of a sum, or in one: it starts with half the variance that a ReLU asks for elsewhere."""
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
