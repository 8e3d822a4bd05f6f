"""Dilation: a front end without the last poolings, and a context module that sees farther layer by layer.

Yu, Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", ICLR 2016, https://arxiv.org/abs/1511.07122.

As in the paper
    - Front end: VGG-16 without poolings 4 and 5, stage 5 with dilation 2, fc6 of 7x7 with dilation 4, fc7, all without
      padding. The image is mirrored by 186 pixels on every side, which is what the convolutions eat; 900 pixels with
      their margin give 66, output stride 8. The classifier starts Gaussian with standard deviation 0.001.
    - Context module: 3x3 convolutions with dilations 1, 1, 2, 4, 8, 16, 1 and a 1x1; each cell sees 67. `basic` has C
      channels throughout, `large` 2C, 2C, 4C, 8C, 16C, 32C, 32C. Eight layers (CamVid, VOC); `depth` 7 leaves out
      dilation 16 (KITTI), 10 adds 32 and 64 (Cityscapes).
    - It starts as the identity: basic exactly, large up to Gaussian noise with a standard deviation of 0.01 divided by
      the layer's width in C, as in the authors' code; without noise its copies of a class would never part.

Different from the paper
    - Each context layer is padded by its dilation, as in the released code and its urban networks. The paper's text and
      the VOC network pad the scores once by 33, which `padding: once` does. The two agree 33 cells away from the
      border, and a VOC image has 63 cells: none of them is.
    - Scores are interpolated bilinearly with the centre of a cell on the centre of its 8x8 pixels, as the 16x16
      transposed convolution of the Cityscapes network does (4,864 fixed weights more), but for the outer 4 pixels:
      there Caffe's finds zeros beyond the map, and here the last cell goes on. Others take the probabilities.
    - Sides that are no multiple of 8 have their last pixel repeated up to 7 times before the image is mirrored.
    - `aux`: the front end's scores as the training output `front`, for training both parts at once; the paper trains
      the front end first. With an identity of ReLUs a class whose scores are all negative passes nothing back.
    - Any other encoder replaces the front end up to its classifier, dilated to stride 8, padded as usual, unmirrored.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders import Encoder, EncoderSection, Pretrained, create_encoder, encoder_name
from atrous.encoders.vgg_dense import ValidVGG
from atrous.errors import ModelError
from atrous.layers import fit, resize, unfit, unfit_grid
from atrous.models.base import DenseModel, Paper
from atrous.tables import Place, check_arguments
from atrous.types import CellGrid, Outputs

__all__ = ["PAPERS", "Context", "Dilation", "dilation"]

PAPERS = {
    "dilation": Paper(
        year=2016,
        title="Multi-Scale Context Aggregation by Dilated Convolutions",
        url="https://arxiv.org/abs/1511.07122",
        idea="Dilations that double from layer to layer widen the view exponentially and lose no resolution.",
        num_classes=21,
        parameters=141_149_720,
        facts=(
            "output stride 8",
            "mirrored margin of 186 pixels; 900 give 66",
            "context sees 67 cells",
            "VOC 2012 test mean IoU 73.5, with CRF-RNN 75.3",
        ),
    ),
}

CONTEXT_DILATIONS = {7: (1, 1, 2, 4, 8, 1), 8: (1, 1, 2, 4, 8, 16, 1), 10: (1, 1, 2, 4, 8, 16, 32, 64, 1)}
NOISE = 0.01

Padding = Literal["layers", "once"]


def dilation(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "vgg16",
    pretrained: Pretrained = False,
    *,
    context: Literal["none", "basic", "large"] = "large",
    depth: Literal[7, 8, 10] = 8,
    padding: Padding = "layers",
    aux: bool = False,
) -> DenseModel:
    """The front end with a context module; the defaults are the network for VOC.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: `vgg16` for the paper's front end, or a section with its options, such as
            `{name: vgg16, width: 16, channels: 256}` (channels of fc6 and fc7); any other name replaces it.
        pretrained: start the front end from ImageNet weights, fc6 and fc7 included.
        context: none for the front end alone; basic for the urban networks.
        depth: layers of the context module.
        padding: of the context module: every layer by its dilation ("layers"), or the scores "once" by all of them.
        aux: add the training output `front`, the scores before the context module.

    Raises:
        ModelError: if the encoder is unknown or cannot be dilated, or its weights are not at hand or do not fit.
    """
    trunk = _encoder(encoder, {"in_channels": in_channels, "pretrained": pretrained})
    module: nn.Module = nn.Identity()
    if context != "none":
        dilations = CONTEXT_DILATIONS[depth]
        basic, large = [1] * len(dilations), [2 * max(dilations[: i + 1]) for i in range(len(dilations))]
        widths, noise = (large, NOISE) if context == "large" else (basic, 0.0)
        module = Context(num_classes, dilations, widths, noise, once=padding == "once")
    return Dilation(trunk, module, num_classes, aux=aux)


def _encoder(section: EncoderSection, given: dict[str, Any]) -> Encoder:
    """The paper's front end, or what replaces it."""
    if encoder_name(section) != "vgg16":
        return create_encoder(section, output_stride=8, **given)
    options = {key: value for key, value in section.items() if key != "name"} if isinstance(section, dict) else {}
    place = Place("encoder 'vgg16'")
    return ValidVGG(**given, **check_arguments(ValidVGG, options, place=place, given=given, error=ModelError))


