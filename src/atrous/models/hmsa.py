"""Hierarchical multi-scale attention: one network looks at several sizes of an image and says where it trusts which.

Tao, Sapra, Catanzaro, "Hierarchical Multi-ImageScale Attention for Semantic Segmentation", 2020,
https://arxiv.org/abs/2005.10821.

As in the paper (and NVIDIA's code)
    HRNet-OCR sees the image at each scale and gives logits, a first guess (`aux`) and one map of attention: two 3x3
    convolutions of 256 channels and a 1x1, without biases, then a sigmoid. All are interpolated to the size of the
    image at their scale. Training sees the scales 0.5 and 1 and joins them by the attention of the smaller. In
    evaluation the same rule of two is chained down any set of scales that has 1 in it; (0.5, 1, 2) by default. Logits
    are joined, not probabilities. The attention of the largest scale is computed and not read.

Different from the paper
    - The loss of the smaller scale alone (`low`) is taken at that scale, that of the larger (`high`) at the image's;
      the authors interpolate both to the image.
    - The image at a scale is rounded up to whole pixels and padded to multiples of 32 (below 1: 64), and its maps are
      cropped; the padding takes part in OCR's regions. The authors stretch the maps. Sides that are multiples of 64 /
      scale for the scales below 1 (128 for 0.5), and of 32 else, need neither.
    - Convolutions of the attention start Gaussian after He; the authors begin from a model trained on Mapillary.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders import Encoder, EncoderSection, Pretrained, create_encoder
from atrous.errors import ModelError
from atrous.layers import conv_bn_relu, fit, resize, unfit
from atrous.layers.ocr import OCR
from atrous.models.base import DenseModel, Paper
from atrous.types import CellGrid, Outputs

__all__ = ["HMSA", "PAPERS", "hmsa", "join", "scale_attention"]

PAPERS = {
    "hmsa": Paper(
        year=2020,
        title="Hierarchical Multi-ImageScale Attention for Semantic Segmentation",
        url="https://arxiv.org/abs/2005.10821",
        idea="Learns which of two sizes of an image to trust at each pixel, and chains that over any number of sizes.",
        num_classes=19,
        parameters=72_143_430,
        facts=(
            "trained on scales 0.5 and 1, evaluated on 0.5, 1 and 2",
            "one map of attention for all classes, 1,770,752 parameters",
            "loss 1.0 joint, 0.4 first guess, 0.05 each scale",
            "Cityscapes test mean IoU 85.1, Mapillary val 61.1",
        ),
    ),
}

ImageScale = Annotated[float, Gt(0), Le(8)]


def hmsa(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "hrnet_w48",
    pretrained: Pretrained = False,
    *,
    scales: tuple[ImageScale, ...] = (0.5, 1.0, 2.0),
    low_scale: Annotated[float, Gt(0), Lt(1)] = 0.5,
    width: Annotated[int, Ge(1)] = 512,
    key_width: Annotated[int, Ge(1)] = 256,
    attention_width: Annotated[int, Ge(1)] = 256,
    dropout: Annotated[float, Ge(0), Le(1)] = 0.05,
) -> DenseModel:
    """HRNet-OCR with hierarchical multi-scale attention.

    In training it gives `out` (both scales joined), `aux` (their first guesses joined), `high` and `low` (each scale's
    own logits, at the size of the image at that scale); the paper weighs them 1, 0.4, 0.05 and 0.05.

    Args:
        num_classes: maps in every output, and regions.
        in_channels: channels of the image.
        encoder: hrnet_w18, hrnet_w32 or hrnet_w48, or a section with options; or any other encoder.
        pretrained: start the encoder from ImageNet weights.
        scales: sizes at which the image is seen in evaluation, in image sizes; 1 is one of them. No weight depends on
            them, so that a trained model may be built again with others.
        low_scale: the smaller of the two sizes of training.
        width: channels of pixels and regions.
        key_width: channels of the queries, keys and values of OCR.
        attention_width: inner channels of the attention between scales.
        dropout: share of the maps that OCR drops in training.

    Raises:
        ModelError: if `scales` lacks 1 or has one twice, or the encoder is unknown or its weights cannot be fetched.
    """
    trunk = create_encoder(encoder, in_channels=in_channels, pretrained=pretrained)
    context = OCR(trunk.levels, num_classes, width=width, key_width=key_width, dropout=dropout)
    head = nn.Conv2d(width, num_classes, 1)
    attention = scale_attention(width, attention_width)
    return HMSA(trunk, context, head, attention, num_classes, scales=scales, low_scale=low_scale)


def scale_attention(in_channels: int, width: int) -> nn.Sequential:
    """Two 3x3 convolutions and a 1x1, then a sigmoid: how far to trust each pixel of a scale.

    Example:
        >>> sum(parameter.numel() for parameter in scale_attention(512, 256).parameters())
        1770752
    """
    return nn.Sequential(
        conv_bn_relu(in_channels, width), conv_bn_relu(width, width), nn.Conv2d(width, 1, 1, bias=False), nn.Sigmoid()
    )


class HMSA(DenseModel):
    """One network at several scales, joined pixel by pixel.

    Args:
        encoder: turns the image into feature maps.
        context: turns them into one map and the first guess.
        head: turns the map into logits.
        attention: turns the map into one map of trust, 0..1.
        num_classes: maps in `out`.
        scales: sizes seen in evaluation.
        low_scale: the smaller size of training.

    Raises:
        ModelError: if `scales` lacks 1 or has one twice.
    """

    def __init__(
        self,
        encoder: Encoder,
        context: OCR,
        head: nn.Module,
        attention: nn.Module,
        num_classes: int,
        *,
        scales: Sequence[float] = (0.5, 1.0, 2.0),
        low_scale: float = 0.5,
    ) -> None:
        super().__init__(num_classes, encoder.in_channels, max(level.stride for level in encoder.levels))
        if 1 not in scales or len(set(scales)) < len(scales):
            raise ModelError(
                f"scales is {list(scales)}: 1 must be among them, because the image has that size, and none may stand "
                f"twice; give for example [0.5, 1.0, 2.0]"
            )
        self.encoder = encoder
        self.context = context
        self.head = head
        self.attention = attention
        self.scales = sorted(scales, reverse=True)
        self.low_scale = low_scale
        # The smaller image is stretched to whole pixels.
        self.grids = {"aux": CellGrid.centred(1), "high": CellGrid.centred(1), "low": None}

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`; in training of two scales, with `aux`, `high` and `low`."""
        image = self.normalize(image)
        if not self.training:
            largest, *smaller = self.scales
            joined = self.look(image, largest)["out"]
            for scale in smaller:  # one after the other, so that only the logits joined so far are kept
                view = self.look(image, scale)
                joined = join(joined, view["out"], view["attention"], scale)
            return {"out": joined}
        high, low = self.look(image, 1.0), self.look(image, self.low_scale)
        return {
            "out": join(high["out"], low["out"], low["attention"], self.low_scale),
            "aux": join(high["aux"], low["aux"], low["attention"], self.low_scale),
            "high": high["out"],
            "low": low["out"],
        }

    def look(self, image: Float[Tensor, "B C H W"], scale: float) -> Outputs:
        """What one scale says of a normalised image: `out`, `attention`, in training also the first guess as `aux`.

        All have the size of the image at the scale.
        """
        scaled = _scaled(image, scale)
        # A smaller image has two cells on the coarsest grid at least, because an export cannot run on a single one.
        fitted = fit(scaled, self.alignment if scale >= 1 else 2 * self.alignment)
        features, regions = self.context(self.encoder.fitted(fitted))
        maps = {"out": self.head(features), "attention": self.attention(features)}
        if self.training:
            maps["aux"] = regions
        size = (fitted.shape[-2], fitted.shape[-1])
        return {name: unfit(resize(x, size), scaled.shape[-2], scaled.shape[-1]) for name, x in maps.items()}


