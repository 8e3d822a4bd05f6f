"""Convolutions of doubled maps and bilinear interpolation: results and gradients are torch's, computed otherwise."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.layers import doubled
from atrous.layers.quick import QuickGradients

LAST = torch.channels_last


@pytest.fixture
def four(monkeypatch):
    """How often a convolution was computed on the map before it was doubled."""
    count = []
    apply = doubled._Interleaved.apply
    monkeypatch.setattr(doubled._Interleaved, "apply", lambda *args: (count.append(1), apply(*args))[1])
    monkeypatch.setattr(doubled, "_FEWEST", 1)
    return count


def distance(found, wanted):
    return float((found.float() - wanted).norm() / wanted.norm())


def step(network, images, *, quick, precision=torch.float32, layout=torch.contiguous_format):
    """The result of a network of several images, and all gradients."""
    network.zero_grad()
    images = [image.clone(memory_format=layout).requires_grad_() for image in images]
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        if quick:
            with QuickGradients():
                out = network(*images)
        else:
            out = network(*images)
    assert out.dtype == precision
    out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(3)).to(out.dtype))
    return [out.detach(), *(image.grad for image in images), *(each.grad for each in network.parameters())]


class Joined(nn.Module):
    """A convolution of a doubled map and of what is joined to it, in any order."""

    def __init__(self, order, *, bias=True, sizes=(5, 3, 4), change=None):
        super().__init__()
        self.order, self.change = order, change
        self.conv = nn.Conv2d(sum(sizes[at] for at in order), 6, 3, padding=1, bias=bias)

    def forward(self, small, first, second):
        large = F.interpolate(small, size=first.shape[2:], mode="nearest")
        if self.change == "large":
            large.mul_(2)
        if self.change == "small":
            small.data.mul_(1)  # nothing changed, whatever torch's counter says
        parts = [(large, first, second)[at] for at in self.order]
        return self.conv(torch.cat(parts, dim=1) if len(parts) > 1 else parts[0])


@pytest.mark.parametrize("order", [(0,), (0, 1), (1, 0), (0, 1, 2), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_of_a_doubled_map_is_torchs(order, bias, four):
    torch.manual_seed(0)
    network = Joined(order, bias=bias)
    images = [torch.randn(2, 5, 6, 9), torch.randn(2, 3, 12, 18), torch.randn(2, 4, 12, 18)]
    exact = step(network, images, quick=False)
    for layout in (torch.contiguous_format, LAST):
        for precision, near in ((torch.float32, 1e-5), (torch.bfloat16, 0.02)):
            for found, wanted in zip(
                step(network, images, quick=True, precision=precision, layout=layout), exact, strict=True
            ):
                if wanted is None:  # an image that is not joined
                    assert found is None
                    continue
                assert found.shape == wanted.shape
                assert distance(found, wanted) < near
    assert len(four) == 4


def test_a_map_that_was_changed_since_is_convolved_as_it_is(four):
    torch.manual_seed(0)
    images = [torch.randn(2, 5, 6, 9), torch.randn(2, 3, 12, 18), torch.randn(2, 4, 12, 18)]
    for order in ((0,), (0, 1)):
        network = Joined(order, change="large")
        for one, two in zip(step(network, images, quick=True), step(network, images, quick=False), strict=True):
            assert (one is two is None) or torch.equal(one, two)
    small, other = torch.ones(1, 5, 6, 9), torch.randn(1, 3, 12, 18)
    conv = nn.Conv2d(8, 6, 3, padding=1)
    with QuickGradients():
        whole = torch.cat([F.interpolate(small, scale_factor=2), other], 1)
        wanted = F.conv2d(whole.clone(), conv.weight, conv.bias, padding=1)
        small.zero_()
        torch.testing.assert_close(conv(whole), wanted)
    assert not four


@pytest.mark.parametrize("conv", [
    nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 5, padding=2), nn.Conv2d(4, 4, 3, padding=1, groups=2),
    nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.Conv2d(4, 4, 3, padding=1, stride=2),
    nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
])  # fmt: skip
def test_other_convolutions_of_doubled_maps_are_torchs_own(conv, four):
    image = torch.randn(1, 4, 8, 8)
    network = nn.Sequential(nn.UpsamplingNearest2d(scale_factor=2), conv)
    for one, two in zip(step(network, [image], quick=True), step(network, [image], quick=False), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
    assert not four


def test_maps_enlarged_otherwise_are_convolved_by_torch(four):
    for enlarge in (nn.UpsamplingNearest2d(scale_factor=3), nn.UpsamplingNearest2d(size=(16, 15))):
        network = nn.Sequential(enlarge, nn.Conv2d(4, 4, 3, padding=1))
        image = torch.randn(1, 4, 8, 8)
        for one, two in zip(step(network, [image], quick=True), step(network, [image], quick=False), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
    assert not four


@pytest.mark.parametrize("arguments", [
    {"size": (12, 31), "align_corners": False}, {"size": (12, 31), "align_corners": True}, {"size": (3, 5)},
    {"scale_factor": 4}, {"scale_factor": (2.5, 1.7)}, {"scale_factor": 2, "align_corners": True}, {"size": (1, 1)},
    {"scale_factor": 2.5, "recompute_scale_factor": True}, {"size": (4, 4), "antialias": True},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 11])
def test_the_gradient_of_bilinear_interpolation_is_torchs(arguments, channels):
    torch.manual_seed(0)

    class Resize(nn.Module):
        def forward(self, image):
            return F.interpolate(image, mode="bilinear", **arguments)

    image = torch.randn(2, channels, 6, 9)
    exact = step(Resize(), [image], quick=False)
    for layout in (torch.contiguous_format, LAST):
        found = step(Resize(), [image], quick=True, layout=layout)
        assert torch.equal(found[0], exact[0])
        assert distance(found[1], exact[1]) < 1e-5
    if "antialias" in arguments:
        return  # torch has none in bfloat16
    image = image.bfloat16()
    found = step(Resize(), [image], quick=True, precision=torch.bfloat16, layout=LAST)
    assert found[1].dtype == torch.bfloat16
    assert distance(found[1], exact[1]) < 0.01


def test_gradients_of_interpolations_come_in_the_order_of_the_image():
    seen = []

    class Seen(torch.autograd.Function):
        @staticmethod
        def forward(ctx, image):
            return image.clone(memory_format=LAST)

        @staticmethod
        def backward(ctx, gradient):
            seen.append(gradient.is_contiguous(memory_format=LAST))
            return gradient

    image = torch.randn(2, 3, 6, 9, requires_grad=True)
    for context in (QuickGradients(), torch.enable_grad()):
        with context:
            out = F.interpolate(Seen.apply(image), size=(12, 18), mode="bilinear")
        out.backward(torch.ones(out.shape))
    assert seen == [True, False]


def test_gradients_can_be_differentiated_again(four):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 2, 3, padding=1)

    def network(image):
        large = F.interpolate(image, scale_factor=2, mode="nearest")
        return F.interpolate(conv(large).square(), size=(5, 7), mode="bilinear")

    found = []
    for quick in (False, True):
        image = torch.randn(1, 3, 6, 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
        with QuickGradients() if quick else torch.enable_grad():
            out = network(image).square().sum()
        (first,) = torch.autograd.grad(out, image, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), [image, conv.weight]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    assert four


def test_predictions_are_torchs_own(four):
    image = torch.randn(1, 4, 8, 8)
    network = nn.Sequential(nn.UpsamplingNearest2d(scale_factor=2), nn.Conv2d(4, 4, 3, padding=1))
    with torch.no_grad():
        wanted = network(image)
        with QuickGradients():
            assert torch.equal(network(image), wanted)
    assert not four
