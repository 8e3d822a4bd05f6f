"""Atrous convolution as its formula, and ASPP in its forms."""

import pytest
import torch
from torch import nn

from atrous.analysis import receptive_field
from atrous.layers import conv_bn_relu
from atrous.layers.atrous import ASPP, ImagePooling, atrous_convolution, effective_size, separable_conv_bn_relu


@pytest.mark.parametrize("rate", [1, 2, 3])
def test_atrous_convolution_is_the_sum_of_its_formula(rate):
    x, weight = torch.rand(1, 2, 7, 8, dtype=torch.float64), torch.rand(3, 2, 3, 5, dtype=torch.float64)
    expected = torch.zeros(1, 3, 7, 8, dtype=torch.float64)
    for row in range(7):
        for column in range(8):
            for i in range(3):
                for j in range(5):
                    y, z = row + rate * (i - 1), column + rate * (j - 2)
                    if 0 <= y < 7 and 0 <= z < 8:
                        expected[0, :, row, column] += weight[:, :, i, j] @ x[0, :, y, z]
    assert torch.allclose(atrous_convolution(x, weight, rate), expected)


@pytest.mark.parametrize("rate", [2, 3])
def test_atrous_convolution_is_ordinary_convolution_of_every_rth_pixel(rate):
    x, weight = torch.rand(1, 2, 12, 6), torch.rand(3, 2, 3, 3)
    whole = atrous_convolution(x, weight, rate)
    for row in range(rate):
        for column in range(rate):
            part = atrous_convolution(x[..., row::rate, column::rate], weight, 1)
            assert torch.allclose(whole[..., row::rate, column::rate], part, atol=1e-6)


@pytest.mark.parametrize(("kernel_size", "rate"), [(3, 1), (3, 12), (5, 2), (1, 6)])
def test_the_effective_size_is_what_the_kernel_sees(kernel_size, rate):
    conv = nn.Conv2d(1, 1, kernel_size, dilation=rate, padding=effective_size(kernel_size, rate) // 2)
    assert receptive_field(conv).vertical.size == effective_size(kernel_size, rate)


def test_a_separable_convolution_is_a_full_one_with_kernels_of_rank_one():
    block = separable_conv_bn_relu(4, 6, dilation=2).eval()
    depthwise, pointwise = block[0].weight, block[1].weight
    x = torch.rand(2, 4, 9, 5)
    full = atrous_convolution(x, pointwise * depthwise.view(1, 4, 3, 3), 2)
    assert torch.allclose(block(x), torch.relu(block[2](full)), atol=1e-5)


def test_image_pooling_is_the_mean_and_trains_on_one_image():
    pooling = ImagePooling(3, 2)
    x = torch.rand(1, 3, 4, 6)
    out = pooling.eval()(x)
    mean = x.flatten(2).mean(2)[..., None, None]
    assert torch.allclose(out, pooling.project(mean).expand(1, 2, 4, 6), atol=1e-6)
    pooling.train()(x).sum().backward()
    assert pooling.project[0].weight.grad.isfinite().all()


@pytest.mark.parametrize(("conv", "count"), [(conv_bn_relu, 15_535_104), (separable_conv_bn_relu, 3_007_488)])
def test_parameters_of_the_pyramid_on_2048_channels(conv, count):
    """1x1 and pool 524,800 each, projection 328,192, and three branches of 4,719,104 or 543,232."""
    with torch.device("meta"):
        aspp = ASPP(2048, (6, 12, 18), conv=conv)
    assert sum(parameter.numel() for parameter in aspp.parameters()) == count


def test_the_branches_have_their_rates_and_the_pyramid_keeps_the_size():
    aspp = ASPP(8, (6, 12, 18), channels=4).eval()
    rates = [conv.dilation[0] for conv in aspp.modules() if isinstance(conv, nn.Conv2d) and conv.kernel_size[0] == 3]
    assert rates == [6, 12, 18]
    assert aspp(torch.rand(2, 8, 5, 33)).shape == (2, 4, 5, 33)


def test_without_the_pooled_image_the_pyramid_sees_its_largest_rate_and_with_it_everything():
    assert receptive_field(ASPP(1, (2, 5), channels=2, image_pooling=False)).vertical.size == 11
    assert receptive_field(ASPP(1, (2, 5), channels=2)).vertical is None


def test_a_rate_beyond_the_map_leaves_the_middle_tap():
    x, weight = torch.rand(1, 2, 4, 4), torch.rand(1, 2, 3, 3)
    assert torch.allclose(
        atrous_convolution(x, weight, 4), torch.nn.functional.conv2d(x, weight[..., 1:2, 1:2]), atol=1e-6
    )


def test_dropout_acts_in_training_only():
    aspp = ASPP(4, (1,), channels=64, dropout=0.5)
    x = torch.rand(2, 4, 3, 3)
    assert (aspp.train()(x) == 0).float().mean() > 0.4
    assert torch.equal(aspp.eval()(x), aspp(x))
