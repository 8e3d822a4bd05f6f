"""PSPNet: averages over a pyramid of regions tell every pixel what scene it is in.

Zhao, Shi, Qi, Wang, Jia, "Pyramid Scene Parsing Network", CVPR 2017, https://arxiv.org/abs/1612.01105; details from the
authors' networks, https://github.com/hszhao/PSPNet and https://github.com/hszhao/semseg.

As in the paper
    - A ResNet with a stem of three 3x3 convolutions (64, 64, 128 channels), output stride 8: the blocks of the last two
      stages have the rates 2 and 4.
    - Averages over 1x1, 2x2, 3x3 and 6x6 regions, each through a 1x1 convolution to a quarter of the channels, all
      interpolated with aligned corners and joined behind the map itself; 3x3 convolution to 512 channels, dropout of
      0.1, 1x1 to the classes. Batch normalisation and ReLU follow every convolution but the last.
    - Images of 8 k + 1 pixels (473, 713), scores interpolated with aligned corners.
    - `aux`: a head on the last stage but one (3x3 to 256 channels, dropout of 0.1, 1x1), in training only, with 0.4 of
      the loss.

Different from the paper
    - Regions as in adaptive average pooling at every size. The authors' first code has windows of 60, 30, 20 and 10
      pixels, which are the same regions on its map of 60x60, and their later code is adaptive.
    - The pooled maps are joined in the order of the later code, 1, 2, 3, 6; the first one has 6, 3, 2, 1.
    - Single values are dropped, as in the first code; the later one drops whole maps (`Dropout2d`). It also enlarges
      `aux` to the image for its loss; here, as in the first, the loss is taken on the grid of 8 pixels.
    - The stride of a bottleneck stands on its 3x3 convolution, as in the later code; an encoder section with
      `stride_in: 1x1` gives the first one's.

`pspnet_smp` is segmentation_models_pytorch's form: the map of stride 8 of an encoder that is not dilated, and nothing
deeper (smp builds the deeper stages and never runs them: they are not here, and its weights for them are left out); no
norm on the 1x1 regions; the pooled maps joined before the map itself; 1x1 convolution to 512 channels, dropout of 0.2
of whole channels, 3x3 to the classes, interpolated with aligned corners from a map of the image's size over 8.
"""

from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders import Encoder, EncoderSection, Pretrained, create_encoder, encoder_name, measure_levels
from atrous.encoders.resnet import ResNet
from atrous.errors import ModelError
from atrous.layers import conv_bn_relu
from atrous.layers.pyramid import PyramidPooling
from atrous.models.base import DenseModel, EncoderDecoder, Paper

__all__ = ["PAPERS", "PSPDecoder", "pspnet", "pspnet_smp"]

_HERE = (2017, "Pyramid Scene Parsing Network", "https://arxiv.org/abs/1612.01105")

PAPERS = {
    "pspnet": Paper(
        *_HERE,
        idea="Averages over a pyramid of regions tell every pixel what scene it is in.",
        parameters=65_708_501,
        facts=("output stride 8", "bins 1, 2, 3, 6", "ADE20K val mean IoU 41.68 (ResNet-50, single scale)"),
    ),
    "pspnet_smp": Paper(
        *_HERE,
        idea="segmentation_models_pytorch's form: the pyramid on the undilated map of stride 8, light and shallow.",
        facts=("output stride 8", "bins 1, 2, 3, 6"),
    ),
}


