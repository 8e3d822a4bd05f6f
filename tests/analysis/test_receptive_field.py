"""Receptive fields against published figures and against the support of gradients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from atrous.analysis import Reach, alignment, receptive_field
from atrous.analysis.receptive_field import propagate
from atrous.errors import ModelError
from atrous.models import create_model


def same(size: int, left: int) -> Reach:
    return Reach(left, size - 1 - left, size)


class Select(nn.Module):
    """A network whose output is made by a function of its parts."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.run = forward

    def forward(self, image):
        return self.run(self.parts, image)


# ---------- facts


def test_vgg16_sees_212_pixels_with_90_before():
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        features = torchvision.models.vgg16().features
    field = receptive_field(features)
    assert field.vertical == field.horizontal == Reach(90, 121, 212)
    assert alignment(features) == 32


# 427 is the known figure of ResNet-50 with the stride on the 3x3 convolution. In ResNet-101 the 17 further blocks of
# the third stage add two pixels of stride 16 each.
@pytest.mark.parametrize(("name", "size"), [("resnet50", 427), ("resnet101", 427 + 17 * 32)])
def test_resnets(name, size):
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        body = nn.Sequential(*list(getattr(torchvision.models, name)().children())[:-2])
    assert receptive_field(body).vertical == same(size, size // 2)
    assert alignment(body) == 32


def test_context_module_grows_from_3_to_67():
    layers, seen = [], []
    for dilation in (1, 1, 2, 4, 8, 16, 1):
        layers.append(nn.Conv2d(1, 1, 3, padding=dilation, dilation=dilation))
        seen.append(receptive_field(nn.Sequential(*layers)).vertical.size)
    assert seen == [3, 5, 9, 17, 33, 65, 67]


def _u_net(depth: int) -> nn.Module:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.ModuleList(_two() for _ in range(depth + 1))
            self.up = nn.ModuleList(nn.ConvTranspose2d(1, 1, 2, stride=2) for _ in range(depth))
            self.join = nn.ModuleList(_two(2) for _ in range(depth))

        def forward(self, x):
            skips = []
            for level, convs in enumerate(self.down):
                x = convs(F.max_pool2d(x, 2) if level else x)
                skips.append(x)
            for up, join, skip in zip(self.up, self.join, reversed(skips[:-1]), strict=True):
                x = join(torch.cat([up(x), skip], 1))
            return x

    def _two(channels=1):
        return nn.Sequential(nn.Conv2d(channels, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1))

    return Net()


@pytest.mark.parametrize(("depth", "size"), [(1, 18), (2, 44), (3, 100), (4, 204), (5, 412)])
def test_u_net_by_depth(depth, size):
    model = _u_net(depth)
    assert receptive_field(model, in_channels=1).vertical.size == size
    assert alignment(model, in_channels=1) == 2**depth


@pytest.mark.parametrize(("depth", "sizes"), [(3, {92, 100}), (4, {188, 204}), (5, {380, 412})])
def test_u_net_size_depends_on_the_phase(depth, sizes):
    footprint = propagate(_u_net(depth), 1, (512, 512)).dims[2][0].footprint
    assert set((footprint.hi - footprint.lo + 1).tolist()) == sizes


def test_bottlenecks_of_the_u_net():
    layers, seen = [], []
    for level in range(5):
        layers += [nn.MaxPool2d(2)] * bool(level) + [nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)]
        seen.append(receptive_field(nn.Sequential(*layers), in_channels=1).vertical.size)
    assert seen == [5, 14, 32, 68, 140]


MODELS = [
    ("unet2015", {"width": 2}, Reach(107, 107, 204)),
    ("unet", {"encoder": "resnet18", "decoder_channels": (8, 8, 8, 8, 8)}, Reach(311, 280, 563)),
    ("fcn", {"encoder": "resnet18"}, Reach(236, 229, 459)),
]


@pytest.mark.parametrize(("name", "arguments", "reach"), MODELS)
@pytest.mark.parametrize("size", [(512, 640), (517, 650)])
def test_our_models(name, arguments, reach, size):
    model = create_model(name, num_classes=2, in_channels=1, **arguments)
    field = receptive_field(model, size=size)
    assert (field.vertical, field.horizontal, field.unbounded_by) == (reach, reach, None)
    assert alignment(model, size=size) == model.alignment


# ---------- gradient support


