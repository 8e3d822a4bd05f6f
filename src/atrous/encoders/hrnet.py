"""HRNet: a fine map is kept through the whole network, coarser ones run beside it, and all exchange what they know.

Wang, Sun, Cheng, Jiang, Deng, Zhao, Liu, Mu, Tan, Wang, Liu, Xiao, "Deep High-Resolution Representation Learning for
Visual Recognition", TPAMI 2020, https://arxiv.org/abs/1908.07919.

As in the paper
    Stem of two 3x3 convolutions of stride 2; a stage of bottlenecks; three stages that each add a branch of half the
    size and twice the channels. A stage is some modules; a module is basic blocks on every branch, then the exchange:
    each branch becomes the ReLU of the sum of all, brought to its grid by strided 3x3 convolutions or by a 1x1
    convolution and bilinear interpolation. All four branches are returned. Names and shapes are those of the authors'
    trunk, so that their weights and timm's fit.

Different from the paper
    - Kernels start Gaussian after He over the outgoing connections, as the authors' classifiers do; their segmentation
      code starts all at N(0, 0.001), which an untrained network in evaluation cannot tell from zero.
    - Interpolation keeps pixel centres (`align_corners=False`), as in the authors' Cityscapes setting; they aligned
      corners elsewhere. The weights that timm has were trained with nearest-neighbour interpolation, as classifiers.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders.base import Encoder, Pretrained, measure_levels
from atrous.encoders.fetching import timm_weights, tolerate
from atrous.encoders.resnet import BasicBlock, Bottleneck
from atrous.errors import ModelError
from atrous.layers import BatchNorm, resize

__all__ = ["HRNet", "HRNetForm", "hrnet_w18", "hrnet_w32", "hrnet_w48"]

STEM = 64  # channels of both convolutions of the stem
STRIDE = 32
PositiveInt = Annotated[int, Ge(1)]


class HRNetForm(NamedTuple):
    """What distinguishes one HRNet from another.

    Attributes:
        width: channels of the finest branch; the others have 2, 4 and 8 times as many.
        modules: exchanges of stages 2, 3 and 4.
        blocks: basic blocks of each branch between two exchanges.
        bottlenecks: blocks of stage 1.
        bottleneck_width: their inner channels.
    """

    width: int
    modules: tuple[int, int, int] = (1, 4, 3)
    blocks: int = 4
    bottlenecks: int = 4
    bottleneck_width: int = 64


# The forms that have been trained on ImageNet, by timm's names.
PRETRAINED = {
    **{HRNetForm(width): f"hrnet_w{width}" for width in (18, 30, 32, 40, 44, 48, 64)},
    HRNetForm(16, (1, 1, 1), 2, 1, 32): "hrnet_w18_small",
    HRNetForm(18, (1, 3, 2), 2, 2, 64): "hrnet_w18_small_v2",
}


class HRNet(Encoder):
    """The four branches of the last stage, at strides 4, 8, 16 and 32.

    Args:
        form: widths and depths.
        in_channels: channels of the image.
    """

    def __init__(self, form: HRNetForm, in_channels: int = 3) -> None:
        super().__init__()
        self.in_channels = in_channels
        widths = [form.width * 2**branch for branch in range(4)]
        outer = Bottleneck.expansion * form.bottleneck_width
        self.conv1 = nn.Conv2d(in_channels, STEM, 3, stride=2, padding=1, bias=False)
        self.bn1 = BatchNorm(STEM)
        self.conv2 = nn.Conv2d(STEM, STEM, 3, stride=2, padding=1, bias=False)
        self.bn2 = BatchNorm(STEM)
        self.layer1 = nn.Sequential(
            *(Bottleneck(outer if index else STEM, form.bottleneck_width) for index in range(form.bottlenecks))
        )
        self.transition1 = _Transition([outer], widths[:2])
        self.stage2 = nn.Sequential(*(_Module(widths[:2], form.blocks) for _ in range(form.modules[0])))
        self.transition2 = _Transition(widths[:2], widths[:3])
        self.stage3 = nn.Sequential(*(_Module(widths[:3], form.blocks) for _ in range(form.modules[1])))
        self.transition3 = _Transition(widths[:3], widths)
        self.stage4 = nn.Sequential(*(_Module(widths, form.blocks) for _ in range(form.modules[2])))
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        self.levels = measure_levels(self, in_channels)

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Maps of `width` times 1, 2, 4 and 8 channels."""
        x = F.relu(self.bn1(self.conv1(image)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        maps = self.stage2(self.transition1([self.layer1(x)]))
        maps = self.stage3(self.transition2(maps))
        features: list[Tensor] = self.stage4(self.transition3(maps))
        return features


class _Transition(nn.ModuleList):
    """Every branch to its new width where that changes, and one branch more, of half the size, from the coarsest."""

    def __init__(self, before: Sequence[int], after: Sequence[int]) -> None:
        kept = [
            nn.Identity() if old == new else _conv_bn_relu(old, new) for old, new in zip(before, after, strict=False)
        ]
        added = nn.Sequential(_conv_bn_relu(before[-1], after[-1], stride=2))
        super().__init__([*kept, added])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [step(x) for step, x in zip(self, [*maps, maps[-1]], strict=True)]


class _Module(nn.Module):
    """Basic blocks on every branch, then the exchange between all of them."""

    def __init__(self, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width) for _ in range(blocks))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_exchange(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [self._fused(maps, target) for target in range(len(maps))]

    def _fused(self, maps: list[Tensor], target: int) -> Tensor:
        size = (maps[target].shape[-2], maps[target].shape[-1])
        steps = self.fuse_layers[target]
        parts = [step(x) for step, x in zip(steps, maps, strict=True)]  # type: ignore[call-overload]
        # Finer maps come strided, their own grid's size exactly; coarser ones are interpolated to it.
        total = sum(parts[1 : target + 1], start=parts[0])
        for coarser in parts[target + 1 :]:
            total = total + resize(coarser, size)
        return F.relu(total, inplace=True)


def _exchange(widths: Sequence[int], source: int, target: int) -> nn.Module:
    """From one branch's channels to another's: strided for a coarser grid, 1x1 for a finer one."""
    if source == target:
        return nn.Identity()
    if source > target:
        return _conv_bn(widths[source], widths[target], 1)
    between = [_conv_bn_relu(widths[source], widths[source], stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*between, _conv_bn(widths[source], widths[target], stride=2))


def _conv_bn(in_channels: int, out_channels: int, kernel_size: int = 3, *, stride: int = 1) -> nn.Sequential:
    padding = kernel_size // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False), BatchNorm(out_channels)
    )


def _conv_bn_relu(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(*_conv_bn(in_channels, out_channels, stride=stride), nn.ReLU(inplace=True))


def _builder(name: str, base: HRNetForm) -> Callable[..., Encoder]:
    """The function that builds an HRNet whose defaults are the form's."""

    def build(
        *,
        in_channels: int = 3,
        pretrained: Pretrained = False,
        output_stride: int = STRIDE,
        width: PositiveInt = base.width,
        modules: tuple[PositiveInt, PositiveInt, PositiveInt] = base.modules,
        blocks: PositiveInt = base.blocks,
        bottlenecks: PositiveInt = base.bottlenecks,
        bottleneck_width: PositiveInt = base.bottleneck_width,
    ) -> Encoder:
        form = HRNetForm(width, modules, blocks, bottlenecks, bottleneck_width)
        _check(name, output_stride)
        known = _known(name, form, pretrained) if pretrained else ""
        trunk = HRNet(form, in_channels)
        if known:
            own = trunk.state_dict()
            weights = timm_weights(known, in_channels=in_channels, pretrained=pretrained, part=own.__contains__)
            if weights is not None:
                trunk.load_state_dict({key: weights.state.get(key, value) for key, value in own.items()})
                trunk.started_from(weights)
        return trunk

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"""HRNet with {base.width} channels on its finest branch; options as the fields of `HRNetForm`.

    The authors' smaller networks are options of it: small-v1 has width 16, modules (1, 1, 1), blocks 2, bottlenecks 1
    and bottleneck_width 32; small-v2 has width 18, modules (1, 3, 2), blocks 2 and bottlenecks 2.

    Args:
        in_channels: channels of the image.
        pretrained: start from ImageNet weights, through timm, which has them for the authors' forms.
        output_stride: 32 and no other: the network is never dilated.
        width: channels of the finest branch.
        modules: exchanges of stages 2, 3 and 4.
        blocks: basic blocks of each branch before an exchange.
        bottlenecks: blocks of stage 1.
        bottleneck_width: their inner channels.

    Raises:
        ModelError: on another stride, or weights that cannot be fetched or do not exist for the form.
    """
    return build


def _check(name: str, output_stride: int) -> None:
    if output_stride != STRIDE:
        raise ModelError(
            f"encoder {name!r} cannot run at output stride {output_stride}: it is never dilated, its finest map has "
            f"stride 4 already; set output_stride to {STRIDE}, or choose an encoder that dilates, for example resnet50"
        )


def _known(name: str, form: HRNetForm, pretrained: Pretrained) -> str:
    """The form's name in timm, "" where it has none and random numbers do."""
    if form not in PRETRAINED:
        tolerate(
            pretrained,
            f"encoder {name!r}: no pretrained weights fit {form._asdict()}; set pretrained: false, or take the options "
            f"of one of {', '.join(PRETRAINED.values())}",
        )
    return PRETRAINED.get(form, "")


hrnet_w18 = _builder("hrnet_w18", HRNetForm(18))
hrnet_w32 = _builder("hrnet_w32", HRNetForm(32))
hrnet_w48 = _builder("hrnet_w48", HRNetForm(48))
