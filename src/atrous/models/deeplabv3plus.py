"""DeepLab v3+: a decoder that gives DeepLab v3's context the edges of a finer map.

Chen, Zhu, Papandreou, Schroff, Adam, "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation", ECCV 2018, https://arxiv.org/abs/1802.02611.

As in the paper
    - The encoder is DeepLab v3 without its scores: a dilated ResNet-101 with multi-grid (1, 2, 4), and ASPP at rates 6,
      12, 18 with the pooled image, 256 channels; every rate doubles at output stride 8.
    - The context is interpolated to the map of stride 4 (the last one of `layer1`), which a 1x1 convolution reduces to
      48 channels; both are joined, two 3x3 convolutions of 256 channels refine them, a 1x1 gives the scores, and these
      are interpolated by 4. Batch normalisation and ReLU follow every convolution but the last.
    - Images of k x stride + 1 pixels (513), corners aligned in both interpolations.

Different from the paper
    - The paper's best network is a modified Xception; the numbers here are those of its ResNet-101. `separable` gives
      ASPP and decoder the atrous separable convolutions of the Xception form, without the paper's norm and ReLU between
      depthwise and pointwise.
    - The stride of a ResNet's stage stands in its first unit, as in torchvision.
    - The moving averages of the normalisation keep PyTorch's momentum.

`deeplabv3plus_smp` is segmentation_models_pytorch's form: separable convolutions throughout, rates 12, 24, 36 also at
output stride 16, dropout of 0.5, one 3x3 convolution after the pyramid and one after the join, no multi-grid, and maps
of the image's size over the stride, whose corners are aligned, so that the factor is not 4.
"""

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders import EncoderSection, Pretrained, create_encoder
from atrous.errors import ModelError
from atrous.layers import conv_bn_relu, resize
from atrous.layers.atrous import ASPP, separable_conv_bn_relu
from atrous.models.base import DenseModel, EncoderDecoder, Paper
from atrous.types import Level

__all__ = ["PAPERS", "DeepLabV3PlusDecoder", "deeplabv3plus", "deeplabv3plus_smp"]

SKIP_STRIDE = 4

_TITLE = "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation"
_HERE = (2018, _TITLE, "https://arxiv.org/abs/1802.02611")

PAPERS = {
    "deeplabv3plus": Paper(
        *_HERE,
        idea="A small decoder joins DeepLab v3's context with a map of stride 4, and boundaries become sharp.",
        parameters=59_344_309,
        facts=(
            "encoder at stride 16 or 8, decoder at 4",
            "48 channels of the finer map",
            "VOC 2012 val mean IoU 78.85",
        ),
    ),
    "deeplabv3plus_smp": Paper(
        *_HERE,
        idea="segmentation_models_pytorch's form: separable convolutions with any encoder.",
        facts=("encoder at stride 16, decoder at 4", "rates 12, 24, 36"),
    ),
}


