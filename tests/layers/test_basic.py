"""Any-size arithmetic and the norm that trains on a batch of one."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.layers import BatchNorm, conv_bn_relu, fit, mirror, resize, unfit


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (32, 64), (33, 47)])
@pytest.mark.parametrize("multiple", [1, 8, 32])
def test_fit_pads_to_the_next_multiple_with_the_edge_and_unfit_takes_it_back(height, width, multiple):
    x = torch.rand(2, 3, height, width)
    fitted = fit(x, multiple)
    rows = torch.arange(-(-height // multiple) * multiple).clamp(max=height - 1)
    columns = torch.arange(-(-width // multiple) * multiple).clamp(max=width - 1)
    assert torch.equal(fitted, x[:, :, rows][:, :, :, columns])
    assert torch.equal(unfit(fitted, height, width), x)


@pytest.mark.parametrize("margin", [0, 1, 4])
def test_mirror_is_reflection_padding_where_torch_has_one(margin):
    x = torch.rand(1, 2, 5, 7)
    assert torch.equal(mirror(x, margin, 3, 2, margin), F.pad(x, (margin, 3, 2, margin), mode="reflect"))


def test_mirror_of_a_margin_larger_than_the_image():
    x = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    once = mirror(x, 2, 2, 0, 0)
    assert torch.equal(mirror(x, 7, 9, 0, 0), mirror(mirror(once, 2, 2, 0, 0), 3, 5, 0, 0))


def test_mirror_of_a_single_pixel_repeats_it():
    assert torch.equal(mirror(torch.full((1, 1, 1, 1), 5.0), 3, 2, 1, 4), torch.full((1, 1, 6, 6), 5.0))


def test_resize_leaves_a_map_of_the_size_alone():
    x = torch.rand(1, 2, 4, 4)
    assert resize(x, (4, 4)) is x
    expected = F.interpolate(x, size=(9, 5), mode="bilinear", align_corners=False)
    assert torch.equal(resize(x, (9, 5)), expected)
    assert not torch.equal(resize(x, (9, 5), align_corners=True), expected)


def test_batch_norm_is_torchs_wherever_a_channel_has_two_values():
    ours, theirs = BatchNorm(3), nn.BatchNorm2d(3)
    for shape in [(2, 3, 1, 1), (1, 3, 4, 5)]:
        x = torch.rand(shape)
        assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_mean, theirs.running_mean)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_batch_norm_uses_running_statistics_for_a_single_value_and_leaves_them():
    norm = BatchNorm(2)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0]))
    x = torch.tensor([3.0, 5.0]).view(1, 2, 1, 1).requires_grad_()
    with pytest.raises(ValueError, match="more than 1 value"):
        nn.BatchNorm2d(2)(x)
    y = norm(x)
    assert torch.allclose(y.flatten(), torch.tensor([2.0, 3.0]), atol=1e-4)
    assert norm.running_mean.tolist() == [1.0, 2.0]
    y.sum().backward()
    assert x.grad.all()
    assert norm.weight.grad.all()


def test_conv_bn_relu_keeps_the_size_and_starts_as_he_did():
    block = conv_bn_relu(64, 128, 5, dilation=3)
    assert block(torch.rand(1, 64, 9, 11)).shape == (1, 128, 9, 11)
    assert block[0].weight.std().item() == pytest.approx((2 / (64 * 25)) ** 0.5, rel=0.01)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_padding_works_in_other_types_and_memory_formats(dtype):
    x = torch.rand(1, 3, 5, 7).to(dtype).to(memory_format=torch.channels_last)
    assert fit(x, 4).dtype == dtype
    assert torch.equal(unfit(fit(x, 4), 5, 7), x)
    assert mirror(x, 9, 9, 9, 9).shape == (1, 3, 23, 25)
