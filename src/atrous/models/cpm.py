"""Convolutional pose machine: stages that each see the image anew, beside what the stage before believed.

Wei, Ramakrishna, Kanade, Sheikh, "Convolutional Pose Machines", CVPR 2016, https://arxiv.org/abs/1602.00134.

As in the paper
    - `cpm`: the first stage reads the image through three 9x9 convolutions of 128 channels with a pooling after each,
      then 5x5 (32), 9x9 (512), 1x1 (512) and 1x1 to the maps, at stride 8. It sees 160 pixels with poolings of 2x2.
    - All later stages share a second trunk of the same form. Each brings it to 32 channels by a 5x5 convolution, joins
      the maps of the stage before, and goes on with three 11x11 of 128, 1x1 (128) and 1x1 to the maps; it sees 240
      pixels more. Every stage is supervised, and none of the maps passes an activation.
    - `cpm_vgg` is the authors' later form: the first ten convolutions of VGG-19 and five more (256 four times, then
      128) are the trunk of all stages; the first stage is 1x1 (512) and 1x1, the later ones have five 7x7 of 128.
    - Dropout of one half before both last convolutions of the first stage.
    - With a centre map, the last channel of the image says which of several persons is meant: a Gaussian of 21 pixels
      at 368x368, which later stages read as its mean over 9x9 pixels. At 15 maps the six stages of `cpm` have
      31,219,866 parameters with it, and 31,142,426 as they are built by default.

Where the paper and the authors' release differ
    - Poolings are 3x3 with stride 2 in the release (`pool=3`), 2x2 in the paper's figure (`pool=2`): the first stage
      sees 167 pixels, or 160. The release rounds sizes up: 368 pixels become 184, 92 and 46.
    - The released network has six stages, the paper's study has one to six.

Different from the paper
    - Any image size: padded to a multiple of 8, and the maps cropped.
    - As they are, the maps are logits of classes; with `task=landmarks` they are the paper's belief maps, the last of
      them the background. The last stage's are interpolated to the image as `out`.
    - Kernels start Gaussian with deviation 0.01 as in the release, biases at 0; with `std: null` after He, as narrow
      networks need: with 16 channels in place of 128, 0.01 lets the maps of a stage vanish.
    - VGG-19's weights are not fetched.

Training outputs: `stage1`, `stage2`, ... are the maps of all stages but the last, on squares of 8 pixels; a recipe sets
their weights by `aux_weight` (1.0 is the sum of the losses).
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Float
from torch import Tensor, nn

from atrous.errors import ModelError
from atrous.layers import fit, resize, unfit, unfit_grid
from atrous.models.base import DenseModel, Paper
from atrous.types import CellGrid, Outputs

__all__ = ["PAPERS", "PoseMachine", "cpm", "cpm_vgg"]

_TITLE = "Convolutional Pose Machines"
_URL = "https://arxiv.org/abs/1602.00134"

PAPERS = {
    "cpm": Paper(
        year=2016,
        title=_TITLE,
        url=_URL,
        idea="Large kernels let each stage learn from the maps of the one before how parts lie to each other.",
        num_classes=15,
        parameters=31_219_866,
        facts=(
            "six stages at stride 8: 368x368 becomes 46x46",
            "the parameters are those with a centre map (`center: true`); 5 x 128 kernels of 11x11 read it, 77,440",
            "receptive field of the stages 160, 400, 640, ... pixels with poolings of 2x2; 167, 407, ... as released",
            "LSP PCK@0.2 84.32 (90.5 with MPII); MPII PCKh@0.5 87.95 (88.52 with LSP)",
        ),
    ),
    "cpm_vgg": Paper(
        year=2016,
        title=_TITLE,
        url=_URL,
        idea="The same on one trunk for all stages, which begins as VGG-19 does.",
        num_classes=15,
        facts=("six stages at stride 8", "7x7 kernels in place of 11x11", "MPII test PCKh 90.1"),
    ),
}

STRIDE = 8
CENTRE_WINDOW = 9  # pixels of the image, squared, of which a cell of the centre map is the mean
VGG19 = ((1, 1), (2, 2), (4, 4, 4, 4), (8, 8))  # channels of conv1_1 to conv4_2, in widths; poolings in between
OWN = (4, 4, 4, 4)  # those of conv4_3 to conv4_6, which are no longer VGG's; conv4_7 has 2

StageCount = Annotated[int, Ge(1), Le(6)]
Std = Annotated[float, Gt(0)] | None


def cpm(
    num_classes: int,
    in_channels: int = 3,
    *,
    stages: StageCount = 6,
    width: Annotated[int, Ge(4)] = 128,
    pool: Literal[2, 3] = 3,
    center: bool = False,
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.5,
    std: Std = 0.01,
) -> DenseModel:
    """The pose machine of 9x9 and 11x11 kernels.

    Args:
        num_classes: maps in `out`; of landmarks one each and one of the background.
        in_channels: channels of the image, the centre map included.
        stages: how many guesses are made in a row.
        width: channels of the trunks and of the later stages; a quarter and four times as many inside of the first.
        pool: side of the pooling windows, whose stride is 2: the release has 3, the paper's figure 2.
        center: whether the last channel of the image is a centre map.
        dropout: how often a feature before the last convolutions of the first stage is left out in training.
        std: deviation of the Gaussian that kernels start from; null is He's, which narrow networks need.

    Raises:
        ModelError: if a centre map is the only channel, or there is one and no later stage to read it.
    """
    channels = _image_channels(in_channels, center, stages)
    trunks = [_trunk(channels, width, pool) for _ in range(min(stages, 2))]  # the second is that of all later stages
    first = nn.Sequential(
        *_conv_relu(width, width // 4, 5),
        *_conv_relu(width // 4, 4 * width, 9),
        nn.Dropout(dropout),
        *_conv_relu(4 * width, 4 * width, 1),
        nn.Dropout(dropout),
        nn.Conv2d(4 * width, num_classes, 1),
    )
    joined = width // 4 + num_classes + center
    later = [
        LaterStage(
            nn.Sequential(*_conv_relu(width, width // 4, 5)), _guess([joined, width, width, width], 11, num_classes)
        )
        for _ in range(stages - 1)
    ]
    return PoseMachine(trunks, first, later, num_classes, in_channels, center=center, std=std)


def cpm_vgg(
    num_classes: int,
    in_channels: int = 3,
    *,
    stages: StageCount = 6,
    width: Annotated[int, Ge(1)] = 64,
    center: bool = False,
    std: Std = 0.01,
) -> DenseModel:
    """The pose machine on the first convolutions of VGG-19.

    Args:
        num_classes: maps in `out`; of landmarks one each and one of the background.
        in_channels: channels of the image, the centre map included.
        stages: how many guesses are made in a row.
        width: channels of VGG's first convolutions; the later stages have twice as many.
        center: whether the last channel of the image is a centre map.
        std: deviation of the Gaussian that kernels start from; null is He's, which narrow networks need.

    Raises:
        ModelError: if a centre map is the only channel, or there is one and no later stage to read it.
    """
    before = _image_channels(in_channels, center, stages)
    trunk: list[nn.Module] = []
    for block in (*VGG19[:-1], (*VGG19[-1], *OWN, 2)):
        trunk += [nn.MaxPool2d(2)] if trunk else []
        for times in block:
            trunk += _conv_relu(before, times * width, 3)
            before = times * width
    first = nn.Sequential(*_conv_relu(before, 8 * width, 1), nn.Conv2d(8 * width, num_classes, 1))
    later = [
        LaterStage(nn.Identity(), _guess([before + num_classes + center, *[before] * 5], 7, num_classes))
        for _ in range(stages - 1)
    ]
    return PoseMachine([nn.Sequential(*trunk)], first, later, num_classes, in_channels, center=center, std=std)


class PoseMachine(DenseModel):
    """A first stage that reads the image, and later ones that also read the maps before them.

    Args:
        encoder: trunks from the image to stride 8: the first stage reads the first, all later ones the last.
        first: features to maps.
        later: modules of (features, maps, centre map or None) to maps.
        num_classes: maps in `out`.
        in_channels: channels of the image, the centre map included.
        center: whether the last channel of the image is a centre map.
        std: deviation of the kernels; None is He's.
    """

    def __init__(
        self,
        encoder: Iterable[nn.Module],
        first: nn.Module,
        later: Sequence[nn.Module],
        num_classes: int,
        in_channels: int,
        *,
        center: bool,
        std: float | None,
    ) -> None:
        super().__init__(num_classes, in_channels, alignment=STRIDE)
        self.encoder = nn.ModuleList(encoder)
        self.first = first
        self.later = nn.ModuleList(later)
        self.center = center
        self.grids = {f"stage{number}": CellGrid.centred(STRIDE) for number in range(1, len(later) + 1)}
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                _initialize(module, std)

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Maps of the last stage as `out`; in training those of the others at stride 8, as `stage1`, `stage2`, ..."""
        height, width = image.shape[-2:]
        fitted = fit(self.normalize(image), self.alignment)
        x, centre = (fitted[:, :-1], _pooled(fitted[:, -1:])) if self.center else (fitted, None)
        features = [trunk(x) for trunk in self.encoder]
        maps, outputs = self.first(features[0]), {}
        for (name, grid), stage in zip(self.grids.items(), self.later, strict=True):
            outputs[name] = unfit_grid(maps, height, width, grid)
            maps = stage(features[-1], maps, centre)
        out = {"out": unfit(resize(maps, (fitted.shape[-2], fitted.shape[-1])), height, width)}
        return out | outputs if self.training else out


