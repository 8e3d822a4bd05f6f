"""VGG-16: the trunk of FCN, SegNet, DeconvNet, Dilation and the first DeepLabs.

Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
https://arxiv.org/abs/1409.1556.

As in the paper
    Configuration D: thirteen 3x3 convolutions with ReLU in five stages of 64, 128, 256, 512 and 512 channels, each
    followed by max pooling of 2x2; kernels of ImageNet's 16-layer network fit.

Different from the paper
    - The fully connected layers are left to the models that read them as convolutions.
    - Kernels start Gaussian after He; the paper fills the first four layers from a shallower network.
    - A size that cannot be halved exactly is rounded up, as in Caffe, where the papers of this lineage were written.
    - Dilation: for a coarsest stride of 8 or 16 the last poolings keep stride 1 (3x3, so that they stay centred) and
      the convolutions after them are spread by what was not strided, as in DeepLab.
    - `vgg16_bn`: batch normalisation after each convolution, as torchvision's network of that name.
"""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders.base import AUTO, Encoder, Pretrained, Weights, check_stride, copy_weights, measure_levels
from atrous.encoders.fetching import timm_weights, tolerate
from atrous.layers import BatchNorm

__all__ = ["DEPTHS", "VGG", "load_vgg16", "vgg16", "vgg16_bn", "vgg_stages"]

DEPTHS = (2, 2, 3, 3, 3)  # convolutions of each stage
WIDTHS = (1, 2, 4, 8, 8)  # their channels, in widths of the first


def vgg16(
    *,
    in_channels: int = 3,
    pretrained: Pretrained = False,
    output_stride: int = 32,
    width: Annotated[int, Ge(1)] = 64,
    depths: tuple[int, int, int, int, int] = DEPTHS,
) -> Encoder:
    """VGG-16 without its classifier.

    Args:
        in_channels: channels of the image.
        pretrained: what it starts from; true is torchvision's ImageNet weights, through timm.
        output_stride: the coarsest stride: 8, 16 or 32.
        width: channels of the first stage; the paper has 64.
        depths: convolutions of each stage.
    """
    return VGG(in_channels, width=width, depths=depths, output_stride=output_stride, pretrained=pretrained)


def vgg16_bn(
    *,
    in_channels: int = 3,
    pretrained: Pretrained = False,
    output_stride: int = 32,
    width: Annotated[int, Ge(1)] = 64,
    depths: tuple[int, int, int, int, int] = DEPTHS,
) -> Encoder:
    """VGG-16 with batch normalisation after each convolution; arguments as `vgg16`."""
    return VGG(
        in_channels, width=width, depths=depths, output_stride=output_stride, norm=BatchNorm, pretrained=pretrained
    )


