"""Gradients in bfloat16 are those of float32, but for rounding, however a convolution lies in memory."""

import pytest
import torch
from torch import nn

from atrous.models import create_model
from atrous.training.memory import channels_last


def gradients(network, image, target, precision):
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        out = network(image)
    (out.float() * target).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


@pytest.mark.parametrize("channels", [17, 20, 24, 25, 36, 84])
@pytest.mark.parametrize("dilation", [2, 4])
def test_dilated_convolutions_have_the_gradients_of_float32(channels, dilation):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.Conv2d(channels, 48, 3, padding=dilation, dilation=dilation),
        nn.Conv2d(48, 4, 1),
    )
    channels_last(network)
    channels_last(network)
    assert len(network[1]._forward_pre_hooks) == 1
    image = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    target = torch.randn(2, 4, 32, 32)
    exact = gradients(network, image, target, "float32")
    for _ in range(3):
        junk = torch.full((4, 64, 64, 64), float("nan"))  # what memory that nobody wrote would hold
        del junk
        for name, gradient in gradients(network, image, target, "bfloat16").items():
            assert torch.isfinite(gradient).all(), name
            assert (gradient - exact[name]).abs().max() < 0.05 * exact[name].abs().max(), name


def test_other_convolutions_are_channels_last_and_nothing_is_hooked_in():
    network = nn.Sequential(nn.Conv2d(32, 48, 3, dilation=2), nn.Conv2d(24, 8, 3), nn.Conv2d(24, 8, 1, dilation=2))
    channels_last(network)
    assert all(layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in network)
    assert not any(layer._forward_pre_hooks for layer in network)


def test_the_context_module_of_dilation_is_among_them():
    with torch.device("meta"):
        model = create_model("dilation", num_classes=6)
    channels_last(model)
    assert any(module._forward_pre_hooks and max(module.dilation) > 1 for module in model.modules())