class LaterStage(nn.Module):
    """The shared features in fewer channels, the maps of the stage before and the centre map, joined in this order."""

    def __init__(self, features: nn.Module, guess: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.guess = guess

    def forward(
        self, shared: Float[Tensor, "B C h w"], maps: Float[Tensor, "B K h w"], centre: Float[Tensor, "B 1 h w"] | None
    ) -> Float[Tensor, "B K h w"]:
        """The maps of this stage."""
        parts = [self.features(shared), maps]
        return self.guess(torch.cat(parts if centre is None else [*parts, centre], dim=1))


def _image_channels(in_channels: int, center: bool, stages: int) -> int:
    """Channels that the trunks read."""
    if center and stages == 1:
        raise ModelError("with 1 stage nothing reads the centre map: give stages of 2 or more, or center: false")
    if center and in_channels < 2:
        raise ModelError(
            f"in_channels is {in_channels}, and the centre map takes one: give the channels of the image and one more"
        )
    return in_channels - center


def _trunk(in_channels: int, width: int, pool: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (in_channels, width, width):
        layers += [*_conv_relu(before, width, 9), nn.MaxPool2d(pool, 2, ceil_mode=True)]
    return nn.Sequential(*layers)


def _guess(channels: Sequence[int], kernel_size: int, num_classes: int) -> nn.Sequential:
    """Convolutions between these channels, a 1x1 that keeps the last, and the maps."""
    layers = [layer for before, after in pairwise(channels) for layer in _conv_relu(before, after, kernel_size)]
    return nn.Sequential(*layers, *_conv_relu(channels[-1], channels[-1], 1), nn.Conv2d(channels[-1], num_classes, 1))


def _conv_relu(in_channels: int, out_channels: int, kernel_size: int) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2), nn.ReLU()]


def _pooled(centre: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 h w"]:
    """The centre map at stride 8: windows that reach beyond the image are of the pixels that there are."""
    return F.avg_pool2d(centre, CENTRE_WINDOW, STRIDE, ceil_mode=True)


def _initialize(conv: nn.Conv2d, std: float | None) -> None:
    if std is None:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    else:
        nn.init.normal_(conv.weight, std=std)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
