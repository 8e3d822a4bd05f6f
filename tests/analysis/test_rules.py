"""Rules of single operations against what changes: one row of the image is exchanged, and the output is compared.

Gradients do not see that a maximum's place depends on the map; an exchanged row does.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from atrous.analysis import Reach, alignment, receptive_field
from atrous.analysis.receptive_field import propagate
from atrous.layers.upsample import zeros_then_filter


class Net(nn.Module):
    """A network whose forward is a function of its parts."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.run = forward

    def forward(self, image):
        return self.run(self.parts, image)


class Unpool(nn.Module):
    """Max pooling, something on the coarse map, and unpooling to the size before."""

    def __init__(self, inner, kernel=2, stride=2, padding=0, ceil_mode=False):
        super().__init__()
        self.inner, self.window, self.ceil_mode = inner, (kernel, stride, padding), ceil_mode

    def forward(self, x):
        y, positions = F.max_pool2d(x, *self.window, ceil_mode=self.ceil_mode, return_indices=True)
        return F.max_unpool2d(self.inner(y), positions, *self.window, output_size=x.shape[-2:])


def changes(model, shape, axis, trials=16):
    """(output, input) table along an axis: which rows of the output change when a row of the image is exchanged."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(trials, *shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        before = model(image)
        table = np.zeros((before.shape[2 + axis], shape[1 + axis]), dtype=bool)
        for row in range(shape[1 + axis]):
            other = image.clone()
            part = other.narrow(2 + axis, row, 1)
            part.copy_(3 * torch.rand(part.shape, generator=generator, dtype=torch.float64) - 1)
            table[:, row] = (model(other) != before).transpose(2, 2 + axis).any(-1).any(1).any(0).numpy()
    return table


def compare(model, shape, *, exact, trials=16):
    """The analysed intervals hold every change, and are no longer than what was seen to change."""
    torch.manual_seed(1)
    for parameter in model.eval().parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    layout = propagate(model, shape[0], shape[1:])
    model.double()
    compared = 0
    for axis in (0, 1):
        (factor,) = layout.dims[2 + axis]
        assert layout.everywhere[axis] is None
        table = changes(model, shape, axis, trials)
        for position, (lo, hi) in enumerate(zip(*factor.footprint.at(np.arange(len(table))), strict=True)):
            seen = np.flatnonzero(table[position])
            # A border is continued from inside: what lies k pixels outside may be a copy of what lies k pixels inside.
            first, last = min(lo, 2 * (table.shape[1] - 1) - hi), max(hi, -lo)
            assert len(seen) == 0 or (first <= seen[0] and seen[-1] <= last)
            if exact and lo >= 4 and hi < shape[1 + axis] - 4:
                assert (seen[0], seen[-1]) == (lo, hi) if lo <= hi else len(seen) == 0
                compared += 1
    assert compared or not exact


def conv(kernel=3, stride=1, **keywords):
    return nn.Conv2d(2, 2, kernel, stride, **{"padding": kernel // 2 if isinstance(kernel, int) else 0, **keywords})


def corners(height, width):
    return nn.Upsample((height, width), mode="bilinear", align_corners=True)


def tokens(_, x):  # a 1x1 convolution, written as a matrix product of (B, H W, C) and (C, C)
    return torch.einsum("bchw,kc->bkhw", x, torch.full((2, 2), 0.5, dtype=x.dtype, device=x.device))


def neighbours(_, x):  # 3x3 windows, each multiplied by its middle
    batch, channels, height, width = x.shape
    windows = F.unfold(x, 3, padding=1).view(batch, channels, 9, height, width)
    return (windows * x.unsqueeze(2)).sum(2)


def there_and_back(_, x):
    windows = F.unfold(x, 4, stride=2, padding=1)
    mixed = windows.sum(1, keepdim=True).expand_as(windows)
    return F.fold(mixed, x.shape[-2:], 4, stride=2, padding=1)


def nails(_, x):  # nearest neighbour by repeating, one direction by copies and the other by a product
    rows = x.repeat_interleave(2, 2)
    batch, channels, height, width = rows.shape
    return (rows.unsqueeze(-1) * torch.ones(3, device=x.device)).reshape(batch, channels, height, 3 * width)


def narrow(_, x):
    return x.unfold(2, 5, 2).amax(-1)


CASES = {
    "unpool": lambda: Unpool(nn.Identity()),
    "unpool around a convolution": lambda: nn.Sequential(conv(), Unpool(conv()), conv()),
    "unpool twice": lambda: nn.Sequential(Unpool(nn.Sequential(conv(), Unpool(conv()))), conv()),
    "unpool overlapping": lambda: Unpool(conv(), kernel=3, stride=2, padding=1),
    "unpool in steps of three": lambda: Unpool(conv(), kernel=3, stride=3),
    "unpool ceil": lambda: Unpool(conv(), ceil_mode=True),
    "pool ceil": lambda: nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), conv()),
    "mean ceil": lambda: nn.Sequential(nn.AvgPool2d(3, 2, 1, ceil_mode=True), conv(4, 1, padding=1)),
    "pool dilated": lambda: nn.Sequential(nn.MaxPool2d(3, 1, 1, dilation=2), conv()),
    "local response": lambda: nn.Sequential(conv(), nn.LocalResponseNorm(3, alpha=1.0), nn.MaxPool2d(2)),
    "transposed": lambda: nn.Sequential(conv(stride=3), nn.ConvTranspose2d(2, 4, 5, 3, 2, output_padding=2, groups=2)),
    "transposed dilated": lambda: nn.Sequential(conv(stride=2), nn.ConvTranspose2d(2, 2, 3, 2, 1, dilation=2)),
    "asymmetric": lambda: nn.Sequential(conv((5, 1), padding=(2, 0)), conv((1, 7), padding=(0, 3)), nn.PReLU()),
    "same, even kernel": lambda: conv((4, 3), padding="same", dilation=(1, 3)),
    "reflect": lambda: nn.Sequential(nn.ReflectionPad2d((3, 1, 2, 4)), conv(3, 2, padding=0)),
    "replicate": lambda: conv(5, 2, padding=2, padding_mode="replicate"),
    "einsum": lambda: nn.Sequential(conv(), Net(tokens), conv()),
    "neighbours": lambda: Net(neighbours),
    "fold": lambda: Net(there_and_back),
    "repeated": lambda: nn.Sequential(nn.MaxPool2d(6), Net(nails), conv()),
    "unfolded": lambda: Net(narrow),
    "aligned corners up": lambda: nn.Sequential(conv(stride=4), corners(49, 33)),
    "aligned corners by 3/4": lambda: nn.Sequential(corners(37, 25), conv(), corners(49, 33)),
    "aligned corners down": lambda: nn.Sequential(corners(13, 9), conv()),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_what_changes_is_what_is_analysed(name):
    compare(CASES[name](), (2, 49, 33), exact=True)


@st.composite
def stacks(draw, depth=2):
    """Layers one after another, some of them inside a pooling and its unpooling."""
    layers = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["conv", "ceil", "transposed", "norm"] + ["unpool"] * (2 if depth else 0)))
        if kind == "conv":
            layers.append(conv(draw(st.sampled_from([1, 3, 5])), dilation=1))
        elif kind == "unpool":
            size = draw(st.sampled_from([(2, 2, 0), (3, 3, 0), (3, 2, 1)]))
            layers.append(Unpool(nn.Sequential(*draw(stacks(depth - 1))), *size, ceil_mode=draw(st.booleans())))
        elif kind == "ceil":
            layers.append(Keep(nn.AvgPool2d(3, 2, 1, ceil_mode=True), nn.Upsample(scale_factor=2)))
        elif kind == "transposed":
            layers.append(Keep(conv(stride=2), nn.ConvTranspose2d(2, 2, 4, 2, 1, output_padding=1)))
        else:
            layers.append(nn.LocalResponseNorm(2))
    return layers


class Keep(nn.Sequential):
    """Layers whose result is brought back to the size before by a pad that may be negative."""

    def forward(self, x):
        y = super().forward(x)
        return F.pad(y, (0, x.shape[-1] - y.shape[-1], 0, x.shape[-2] - y.shape[-2]))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(stacks())
def test_nothing_changes_outside_of_what_is_analysed(layers):
    compare(nn.Sequential(*layers), (2, 27, 23), exact=False, trials=4)


# ---------- what is global, and what only looks so


def test_unpooling_by_positions_of_another_map_sees_everything():
    def swapped(_, x):
        _, positions = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(F.max_pool2d(x, 2), positions, 2, output_size=(x.shape[-2], x.shape[-1] + 1))

    field = receptive_field(Net(swapped), in_channels=1)
    assert field.vertical is None
    assert "positions of another map" in field.unbounded_by


def test_unpooling_by_positions_that_no_pooling_made_sees_everything():
    def invented(_, x):
        return F.max_unpool2d(x, torch.zeros_like(x, dtype=torch.long), 2)

    assert "no max pooling made" in receptive_field(Net(invented), in_channels=1).unbounded_by


def test_nails_and_the_filter_are_the_transposed_convolution():
    def written_out(parts, x):
        return zeros_then_filter(parts["conv"](x), torch.ones(1, 1, 3, 3, device=x.device))

    down = nn.Conv2d(1, 1, 3, 2, 1)
    same = nn.Sequential(down, nn.ConvTranspose2d(1, 1, 3, 2, 1, output_padding=1))
    field = receptive_field(Net(written_out, conv=down), in_channels=1)
    # Zeros among the nails are read too: the written-out form cannot be told from one that reads its neighbours.
    assert field.vertical.size >= receptive_field(same).vertical.size
    assert field.vertical.size <= receptive_field(same).vertical.size + 2


def test_segnet_by_hand():
    """Four poolings and unpoolings of 7x7 convolutions, as in SegNet-Basic: the deepest map sees 106 pixels."""
    down = [layer for _ in range(4) for layer in (nn.Conv2d(1, 1, 7, padding=3), nn.MaxPool2d(2))]
    assert receptive_field(nn.Sequential(*down)).vertical.size == 106
    net: nn.Module = nn.Identity()
    for _ in range(4):
        seven = nn.Conv2d(1, 1, 7, padding=3)
        net = nn.Sequential(seven, Unpool(net), nn.Conv2d(1, 1, 7, padding=3))
    assert alignment(net, in_channels=1) == 16


def attend(_, x):
    queries = x.flatten(2).transpose(1, 2)
    weights = torch.softmax(queries @ x.flatten(2), dim=-1)
    return (weights @ queries).transpose(1, 2).reshape(x.shape)


def regions(_, x):  # object-contextual: soft regions gather the whole image, pixels read from them
    weights = torch.softmax(x.flatten(2), dim=-1)
    gathered = torch.einsum("bkn,bcn->bck", weights, x.flatten(2))
    return torch.einsum("bck,bkhw->bchw", gathered, x)


def tiled(_, x):
    return x.repeat(1, 1, 2, 1)


@pytest.mark.parametrize("forward", [attend, regions])
def test_attention_is_global(forward):
    field = receptive_field(Net(forward), in_channels=2)
    assert (field.vertical, field.horizontal) == (None, None)


def test_copies_of_the_whole_image_are_global_along_their_axis():
    field = receptive_field(Net(tiled), in_channels=2)
    assert (field.vertical, field.horizontal) == (None, Reach(0, 0, 1))


@pytest.mark.parametrize("sizes", [(512, 640), (128, 128)])
def test_aligned_corners_are_regular_on_sizes_of_k_strides_and_one(sizes):
    def forward(parts, x):
        height, width = x.shape[-2:]
        x = F.pad(x, (0, 1, 0, 1), mode="replicate")
        x = F.interpolate(parts["conv"](x), size=x.shape[-2:], mode="bilinear", align_corners=True)
        return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]))

    model = Net(forward, conv=nn.Conv2d(1, 1, 3, stride=8, padding=1))
    assert receptive_field(model, size=sizes).vertical == Reach(8, 8, 11)
    assert alignment(model, size=sizes) == 8


def test_aligned_corners_that_double_a_map_follow_the_size_of_the_image():
    model = nn.Sequential(nn.Conv2d(2, 2, 3, stride=2, padding=1), nn.UpsamplingBilinear2d(scale_factor=2))
    for size in [(512, 640), (514, 514)]:
        assert "align_corners=True" in receptive_field(model, size=size).unbounded_by


# ---------- constants


def test_zeros_and_noise_do_not_break_the_shift():
    def padded(_, x):
        zeros = x.new_zeros(x.shape[0], 3, *x.shape[-2:])
        return torch.cat([F.dropout(F.dropout2d(x, training=True), training=True), zeros], 1)

    assert receptive_field(Net(padded), in_channels=2).vertical == Reach(0, 0, 1)


def test_a_constant_with_something_written_into_it_breaks_the_shift():
    def marked(_, x):
        marks = torch.zeros(1, 1, *x.shape[-2:], device=x.device)
        marks[:, :, 7] = 1
        return x + marks

    assert "constant that varies" in receptive_field(Net(marked), in_channels=2).unbounded_by
