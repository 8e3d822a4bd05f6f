"""DeconvNet: a VGG-16 with its fully connected layers, and its mirror image of unpoolings and transposed convolutions.

Noh, Hong, Han, "Learning Deconvolution Network for Semantic Segmentation", ICCV 2015, https://arxiv.org/abs/1505.04366.

As in the paper
    - VGG-16's convolutions and its first two fully connected layers, the first as a 7x7 convolution that turns the 7x7
      map of a 224x224 image into one column of 4096 features; then a 7x7 transposed convolution and five stages of
      unpooling and 3x3 transposed convolutions, and a 1x1 convolution to the classes.
    - Unpooling puts values where the pooling of the same size found them. Batch normalisation and ReLU after every
      convolution but the last; no dropout. 251,805,653 parameters at 21 classes.
    - Kernels start Gaussian with deviation 0.01, biases at 0, shifts of the batch normalisations at 0.001; `pretrained`
      copies VGG-16's convolutions.

Different from the paper
    - Any image size: an image is continued to the next 224 + 32 k pixels and the logits are cropped. In a larger image
      the column of features is a map of them, one per 224x224 window, at a distance of 32 pixels.
    - Batch normalisations keep running statistics; the authors measure them after training, over 501 batches.
    - Of the pretrained weights the fully connected layers start anew.
    - The two kinds of training examples are the transform `object_crop`; predicting object by object, over the user's
      boxes or a grid of them, is `atrous.inference.proposals`. Neither Edge Boxes, nor the ensemble with FCN-8s.
"""

from itertools import chain
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders.base import MeanStd, Pretrained
from atrous.encoders.origin import WeightsOrigin
from atrous.encoders.vgg import DEPTHS, WIDTHS, load_vgg16, vgg_stages
from atrous.layers import BatchNorm, unfit
from atrous.layers.upsample import max_pool, max_unpool
from atrous.models.base import DenseModel, Paper
from atrous.types import Outputs

__all__ = ["PAPERS", "DeconvNet", "deconvnet"]

PAPERS = {
    "deconvnet": Paper(
        year=2015,
        title="Learning Deconvolution Network for Semantic Segmentation",
        url="https://arxiv.org/abs/1505.04366",
        idea="A whole classifier is mirrored: from one column of features back to every pixel of an object's window.",
        num_classes=21,
        parameters=251_805_653,
        facts=(
            "output stride 1",
            "224x224 windows, down to 1x1 and back",
            "VOC 2012 test mean IoU 69.6, 70.5 with CRF",
        ),
    ),
}

WINDOW = 224  # pixels of the paper's image, seven features of the coarsest map
PERIOD = 32
KERNEL = 7  # of the first fully connected layer
SHIFT = 0.001  # where the shifts of the batch normalisations start


def deconvnet(
    num_classes: int,
    in_channels: int = 3,
    pretrained: Pretrained = False,
    *,
    width: Annotated[int, Ge(1)] = 64,
    depths: tuple[int, int, int, int, int] = DEPTHS,
    fc_channels: Annotated[int, Ge(1)] = 4096,
    std: Annotated[float, Gt(0)] = 0.01,
) -> DenseModel:
    """The network of the paper's figure 2.

    Args:
        num_classes: maps in `out`; 21 in the paper.
        in_channels: channels of the image.
        pretrained: start the convolutions from VGG-16's ImageNet weights.
        width: channels of the first stage; the others have 2, 4, 8 and 8 times as many.
        depths: convolutions of each stage, and of its mirror image.
        fc_channels: channels of the two fully connected layers; SegNet's authors compared with 1024.
        std: deviation of the Gaussian that kernels start from. Layers of few channels want more than the paper's.

    Raises:
        ModelError: if weights are asked for that cannot be fetched, or do not fit `width` and `depths`.
    """
    encoder = vgg_stages(in_channels, width=width, depths=depths, norm=BatchNorm)
    channels = [width, *(width * times for times in WIDTHS)]
    decoder = [
        _mirrored(depth, wide, narrow) for depth, wide, narrow in zip(depths, channels[1:], channels[:-1], strict=True)
    ]
    model = DeconvNet(
        num_classes,
        in_channels,
        encoder=encoder,
        fully_connected=nn.Sequential(
            *_layer(nn.Conv2d(channels[-1], fc_channels, KERNEL)),
            *_layer(nn.Conv2d(fc_channels, fc_channels, 1)),
            *_layer(nn.ConvTranspose2d(fc_channels, channels[-1], KERNEL)),
        ),
        decoder=nn.ModuleList(reversed(decoder)),
        head=nn.Conv2d(width, num_classes, 1),
    )
    for module in model.modules():
        _initialize(module, std)
    if pretrained:
        convs = (
            nn.Sequential(*(layer for layer in stage.children() if isinstance(layer, nn.Conv2d))) for stage in encoder
        )
        weights = load_vgg16(nn.ModuleList(convs), pretrained, in_channels=in_channels)
        if weights is not None:
            model.pretrained_normalization, model.origin = weights.normalization, weights.origin
    return model


class DeconvNet(DenseModel):
    """Pooled down to one column of features per window, and unpooled back.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: five stages that keep height and width, finest first.
        fully_connected: what the coarsest map goes through; gives it back in its own size.
        decoder: five stages that keep height and width, coarsest first.
        head: turns the last map into logits.
    """

    pretrained_normalization: MeanStd | None = None
    origin: WeightsOrigin | None = None

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        encoder: nn.ModuleList,
        fully_connected: nn.Module,
        decoder: nn.ModuleList,
        head: nn.Module,
    ) -> None:
        super().__init__(num_classes, in_channels, alignment=PERIOD)
        self.encoder = encoder
        self.fully_connected = fully_connected
        self.decoder = decoder
        self.head = head

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`."""
        height, width = image.shape[-2:]
        x, pooled = _fit(self.normalize(image)), []
        for stage in self.encoder:
            x = stage(x)
            size = (x.shape[-2], x.shape[-1])
            x, positions = max_pool(x)
            pooled.append((positions, size))
        x = self.fully_connected(x)
        for stage, (positions, size) in zip(self.decoder, reversed(pooled), strict=True):
            x = stage(max_unpool(x, positions, size))
        return {"out": unfit(self.head(x), height, width)}


def _fit(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
    """Continue the edges to the next 224 + 32 k pixels: fewer leave the fully connected layer without a 7x7 map."""
    height, width = x.shape[-2:]
    # sym_max: a comparison of symbolic sizes would be a guard in a compiled or exported network.
    below, right = (torch.sym_max((size + PERIOD - 1) // PERIOD * PERIOD, WINDOW) - size for size in (height, width))
    return F.pad(x, (0, right, 0, below), mode="replicate")  # type: ignore[arg-type]


def _mirrored(depth: int, wide: int, narrow: int) -> nn.Sequential:
    """A decoder's stage: as many convolutions as the encoder's, the last to the channels of the next finer stage."""
    outs = [wide] * (depth - 1) + [narrow]
    return nn.Sequential(*chain.from_iterable(_layer(nn.ConvTranspose2d(wide, out, 3, padding=1)) for out in outs))


def _layer(conv: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    """A convolution with what follows each."""
    return [conv, BatchNorm(conv.out_channels), nn.ReLU()]


def _initialize(module: nn.Module, std: float) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, BatchNorm):
        nn.init.constant_(module.bias, SHIFT)
