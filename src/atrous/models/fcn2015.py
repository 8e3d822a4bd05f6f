"""FCN as published: a classifier read as a convolution, its scores interpolated, finer scores added.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
https://arxiv.org/abs/1411.4038; Shelhamer, Long, Darrell, PAMI 2017, https://arxiv.org/abs/1605.06211. For the dilated
form that torchvision calls FCN see `fcn`; for AlexNet `fcn_alexnet`.

As in the paper
    - `fcn32s`, `fcn16s`, `fcn8s`: VGG-16 with its fully connected layers as a 7x7 and a 1x1 convolution, scores at
      stride 32, and at 16 and 8 summed with scores of pool4 and pool3.
    - The image is padded by 100 pixels, so that the smallest image has a score; poolings round sizes up; crops of 19,
      5 + 27, and 5 + 9 + 31 pixels put every score on the centre of what it sees.
    - Up-sampling is transposed convolution with a bilinear kernel on the diagonal of classes x classes kernels; frozen,
      as in the released networks. Score layers start at zero. Dropout of one half after fc6 and fc7.
    - `fcn8s_atonce`: all strides are trained together; pool4 and pool3 are scaled by 0.01 and 0.0001 first.
    - The released networks' counts at 21 classes: 136,152,917, 134,815,994, 134,489,759 and 134,490,527.

Different from the paper
    - The paper learns the up-sampling between the strides, the authors' release freezes it and sees no difference.
      Frozen is the default, and runs channel by channel; `learned=True` is the paper's.
    - `fcn16s` starts from a trained `fcn32s`, `fcn8s` from `fcn16s` (`--from RUN`): all names but those of the last
      up-sampling are the same. At-once's scales are weights of one number per channel that do not train, as in Caffe.
    - Images are normalised by mean and deviation in RGB; the release takes the mean off BGR alone.
    - Kernels that are not copied from ImageNet start Gaussian after He.
    - Another encoder gives its maps at strides 32, 16 and 8, with no padding by 100, no fc6 and fc7; scores are brought
      up by bilinear interpolation.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders import Encoder, EncoderSection, create_encoder, encoder_name
from atrous.encoders.base import MeanStd, Pretrained
from atrous.encoders.origin import WeightsOrigin
from atrous.encoders.vgg import VGG
from atrous.encoders.vgg_dense import load_vgg16_classifier, vgg_classifier
from atrous.errors import ModelError
from atrous.layers import resize
from atrous.layers.upsample import BilinearUpsample, cut, shortcut
from atrous.models.base import DenseModel, EncoderDecoder, Paper
from atrous.types import Level, Outputs

__all__ = ["FCN", "PAPERS", "SkipSum", "fcn8s", "fcn8s_atonce", "fcn16s", "fcn32s"]

_CVPR = "Fully Convolutional Networks for Semantic Segmentation"
_URL = "https://arxiv.org/abs/1605.06211"
PAPERS = {
    "fcn32s": Paper(
        year=2015,
        title=_CVPR,
        url=_URL,
        idea="A classifier whose last layers are read as convolutions classifies every place of an image at once.",
        parameters=136_152_917,
        facts=("output stride 32", "receptive field of a score 404", "VOC 2011 val (736 images) mean IoU 63.6"),
    ),
    "fcn16s": Paper(
        year=2015,
        title=_CVPR,
        url=_URL,
        idea="Scores of a finer map are added to those of the coarsest.",
        parameters=134_815_994,
        facts=("output stride 16", "VOC 2011 val (736 images) mean IoU 65.0"),
    ),
    "fcn8s": Paper(
        year=2015,
        title=_CVPR,
        url=_URL,
        idea="Scores of two finer maps are added, one after the other.",
        parameters=134_489_759,
        facts=("output stride 8", "VOC 2011 val (736 images) mean IoU 65.5", "VOC 2012 test 67.2"),
    ),
    "fcn8s_atonce": Paper(
        year=2017,
        title=_CVPR,
        url=_URL,
        idea="All strides are trained together, the finer maps scaled down first.",
        parameters=134_490_527,
        facts=("output stride 8", "pool4 x 0.01, pool3 x 0.0001", "VOC 2011 val (736 images) mean IoU 65.4"),
    ),
}

PAD = 100  # pixels around the image
CROPS = {32: 19, 16: 27, 8: 31}  # offset of the image in the last up-sampled map, by output stride
# Stage whose pooled map is scored, the up-sampling of what is there by then, the offset of the one in the other.
JOINS = ((4, "upscore2", 5), (3, "upscore_pool4", 9))
LASTS = {32: "upscore", 16: "upscore16", 8: "upscore8"}
AT_ONCE = (0.01, 0.0001)  # what pool4 and pool3 are multiplied by
Width = Annotated[int, Ge(1)]


def fcn32s(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "vgg16",
    pretrained: Pretrained = False,
    *,
    fc_width: Width = 4096,
) -> DenseModel:
    """Scores at stride 32.

    Args:
        num_classes: maps in `out`; the paper has 21.
        in_channels: channels of the image.
        encoder: `vgg16` (or a section such as `{name: vgg16, width: 16}`) is the paper's network. Every other encoder
            is taken as it is: strides 32, 16 and 8, no padding by 100, no fc6 and fc7.
        pretrained: start from ImageNet weights, fc6 and fc7 included.
        fc_width: kernels of fc6 and of fc7 (`vgg16` alone); the paper has 4,096.

    Raises:
        ModelError: if the encoder is unknown or has no maps at the strides, or weights cannot be fetched or do not fit.
    """
    return _build(num_classes, in_channels, encoder, pretrained, stride=32, fc_width=fc_width)


def fcn16s(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "vgg16",
    pretrained: Pretrained = False,
    *,
    fc_width: Width = 4096,
    learned: bool = False,
) -> DenseModel:
    """Scores at stride 32 and 16; arguments as `fcn32s`, and `learned`: train the up-sampling between the strides."""
    return _build(num_classes, in_channels, encoder, pretrained, stride=16, fc_width=fc_width, learned=learned)


def fcn8s(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "vgg16",
    pretrained: Pretrained = False,
    *,
    fc_width: Width = 4096,
    learned: bool = False,
) -> DenseModel:
    """Scores at stride 32, 16 and 8; arguments as `fcn16s`."""
    return _build(num_classes, in_channels, encoder, pretrained, stride=8, fc_width=fc_width, learned=learned)


def fcn8s_atonce(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "vgg16",
    pretrained: Pretrained = False,
    *,
    fc_width: Width = 4096,
    learned: bool = False,
    scales: tuple[float, float] = AT_ONCE,
) -> DenseModel:
    """`fcn8s` trained at once from the classifier on; arguments as `fcn16s`, and `scales` of the finer two maps."""
    return _build(
        num_classes, in_channels, encoder, pretrained, stride=8, fc_width=fc_width, learned=learned, scales=scales
    )


def _build(
    num_classes: int,
    in_channels: int,
    encoder: EncoderSection,
    pretrained: Pretrained,
    *,
    stride: int,
    fc_width: int,
    learned: bool = False,
    scales: tuple[float, float] | None = None,
) -> DenseModel:
    """The paper's network on its own trunk, or its idea on another."""
    trunk = create_encoder(encoder, in_channels=in_channels, pretrained=pretrained)
    if not (isinstance(trunk, VGG) and encoder_name(encoder) == "vgg16"):
        decoder = SkipSum(trunk, num_classes, stride=stride, scales=scales or (1.0, 1.0))
        return EncoderDecoder(trunk, decoder, num_classes, head=nn.Identity())
    classifier = vgg_classifier(trunk.levels[-1].channels, fc_width, valid=True)
    if pretrained:
        load_vgg16_classifier(trunk, classifier, pretrained=pretrained)
    model = FCN(trunk.stages, classifier, num_classes, in_channels, stride=stride, learned=learned, scales=scales)
    model.pretrained_normalization, model.origin = trunk.pretrained_normalization, trunk.origin
    return model