class Dilation(DenseModel):
    """Front end, classifier, context module.

    Args:
        encoder: gives the map that is classified last.
        context: turns scores into scores on the same grid.
        num_classes: maps in `out`.
        aux: add the scores before the context module in training.
    """

    def __init__(self, encoder: Encoder, context: nn.Module, num_classes: int, *, aux: bool = False) -> None:
        super().__init__(num_classes, encoder.in_channels, max(level.stride for level in encoder.levels))
        self.encoder = encoder
        self.head = nn.Conv2d(encoder.levels[-1].channels, num_classes, 1)
        nn.init.normal_(self.head.weight, std=0.001)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.context = context
        self.grids = {"front": CellGrid.centred(encoder.levels[-1].stride)} if aux else {}

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`; in training, where asked for, the front end's as `front`."""
        height, width = image.shape[-2:]
        fitted = fit(self.normalize(image), self.alignment)
        front = self.head(self.encoder.fitted(fitted)[-1])
        logits = resize(self.context(front), (fitted.shape[-2], fitted.shape[-1]))
        outputs = {"out": unfit(logits, height, width)}
        if self.training and self.grids:
            outputs["front"] = unfit_grid(front, height, width, self.grids["front"])
        return outputs


class Context(nn.Module):
    """3x3 convolutions with ReLU at growing dilations, then a 1x1 convolution: scores become scores of the same size.

    Args:
        num_classes: C, channels that come and go.
        dilations: of the 3x3 convolutions.
        widths: their channels, in multiples of C.
        noise: standard deviation of what is added to the identity at first, for a layer of width 1.
        once: pad the scores by the sum of the dilations, and no layer.

    Example:
        >>> scores = torch.tensor([[[[1.0, 2.0, 3.0]]]])
        >>> Context(1, [1, 2], [2, 4], noise=0.0)(scores)[0, 0].tolist()
        [[1.0, 2.0, 3.0]]
    """

    def __init__(
        self, num_classes: int, dilations: Sequence[int], widths: Sequence[int], noise: float, *, once: bool = False
    ) -> None:
        super().__init__()
        self.margin = sum(dilations) if once else 0
        before = num_classes
        layers: list[nn.Module] = []
        for rate, width in zip(dilations, widths, strict=True):
            layers += [nn.Conv2d(before, width * num_classes, 3, padding=0 if once else rate, dilation=rate), nn.ReLU()]
            before = width * num_classes
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, num_classes, 1))
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                _start_as_identity(layer, num_classes, noise)

    def forward(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        """Scores that have seen their surroundings."""
        return self.layers(F.pad(x, [self.margin] * 4) if self.margin else x)


def _start_as_identity(conv: nn.Conv2d, groups: int, noise: float) -> None:
    """Weights under which non-negative scores pass: every channel of a layer of n C channels holds its class's / n.

    The centre of the kernel from channel a to b is C / c_out where floor(a C / c_in) = floor(b C / c_out).
    """
    width = conv.out_channels // groups
    with torch.no_grad():
        nn.init.normal_(conv.weight, std=noise / width)
        source = torch.arange(conv.in_channels) * groups // conv.in_channels
        target = torch.arange(conv.out_channels) * groups // conv.out_channels
        middle = conv.kernel_size[0] // 2
        centre = conv.weight[:, :, middle, middle]
        centre.copy_(torch.where(target[:, None] == source, 1 / width, centre))
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
