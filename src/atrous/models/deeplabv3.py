"""DeepLab v3: atrous convolution at several rates beside each other, or one behind the other, and the pooled image.

Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017,
https://arxiv.org/abs/1706.05587.

As in the paper
    - `deeplabv3`: a ResNet whose last stages are dilated instead of strided; the three units of the last stage have the
      rates (1, 2, 4) times its own (multi-grid); ASPP of 1x1, three 3x3 at rates 6, 12, 18 and the pooled image, 256
      channels each with batch normalisation, joined by 1x1; a 1x1 convolution to the classes. At output stride 8 the
      rates double, and the weights of one stride fit the other: train at 16, predict at 8.
    - `deeplabv3_cascade`: no ASPP; instead three replicas of the last stage (block5 to block7) with rates that double
      from one to the next, times the multi-grid (1, 2, 1).
    - Images of k x stride + 1 pixels (513, 769), scores interpolated with aligned corners.

Different from the paper
    - The stride of a ResNet's stage stands in its first unit, as in torchvision, and not in its last.
    - The multi-grid is taken to name the three units of the stage (the other reading: three convolutions of a unit).
    - The replicas start from random numbers, after He; their first unit needs no projection.
    - The moving averages of the normalisation keep PyTorch's momentum, 0.1; the paper's decay of 0.9997 is 0.0003.

`deeplabv3_torchvision` is torchvision's form, whose weights fit: output stride 8 with rates 12, 24, 36, no multi-grid;
the first unit of a dilated stage keeps the rate before it; dropout of 0.5 and a further 3x3 convolution before the
scores; corners not aligned; an auxiliary head on the last stage but one. On `mobilenetv3_large_100` at stride 16 it is
its `deeplabv3_mobilenet_v3_large`, the auxiliary head apart, which hangs there on the first block of a stage: for that,
the first block of the dilated stage gets the stage's rate too, and every norm an epsilon of 0.001.

`deeplabv3_smp` is segmentation_models_pytorch's form: as torchvision's, but every unit of a dilated stage has its rate,
and scores are interpolated with aligned corners from a map of the image's size over 8, so that the factor is not 8.
"""

from collections.abc import Callable
from typing import Annotated

from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders import Encoder, EncoderSection, Pretrained, create_encoder, timm_encoder
from atrous.encoders.resnet import Bottleneck
from atrous.errors import ModelError
from atrous.layers import conv_bn_relu
from atrous.layers.atrous import ASPP, separable_conv_bn_relu
from atrous.models.base import DenseModel, EncoderDecoder, Paper

__all__ = [
    "PAPERS",
    "Cascade",
    "DeepLabV3Decoder",
    "deeplabv3",
    "deeplabv3_cascade",
    "deeplabv3_smp",
    "deeplabv3_torchvision",
]

_HERE = (2017, "Rethinking Atrous Convolution for Semantic Image Segmentation", "https://arxiv.org/abs/1706.05587")

PAPERS = {
    "deeplabv3": Paper(
        *_HERE,
        idea="One map is seen at several rates and as a whole, each branch normalised, and no CRF is missed.",
        parameters=58_040_661,
        facts=("output stride 16 or 8", "rates 6, 12, 18", "VOC 2012 val mean IoU 77.21 (stride 16), 78.51 (stride 8)"),
    ),
    "deeplabv3_cascade": Paper(
        *_HERE,
        idea="The last stage is repeated with growing rates, so that a deeper network loses no resolution.",
        facts=("output stride 16 or 8", "rates 2, 4, 8, 16 of block4 to block7", "VOC 2012 val mean IoU 76.66, 78.05"),
    ),
    "deeplabv3_torchvision": Paper(
        *_HERE,
        idea="torchvision's form: output stride 8, no multi-grid, a further convolution before the scores.",
        parameters=58_630_997,
        facts=("output stride 8", "rates 12, 24, 36", "60,996,202 parameters with the auxiliary head"),
    ),
    "deeplabv3_smp": Paper(
        *_HERE,
        idea="segmentation_models_pytorch's form: torchvision's head on any encoder, every unit dilated alike.",
        facts=("output stride 8", "rates 12, 24, 36"),
    ),
}


