"""Fully convolutional network on a dilated encoder: what torchvision calls FCN.

Shelhamer, Long, Darrell, "Fully Convolutional Networks for Semantic Segmentation", PAMI 2017 (CVPR 2015),
https://arxiv.org/abs/1605.06211. The paper's own FCN-32s, 16s and 8s are other networks.

As in the paper
    A classifier without its pooling and last layer, a 1x1 convolution to the classes, bilinear interpolation.

Different from the paper (as in torchvision's `fcn_resnet50`, whose weights fit)
    - The last stages of the encoder are dilated instead of strided, so that the scores stand on a grid of 8 pixels;
      there are no skips from finer maps.
    - A 3x3 convolution to a quarter of the channels with batch normalisation, and dropout of 0.1, before the scores.
    - An image whose sides are no multiple of the output stride is padded and the scores cropped; torchvision stretches
      the scores over the image, so that there (and only there) its numbers are others.
    - `aux`: a second such head on the last map but one, used in training only (PSPNet's idea).
    - Head convolutions start Gaussian after He; torchvision leaves them at PyTorch's uniform default.
"""

from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders import Pretrained, timm_encoder
from atrous.layers import conv_bn_relu
from atrous.models.base import DenseModel, EncoderDecoder, Paper

__all__ = ["PAPERS", "FCNDecoder", "fcn"]

PAPERS = {
    "fcn": Paper(
        year=2017,
        title="Fully Convolutional Networks for Semantic Segmentation",
        url="https://arxiv.org/abs/1605.06211",
        idea="torchvision's form: a dilated classifier without its pooling scores every place of the image at once.",
        parameters=32_957_013,
        facts=("output stride 8", "35,322,218 parameters with the auxiliary head (ResNet-50)"),
    ),
}


def fcn(
    num_classes: int,
    in_channels: int = 3,
    encoder: str = "resnet50",
    pretrained: Pretrained = False,
    *,
    output_stride: int = 8,
    aux: bool = False,
) -> DenseModel:
    """FCN on a dilated timm encoder.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: a name from `timm.list_models()`.
        pretrained: start the encoder from timm's weights.
        output_stride: 8 as torchvision's; 16 and 32 are faster and coarser.
        aux: add the training output `aux`.

    Raises:
        ModelError: if the encoder is unknown or cannot run at `output_stride`.
    """
    trunk = timm_encoder(encoder, in_channels=in_channels, pretrained=pretrained, output_stride=output_stride)
    decoder = FCNDecoder(trunk.levels[-1].channels)
    return EncoderDecoder(trunk, decoder, num_classes, aux={"aux": -2} if aux else None)


class FCNDecoder(nn.Module):
    """The coarsest map, 3x3 convolution to a quarter of its channels, dropout."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.out_channels = in_channels // 4
        self.conv = conv_bn_relu(in_channels, self.out_channels)
        self.dropout = nn.Dropout(0.1)

    def forward(self, features: list[Tensor]) -> Float[Tensor, "B C H W"]:
        """A map on the coarsest grid."""
        return self.dropout(self.conv(features[-1]))