def pspnet(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "resnet101s",
    pretrained: Pretrained = False,
    *,
    output_stride: int = 8,
    bins: tuple[int, ...] = (1, 2, 3, 6),
    width: Annotated[int, Ge(1)] = 512,
    dropout: float = 0.1,
    aux: bool = False,
) -> DenseModel:
    """PSPNet.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: a name, or a section with options; see `create_encoder`.
        pretrained: start the encoder from ImageNet weights.
        output_stride: 8 as in the paper; 16 and 32 are faster and coarser.
        bins: regions per axis of each grid.
        width: channels of each pooled map and of the head.
        dropout: share of values dropped before the scores.
        aux: add the training output `aux`.

    Raises:
        ModelError: if the encoder is unknown or cannot run at `output_stride`, or `bins` holds no positive numbers.
    """
    trunk = create_encoder(encoder, in_channels=in_channels, pretrained=pretrained, output_stride=output_stride)
    channels = trunk.levels[-1].channels
    pooling = PyramidPooling(bins, [conv_bn_relu(channels, width, 1) for _ in bins])
    fuse = nn.Sequential(conv_bn_relu(channels + len(bins) * width, width), nn.Dropout(dropout))
    decoder = PSPDecoder(pooling, fuse, width)
    return EncoderDecoder(trunk, decoder, num_classes, aux={"aux": -2} if aux else None, align_corners=True)


def pspnet_smp(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "resnet34",
    pretrained: Pretrained = False,
    *,
    bins: tuple[int, ...] = (1, 2, 3, 6),
    width: Annotated[int, Ge(1)] = 512,
    dropout: float = 0.2,
) -> DenseModel:
    """PSPNet as segmentation_models_pytorch's `PSPNet`.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: a ResNet of `ENCODERS`, or a section with options; two of its four stages are used.
        pretrained: start the encoder from ImageNet weights.
        bins: regions per axis of each grid; each pooled map has the map's channels divided by their number.
        width: channels of the head.
        dropout: share of channels dropped before the scores.

    Raises:
        ModelError: if the encoder is none of those, or `bins` holds no positive numbers.
    """
    trunk = _until_stride_8(create_encoder(encoder, in_channels=in_channels, pretrained=pretrained), encoder)
    channels = trunk.levels[-1].channels
    part = channels // len(bins)
    projections: list[nn.Module] = [
        conv_bn_relu(channels, part, 1) if count > 1 else nn.Sequential(nn.Conv2d(channels, part, 1), nn.ReLU())
        for count in bins
    ]
    fuse = nn.Sequential(conv_bn_relu(channels + len(bins) * part, width, 1), nn.Dropout2d(dropout))
    decoder = PSPDecoder(PyramidPooling(bins, projections), fuse, width, pooled_first=True)
    head = nn.Sequential(
        nn.Conv2d(width, num_classes, 3, padding=1),
        nn.UpsamplingBilinear2d(scale_factor=trunk.levels[-1].stride),
    )
    return EncoderDecoder(trunk, decoder, num_classes, head=head)


class PSPDecoder(nn.Module):
    """The coarsest map joined with its pooled maps, and fused.

    Args:
        pooling: gives the pooled maps at the map's size.
        fuse: turns the joined maps into one of `width` channels.
        width: channels of the result.
        pooled_first: whether the pooled maps stand before the map itself; where they stand matters to weights only.
    """

    def __init__(self, pooling: PyramidPooling, fuse: nn.Module, width: int, *, pooled_first: bool = False) -> None:
        super().__init__()
        self.pooling = pooling
        self.fuse = fuse
        self.pooled_first = pooled_first
        self.out_channels = width

    def forward(self, features: list[Tensor]) -> Float[Tensor, "B C H W"]:
        """A map on the coarsest grid."""
        x = features[-1]
        pooled = self.pooling(x)
        return self.fuse(torch.cat([*pooled, x] if self.pooled_first else [x, *pooled], dim=1))


def _until_stride_8(trunk: Encoder, encoder: EncoderSection) -> Encoder:
    """Take the stages away that would be coarser, so that nothing is built that is never used."""
    if not isinstance(trunk, ResNet):
        raise ModelError(
            f"pspnet_smp ends an encoder at stride 8, and {encoder_name(encoder)!r} cannot be: choose a ResNet, for "
            f"example resnet34, or pspnet, which takes any encoder"
        )
    trunk.layer3, trunk.layer4 = nn.Sequential(), nn.Sequential()
    trunk.levels = measure_levels(trunk, trunk.in_channels)
    return trunk