def deeplabv3plus(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "resnet101",
    pretrained: Pretrained = False,
    *,
    output_stride: int = 16,
    multi_grid: tuple[int, ...] = (1, 2, 4),
    rates: tuple[int, ...] = (6, 12, 18),
    width: Annotated[int, Ge(1)] = 256,
    skip_width: Annotated[int, Ge(1)] = 48,
    separable: bool = False,
    image_pooling: bool = True,
) -> DenseModel:
    """DeepLab v3+.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: a name, or a section with options; see `create_encoder`. It needs a map of stride 4.
        pretrained: start the encoder from ImageNet weights.
        output_stride: of the encoder: 16, or 8: finer, slower, with every rate doubled.
        multi_grid: factors on the rates of the last stage's units; (1, 1, 1) for an encoder that has no such rates.
        rates: of the 3x3 branches at output stride 16.
        width: channels of every branch and of the decoder.
        skip_width: channels that the finer map is reduced to.
        separable: separable convolutions in ASPP and decoder.
        image_pooling: whether the branch of the whole image is there.

    Raises:
        ModelError: if the encoder is unknown, has no map of stride 4, or cannot run at `output_stride` or with
            `multi_grid`.
    """
    trunk = create_encoder(
        encoder, in_channels=in_channels, pretrained=pretrained, output_stride=output_stride, multi_grid=multi_grid
    )
    conv: Callable[..., nn.Module] = separable_conv_bn_relu if separable else conv_bn_relu
    scaled = [max(1, rate * 16 // output_stride) for rate in rates]
    decoder = DeepLabV3PlusDecoder(
        trunk.levels,
        ASPP(trunk.levels[-1].channels, scaled, width, conv=conv, image_pooling=image_pooling),
        nn.Sequential(conv(width + skip_width, width), conv(width, width)),
        width=width,
        skip_width=skip_width,
    )
    return EncoderDecoder(trunk, decoder, num_classes, align_corners=True)


def deeplabv3plus_smp(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "resnet34",
    pretrained: Pretrained = False,
    *,
    output_stride: int = 16,
    rates: tuple[int, ...] = (12, 24, 36),
    width: Annotated[int, Ge(1)] = 256,
    skip_width: Annotated[int, Ge(1)] = 48,
    separable: bool = True,
) -> DenseModel:
    """DeepLab v3+ as segmentation_models_pytorch's `DeepLabV3Plus`.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: a name, or a section with options; with the ResNets of `ENCODERS` the weights of smp's fit.
        pretrained: start the encoder from ImageNet weights.
        output_stride: 16 or 8; the rates stay as they are.
        rates: of the 3x3 branches.
        width: channels of every branch and of the decoder.
        skip_width: channels that the finer map is reduced to.
        separable: whether the branches are separable; the convolutions after the pyramid and the join always are.

    Raises:
        ModelError: if the encoder is unknown, has no map of stride 4, or cannot run at `output_stride`.
    """
    trunk = create_encoder(encoder, in_channels=in_channels, pretrained=pretrained, output_stride=output_stride)
    conv: Callable[..., nn.Module] = separable_conv_bn_relu if separable else conv_bn_relu
    aspp = ASPP(trunk.levels[-1].channels, rates, width, conv=conv, dropout=0.5)
    decoder = DeepLabV3PlusDecoder(
        trunk.levels,
        nn.Sequential(aspp, separable_conv_bn_relu(width, width)),
        separable_conv_bn_relu(width + skip_width, width),
        width=width,
        skip_width=skip_width,
    )
    head = nn.Sequential(nn.Conv2d(width, num_classes, 1), nn.UpsamplingBilinear2d(scale_factor=SKIP_STRIDE))
    return EncoderDecoder(trunk, decoder, num_classes, head=head)


class DeepLabV3PlusDecoder(nn.Module):
    """The context of the coarsest map, brought to the map of stride 4, joined with it and refined.

    Args:
        levels: the encoder's maps, finest first.
        context: turns the coarsest map into one of `width` channels.
        fuse: turns the joined map, context first, into one of `width` channels.
        width: channels of the context and of the result.
        skip_width: channels that the finer map is reduced to.

    Raises:
        ModelError: if no map has stride 4.
    """

    def __init__(
        self, levels: Sequence[Level], context: nn.Module, fuse: nn.Module, *, width: int, skip_width: int
    ) -> None:
        super().__init__()
        fine = [index for index, level in enumerate(levels) if level.stride == SKIP_STRIDE]
        if not fine:
            raise ModelError(
                f"the encoder's maps have the strides {[level.stride for level in levels]}, the decoder needs one of "
                f"stride {SKIP_STRIDE}: choose another encoder, for example resnet50"
            )
        self.skip_level = fine[-1]
        self.context = context
        self.reduce = conv_bn_relu(levels[self.skip_level].channels, skip_width, 1)
        self.fuse = fuse
        self.out_channels = width

    def forward(self, features: list[Tensor]) -> Float[Tensor, "B C H W"]:
        """A map at stride 4."""
        skip = self.reduce(features[self.skip_level])
        context = resize(self.context(features[-1]), (skip.shape[-2], skip.shape[-1]), align_corners=True)
        return self.fuse(torch.cat([context, skip], dim=1))