class FCN(DenseModel):
    """VGG-16 as a convolution, and the up-sampling of its scores.

    Its parts carry the names of the released networks: conv1_1 ... conv5_3, fc6, fc7, score_fr, upscore2, score_pool4.

    Args:
        stages: convolutions of the five stages.
        classifier: with `fc6` and `fc7`.
        num_classes: maps in `out`.
        in_channels: channels of the image.
        stride: of the finest scores: 32, 16 or 8.
        learned: train the up-sampling between the strides.
        scales: frozen factors on pool4 and pool3, or None for none.
    """

    encoder_parts: tuple[str, ...] = ()
    """Where recipes find the encoder of a network that keeps its layers by their published names."""
    pretrained_normalization: MeanStd | None = None
    origin: WeightsOrigin | None = None

    def __init__(
        self,
        stages: nn.ModuleList,
        classifier: nn.Sequential,
        num_classes: int,
        in_channels: int,
        *,
        stride: int,
        learned: bool = False,
        scales: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, alignment=32)
        self.stride = stride
        self.joins = JOINS[: {32: 0, 16: 1, 8: 2}[stride]]
        self.scaled = scales is not None
        self.convs: list[list[str]] = []
        channels = []
        for level, stage in enumerate(stages, start=1):
            convs = [layer for layer in stage.children() if isinstance(layer, nn.Conv2d)]
            self.convs.append([f"conv{level}_{number}" for number in range(1, len(convs) + 1)])
            for name, conv in zip(self.convs[-1], convs, strict=True):
                self.add_module(name, conv)
            channels.append(convs[-1].out_channels)
        self.encoder_parts = tuple(chain.from_iterable(self.convs))
        self.fc6, self.fc7 = classifier.get_submodule("fc6"), classifier.get_submodule("fc7")
        self.dropout = nn.Dropout(0.5)
        self.score_fr = _score(self.fc7.out_channels, num_classes)  # type: ignore[arg-type]
        for (level, up, _), scale in zip(self.joins, scales or AT_ONCE, strict=False):
            self.add_module(up, BilinearUpsample(num_classes, 2, padding=0, learned=learned))
            if scales is not None:
                self.add_module(f"scale_pool{level}", _ChannelScale(channels[level - 1], scale))
            self.add_module(f"score_pool{level}", _score(channels[level - 1], num_classes))
        self.add_module(LASTS[stride], BilinearUpsample(num_classes, stride, padding=0))

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`."""
        x = F.pad(self.normalize(image), [PAD - 1] * 4)  # the last of the 100 is conv1_1's own padding
        pooled = {}
        for level, names in enumerate(self.convs, start=1):
            for name in names:
                x = self.get_submodule(name)(x).relu()
            x = F.max_pool2d(x, 2, ceil_mode=True)
            if level > 2:
                pooled[level] = x
        x = self.dropout(self.fc6(x).relu())
        x = self.dropout(self.fc7(x).relu())
        x = self.score_fr(x)
        for level, up, offset in self.joins:
            earlier = self.get_submodule(f"scale_pool{level}")(pooled[level]) if self.scaled else pooled[level]
            x = self.get_submodule(up)(x)
            x = shortcut(x, cut(self.get_submodule(f"score_pool{level}")(earlier), offset, x))
        x = self.get_submodule(LASTS[self.stride])(x)
        return {"out": cut(x, CROPS[self.stride], image)}


class SkipSum(nn.Module):
    """Scores of the coarsest map, brought up step by step and summed with those of finer maps.

    Args:
        encoder: with levels at strides 32, 16 and 8, as far as they are asked for.
        num_classes: maps of scores.
        stride: of the finest scores: 32, 16 or 8.
        scales: factors on the maps at stride 16 and at stride 8.

    Raises:
        ModelError: if the encoder has no level at a stride.
    """

    def __init__(
        self, encoder: Encoder, num_classes: int, *, stride: int, scales: Sequence[float] = (1.0, 1.0)
    ) -> None:
        super().__init__()
        strides = [given for given in (32, 16, 8) if given >= stride]
        self.out_channels = num_classes
        self.indices = [_last_at(encoder.levels, wanted) for wanted in strides]
        self.scales = [1.0, *scales][: len(strides)]
        self.scores = nn.ModuleList(_score(encoder.levels[index].channels, num_classes) for index in self.indices)

    def forward(self, features: list[Tensor]) -> Float[Tensor, "B K H W"]:
        """Scores on the finest grid."""
        maps = [
            score(features[index] * scale)
            for score, index, scale in zip(self.scores, self.indices, self.scales, strict=True)
        ]
        x = maps[0]
        for finer in maps[1:]:
            x = shortcut(resize(x, (finer.shape[-2], finer.shape[-1])), finer)
        return x


class _ChannelScale(nn.Module):
    """A fixed factor for each channel."""

    def __init__(self, channels: int, factor: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), factor), requires_grad=False)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return x * self.weight[:, None, None]


def _last_at(levels: Sequence[Level], stride: int) -> int:
    """The deepest level of a stride."""
    found = [index for index, level in enumerate(levels) if level.stride == stride]
    if not found:
        has = ", ".join(str(level.stride) for level in levels)
        raise ModelError(f"the encoder has maps at strides {has}, one at {stride} is needed: choose another encoder")
    return found[-1]


def _score(in_channels: int, num_classes: int) -> nn.Conv2d:
    """A 1x1 convolution that starts at zero."""
    score = nn.Conv2d(in_channels, num_classes, 1)
    nn.init.zeros_(score.weight)
    nn.init.zeros_(score.bias)  # type: ignore[arg-type]
    return score