def linearised(model: nn.Module) -> nn.Module:
    """Equal positive weights and no maximum, so that no dependence can cancel or hide."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    for parameter in model.parameters():
        nn.init.constant_(parameter, 1 / max(parameter[0].numel(), 1) if parameter.ndim > 1 else 0.0)
    return model.double().eval()


def support(model: nn.Module, shape: tuple[int, int, int], axis: int, positions: range) -> list[tuple[int, int]]:
    """First and last pixel along an axis whose gradient is not zero, of whole rows (or columns) of the output."""
    image = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    output = model(image)
    output = (output["out"] if isinstance(output, dict) else output)[0].sum(0)
    output = output if axis == 0 else output.T
    found = []
    for position in positions:
        (gradient,) = torch.autograd.grad(output[position].sum(), image, retain_graph=True)
        seen = gradient[0].abs().sum((0, 2 - axis)).nonzero().flatten()
        found.append((int(seen[0]), int(seen[-1])) if len(seen) else (1, 0))
    return found


@pytest.mark.parametrize(("name", "arguments", "reach"), MODELS)
def test_our_models_against_gradients(name, arguments, reach, monkeypatch):
    model = linearised(create_model(name, num_classes=1, in_channels=1, **arguments))
    monkeypatch.setattr(F, "max_pool2d", lambda x, size: F.avg_pool2d(x, size))
    middle = 352  # a multiple of the alignment with more than the reach on both sides
    positions = range(middle, middle + model.alignment)
    found = support(model, (1, 704, 32), 0, positions)
    left = max(position - lo for position, (lo, _) in zip(positions, found, strict=True))
    right = max(hi - position for position, (_, hi) in zip(positions, found, strict=True))
    assert Reach(left, right, max(hi - lo + 1 for lo, hi in found)) == reach


@st.composite
def small_networks(draw):
    """A few layers of every sort, their strides balanced so that something is left of 192 pixels."""
    layers, grid = [], 1.0
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["conv", "pool", "transposed", "nearest", "bilinear", "bicubic", "pad", "skip"]))
        stride = draw(st.integers(1, 3)) if grid < 3 else 1
        if kind == "conv":
            kernel, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3))
            layers.append(nn.Conv2d(1, 1, kernel, stride, draw(st.integers(0, 2)), dilation))
        elif kind == "pool":
            layers.append(nn.AvgPool2d(3, stride, 1, ceil_mode=draw(st.booleans())))
        elif kind == "transposed":
            stride = draw(st.integers(1, 3)) if grid > 0.4 else 1
            output_padding = draw(st.integers(0, stride - 1))
            layers.append(
                nn.ConvTranspose2d(1, 1, draw(st.integers(1, 4)), stride, draw(st.integers(0, 1)), output_padding)
            )
            stride = 1 / stride
        elif kind in ("nearest", "bilinear", "bicubic"):
            stride = draw(st.sampled_from([2, 3])) if grid > 0.4 else 1
            layers.append(nn.Upsample(scale_factor=stride, mode=kind))
            stride = 1 / stride
        elif kind == "pad":
            amounts = draw(st.tuples(*[st.integers(-3, 3)] * 4))
            layers.append(nn.ZeroPad2d(amounts))
            stride = 1
        else:
            layers.append(Skip(nn.Conv2d(1, 1, 5, padding=2)))
            stride = 1
        grid *= stride
    return nn.Sequential(*layers)


class Skip(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(small_networks())
def test_random_networks_against_gradients(model):
    layout = propagate(model, 1, (192, 208))
    linear = linearised(model)
    for axis, length in enumerate((192, 208)):
        factor = layout.dims[2 + axis][0]
        middle = factor.size // 2
        positions = range(middle, middle + min(factor.footprint.period, 8))
        lo, hi = factor.footprint.at(np.array(positions))
        for found, first, last in zip(support(linear, (1, 192, 208), axis, positions), lo, hi, strict=True):
            if first > last:
                assert found == (1, 0)
            elif first >= 0 and last < length:
                assert found == (first, last)


# ---------- single layers


def reach_of(*layers, **keywords):
    return receptive_field(nn.Sequential(*layers), in_channels=4, **keywords)


def test_axes_are_told_apart():
    field = reach_of(nn.Conv2d(4, 4, (3, 5), padding=(1, 2), dilation=(2, 1)))
    assert (field.vertical, field.horizontal) == (Reach(1, 3, 5), Reach(2, 2, 5))


@pytest.mark.parametrize(
    "layer",
    [nn.GELU(), nn.Hardswish(inplace=True), nn.PReLU(), nn.Softmax(1), nn.BatchNorm2d(4), nn.Dropout(), nn.GLU(1)],
)
def test_elementwise_layers_see_one_pixel(layer):
    assert reach_of(layer).vertical == Reach(0, 0, 1)


@pytest.mark.parametrize(
    ("layer", "culprit"),
    [
        (nn.AdaptiveAvgPool2d(1), "mean"),
        (nn.AdaptiveAvgPool2d(7), "_adaptive_avg_pool2d"),
        (nn.InstanceNorm2d(4), "batch_norm"),
        (nn.GroupNorm(2, 4), "native_group_norm"),
        (nn.LayerNorm([4, 512, 640]), "native_layer_norm"),
        (nn.Softmax(2), "_softmax"),
        (nn.UpsamplingBilinear2d(scale_factor=2), "align_corners=True"),
    ],
)
def test_layers_that_see_everything_are_named(layer, culprit):
    field = reach_of(nn.Conv2d(4, 4, 1), layer)
    assert field.vertical is None
    assert field.unbounded_by.startswith("1 (")
    assert culprit in field.unbounded_by


def test_only_the_axis_that_is_pooled_is_unbounded():
    field = receptive_field(Select(lambda _, x: x.mean(3, keepdim=True) + F.avg_pool2d(x, 3, 1, 1)), in_channels=1)
    assert (field.vertical, field.horizontal) == (Reach(1, 1, 3), None)
    assert "mean" in field.unbounded_by


def test_attention_sees_everything():
    def attend(_, x):
        tokens = x.flatten(2).transpose(1, 2)
        return F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).reshape(x.shape)

    assert receptive_field(Select(attend), in_channels=4).unbounded_by is not None


def test_channels_last_layers_keep_the_axes():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.mix = nn.LayerNorm(4), nn.Linear(4, 4)

        def forward(self, x):
            return x + self.mix(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)

    assert reach_of(Block(), nn.Conv2d(4, 4, 3)).vertical == Reach(0, 2, 3)


def test_pixel_shuffle_there_and_back():
    field = reach_of(nn.PixelUnshuffle(4), nn.PixelShuffle(4))
    assert field.vertical == Reach(3, 3, 4)


def test_windows_that_cut_the_axes_see_everything():
    def windows(_, x):
        return (
            x.reshape(1, 4, 64, 8, 80, 8).permute(0, 1, 2, 4, 3, 5).flatten(4).softmax(-1).sum(-1).sum(1, keepdim=True)
        )

    assert receptive_field(Select(windows), in_channels=4).unbounded_by is not None


def test_a_constant_that_varies_along_the_image_breaks_the_shift():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Parameter(torch.zeros(1, 4, 512, 1))

        def forward(self, x):
            return x + self.embedding

    field = reach_of(Positions())
    assert (field.vertical, field.horizontal) == (None, Reach(0, 0, 1))
    assert "constant that varies" in field.unbounded_by


def test_crops_pads_splits_and_stacks():
    def forward(_, x):
        a, b = x[..., 3:, :].chunk(2, 1)
        return torch.stack([a, b], 1).flatten(1, 2)[:, [0, 2]]

    assert receptive_field(Select(forward), in_channels=4).vertical == Reach(0, 3, 1)
    assert reach_of(nn.ReflectionPad2d(2), nn.ReplicationPad2d(1), nn.Conv2d(4, 4, 7)).vertical == Reach(3, 3, 7)


def test_reversed_gather_is_not_taken_for_a_shift():
    def backwards(_, x):
        return x.index_select(2, torch.arange(x.shape[2] - 1, -1, -1, device=x.device))

    assert "regular order" in receptive_field(Select(backwards), in_channels=1).unbounded_by


def test_resizing_that_drifts_is_unbounded_at_sizes_that_strides_do_not_divide():
    def forward(parts, x):
        return F.interpolate(parts["conv"](x), size=x.shape[-2:], mode="bilinear")

    model = Select(forward, conv=nn.Conv2d(1, 1, 3, stride=2, padding=1))
    assert receptive_field(model).vertical.size == 5
    field = receptive_field(model, size=(511, 640))
    assert field.vertical is None
    assert field.horizontal.size == 5
    assert "511" in field.unbounded_by


# ---------- errors


def test_an_unknown_operation_names_layer_and_operation():
    class Spectrum(nn.Module):
        def forward(self, x):
            return torch.fft.fft2(x).abs()

    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Sequential(Spectrum()))
    with pytest.raises(ModelError, match=r"layer '1\.0' uses aten\._fft.*reach is not known"):
        receptive_field(model)


def test_a_model_that_fails_names_the_layer():
    with pytest.raises(ModelError, match="layer '1' failed on a blank image"):
        receptive_field(nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(3, 1, 1)))


def test_a_decision_on_values_is_refused():
    with pytest.raises(ModelError):
        receptive_field(Select(lambda _, x: x if x.max() > 0 else -x), in_channels=1)


def test_writing_into_part_of_a_map_is_refused():
    def forward(_, x):
        x = x + 0
        x[:, :1].add_(F.avg_pool2d(x[:, 1:], 3, 1, 1))
        return x

    with pytest.raises(ModelError, match="writes into part of a map"):
        receptive_field(Select(forward), in_channels=2)


def test_outputs_without_out_are_refused():
    with pytest.raises(ModelError, match="a dict with a tensor 'out'"):
        receptive_field(Select(lambda _, x: {"logits": x}), in_channels=1)


def test_the_model_is_left_as_it_was():
    model = create_model("fcn", num_classes=2, encoder="resnet18").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    receptive_field(model)
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
