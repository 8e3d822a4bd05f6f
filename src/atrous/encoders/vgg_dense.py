"""The fully connected layers of VGG-16 read as convolutions: whole, or with fewer kernels of fewer taps.

Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
https://arxiv.org/abs/1409.1556 (the layers). Chen, Papandreou, Kokkinos, Murphy, Yuille, "Semantic Image Segmentation
with Deep Convolutional Nets and Fully Connected CRFs", ICLR 2015, https://arxiv.org/abs/1412.7062 (thinning them out).

As in the papers
    A layer that looks at all of a 7x7 map is a 7x7 convolution. Every second or third tap of it makes a kernel of 4x4
    or 3x3 that, spread by a rate, covers the same region; a random part of the 4,096 kernels is kept.

Different from the papers
    Kernels start Gaussian after He where no weights are asked for.
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from math import prod
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders.base import AUTO, Encoder, Pretrained, measure_levels
from atrous.encoders.fetching import timm_weights, tolerate
from atrous.encoders.vgg import DEPTHS, load_vgg16, vgg_stages
from atrous.errors import ModelError
from atrous.layers import mirror

__all__ = ["ValidVGG", "decimate", "load_vgg16_classifier", "thin_out", "vgg_classifier"]

LOG = logging.getLogger(__name__)

DILATIONS = (1, 1, 1, 1, 2)  # of the stages of `ValidVGG`
POOLED = 3  # stages of it that keep their pooling
FC6_KERNEL, FC6_DILATION = 7, 4


def vgg_classifier(
    in_channels: int, channels: int = 4096, *, kernel: int = 7, dilation: int = 1, valid: bool = False
) -> nn.Sequential:
    """`fc6`, a square kernel, and `fc7`, 1x1, each with ReLU and dropout of 0.5.

    Args:
        in_channels: channels of the map that they read.
        channels: kernels of either layer.
        kernel: side of `fc6`'s kernel.
        dilation: of `fc6`.
        valid: no padding; `fc6` then eats (kernel - 1) x dilation off the map's sides.

    Raises:
        ModelError: if the kernel cannot be centred: an even kernel at an odd dilation.

    Example:
        >>> vgg_classifier(2, 5, kernel=4, dilation=8)(torch.zeros(1, 2, 9, 7)).shape
        torch.Size([1, 5, 9, 7])
        >>> vgg_classifier(2, 5, kernel=7, dilation=4, valid=True)(torch.zeros(1, 2, 25, 27)).shape
        torch.Size([1, 5, 1, 3])
    """
    span = (kernel - 1) * dilation
    if span % 2 and not valid:
        raise ModelError(
            f"a kernel of {kernel} at dilation {dilation} has no centre: make the kernel odd or the dilation even"
        )
    fc6 = nn.Conv2d(in_channels, channels, kernel, padding=0 if valid else span // 2, dilation=dilation)
    fc7 = nn.Conv2d(channels, channels, 1)
    for layer in (fc6, fc7):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    named = (
        ("fc6", fc6), ("relu6", nn.ReLU()), ("drop6", nn.Dropout(0.5)),
        ("fc7", fc7), ("relu7", nn.ReLU()), ("drop7", nn.Dropout(0.5)),
    )  # fmt: skip
    return nn.Sequential(OrderedDict(named))


def load_vgg16_classifier(
    trunk: Encoder, *classifiers: nn.Sequential, pretrained: Pretrained = True, name: str = "vgg16"
) -> None:
    """Fill what `vgg_classifier` made from the weights of VGG-16, thinned out where it is smaller.

    Weights without fully connected layers, as those of a detector, leave it as it is, and a line says so.

    Args:
        trunk: the convolutions before it, filled already.
        *classifiers: each draws its own part of the kernels.
        pretrained: where the weights come from.
        name: `vgg16` or `vgg16_bn`.

    Raises:
        ModelError: if the weights cannot be fetched or do not fit.
    """
    if pretrained == AUTO and trunk.origin is None:  # there are none
        return
    weights = timm_weights(name, pretrained=pretrained, part=lambda key: key.startswith("features"))
    if weights is None:
        return
    found = {ours: weights.state[key] for ours, key in _TIMM_NAMES.items() if key in weights.state}
    if len(found) < len(_TIMM_NAMES):
        source = weights.origin.weights if weights.origin else name
        LOG.info("fc6 and fc7 start from random weights: %s has none for them", source)
        return
    for classifier in classifiers:
        try:
            thin_out(classifier, found)
        except ModelError as error:
            tolerate(pretrained, str(error))


_TIMM_NAMES = {
    "fc6.weight": "pre_logits.fc1.weight",
    "fc6.bias": "pre_logits.fc1.bias",
    "fc7.weight": "pre_logits.fc2.weight",
    "fc7.bias": "pre_logits.fc2.bias",
}


def thin_out(classifier: nn.Sequential, weights: Mapping[str, Tensor]) -> None:
    """Copy a larger classifier's weights: evenly spaced taps of `fc6`, and a random part of both layers' kernels.

    Kernels keep their order, so that a classifier of the same size is copied as it is.

    Args:
        classifier: what `vgg_classifier` made.
        weights: `fc6.weight`, `fc6.bias`, `fc7.weight`, `fc7.bias` of the larger one.

    Raises:
        ModelError: if the larger one is not larger, or reads another map.
    """
    own = dict(classifier.named_parameters())
    (few, inner, side, _), (many, outer, taps, _) = own["fc6.weight"].shape, weights["fc6.weight"].shape
    if few > many or side > taps or inner != outer:
        raise ModelError(
            f"pretrained fc6 has {many} kernels of {taps}x{taps} over {outer} channels, {few} of {side}x{side} over "
            f"{inner} are asked for: ask for no more, on a trunk of full width, or set pretrained: false"
        )
    hidden = torch.randperm(many)[:few].sort().values
    last = torch.randperm(len(weights["fc7.bias"]))[:few].sort().values
    with torch.no_grad():
        own["fc6.weight"].copy_(decimate(weights["fc6.weight"][hidden], side))
        own["fc6.bias"].copy_(weights["fc6.bias"][hidden])
        own["fc7.weight"].copy_(weights["fc7.weight"][last][:, hidden])  # what reads a kernel goes with it
        own["fc7.bias"].copy_(weights["fc7.bias"][last])


def decimate(kernel: Float[Tensor, "O I K K"], side: int) -> Float[Tensor, "O I side side"]:
    """`side` x `side` evenly spaced taps of a square kernel, its corners included.

    Example:
        >>> decimate(torch.arange(49.0).reshape(1, 1, 7, 7), 3)[0, 0]
        tensor([[ 0.,  3.,  6.],
                [21., 24., 27.],
                [42., 45., 48.]])
    """
    taps = torch.linspace(0, kernel.shape[-1] - 1, side).round().long()
    return kernel[:, :, taps][:, :, :, taps]


class ValidVGG(Encoder):
    """VGG-16 without padding, with fc6 and fc7, on an image mirrored by what they eat: one map, of stride 8.

    The front end of Yu, Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", ICLR 2016,
    https://arxiv.org/abs/1511.07122: no poolings 4 and 5, stage 5 at dilation 2, fc6 at 4.

    Args:
        in_channels: channels of the image, whose sides are multiples of 8.
        pretrained: what it starts from, see `Pretrained`.
        width: channels of the first stage.
        depths: convolutions of each stage.
        channels: of fc6 and fc7.
    """

    def __init__(
        self,
        in_channels: int = 3,
        *,
        pretrained: Pretrained = False,
        width: Annotated[int, Ge(1)] = 64,
        depths: tuple[int, int, int, int, int] = DEPTHS,
        channels: Annotated[int, Ge(1)] = 4096,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stages = vgg_stages(in_channels, width=width, depths=depths, dilations=DILATIONS, valid=True)
        self.classifier = vgg_classifier(8 * width, channels, kernel=FC6_KERNEL, dilation=FC6_DILATION, valid=True)
        steps = [2 ** min(stage, POOLED) for stage in range(len(depths))]  # pixels between a stage's cells
        eaten = sum(prod(values) for values in zip(depths, DILATIONS, steps, strict=True))
        self.margin = eaten + (FC6_KERNEL - 1) * FC6_DILATION * 2**POOLED // 2
        self.levels = measure_levels(self, in_channels)
        if pretrained:
            self.started_from(load_vgg16(self.stages, pretrained, in_channels=in_channels))
            load_vgg16_classifier(self, self.classifier, pretrained=pretrained)

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """The map of fc7, a cell for every 8x8 pixels."""
        return [self.core(mirror(image, self.margin, self.margin, self.margin, self.margin))]

    def core(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        """The paper's network itself: sides of 8 k + 372 pixels, margin included, give k cells."""
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index < POOLED:
                x = F.max_pool2d(x, 2)
        return self.classifier(x)
