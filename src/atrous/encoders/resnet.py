"""ResNet as the papers of dense prediction dilated it: rates in every block of a stage, multi-grid, deep or plain stem.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, https://arxiv.org/abs/1512.03385.

As in the paper
    7x7 stem and max pooling, four stages of residual blocks, projection shortcuts where the size or width changes; 18,
    34, 50, 101 and 152 layers.

Different from the paper
    - The stride of a bottleneck stands on its 3x3 convolution, as in torchvision, whose weights fit; `stride_in: 1x1`
      is the paper's own (and Caffe's) form.
    - `output_stride` 8 or 16: a stage that would be coarser is dilated by what it is not strided, in all its blocks, as
      in DeepLab and PSPNet (timm and torchvision leave the former rate to the first block); `multi_grid` multiplies the
      rates of the last stage's blocks (DeepLab v3).
    - `resnet50s` and its like have three 3x3 convolutions of 64, 64 and 128 channels as the stem, as PSPNet's.
    - Kernels start Gaussian after He over the outgoing connections, the scale of each block's last norm at one.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple

import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders.base import AUTO, Encoder, Pretrained, check_stride, measure_levels
from atrous.encoders.fetching import timm_weights, tolerate
from atrous.layers import BatchNorm, unfit

__all__ = ["RESNETS", "BasicBlock", "Bottleneck", "ResNet"]

Depths = tuple[int, int, int, int]
StrideIn = Literal["3x3", "1x1"]


class _Variant(NamedTuple):
    """What distinguishes one ResNet from another."""

    name: str
    depths: Depths
    block: "type[BasicBlock | Bottleneck]"
    deep_stem: bool = False


class ResNet(Encoder):
    """Stem and four stages of residual blocks; a map after each, the stem's first.

    Args:
        depths: blocks of each stage.
        block: `BasicBlock` or `Bottleneck`.
        in_channels: channels of the image.
        output_stride: the coarsest stride: 8, 16 or 32.
        multi_grid: factors on the rates of the last stage's blocks, repeated in turn over more blocks.
        width: channels of the first stage's inner convolutions.
        deep_stem: three 3x3 convolutions instead of one of 7x7.
        stride_in: the convolution of a bottleneck that has the stride.
        ceil_pool: round the size after the stem's pooling up, as Caffe.

    Raises:
        ModelError: if the stride is another.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(
        self,
        depths: Depths,
        block: "type[BasicBlock | Bottleneck]",
        in_channels: int = 3,
        *,
        output_stride: int = 32,
        multi_grid: Sequence[int] = (1, 1, 1),
        width: int = 64,
        deep_stem: bool = False,
        stride_in: StrideIn = "3x3",
        ceil_pool: bool = False,
    ) -> None:
        super().__init__()
        check_stride("resnet", output_stride)
        self.in_channels = in_channels
        stem = 2 * width if deep_stem else width
        self.conv1 = _deep_stem(in_channels, width) if deep_stem else _conv(in_channels, width, 7, stride=2)
        self.bn1 = BatchNorm(stem)
        self.ceil_pool = ceil_pool
        before, stride = stem, 4
        for index, depth in enumerate(depths):
            # What a stage may not stride it spreads, and so does every stage after it.
            step = 2 if index and stride < output_stride else 1
            stride *= step
            rate = 2 ** (index + 2) // stride
            rates = [rate * (multi_grid[i % len(multi_grid)] if index == 3 else 1) for i in range(depth)]
            channels = width * 2**index
            blocks: list[nn.Module] = []
            for i, dilation in enumerate(rates):
                blocks.append(block(before, channels, step if i == 0 else 1, dilation, stride_in))
                before = channels * block.expansion
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.levels = measure_levels(self, in_channels)

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Maps at stride 2 (before the pooling), 4, 8, 16 and 32, or as fine as the output stride asks."""
        x = F.relu(self.bn1(self.conv1(image)))
        features = [x]
        x = F.max_pool2d(x, 3, 2, 1, ceil_mode=self.ceil_pool)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            features.append(x)
        return features

    def fitted(self, image: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Maps of size / stride cells; a pooling that rounds up has added one at the right and at the bottom."""
        features = self(image)
        if not self.ceil_pool:
            return features
        height, width = image.shape[-2:]
        return [
            unfit(feature, height // level.stride, width // level.stride)
            for feature, level in zip(features, self.levels, strict=True)
        ]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, added to their input: relu(x + f(x))."""

    expansion = 1

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, dilation: int = 1, stride_in: StrideIn = "3x3"
    ) -> None:
        super().__init__()
        # The stride stands on the first convolution in either form.
        self.conv1 = _conv(in_channels, channels, 3, stride=stride, dilation=dilation)
        self.bn1 = BatchNorm(channels)
        self.conv2 = _conv(channels, channels, 3, dilation=dilation)
        self.bn2 = BatchNorm(channels)
        self.downsample = _projection(in_channels, channels, stride)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        """The block's map."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + shortcut)


class Bottleneck(nn.Module):
    """1x1 to the inner width, 3x3, 1x1 to four times the inner width, added to the input: relu(x + f(x))."""

    expansion = 4

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, dilation: int = 1, stride_in: StrideIn = "3x3"
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        self.conv1 = _conv(in_channels, channels, 1, stride=first)
        self.bn1 = BatchNorm(channels)
        self.conv2 = _conv(channels, channels, 3, stride=second, dilation=dilation)
        self.bn2 = BatchNorm(channels)
        self.conv3 = _conv(channels, channels * self.expansion, 1)
        self.bn3 = BatchNorm(channels * self.expansion)
        self.downsample = _projection(in_channels, channels * self.expansion, stride)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        """The block's map."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + shortcut)


def _conv(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False)


def _deep_stem(in_channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        _conv(in_channels, width, 3, stride=2),
        BatchNorm(width),
        nn.ReLU(),
        _conv(width, width, 3),
        BatchNorm(width),
        nn.ReLU(),
        _conv(width, 2 * width, 3),
    )


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """A 1x1 shortcut where the input cannot be added as it is."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(_conv(in_channels, out_channels, 1, stride=stride), BatchNorm(out_channels))


def _builder(form: _Variant) -> Callable[..., Encoder]:
    """The function that builds a ResNet of the form."""

    def build(
        *,
        in_channels: int = 3,
        pretrained: Pretrained = False,
        output_stride: int = 32,
        multi_grid: tuple[int, ...] = (1, 1, 1),
        width: Annotated[int, Ge(1)] = 64,
        depths: Depths = form.depths,
        stride_in: StrideIn = "3x3",
        ceil_pool: bool = False,
    ) -> Encoder:
        trunk = ResNet(
            depths,
            form.block,
            in_channels,
            output_stride=output_stride,
            multi_grid=multi_grid,
            width=width,
            deep_stem=form.deep_stem,
            stride_in=stride_in,
            ceil_pool=ceil_pool,
        )
        if pretrained:
            _load(trunk, form, pretrained, in_channels)
        return trunk

    build.__name__ = build.__qualname__ = form.name
    build.__doc__ = f"{form.name}: arguments as `ResNet`; `pretrained: true` starts from timm's weights of that name."
    return build


def _load(trunk: ResNet, form: _Variant, pretrained: Pretrained, in_channels: int) -> None:
    """Weights of timm's network of the same name, whose names are ours."""
    text = f"the pretrained weights of {form.name} need its own width and depths: set pretrained: false"
    own = trunk.state_dict()
    if pretrained == AUTO and not _is_whole(trunk, form):
        tolerate(pretrained, text)
        return
    weights = timm_weights(form.name, in_channels=in_channels, pretrained=pretrained, part=_is_of_trunk)
    if weights is None:
        return
    state = {key: value for key, value in weights.state.items() if _is_of_trunk(key)}
    counters = {key: value for key, value in own.items() if key not in state and key.endswith("num_batches_tracked")}
    state = {**counters, **state}  # old files have none
    unfit = [key for key, value in own.items() if key not in state or state[key].shape != value.shape]
    if unfit or len(own) != len(state):
        tolerate(pretrained, text)
        return
    trunk.load_state_dict(state)
    trunk.started_from(weights)


def _is_of_trunk(key: str) -> bool:
    return not key.startswith("fc.")


def _is_whole(trunk: ResNet, form: _Variant) -> bool:
    """Whether the network is the one of that name."""
    stages = [trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4]
    return trunk.bn1.num_features == (128 if form.deep_stem else 64) and tuple(map(len, stages)) == tuple(form.depths)


RESNETS: dict[str, Callable[..., Encoder]] = {
    form.name: _builder(form)
    for form in (
        _Variant("resnet18", (2, 2, 2, 2), BasicBlock),
        _Variant("resnet34", (3, 4, 6, 3), BasicBlock),
        _Variant("resnet50", (3, 4, 6, 3), Bottleneck),
        _Variant("resnet101", (3, 4, 23, 3), Bottleneck),
        _Variant("resnet152", (3, 8, 36, 3), Bottleneck),
        _Variant("resnet50s", (3, 4, 6, 3), Bottleneck, True),
        _Variant("resnet101s", (3, 4, 23, 3), Bottleneck, True),
        _Variant("resnet152s", (3, 8, 36, 3), Bottleneck, True),
    )
}
"""Each ResNet by its name; those with an `s` have the deep stem."""
