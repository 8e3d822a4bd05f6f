"""Gradients of depthwise convolutions are those of torch, in every form that they are computed in."""

import copy
import io

import pytest
import torch
from torch import nn

from atrous.layers import depthwise
from atrous.layers.quick import QuickGradients
from atrous.models import create_model

KERNELS = [
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 3, "padding": 12, "dilation": 12},
    {"kernel_size": 3, "padding": 36, "dilation": 36},
    {"kernel_size": 3, "padding": 3, "dilation": 2, "stride": 2},
    {"kernel_size": 4, "stride": 3, "padding": 1},
    {"kernel_size": 5, "padding": 2},
    {"kernel_size": 5, "padding": 6, "stride": 1},
    {"kernel_size": 5, "stride": 2},
    {"kernel_size": 5, "padding": 4, "dilation": 2},
    {"kernel_size": (5, 3), "padding": (4, 8), "dilation": (2, 9)},
    {"kernel_size": 7, "padding": 3},
    {"kernel_size": 7, "stride": 4, "padding": 3},
    {"kernel_size": (3, 7), "stride": (2, 1), "padding": (0, 3)},
    {"kernel_size": (5, 2), "padding": (1, 1)},
    {"kernel_size": 2, "stride": 2},
    {"kernel_size": 2, "padding": 1, "dilation": 3},
]
ALONE = [KERNELS[0], KERNELS[15]]
"""Those whose gradients are quick in float32."""


@pytest.fixture
def calls(monkeypatch):
    """How often a convolution was ours."""
    count = []
    apply = depthwise._Depthwise.apply
    monkeypatch.setattr(depthwise._Depthwise, "apply", lambda *args: (count.append(1), apply(*args))[1])
    return count


def trained(layer, image, *, precision=torch.float32, quick=True, seed=3):
    """The result, and the gradients of image, kernel and bias in a float32 that they are compared in."""
    layer.zero_grad()
    image = image.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        if quick:
            with QuickGradients():
                out = layer(image)
        else:
            out = layer(image)
        assert out.dtype == precision
        out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(seed)).to(out.dtype))
    return [out.detach().float(), image.grad, *(parameter.grad for parameter in layer.parameters())]


def distance(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(
    "arguments", KERNELS, ids=lambda each: " ".join(f"{key}={value}" for key, value in each.items())
)
@pytest.mark.parametrize("channels", [2, 17, 32])
def test_gradients_are_those_of_torch(arguments, channels, calls):
    torch.manual_seed(0)
    for height, width, bias in ((19, 24, True), (11, 13, False)):
        layer = nn.Conv2d(channels, channels, groups=channels, bias=bias, **arguments)
        image = torch.randn(3, channels, height, width)
        exact = trained(layer, image, quick=False)
        for each in (image, image.contiguous(memory_format=torch.channels_last)):
            for precision, near in ((torch.float32, 1e-5), (torch.bfloat16, 0.02)):
                junk = torch.full((4, 64, 64, 64), float("nan"))  # what memory that nobody wrote would hold
                del junk
                for found, wanted in zip(trained(layer, each, precision=precision), exact, strict=True):
                    assert (found.shape, found.dtype) == (wanted.shape, torch.float32)
                    assert distance(found, wanted) < near
    assert len(calls) == (4 if arguments in ALONE else 8)


def test_gradients_can_be_differentiated_again():
    torch.manual_seed(0)
    for arguments in (
        {"kernel_size": 5, "padding": 2},
        {"kernel_size": 5, "stride": 2},
        {"kernel_size": 3, "dilation": 2},
    ):
        layer = nn.Conv2d(4, 4, groups=4, **arguments)
        found = []
        for context in (torch.enable_grad(), QuickGradients()):
            image = torch.randn(1, 4, 12, 12, generator=torch.Generator().manual_seed(1), requires_grad=True)
            with context:
                out = layer(image).square().sum()
            (first,) = torch.autograd.grad(out, image, create_graph=True)
            found.append(torch.autograd.grad(first.square().sum(), [image, layer.weight]))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, padding=1, groups=8),  # torch's own gradients are quick
        nn.Conv2d(8, 16, 5, groups=8),
        nn.Conv2d(8, 8, 5, groups=4),
        nn.Conv2d(8, 8, 5),
        nn.Conv2d(8, 8, 5, padding="same", groups=8),
        nn.Conv2d(8, 8, 5, groups=8).double(),
    ],
)
def test_other_convolutions_are_torchs_own(layer, calls):
    image = torch.randn(2, 8, 12, 12, dtype=layer.weight.dtype)
    wanted = trained(layer, image, precision=image.dtype, quick=False)
    for one, other in zip(trained(layer, image, precision=image.dtype), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert not calls


def test_predictions_are_torchs_own(calls):
    layer, image = nn.Conv2d(8, 8, 5, groups=8), torch.randn(2, 8, 12, 12)
    with torch.no_grad():
        wanted = layer(image)
        with QuickGradients():
            assert torch.equal(layer(image), wanted)
    assert not calls


def test_what_torch_refuses_is_refused_in_its_words():
    layer = nn.Conv2d(8, 8, 5, groups=8)
    far = nn.Conv2d(8, 8, 3, dilation=12, groups=8)
    small = torch.ones(1, 8, 9, 9)
    for each, image in ((layer, torch.ones(8)), (layer, small[:, :4]), (layer, small.long()), (far, small)):
        with pytest.raises(RuntimeError) as theirs:
            each(image)
        with pytest.raises(RuntimeError) as ours, QuickGradients():
            each(image)
        assert str(ours.value) == str(theirs.value)


def test_frozen_kernels_and_images_get_no_gradient():
    layer, image = nn.Conv2d(8, 8, 5, groups=8).requires_grad_(False), torch.randn(2, 8, 12, 12, requires_grad=True)
    with QuickGradients():
        layer(image).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is None
    assert image.grad is not None
    layer.requires_grad_(True)
    with QuickGradients():
        layer(image.detach()).sum().backward()
    assert layer.weight.grad is not None


def test_a_network_steps_as_it_does_without(calls):
    """All gradients of a network of depthwise convolutions; its normalisations, which magnify rounding, stand still."""
    torch.manual_seed(0)
    network = create_model("unet", num_classes=3, encoder="tf_efficientnet_lite0").eval()
    other = copy.deepcopy(network)
    image = 255 * torch.rand(2, 3, 64, 64)
    names = list(network.state_dict())
    with QuickGradients():
        network(image)["out"].square().mean().backward()
    other(image)["out"].square().mean().backward()
    assert len(calls) > 5
    for (name, one), two in zip(network.named_parameters(), other.parameters(), strict=True):
        assert distance(one.grad, two.grad) < 1e-4, name
    assert list(network.state_dict()) == names
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in network.modules())
    torch.save(network, io.BytesIO())


def test_the_meta_device_is_left_alone(calls):
    with torch.device("meta"), QuickGradients():
        assert nn.Conv2d(8, 8, 5, groups=8)(torch.ones(1, 8, 9, 9)).shape == (1, 8, 5, 5)
    assert not calls