def join(
    larger: Float[Tensor, "B K H W"],
    smaller: Float[Tensor, "B K h w"],
    attention: Float[Tensor, "B 1 h w"],
    scale: float,
) -> Float[Tensor, "B K H2 W2"]:
    r"""Logits of all larger scales joined with those of the next smaller one, by the smaller one's attention.

    With the logits m joined so far, and logits p and attention a of scale s,

    .. math::
        m \leftarrow a\,p + (1 - a)\,\mathrm{resize}(m) \quad (s \ge 1), \qquad
        m \leftarrow \mathrm{resize}(a\,p) + (1 - \mathrm{resize}(a))\,m \quad (s < 1)

    From 1 upwards the larger comes down to the smaller; below 1 the smaller comes up. A chain of scales with 1 in it
    ends at the size of the image.

    Args:
        larger: m.
        smaller: p.
        attention: a, how far to trust p, 0..1.
        scale: s.

    Example:
        >>> import torch
        >>> fine, coarse = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]]), torch.tensor([[[[10.0, 20.0]]]])
        >>> join(fine, coarse, torch.tensor([[[[1.0, 0.0]]]]), 0.5)[0, 0]
        tensor([[10.0000,  8.0000,  4.7500,  4.0000]])
    """
    if scale >= 1:
        return attention * smaller + (1 - attention) * resize(larger, (smaller.shape[-2], smaller.shape[-1]))
    size = (larger.shape[-2], larger.shape[-1])
    return resize(attention * smaller, size) + (1 - resize(attention, size)) * larger


def _scaled(image: Tensor, scale: float) -> Tensor:
    """The image with its sides times `scale`, rounded up to whole pixels."""
    if scale == 1:
        return image
    ratio = Fraction(scale).limit_denominator(1000)  # in whole numbers, so that an export can compute it for any size
    height, width = ((side * ratio.numerator + ratio.denominator - 1) // ratio.denominator for side in image.shape[-2:])
    return resize(image, (height, width))
