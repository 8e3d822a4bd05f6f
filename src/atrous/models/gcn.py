"""GCN: scores of every depth from kernels as large as the coarsest map, refined at the boundaries on the way up.

Peng, Zhang, Yu, Luo, Sun, "Large Kernel Matters -- Improve Semantic Segmentation by Global Convolutional Network", CVPR
2017, https://arxiv.org/abs/1703.02719.

As in the paper
    - An undilated ResNet-152 of stride 32; its maps at strides 4 to 32 each become `num_classes` maps of scores.
    - Global convolution: k x 1 then 1 x k, plus 1 x k then k x 1, nothing in between. k = 15 for images of 512 pixels
      (PASCAL VOC), 25 for crops of 800 (Cityscapes).
    - Boundary refinement, x plus two 3x3 convolutions with a ReLU between, after each global convolution, after each
      sum, and twice more on the way to the image: nine in all. No batch normalisation outside the ResNet.

Different from the paper
    - Scores are doubled by bilinear interpolation, as in the counted re-implementation. The paper calls its way up
      deconvolution; its kernel was not to be had. `upsample: transposed` is a learned one of 4x4 that starts as
      bilinear interpolation and adds 35,280 parameters at 21 classes.
    - Interpolation keeps pixel centres in place; the re-implementation lines up corners, so that its output depends on
      the whole image. It also takes k = 7.
    - The new layers keep PyTorch's own initialisation: the paper names none, and He's makes scores that deviate
      by about 50 from maps that deviate by 1, for six refinements triple their variance one after the other.
    - The ResNet whose blocks are global convolutions themselves (ResNet-GCN) is left out: the widths of its layers are
      not to be had.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import log2
from typing import Annotated, Literal

from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders import EncoderSection, Pretrained, create_encoder
from atrous.layers import resize
from atrous.layers.residual import BoundaryRefinement, GlobalConvolution
from atrous.layers.upsample import BilinearUpsample
from atrous.models.base import DenseModel, EncoderDecoder, Paper
from atrous.types import Level

__all__ = ["PAPERS", "GCNDecoder", "gcn"]

PAPERS = {
    "gcn": Paper(
        year=2017,
        title="Large Kernel Matters -- Improve Semantic Segmentation by Global Convolutional Network",
        url="https://arxiv.org/abs/1703.02719",
        idea="Classifies every position with a kernel as large as the map, made affordable by four thin ones.",
        num_classes=21,
        parameters=60_688_084,
        facts=(
            "k = 15 for 512 pixels, 25 for 800",
            "four global convolutions, nine boundary refinements",
            "scores at strides 4 to 32",
            "VOC 2012 test mean IoU 82.2, Cityscapes test 76.9",
        ),
    ),
}

MAPS = 4  # the finest of five, at stride 2, takes no part

Upsampling = Literal["bilinear", "transposed"]


def gcn(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "resnet152",
    pretrained: Pretrained = False,
    *,
    k: Annotated[int, Ge(1)] = 15,
    boundary_refinement: bool = True,
    upsample: Upsampling = "bilinear",
) -> DenseModel:
    """Global convolutional network on the last four maps of an encoder.

    Args:
        num_classes: maps in `out`, and in every map of the decoder.
        in_channels: channels of the image.
        encoder: one of the package's trunks, a name from `timm.list_models()`, or a section with options.
        pretrained: start the encoder from ImageNet weights.
        k: side of the global kernels in pixels of each map, odd. The coarsest map of 512 pixels has 16 x 16.
        boundary_refinement: False leaves all refinements out, as the paper's ablation does.
        upsample: how maps of scores are enlarged.

    Raises:
        ModelError: if the encoder is unknown or does not take an option, or `k` is even.
    """
    trunk = create_encoder(encoder, in_channels=in_channels, pretrained=pretrained)
    refine = BoundaryRefinement if boundary_refinement else nn.Identity
    decoder = GCNDecoder(trunk.levels, num_classes, k, refine=refine, upsample=upsample)
    return EncoderDecoder(trunk, decoder, num_classes, head=nn.Identity())


class GCNDecoder(nn.Module):
    """Scores of every map, coarsest first: enlarged, added to those of the next finer map, refined, up to the image.

    Args:
        levels: the encoder's maps, finest first; the last four of them are used.
        num_classes: maps of scores.
        k: side of the global kernels.
        refine: builds a refinement from a number of channels.
        upsample: how maps of scores are enlarged.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        num_classes: int,
        k: int,
        *,
        refine: Callable[[int], nn.Module],
        upsample: Upsampling,
    ) -> None:
        super().__init__()
        taps = list(reversed(levels[-MAPS:]))
        factors = [round(coarse.stride / fine.stride) for coarse, fine in pairwise(taps)]
        doublings = int(log2(taps[-1].stride))  # from the finest map to the image
        self.scores = nn.ModuleList(
            nn.Sequential(GlobalConvolution(tap.channels, num_classes, k), refine(num_classes)) for tap in taps
        )
        self.ups = nn.ModuleList(_up(num_classes, factor, upsample) for factor in [*factors, *[2] * doublings])
        self.refinements = nn.ModuleList(refine(num_classes) for _ in self.ups)
        self.out_channels = num_classes

    def forward(self, features: list[Tensor]) -> Float[Tensor, "B K H W"]:
        """Logits at stride 1, or at the smallest stride that doubling leads to."""
        own = [score(tap) for score, tap in zip(self.scores, reversed(features[-MAPS:]), strict=True)]
        x = own[0]
        for step, (up, refine) in enumerate(zip(self.ups, self.refinements, strict=True), start=1):
            x = up(x)
            if step < len(own):
                # Strides are rounded: the sizes may differ where an encoder's maps do not double.
                x = resize(x, (own[step].shape[-2], own[step].shape[-1])) + own[step]
            x = refine(x)
        return x


def _up(channels: int, factor: int, upsample: Upsampling) -> nn.Module:
    """Enlarge a map by a whole factor."""
    if factor == 1:
        return nn.Identity()
    if upsample == "bilinear":
        return nn.Upsample(scale_factor=factor, mode="bilinear")
    return BilinearUpsample(channels, factor, learned=True)
