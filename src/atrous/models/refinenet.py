"""RefineNet: the maps of four depths are refined and joined one after the other, coarsest first.

Lin, Milan, Shen, Reid, "RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic Segmentation", CVPR
2017, https://arxiv.org/abs/1611.06612.

As in the paper
    - An undilated ResNet of stride 32; its four maps, at strides 4 to 32, each enter a block of their own.
    - A block: residual convolution units on the tap, multi-resolution fusion with the block below, chained residual
      pooling, residual convolution units. The coarsest has nothing to fuse with and twice the width: 512 and 256.
    - No batch normalisation in the blocks. Kernels start Gaussian with standard deviation 0.01.
    - Dropout of 0.5 before the classifier, and on the taps wider than the widest block (1024 and 2048 channels).
    - Scores at stride 4, interpolated to the image.

Different from the paper
    - Two units on the tap, four poolings in the chain and three units at the end, as the authors' released code, whose
      parameters these are. The paper's text has two poolings and one unit at the end, with two more before the scores.
    - A pooling comes before its convolution, as in the paper. The released code convolves first: `improved`.
    - Bilinear interpolation with pixel centres in place; the release interpolates bicubically, the same places. A much
      used port lines up the corners instead, so that its output depends on the whole image.
    - The ResNet's stride stands on the 3x3 convolution of a bottleneck; `encoder: {name: resnet101, stride_in: 1x1}`
      puts it on the 1x1, as the weights of the release have it.
    - The release enlarges the image by 1.2 beforehand; that is left to whoever hands in the image.
"""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Lt
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders import EncoderSection, Pretrained, create_encoder
from atrous.layers import resize
from atrous.layers.residual import ChainedResidualPooling, ResidualConvUnit
from atrous.models.base import DenseModel, EncoderDecoder, Paper
from atrous.types import Level

__all__ = ["PAPERS", "RefineNetDecoder", "refinenet"]

PAPERS = {
    "refinenet": Paper(
        year=2017,
        title="RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic Segmentation",
        url="https://arxiv.org/abs/1611.06612",
        idea="Refines the coarse map step by step with every finer one, through residual units from end to end.",
        num_classes=21,
        parameters=118_052_437,
        facts=(
            "maps at strides 4, 8, 16, 32",
            "blocks of 512, 256, 256, 256 channels",
            "chained pooling of 5x5",
            "VOC 2012 test mean IoU 83.4 (ResNet-101)",
        ),
    ),
}

MAPS = 4  # the finest of five, at stride 2, takes no part
TAP_UNITS, LAST_UNITS = 2, 3  # residual convolution units before the fusion and after the pooling


def refinenet(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "resnet101",
    pretrained: Pretrained = False,
    *,
    width: Annotated[int, Ge(1)] = 256,
    pooling_steps: Annotated[int, Ge(0)] = 4,
    improved: bool = False,
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.5,
) -> DenseModel:
    """RefineNet on the last four maps of an encoder.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: one of the package's trunks, a name from `timm.list_models()`, or a section with options.
        pretrained: start the encoder from ImageNet weights.
        width: channels of the blocks; the coarsest has twice as many.
        pooling_steps: poolings in each chain; the paper's text has 2, the authors' code 4.
        improved: convolve before each pooling instead of after it, as the authors' code does.
        dropout: rate before the classifier and on the widest taps.

    Raises:
        ModelError: if the encoder is unknown or does not take an option.
    """
    trunk = create_encoder(encoder, in_channels=in_channels, pretrained=pretrained)
    decoder = RefineNetDecoder(trunk.levels, width, pooling_steps=pooling_steps, improved=improved, dropout=dropout)
    classifier = nn.Conv2d(decoder.out_channels, num_classes, 3, padding=1)
    head = nn.Sequential(nn.Dropout(dropout), classifier)
    for part in (decoder, head):
        part.apply(_initialize)
    return EncoderDecoder(trunk, decoder, num_classes, head=head)


class RefineNetDecoder(nn.Module):
    """One block per map, coarsest first; each joins its map to the result of the block before.

    Args:
        levels: the encoder's maps, finest first; the last four of them are used.
        width: channels of the blocks but the first, which has twice as many.
        pooling_steps: poolings in each chain.
        improved: order of pooling and convolution in the chain.
        dropout: rate on the taps that are wider than the first block.
    """

    def __init__(
        self, levels: Sequence[Level], width: int, *, pooling_steps: int, improved: bool, dropout: float
    ) -> None:
        super().__init__()
        taps = [level.channels for level in reversed(levels[-MAPS:])]
        widths = [2 * width] + [width] * (len(taps) - 1)
        self.drops = nn.ModuleList(nn.Dropout(dropout) if tap > 2 * width else nn.Identity() for tap in taps)
        self.blocks = nn.ModuleList(
            RefineBlock(tap, own, below, ChainedResidualPooling(own, pooling_steps, improved=improved))
            for tap, own, below in zip(taps, widths, [None, *widths[:-1]], strict=True)
        )
        self.out_channels = widths[-1]

    def forward(self, features: list[Tensor]) -> Float[Tensor, "B C H W"]:
        """A map on the grid of the finest map used."""
        x: Tensor | None = None
        for block, drop, tap in zip(self.blocks, self.drops, reversed(features[-MAPS:]), strict=True):
            x = block(drop(tap), x)
        assert x is not None  # an encoder has at least one map
        return x


class RefineBlock(nn.Module):
    """Units on the tap, fusion with the coarser map, chained pooling, units.

    Args:
        tap: channels of the encoder's map.
        width: channels of the block.
        below: channels of the coarser map to fuse with; None where there is none.
        chain: the chained pooling.
    """

    def __init__(self, tap: int, width: int, below: int | None, chain: nn.Module) -> None:
        super().__init__()
        self.adapt = nn.Sequential(_conv(tap, width), *(ResidualConvUnit(width) for _ in range(TAP_UNITS)))
        self.fusion = None if below is None else Fusion(width, below)
        self.chain = chain
        self.units = nn.Sequential(*(ResidualConvUnit(width) for _ in range(LAST_UNITS)))

    def forward(self, tap: Float[Tensor, "B C H W"], coarse: Tensor | None) -> Float[Tensor, "B C2 H W"]:
        """The tap, refined with what lies below it."""
        x = self.adapt(tap)
        if self.fusion is not None:
            x = self.fusion(x, coarse)
        return self.units(self.chain(x))


class Fusion(nn.Module):
    """Multi-resolution fusion: a 3x3 convolution of each map, the coarser interpolated to the finer, their sum.

    Args:
        width: channels of the finer map and of the result.
        below: channels of the coarser map.
    """

    def __init__(self, width: int, below: int) -> None:
        super().__init__()
        self.fine = _conv(width, width)
        self.coarse = _conv(below, width)

    def forward(self, fine: Float[Tensor, "B C H W"], coarse: Float[Tensor, "B C2 H2 W2"]) -> Float[Tensor, "B C H W"]:
        """A map on the grid of the finer one."""
        return self.fine(fine) + resize(self.coarse(coarse), (fine.shape[-2], fine.shape[-1]))


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
