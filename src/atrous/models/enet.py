"""ENet: a third of a million weights, made to segment street scenes while the car is moving.

Paszke, Chaurasia, Kim, Culurciello, "ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation",
2016, https://arxiv.org/abs/1606.02147.

As in the paper
    - Every row of its table: an initial block, a bottleneck stage at stride 4 and two at stride 8 with regular, dilated
      (2, 4, 8, 16) and asymmetric (1x5, 5x1) kernels, and a small decoder that unpools at the encoder's positions.
    - Encoder: spatial dropout of 0.01 in five bottlenecks, then of 0.1; a PReLU slope per channel. Decoder: ReLU.
    - Trained in two steps: first `decoder: false`, the encoder with a 1x1 classifier, then the whole net from there.

Where the paper is silent, as the authors' Torch net
    - 364,376 parameters at 20 classes (19 and unlabelled). A much used port of 351,804 is another net: narrower
      halvings, no biases, one slope for all channels.
    - The 1x1 before a kernel has a quarter of the channels that the bottleneck puts out, in those that halve the map
      too, where it is 2x2 with stride 2. Kernels of 3x3 have a bias, 1x1 have none; the pair of asymmetric kernels has
      one bias and nothing in between. Batch normalisation adds 0.001 to the variance.

Different from the paper
    - Other images than RGB: the initial block keeps its 13 filters and joins as many pooled channels as the image has.
    - The encoder's scores at stride 8 are interpolated to the image; the authors shrink the labels instead.
    - The image is normalised; the authors feed 0..1 as it is.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from atrous.errors import ModelError
from atrous.layers import BatchNorm, fit, resize, unfit
from atrous.layers.upsample import max_pool, max_unpool
from atrous.models.base import DenseModel, Paper
from atrous.types import Outputs

__all__ = ["PAPERS", "ENet", "enet"]

PAPERS = {
    "enet": Paper(
        year=2016,
        title="ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation",
        url="https://arxiv.org/abs/1606.02147",
        idea="Shrinks the image early, thinks in narrow bottlenecks, and spends next to nothing on the way back.",
        num_classes=20,
        parameters=364_376,
        facts=("encoder at stride 8", "27 bottlenecks", "Cityscapes test mean IoU 58.3", "CamVid test mean IoU 51.3"),
    ),
}

FILTERS, SHALLOW, DEEP = 13, 64, 128  # of the initial block, of the maps at stride 4, of those at stride 8
RATES = (1, 2, None, 4, 1, 8, None, 16)  # dilations of bottlenecks 2.1 to 2.8 and 3.1 to 3.8; None is asymmetric
FIRST_DROPOUT, DROPOUT = 0.01, 0.1
EPS = 1e-3

Activation = Callable[[int], nn.Module]  # from the number of channels
Pooled = tuple[Tensor, tuple[int, int]]  # positions of the maxima, and the size of the map that was pooled


def enet(num_classes: int, in_channels: int = 3, *, decoder: bool = True) -> DenseModel:
    """ENet, or its encoder alone.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        decoder: False is the first step of training: the encoder and a 1x1 classifier at stride 8.

    Raises:
        ModelError: if the image has more than 51 channels: the first 64 maps hold them beside 13 filters.
    """
    first = FILTERS + in_channels
    if first > SHALLOW:
        raise ModelError(
            f"enet takes images of at most {SHALLOW - FILTERS} channels, not {in_channels}: take another model"
        )
    way_back = ENetDecoder(first, num_classes) if decoder else ENetClassifier(num_classes)
    return ENet(num_classes, in_channels, ENetEncoder(in_channels, first), way_back)


class ENet(DenseModel):
    """An encoder that remembers where its poolings found maxima, and what turns its map into logits with that."""

    def __init__(self, num_classes: int, in_channels: int, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__(num_classes, in_channels, alignment=8)
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`."""
        height, width = image.shape[-2:]
        fitted = fit(self.normalize(image), self.alignment)
        logits = resize(self.decoder(*self.encoder(fitted)), (fitted.shape[-2], fitted.shape[-1]))
        return {"out": unfit(logits, height, width)}


class ENetEncoder(nn.Module):
    """Rows `initial` to 3.8 of the paper's table: `first` channels at stride 2, then 64 at 4 and 128 at 8."""

    def __init__(self, in_channels: int, first: int) -> None:
        super().__init__()
        self.initial = nn.Conv2d(in_channels, FILTERS, 3, stride=2, padding=1)
        self.initial_norm = nn.Sequential(BatchNorm(first, eps=EPS), nn.PReLU(first))
        self.down1 = Down(first, SHALLOW, FIRST_DROPOUT)
        self.stage1 = nn.Sequential(*(ENetBottleneck(SHALLOW, 1, nn.PReLU, FIRST_DROPOUT) for _ in range(4)))
        self.down2 = Down(SHALLOW, DEEP, DROPOUT)
        self.stage2 = nn.Sequential(*(ENetBottleneck(DEEP, rate, nn.PReLU, DROPOUT) for rate in RATES))
        self.stage3 = nn.Sequential(*(ENetBottleneck(DEEP, rate, nn.PReLU, DROPOUT) for rate in RATES))

    def forward(self, x: Float[Tensor, "B C H W"]) -> tuple[Tensor, Pooled, Pooled]:
        """The map at stride 8, and what the poolings to strides 4 and 8 remember."""
        x = self.initial_norm(torch.cat([self.initial(x), F.max_pool2d(x, 2)], dim=1))
        x, fine = self.down1(x)
        x, coarse = self.down2(self.stage1(x))
        return self.stage3(self.stage2(x)), fine, coarse