class VGG(Encoder):
    """Five stages of convolutions: their maps before each pooling, and the last pooling's.

    Args:
        in_channels: channels of the image.
        width: channels of the first stage.
        depths: convolutions of each stage.
        output_stride: the coarsest stride: 8, 16 or 32.
        norm: normalisation after each convolution, or None.
        pretrained: what it starts from, see `Pretrained`.

    Raises:
        ModelError: if the stride is another, or weights are asked for that cannot be fetched or do not fit.
    """

    def __init__(
        self,
        in_channels: int = 3,
        *,
        width: int = 64,
        depths: Sequence[int] = DEPTHS,
        output_stride: int = 32,
        norm: type[nn.Module] | None = None,
        pretrained: Pretrained = False,
    ) -> None:
        super().__init__()
        check_stride("vgg16", output_stride)
        self.in_channels = in_channels
        # Poolings 4 and 5 lose their stride at 8; pooling 5 alone at 16.
        strided = {8: 3, 16: 4, 32: 5}[output_stride]
        dilations = [1, 1, 1, 1, 2 if strided < 4 else 1]
        self.stages = vgg_stages(in_channels, width=width, depths=depths, norm=norm, dilations=dilations)
        self.pools = nn.ModuleList(
            nn.MaxPool2d(2, 2, ceil_mode=True) if index < strided else nn.MaxPool2d(3, 1, padding=1)
            for index in range(5)
        )
        if pretrained:
            self.started_from(load_vgg16(self.stages, pretrained, in_channels=in_channels, norm=norm is not None))
        self.levels = measure_levels(self, in_channels)

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Maps at strides 1, 2, 4, 8 and 16 before the poolings, and after the last at 32 (or the stride asked for)."""
        features, x = [], image
        for stage, pool in zip(self.stages, self.pools, strict=True):
            x = stage(x)
            features.append(x)
            x = pool(x)
        return [*features, x]


def vgg_stages(
    in_channels: int,
    *,
    width: int = 64,
    depths: Sequence[int] = DEPTHS,
    norm: type[nn.Module] | None = None,
    dilations: Sequence[int] = (1, 1, 1, 1, 1),
    valid: bool = False,
) -> nn.ModuleList:
    """The convolutions of VGG in their five stages, without the poolings, which every paper of the lineage changes.

    Args:
        in_channels: channels of the image.
        width: channels of the first stage; the others have 2, 4, 8 and 8 times as many.
        depths: convolutions of each stage.
        norm: normalisation between convolution and ReLU, or None.
        dilations: of the convolutions of each stage.
        valid: no padding, so that each convolution eats its dilation off every border.

    Returns:
        Five sequences of [3x3 convolution with bias, (norm,) ReLU] per depth.

    Example:
        >>> [len(stage) // 2 for stage in vgg_stages(3)]
        [2, 2, 3, 3, 3]
    """
    stages, before = [], in_channels
    for depth, times, dilation in zip(depths, WIDTHS, dilations, strict=True):
        layers: list[nn.Module] = []
        for _ in range(depth):
            conv = nn.Conv2d(before, times * width, 3, padding=0 if valid else dilation, dilation=dilation)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            layers += [conv, *([norm(times * width)] if norm else []), nn.ReLU()]
            before = times * width
        stages.append(nn.Sequential(*layers))
    return nn.ModuleList(stages)


def load_vgg16(
    stages: nn.ModuleList, pretrained: Pretrained = True, *, in_channels: int = 3, norm: bool = False
) -> Weights | None:
    """Copy the weights of a VGG-16 into `stages`, convolution by convolution.

    Args:
        stages: what `vgg_stages` made, at full width and depth.
        pretrained: where the weights come from.
        in_channels: channels of the image; timm adapts the first kernel.
        norm: take the network with batch normalisation.

    Returns:
        The weights; a model keeps how their images were normalised as `pretrained_normalization`, and where they come
        from as `origin`. None where there are none and `pretrained` does not insist.

    Raises:
        ModelError: if the weights cannot be fetched, or `stages` are of another width or depth.
    """
    name = "vgg16_bn" if norm else "vgg16"
    text = f"the pretrained weights of {name} need width 64 and its own depths: set pretrained: false"
    own = [value for stage in stages for value in stage.state_dict().values()]
    if pretrained == AUTO and not _are_whole(stages):
        tolerate(pretrained, text)
        return None
    weights = timm_weights(name, in_channels=in_channels, pretrained=pretrained, part=_is_convolution)
    if weights is None:
        return None
    trunk = [value for key, value in weights.state.items() if _is_convolution(key)]
    if [value.shape for value in own] != [value.shape for value in trunk[: len(own)]] or len(own) != len(trunk):
        tolerate(pretrained, text)
        return None
    copy_weights(own, trunk)
    return weights


def _is_convolution(key: str) -> bool:
    return key.startswith("features")


def _are_whole(stages: nn.ModuleList) -> bool:
    """Whether the convolutions are those of the paper's network."""
    convs = [[layer.out_channels for layer in stage.modules() if isinstance(layer, nn.Conv2d)] for stage in stages]
    return convs == [[64 * times] * depth for times, depth in zip(WIDTHS, DEPTHS, strict=True)]