def deeplabv3(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "resnet101",
    pretrained: Pretrained = False,
    *,
    output_stride: int = 16,
    multi_grid: tuple[int, ...] = (1, 2, 4),
    rates: tuple[int, ...] = (6, 12, 18),
    width: Annotated[int, Ge(1)] = 256,
    image_pooling: bool = True,
) -> DenseModel:
    """DeepLab v3 with atrous spatial pyramid pooling.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: a name, or a section with options; see `create_encoder`.
        pretrained: start the encoder from ImageNet weights.
        output_stride: 16, or 8: finer, slower, with every rate doubled.
        multi_grid: factors on the rates of the last stage's units; (1, 1, 1) for an encoder that has no such rates.
        rates: of the 3x3 branches at output stride 16.
        width: channels of every branch.
        image_pooling: whether the branch of the whole image is there; without it the output sees a part of the image.

    Raises:
        ModelError: if the encoder is unknown or cannot run at `output_stride` or with `multi_grid`.
    """
    trunk = create_encoder(
        encoder, in_channels=in_channels, pretrained=pretrained, output_stride=output_stride, multi_grid=multi_grid
    )
    scaled = [max(1, rate * 16 // output_stride) for rate in rates]
    aspp = ASPP(trunk.levels[-1].channels, scaled, width, image_pooling=image_pooling)
    return EncoderDecoder(trunk, DeepLabV3Decoder(aspp, nn.Identity()), num_classes, align_corners=True)


def deeplabv3_cascade(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "resnet101",
    pretrained: Pretrained = False,
    *,
    output_stride: int = 16,
    multi_grid: tuple[int, ...] = (1, 2, 1),
    replicas: Annotated[int, Ge(0)] = 3,
) -> DenseModel:
    """DeepLab v3 in cascade: replicas of the last stage with rates that double.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: a name, or a section with options; see `create_encoder`.
        pretrained: start the encoder (not the replicas) from ImageNet weights.
        output_stride: 16, or 8: finer, slower, with every rate doubled.
        multi_grid: factors on the rates of the units of the last stage and of each replica, which has one for each.
        replicas: 3 is the paper's block7; 0 its block4.

    Raises:
        ModelError: if the encoder is unknown, or cannot run at `output_stride` or with `multi_grid`, or has channels
            that are no multiple of 4.
    """
    trunk = create_encoder(
        encoder, in_channels=in_channels, pretrained=pretrained, output_stride=output_stride, multi_grid=multi_grid
    )
    first = 32 // output_stride
    rates = [[first * 2**replica * factor for factor in multi_grid] for replica in range(1, replicas + 1)]
    return EncoderDecoder(trunk, Cascade(trunk.levels[-1].channels, rates), num_classes, align_corners=True)


def deeplabv3_torchvision(
    num_classes: int,
    in_channels: int = 3,
    encoder: str = "resnet101",
    pretrained: Pretrained = False,
    *,
    output_stride: int = 8,
    rates: tuple[int, ...] = (12, 24, 36),
    width: Annotated[int, Ge(1)] = 256,
    aux: bool = False,
) -> DenseModel:
    """DeepLab v3 as torchvision's `deeplabv3_resnet50`, `deeplabv3_resnet101` and `deeplabv3_mobilenet_v3_large`.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: a name from `timm.list_models()`: resnet50, resnet101, or mobilenetv3_large_100 at output stride 16.
        pretrained: start the encoder from timm's weights.
        output_stride: 8 for torchvision's ResNets, 16 for its MobileNetV3; the rates stay as they are.
        rates: of the 3x3 branches.
        width: channels of every branch.
        aux: add the training output `aux`.

    Raises:
        ModelError: if the encoder is unknown or cannot run at `output_stride`.
    """
    trunk = timm_encoder(encoder, in_channels=in_channels, pretrained=pretrained, output_stride=output_stride)
    if encoder.startswith("mobilenetv3"):
        _as_torchvisions(trunk)
    aspp = ASPP(trunk.levels[-1].channels, rates, width, dropout=0.5)
    decoder = DeepLabV3Decoder(aspp, conv_bn_relu(width, width))
    return EncoderDecoder(trunk, decoder, num_classes, aux={"aux": -2} if aux else None)


def deeplabv3_smp(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "resnet34",
    pretrained: Pretrained = False,
    *,
    output_stride: int = 8,
    rates: tuple[int, ...] = (12, 24, 36),
    width: Annotated[int, Ge(1)] = 256,
    separable: bool = False,
) -> DenseModel:
    """DeepLab v3 as segmentation_models_pytorch's `DeepLabV3`.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: a name, or a section with options; with the ResNets of `ENCODERS` the weights of smp's fit.
        pretrained: start the encoder from ImageNet weights.
        output_stride: 8 or 16; the rates stay as they are.
        rates: of the 3x3 branches.
        width: channels of every branch.
        separable: branches of atrous separable convolutions.

    Raises:
        ModelError: if the encoder is unknown or cannot run at `output_stride`.
    """
    trunk = create_encoder(encoder, in_channels=in_channels, pretrained=pretrained, output_stride=output_stride)
    conv: Callable[..., nn.Module] = separable_conv_bn_relu if separable else conv_bn_relu
    aspp = ASPP(trunk.levels[-1].channels, rates, width, conv=conv, dropout=0.5)
    decoder = DeepLabV3Decoder(aspp, conv_bn_relu(width, width))
    head = nn.Sequential(
        nn.Conv2d(width, num_classes, 1), nn.UpsamplingBilinear2d(scale_factor=trunk.levels[-1].stride)
    )
    return EncoderDecoder(trunk, decoder, num_classes, head=head)


class DeepLabV3Decoder(nn.Module):
    """The coarsest map through the pyramid, then through what follows it.

    Args:
        aspp: the pyramid.
        refine: between the pyramid and the scores; the identity in the paper.
    """

    def __init__(self, aspp: ASPP, refine: nn.Module) -> None:
        super().__init__()
        self.aspp = aspp
        self.refine = refine
        self.out_channels = aspp.out_channels

    def forward(self, features: list[Tensor]) -> Float[Tensor, "B C H W"]:
        """A map on the coarsest grid."""
        return self.refine(self.aspp(features[-1]))


class Cascade(nn.Module):
    """Replicas of the last stage: bottleneck units on the coarsest map, each at its rate, the size never changed.

    Args:
        channels: of the coarsest map.
        rates: of the units of each replica.

    Raises:
        ModelError: if the channels are no multiple of 4, the ratio of a bottleneck.
    """

    def __init__(self, channels: int, rates: list[list[int]]) -> None:
        super().__init__()
        inner, rest = divmod(channels, Bottleneck.expansion)
        if rest:
            raise ModelError(
                f"the encoder's last map has {channels} channels, replicas need a multiple of {Bottleneck.expansion}: "
                f"choose another encoder, for example resnet50"
            )
        self.out_channels = channels
        self.replicas = nn.Sequential(
            *(nn.Sequential(*(Bottleneck(channels, inner, dilation=rate) for rate in units)) for units in rates)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: list[Tensor]) -> Float[Tensor, "B C H W"]:
        """A map on the coarsest grid."""
        return self.replicas(features[-1])


def _as_torchvisions(trunk: Encoder) -> None:
    """Give timm's MobileNetV3 what torchvision's has beside the same weights: its rates and its norms' epsilon."""
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 0.001, 0.01
    stages: nn.Sequential = trunk.get_submodule("body.blocks")  # type: ignore[assignment]
    for stage in stages:
        spread = [conv for conv in stage.modules() if isinstance(conv, nn.Conv2d) and conv.kernel_size[0] > 1]
        for conv in spread:
            conv.dilation = spread[-1].dilation
            conv.padding = tuple(rate * (k // 2) for rate, k in zip(conv.dilation, conv.kernel_size, strict=True))