class ENetDecoder(nn.Module):
    """Rows 4.0 to the end: back to the `first` channels whose positions the encoder remembers, and to the image."""

    def __init__(self, first: int, num_classes: int) -> None:
        super().__init__()
        self.up4 = Up(DEEP, SHALLOW)
        self.stage4 = nn.Sequential(ENetBottleneck(SHALLOW, 1, _relu), ENetBottleneck(SHALLOW, 1, _relu))
        self.up5 = Up(SHALLOW, first)
        self.stage5 = ENetBottleneck(first, 1, _relu)
        self.fullconv = nn.ConvTranspose2d(first, num_classes, 2, stride=2)

    def forward(self, x: Float[Tensor, "B C h w"], fine: Pooled, coarse: Pooled) -> Float[Tensor, "B K H W"]:
        """Logits at stride 1."""
        return self.fullconv(self.stage5(self.up5(self.stage4(self.up4(x, coarse)), fine)))


class ENetClassifier(nn.Module):
    """What stands in the decoder's place while the encoder is trained alone; it asks for no positions."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(DEEP, num_classes, 1)

    def forward(self, x: Float[Tensor, "B C h w"], fine: Pooled, coarse: Pooled) -> Float[Tensor, "B K h w"]:
        """Logits at stride 8."""
        return self.classifier(x)


class ENetBottleneck(nn.Module):
    """The map plus a narrow branch, then the activation."""

    def __init__(self, channels: int, rate: int | None, act: Activation, dropout: float = 0.0) -> None:
        super().__init__()
        self.branch = _branch(channels, channels, _kernel(channels // 4, rate), act, dropout)
        self.act = act(channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """A map of the same shape."""
        return self.act(x + self.branch(x))


class Down(nn.Module):
    """The map pooled and filled up with channels of zeros, plus a branch that halves it too."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.branch = _branch(in_channels, out_channels, _kernel(out_channels // 4, 1), nn.PReLU, dropout, stride=2)
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> tuple[Tensor, Pooled]:
        """The map at half the size, and what the pooling remembers."""
        pooled, positions = max_pool(x)
        branch = self.branch(x)
        filled = F.pad(pooled, (0, 0, 0, 0, 0, branch.shape[1] - pooled.shape[1]))
        return self.act(filled + branch), (positions, (x.shape[-2], x.shape[-1]))


class Up(nn.Module):
    """The map in fewer channels, put back where the maxima stood, plus a branch with a transposed convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        inner = out_channels // 4
        double = nn.ConvTranspose2d(inner, inner, 3, stride=2, padding=1, output_padding=1)
        self.branch = _branch(in_channels, out_channels, double, _relu)
        self.other = nn.Sequential(*_conv_norm(in_channels, out_channels))
        self.act = _relu(out_channels)

    def forward(self, x: Float[Tensor, "B C h w"], pooled: Pooled) -> Float[Tensor, "B C2 H W"]:
        """The map at twice the size."""
        return self.act(max_unpool(self.other(x), *pooled) + self.branch(x))


def _branch(
    in_channels: int, out_channels: int, kernel: nn.Module, act: Activation, dropout: float = 0.0, *, stride: int = 1
) -> nn.Sequential:
    """1x1 to a quarter of the channels (2x2 where it halves the map), the kernel, 1x1 to all of them, dropout."""
    inner = out_channels // 4
    layers = [*_conv_norm(in_channels, inner, stride), act(inner), kernel, BatchNorm(inner, eps=EPS), act(inner)]
    return nn.Sequential(*layers, *_conv_norm(inner, out_channels), nn.Dropout2d(dropout))


def _conv_norm(in_channels: int, out_channels: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, out_channels, stride, stride, bias=False), BatchNorm(out_channels, eps=EPS)]


def _kernel(channels: int, rate: int | None) -> nn.Module:
    """3x3 at a rate; None: 1x5, then 5x1."""
    if rate is not None:
        return nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate)
    first = nn.Conv2d(channels, channels, (1, 5), padding=(0, 2), bias=False)
    return nn.Sequential(first, nn.Conv2d(channels, channels, (5, 1), padding=(2, 0)))


def _relu(channels: int) -> nn.Module:
    return nn.ReLU()
