"""FCN of AlexNet: the first deep classifier of ImageNet, read as a convolution.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
https://arxiv.org/abs/1411.4038; Shelhamer, Long, Darrell, PAMI 2017, https://arxiv.org/abs/1605.06211. Krizhevsky,
Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012 (the classifier).

As in the paper
    - AlexNet in Caffe's form: convolutions 2, 4 and 5 in two groups, response normalisation after the poolings, which
      overlap and round sizes up. Its fully connected layers are a 6x6 and a 1x1 convolution of 4,096 kernels, each
      followed by dropout of one half.
    - The image is padded by 100 pixels; scores at stride 32 start at zero; a frozen bilinear transposed convolution of
      63x63 and a crop of 18 pixels bring them back. 58,704,590 parameters at 21 classes.

Different from the paper
    - Kernels start Gaussian after He: Caffe's ImageNet weights cannot be fetched here. `form="torchvision"` is the
      AlexNet of torchvision (Krizhevsky's later one: 64, 192, 384, 256, 256 kernels, no groups, no response
      normalisation), whose ImageNet weights `load_weights` reads.
    - Images are normalised by mean and deviation in RGB; the release takes the mean off BGR alone. The response
      normalisation's alpha of 1e-4 is left as it is: it acts on the release's numbers and hardly on these.
    - The frozen up-sampling runs channel by channel, which gives the same numbers.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders.vgg_dense import vgg_classifier
from atrous.errors import ModelError
from atrous.layers.upsample import BilinearUpsample, cut
from atrous.models.base import DenseModel, Paper
from atrous.types import Outputs

__all__ = ["PAPERS", "FCNAlexNet", "fcn_alexnet"]

PAPERS = {
    "fcn_alexnet": Paper(
        year=2015,
        title="Fully Convolutional Networks for Semantic Segmentation",
        url="https://arxiv.org/abs/1605.06211",
        idea="The first deep classifier of ImageNet, read as a convolution.",
        parameters=58_704_590,
        facts=("output stride 32", "receptive field of a score 355", "VOC 2011 val (736 images) mean IoU 48.0"),
    ),
}

PAD = 100  # pixels around the image
KERNEL = 63  # side of the up-sampling's kernel
CROP = 18  # offset of the image in the up-sampled map


def fcn_alexnet(
    num_classes: int,
    in_channels: int = 3,
    *,
    width: Annotated[int, Ge(1)] | None = None,
    fc_width: Annotated[int, Ge(1)] = 4096,
    form: Literal["caffe", "torchvision"] = "caffe",
) -> DenseModel:
    """Scores at stride 32 of AlexNet.

    Args:
        num_classes: maps in `out`; the paper has 21.
        in_channels: channels of the image.
        width: kernels of the first convolution, 96 in Caffe's form (a multiple of 6; the others have 8/3, 4, 4 and 8/3
            times as many) and 64 in torchvision's (3, 6, 4 and 4 times as many).
        fc_width: kernels of fc6 and of fc7; the paper has 4,096.
        form: the paper's, or the one whose weights are at hand.

    Raises:
        ModelError: if `width` is no multiple of 6 in Caffe's form, so that the groups would not come out even.
    """
    if form == "torchvision":
        first = width or 64
        widths, groups = (first, 3 * first, 6 * first, 4 * first, 4 * first), 1
    else:
        first = width or 96
        if first % 6:
            near = max(6, first // 6 * 6)
            raise ModelError(f"fcn_alexnet has width {first}: give a multiple of 6, for example {near}")
        widths, groups = (first, first * 8 // 3, first * 4, first * 4, first * 8 // 3), 2
    return FCNAlexNet(num_classes, in_channels, widths, groups=groups, fc_width=fc_width)


class FCNAlexNet(DenseModel):
    """AlexNet as a convolution, and the up-sampling of its scores.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        widths: kernels of the five convolutions.
        groups: of convolutions 2, 4 and 5; where there are two, as on the two GPUs of the first AlexNet, responses are
            normalised too.
        fc_width: kernels of fc6 and of fc7.
    """

    encoder_parts = ("conv1", "conv2", "conv3", "conv4", "conv5")

    def __init__(
        self, num_classes: int, in_channels: int, widths: Sequence[int], *, groups: int = 2, fc_width: int = 4096
    ) -> None:
        super().__init__(num_classes, in_channels, alignment=32)
        first, second, third, fourth, fifth = widths
        self.conv1 = nn.Conv2d(in_channels, first, 11, stride=4)
        self.conv2 = nn.Conv2d(first, second, 5, padding=2, groups=groups)
        self.conv3 = nn.Conv2d(second, third, 3, padding=1)
        self.conv4 = nn.Conv2d(third, fourth, 3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(fourth, fifth, 3, padding=1, groups=groups)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        self.norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75) if groups > 1 else nn.Identity()
        classifier = vgg_classifier(fifth, fc_width, kernel=6, valid=True)
        self.fc6, self.fc7 = classifier.get_submodule("fc6"), classifier.get_submodule("fc7")
        self.dropout = nn.Dropout(0.5)
        self.score_fr = nn.Conv2d(fc_width, num_classes, 1)
        nn.init.zeros_(self.score_fr.weight)
        nn.init.zeros_(self.score_fr.bias)  # type: ignore[arg-type]
        self.upscore = BilinearUpsample(num_classes, 32, kernel_size=KERNEL, padding=0)

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`."""
        x = F.pad(self.normalize(image), [PAD] * 4)
        x = self.norm(_pool(self.conv1(x).relu()))
        x = self.norm(_pool(self.conv2(x).relu()))
        x = self.conv4(self.conv3(x).relu()).relu()
        x = _pool(self.conv5(x).relu())
        x = self.dropout(self.fc6(x).relu())
        x = self.dropout(self.fc7(x).relu())
        return {"out": cut(self.upscore(self.score_fr(x)), CROP, image)}


def _pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 2, ceil_mode=True)
