"""DeepLab v1: VGG-16 with holes instead of strides, its first fully connected layer thinned out and spread wide.

Chen, Papandreou, Kokkinos, Murphy, Yuille, "Semantic Image Segmentation with Deep Convolutional Nets and Fully
Connected CRFs", ICLR 2015, https://arxiv.org/abs/1412.7062. The fully connected CRF is a step of its own, after it.

As in the paper
    - Pooling 4 and 5 keep stride 1, stage 5 has dilation 2: scores at every eighth pixel. Poolings take 3x3.
    - The first fully connected layer as a convolution, in four forms (kernel, dilation, channels): 7, 4, 4096; 4, 4,
      4096; 4, 8, 4096; and LargeFOV: 3, 12, 1024. A tap of the original layer stands for 32 pixels, so that they look
      at 224, 128, 224 and 224. With `pretrained` their kernels are taps of the 7x7 kernels, of a random part of them.
    - Dropout of 0.5 after both fully connected layers; the classifier starts Gaussian with standard deviation 0.01.
    - Made for sizes of 8 k + 1: the corners of the scores' grid are those of the image, (n - 1) 8 + 1 pixels.
    - `msc`: a 3x3 and a 1x1 convolution of 128 channels on the image and on the first four poolings, classified too.

Different from the paper
    - All four forms stand on the trunk of the released LargeFOV, with an average of 3x3 after the last pooling. The
      release of the 4x4 form has 2x2 poolings, no average, and sizes of 16 k + 2.
    - `msc`: the maps are classified on their own grids and the scores added, which equals classifying their
      concatenation. As the release when it predicts, they are computed everywhere; in training it takes every eighth.
      It adds six biases where there is one here.
    - The loss is up to the task, at full resolution; the paper shrinks the labels by 8 instead.
    - Any other encoder: its last map at stride 8 stands for the last pooling's, and `msc` reads the maps before it. One
      that cuts the image into patches has no maps with the image's corners: there pixel centres stay in place.
"""

from typing import Annotated

from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders import Encoder, EncoderSection, create_encoder, encoder_name
from atrous.encoders.base import Pretrained, keeps_corners
from atrous.encoders.vgg import VGG
from atrous.encoders.vgg_dense import load_vgg16_classifier, vgg_classifier
from atrous.layers import fit, resize, unfit
from atrous.models.base import DenseModel, Paper
from atrous.types import Outputs

__all__ = ["PAPERS", "DeepLabV1", "deeplabv1"]

PAPERS = {
    "deeplabv1": Paper(
        year=2015,
        title="Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs",
        url="https://arxiv.org/abs/1412.7062",
        idea="Holes in the kernels keep a classifier's weights and its field of view at a finer stride.",
        num_classes=21,
        parameters=20_505_429,
        facts=(
            "output stride 8",
            "321 pixels give 41, 513 give 65",
            "first layer of the classifier sees 224 pixels",
            "VOC 2012 val mean IoU 62.25, with CRF 67.64",
        ),
    ),
}

STRIDES = (2, 2, 2, 1, 1)  # of the five poolings
SIDE_CHANNELS = 128


def deeplabv1(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "vgg16",
    pretrained: Pretrained = False,
    *,
    kernel: Annotated[int, Ge(2), Le(7)] = 3,
    dilation: Annotated[int, Ge(1)] = 12,
    channels: Annotated[int, Ge(1)] = 1024,
    msc: bool = False,
) -> DenseModel:
    """DeepLab-LargeFOV; the arguments make the paper's other forms.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: `vgg16` or `vgg16_bn`; or another trunk of the package or name of timm's that can be dilated; or a
            section with options, such as `{name: vgg16, width: 16}`.
        pretrained: start the trunk from ImageNet weights; on VGG the fully connected layers too.
        kernel: side of the first fully connected layer's kernel: 3 (LargeFOV), 4 or 7.
        dilation: its dilation: 12 for 3, 4 or 8 for 4, 4 for 7.
        channels: of both fully connected layers: 1024 (LargeFOV) or 4096.
        msc: classify the image and the finer maps too.

    Raises:
        ModelError: if the encoder or its weights are not at hand, or do not fit, or the kernel cannot be centred.
    """
    trunk = create_encoder(encoder, in_channels=in_channels, pretrained=pretrained, output_stride=8)
    decoder = vgg_classifier(trunk.levels[-1].channels, channels, kernel=kernel, dilation=dilation)
    sides: list[nn.Module] = []
    if isinstance(trunk, VGG):
        pools = [_pool(stride) for stride in STRIDES]
        trunk.pools = nn.ModuleList([*pools[:-1], nn.Sequential(pools[-1], nn.AvgPool2d(3, 1, padding=1))])
        if pretrained:
            load_vgg16_classifier(trunk, decoder, pretrained=pretrained, name=encoder_name(encoder))
        # The trunk's maps stand before their poolings.
        sides = [nn.Identity(), *(_pool(stride) for stride in STRIDES[:4])]
    else:
        sides = [nn.Identity() for _ in trunk.levels]
    widths = [in_channels, *(level.channels for level in trunk.levels)]
    pairs = zip(sides, widths, strict=False) if msc else ()
    return DeepLabV1(trunk, decoder, channels, num_classes, [_side(pool, width, num_classes) for pool, width in pairs])


class DeepLabV1(DenseModel):
    """Trunk, fully connected layers, classifier; the sides' scores are added at full resolution.

    Args:
        encoder: gives the map that is classified last, on a grid of 8 pixels.
        decoder: turns that map into features.
        channels: of those features.
        num_classes: maps in `out`.
        sides: turn the image, the encoder's first map, its second, ... into scores; as many as wanted, or none.
    """

    def __init__(
        self, encoder: Encoder, decoder: nn.Module, channels: int, num_classes: int, sides: list[nn.Sequential]
    ) -> None:
        super().__init__(num_classes, encoder.in_channels, max(level.stride for level in encoder.levels))
        self.encoder = encoder
        self.align_corners = keeps_corners(encoder)
        self.decoder = decoder
        self.head = _classifier(channels, num_classes)
        self.sides = nn.ModuleList(sides)

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`."""
        height, width = image.shape[-2:]
        aligned = self.align_corners
        fitted = fit(self.normalize(image), self.alignment, extra=int(aligned))
        features = self.encoder(fitted) if aligned else self.encoder.fitted(fitted)
        size = (fitted.shape[-2], fitted.shape[-1])
        logits = resize(self.head(self.decoder(features[-1])), size, align_corners=aligned)
        for side, feature in zip(self.sides, [fitted, *features], strict=False):
            logits = logits + resize(side(feature), size, align_corners=aligned)
        return {"out": unfit(logits, height, width)}


def _pool(stride: int) -> nn.MaxPool2d:
    """3x3: centred, so that 8 k + 1 pixels become 4 k + 1 whose first and last lie on theirs."""
    return nn.MaxPool2d(3, stride, padding=1)


def _side(pool: nn.Module, in_channels: int, num_classes: int) -> nn.Sequential:
    """3x3 and 1x1 convolutions of a finer map, and its scores."""
    convs = vgg_classifier(in_channels, SIDE_CHANNELS, kernel=3)
    return nn.Sequential(pool, convs, _classifier(SIDE_CHANNELS, num_classes, bias=False))


def _classifier(channels: int, num_classes: int, *, bias: bool = True) -> nn.Conv2d:
    layer = nn.Conv2d(channels, num_classes, 1, bias=bias)
    nn.init.normal_(layer.weight, std=0.01)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
