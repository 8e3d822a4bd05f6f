"""DeepLab v2: atrous spatial pyramid pooling, and the largest score over several image scales.

Chen, Papandreou, Kokkinos, Murphy, Yuille, "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs", TPAMI 2018, https://arxiv.org/abs/1606.00915. The CRF is a step of its own.

As in the paper
    - ResNet-101 at output stride 8, dilation 2 in stage 4 and 4 in stage 5, in Caffe's form: the stride on a
      bottleneck's first 1x1 convolution, the size after the stem's pooling rounded up.
    - ASPP adds the class scores of parallel branches. On a ResNet a branch is one 3x3 convolution; on VGG-16 it is fc6
      (3x3), fc7 and fc8 with 1,024 channels. Rates 6, 12, 18, 24 (ASPP-L) or 2, 4, 8, 12 (ASPP-S); one branch of rate
      12 is LargeFOV. The classifiers start Gaussian with standard deviation 0.01.
    - On a ResNet the network reads the image at scales 1, 0.75 and 0.5 (on VGG at its own size alone), the scores are
      enlarged to the finest grid, and the largest one counts. With `aux` the scores of each scale are training outputs
      with losses of their own.
    - Corners of all grids coincide. Sizes of 32 k + 1 (321, 513) shrink to 24 k + 1 and 16 k + 1: every grid fits.

Different from the paper
    - ReLU and dropout of 0.5 between the layers of a VGG branch, as in v1; the paper's figure does not show them.
    - Batch normalisation is frozen by a recipe (`norm: {frozen: true}`), not here: from scratch it has to learn.
    - `pretrained`: timm's ResNets have the stride on the 3x3 convolution. Only the first block of the third stage has a
      stride here; `encoder: {name: resnet101, stride_in: 3x3}` lets it stand where those weights were trained with it.
    - An encoder that cuts the image into patches has no maps with its corners: there pixel centres stay in place.
    - Losses at the grid of 8 are the auxiliary ones; `out` is at full resolution. Each scale has its own grid; in the
      released prototxt the scores of 0.75 are enlarged to the grid of scale 1 (41 cells of 321 pixels) for their loss.
    - A PyTorch port that loads the
      authors' weights shrinks the image without aligned corners (321 to 240 instead of 241).
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from math import lcm
from typing import Annotated

import torch
from annotated_types import Ge, Len
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders import Encoder, EncoderSection, create_encoder, encoder_name
from atrous.encoders.base import Pretrained, keeps_corners
from atrous.encoders.resnet import RESNETS
from atrous.encoders.vgg import VGG
from atrous.encoders.vgg_dense import load_vgg16_classifier, vgg_classifier
from atrous.errors import ModelError
from atrous.layers import fit, resize, unfit, unfit_grid
from atrous.models.base import DenseModel, Paper
from atrous.types import CellGrid, Outputs

__all__ = ["PAPERS", "BranchSum", "DeepLabV2", "deeplabv2"]

PAPERS = {
    "deeplabv2": Paper(
        year=2016,
        title="DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully "
        "Connected CRFs",
        url="https://arxiv.org/abs/1606.00915",
        idea="Parallel convolutions of several rates look at objects of several sizes at once.",
        num_classes=21,
        parameters=44_048_532,
        facts=(
            "output stride 8",
            "rates 6, 12, 18, 24",
            "scales 1, 0.75, 0.5, largest score",
            "VOC 2012 val mean IoU 76.35, with CRF 77.69 (ResNet-101)",
        ),
    ),
}

POOL_STRIDES = (2, 2, 2, 1, 1)  # of VGG's five poolings, as in v1
VGG_HIDDEN = 1024
SCALES = (1.0, 0.75, 0.5)
CAFFE = {"stride_in": "1x1", "ceil_pool": True}
FINEST_STEP = 8  # scales are fractions with at most this denominator: the grid that fits them all stays small


def deeplabv2(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "resnet101",
    pretrained: Pretrained = False,
    *,
    rates: Annotated[tuple[Annotated[int, Ge(1)], ...], Len(1)] = (6, 12, 18, 24),
    scales: Annotated[tuple[float, ...], Len(1)] | None = None,
    hidden: Annotated[int, Ge(0)] | None = None,
    aux: bool = False,
) -> DenseModel:
    """DeepLab v2 on ResNet-101; on VGG-16 with `encoder="vgg16"`.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: a trunk of the package or a name of timm's that can be dilated, or a section with options. ResNets of
            the package take Caffe's form unless the section says otherwise.
        pretrained: start the trunk from ImageNet weights; on VGG the branches too.
        rates: dilation of each branch; (6, 12, 18, 24) is ASPP-L, (2, 4, 8, 12) ASPP-S, (12,) LargeFOV.
        scales: of the image, 1 among them; (1.0,) for one pass. Where null, (1.0,) on VGG and (1.0, 0.75, 0.5)
            elsewhere, as the paper's networks.
        hidden: channels of two convolutions in each branch before the scores, 0 for none. Where null, 1024 on VGG and 0
            elsewhere.
        aux: add the training outputs `scale_100`, `scale_75`, ...: the scores of each scale on its own grid.

    Raises:
        ModelError: if the encoder or its weights are not at hand or do not fit, or the scales do not.
    """
    if encoder_name(encoder) in RESNETS:
        encoder = {**CAFFE, **(encoder if isinstance(encoder, dict) else {"name": encoder})}
    trunk = create_encoder(encoder, in_channels=in_channels, pretrained=pretrained, output_stride=8)
    is_vgg = isinstance(trunk, VGG)
    if isinstance(trunk, VGG):
        trunk.pools = nn.ModuleList(nn.MaxPool2d(3, stride, padding=1) for stride in POOL_STRIDES)
    if scales is None:
        scales = (1.0,) if is_vgg else SCALES
    width = trunk.levels[-1].channels
    hidden = (VGG_HIDDEN if is_vgg else 0) if hidden is None else hidden
    bodies = [vgg_classifier(width, hidden, kernel=3, dilation=rate) for rate in rates] if hidden else []
    if bodies and is_vgg and pretrained:
        load_vgg16_classifier(trunk, *bodies, pretrained=pretrained, name=encoder_name(encoder))
    if bodies:
        aspp = BranchSum(bodies, [_scores(hidden, num_classes, kernel=1) for _ in rates])
    else:
        aspp = BranchSum([], [_scores(width, num_classes, kernel=3, dilation=rate) for rate in rates])
    return DeepLabV2(trunk, aspp, num_classes, scales=scales, aux=aux)


class DeepLabV2(DenseModel):
    """The same network on every scale of the image; the largest score of each class counts.

    Args:
        encoder: gives the map that is classified last, on a grid of 8 pixels.
        head: turns that map into scores.
        num_classes: maps in `out`.
        scales: of the image, 1 among them.
        aux: add the scores of each scale in training.

    Raises:
        ModelError: if a scale is not a fraction of small numbers between 0 and 1, or 1 is missing.
    """

    def __init__(
        self, encoder: Encoder, head: nn.Module, num_classes: int, *, scales: Sequence[float], aux: bool = False
    ) -> None:
        ratios = [Fraction(scale).limit_denominator(FINEST_STEP) for scale in scales]
        if 1 not in ratios or not all(0 < ratio == scale <= 1 for ratio, scale in zip(ratios, scales, strict=True)):
            raise ModelError(
                f"scales are {list(scales)}: give 1, and others between 0 and 1 that are fractions of numbers up to "
                f"{FINEST_STEP}, such as [1.0, 0.75, 0.5]"
            )
        stride = max(level.stride for level in encoder.levels)
        super().__init__(num_classes, encoder.in_channels, stride * lcm(*(ratio.denominator for ratio in ratios)))
        self.encoder = encoder
        self.head = head
        self.ratios = ratios
        self.align_corners = keeps_corners(encoder)
        grid = CellGrid.cornered if self.align_corners else CellGrid.centred
        names = [f"scale_{round(100 * ratio)}" for ratio in ratios] if aux else []
        self.grids = {name: grid(stride / ratio) for name, ratio in zip(names, ratios, strict=False)}

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`; in training, where asked for, those of each scale on its own grid."""
        height, width = image.shape[-2:]
        fitted = fit(self.normalize(image), self.alignment, extra=int(self.align_corners))
        size = (fitted.shape[-2], fitted.shape[-1])
        scores = [self._scores_at(fitted, ratio) for ratio in self.ratios]
        finest = scores[self.ratios.index(Fraction(1))]
        grid = (finest.shape[-2], finest.shape[-1])
        largest = reduce(torch.maximum, [self._resized(score, grid) for score in scores])
        outputs = {"out": unfit(self._resized(largest, size), height, width)}
        if self.training:
            for (name, cells), score in zip(self.grids.items(), scores, strict=False):
                outputs[name] = unfit_grid(score, height, width, cells)
        return outputs

    def _scores_at(self, fitted: Tensor, ratio: Fraction) -> Tensor:
        """The scores of the image at one scale; k q + 1 pixels become k p + 1 at p / q, k q become k p in patches."""
        last = int(self.align_corners)
        steps = [(length - last) * ratio.numerator // ratio.denominator for length in fitted.shape[-2:]]
        scaled = self._resized(fitted, (steps[0] + last, steps[1] + last))
        return self.head((self.encoder(scaled) if last else self.encoder.fitted(scaled))[-1])

    def _resized(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return resize(x, size, align_corners=self.align_corners)


class BranchSum(nn.Module):
    r"""Atrous spatial pyramid pooling by adding scores.

    .. math:: s = \sum_r \mathrm{classifier}_r(\mathrm{body}_r(x))

    Args:
        bodies: what each branch does to the map before it is classified; none of them where the list is empty.
        classifiers: of each branch.

    Example:
        >>> BranchSum([], [nn.Identity(), nn.Identity()])(torch.ones(1, 1, 1, 2))
        tensor([[[[2., 2.]]]])
    """

    def __init__(self, bodies: Sequence[nn.Module], classifiers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(bodies or [nn.Identity() for _ in classifiers])
        self.classifiers = nn.ModuleList(classifiers)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        """Scores on the map's grid."""
        pairs = zip(self.bodies, self.classifiers, strict=True)
        return torch.stack([classifier(body(x)) for body, classifier in pairs]).sum(0)


def _scores(in_channels: int, num_classes: int, *, kernel: int, dilation: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, num_classes, kernel, padding=dilation * (kernel // 2), dilation=dilation)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
