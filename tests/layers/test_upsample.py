"""Upsampling: the lectures' numbers stand in the doctests; here is what holds for every size, and what each is for."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.export import Dim

from atrous.layers.upsample import (
    BilinearUpsample,
    bed_of_nails,
    bilinear_kernel,
    gate,
    max_pool,
    max_unpool,
    nearest_neighbour,
    overlaps,
    shortcut,
    skip,
    zeros_then_filter,
)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_nearest_neighbour_is_bed_of_nails_filtered_with_ones(factor):
    x = torch.rand(2, 3, 4, 5)
    nails = bed_of_nails(x, factor)
    assert nails.shape == (2, 3, 4 * factor, 5 * factor)
    assert torch.equal(nails[:, :, ::factor, ::factor], x)
    assert nails.count_nonzero() == x.count_nonzero()
    ones = torch.ones(3, 1, factor, factor)
    before = factor - 1
    filtered = F.conv2d(F.pad(nails, (before, 0, before, 0)), ones, groups=3)
    assert torch.allclose(nearest_neighbour(x, factor), filtered)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (5, 7), (8, 8), (33, 47)])
@pytest.mark.parametrize("factor", [2, 3])
def test_unpooling_puts_every_largest_value_back_in_its_place(size, factor):
    x = torch.rand(2, 3, *size) + 1
    pooled, positions = max_pool(x, factor)
    assert pooled.shape[-2:] == tuple(-(-side // factor) for side in size)
    back = max_unpool(pooled, positions, size)
    assert back.shape == x.shape
    kept = back != 0
    assert torch.equal(back[kept], x[kept])
    assert kept.sum() == pooled.numel()
    assert torch.equal(max_pool(back, factor)[0], pooled)


def test_of_equal_values_the_first_is_taken():
    assert max_pool(torch.ones(1, 1, 3, 3))[1].flatten().tolist() == [0, 2, 6, 8]


def test_the_gradient_of_unpooling_is_picking_at_the_positions():
    x = torch.rand(1, 2, 5, 6, dtype=torch.float64)
    pooled, positions = max_pool(x)
    values = torch.rand_like(pooled).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: max_unpool(v, positions, (5, 6)), values)
    weights = torch.rand_like(x)
    (max_unpool(values, positions, (5, 6)) * weights).sum().backward()
    assert torch.equal(values.grad, weights.flatten(2).gather(2, positions.flatten(2)).view_as(pooled))


class _Hourglass(nn.Module):
    """Two poolings and their mirrors."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        x = self.down(x)
        half, first = max_pool(x)
        quarter, second = max_pool(half)
        half = max_unpool(self.up(quarter), second, (half.shape[-2], half.shape[-1]))
        return max_unpool(half, first, (x.shape[-2], x.shape[-1]))


def test_pooling_and_unpooling_export_and_compile_for_every_size(unchecked):
    model = _Hourglass().eval()
    dynamic = {"x": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
    program = torch.export.export(model, (torch.rand(2, 3, 70, 90),), dynamic_shapes=dynamic).module()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.inference_mode():
        for size in [(33, 47), (128, 65), (64, 64)]:
            x = torch.rand(1, 3, *size)
            assert torch.equal(program(x), model(x))
            assert torch.equal(compiled(x), model(x))
    compiled(torch.rand(2, 3, 9, 11)).sum().backward()
    assert model.down.weight.grad.any()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pooling_and_unpooling_in_bfloat16_and_channels_last(memory_format):
    x = torch.rand(2, 3, 33, 47).bfloat16().to(memory_format=memory_format)
    pooled, positions = max_pool(x)
    back = max_unpool(pooled, positions, (33, 47))
    assert back.dtype == torch.bfloat16
    assert torch.equal(back.max(), x.max())
    model = _Hourglass()
    with torch.autocast("cpu", torch.bfloat16):
        out = model(x.float())
    out.float().sum().backward()
    assert model.up.weight.grad.any()


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 8, 32])
def test_bilinear_upsampling_multiplies_the_size_and_keeps_a_ramp(factor):
    up = BilinearUpsample(2, factor)
    assert up.weight.shape[-1] == 2 * factor - factor % 2
    ramp = torch.arange(6.0).expand(1, 2, 6, 6)
    big = up(ramp)
    assert big.shape == (1, 2, 6 * factor, 6 * factor)
    inner = big[0, 0, 2 * factor : -2 * factor, 2 * factor : -2 * factor]
    steps = inner.diff(dim=-1)
    assert torch.allclose(steps, torch.full_like(steps, 1 / factor), atol=1e-5)
    assert (inner.diff(dim=0).abs() < 1e-5).all()


def test_bilinear_upsampling_by_an_even_factor_is_interpolation_away_from_the_border():
    x = torch.rand(1, 3, 5, 6)
    expected = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
    inner = (..., slice(4, -4), slice(4, -4))
    assert torch.allclose(BilinearUpsample(3, 4)(x)[inner], expected[inner], atol=1e-6)


def test_a_fixed_kernel_gives_the_numbers_of_the_dense_one_and_does_not_train():
    fixed, learned = BilinearUpsample(3, 2, padding=0), BilinearUpsample(3, 2, padding=0, learned=True)
    assert torch.equal(fixed.weight, learned.weight)
    assert fixed.weight.shape == (3, 3, 4, 4)
    assert torch.equal(fixed.weight[1, 1], bilinear_kernel(4))
    assert not fixed.weight[0, 1].any()
    x = torch.rand(2, 3, 4, 5)
    assert torch.allclose(fixed(x), learned(x), atol=1e-6)
    assert not fixed.weight.requires_grad
    learned(x).square().sum().backward()
    assert learned.weight.grad[0, 1].any()


def test_a_fixed_kernel_refuses_weights_that_join_channels():
    fixed, learned = BilinearUpsample(2, 2), BilinearUpsample(2, 2, learned=True)
    fixed.load_state_dict(learned.state_dict())
    with torch.no_grad():
        learned.weight[0, 1] = 0.5
    with pytest.raises(RuntimeError, match="weight joins channels"):
        fixed.load_state_dict(learned.state_dict())


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra"), [(3, 2, 1, 1), (4, 2, 1, 0), (2, 2, 0, 0), (5, 3, 2, 2)]
)
def test_a_transposed_convolution_is_zeros_inserted_and_filtered(kernel, stride, padding, extra):
    x, weight = torch.rand(2, 3, 4, 5), torch.randn(3, 2, kernel, kernel)
    expected = F.conv_transpose2d(x, weight, None, stride, padding, extra)
    assert torch.allclose(zeros_then_filter(x, weight, stride, padding, extra), expected, atol=1e-4)


def test_a_transposed_convolution_is_the_transpose_of_the_convolution():
    """<conv(x), y> = <x, convT(y)>, and convT(y) is the gradient of that number for x."""
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    x = torch.randn(2, 3, 8, 10, dtype=torch.float64, requires_grad=True)
    down = F.conv2d(x, weight, None, 2, 1)
    y = torch.randn_like(down)
    up = zeros_then_filter(y, weight, 2, 1, 1)
    assert up.shape == x.shape
    assert torch.allclose((down * y).sum(), (x * up).sum())
    (down * y).sum().backward()
    assert torch.allclose(x.grad, up)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (2, 2), (5, 3), (6, 3), (63, 32), (64, 32)])
def test_copies_overlap_evenly_where_the_stride_divides_the_kernel(kernel, stride):
    counts = overlaps(20, kernel, stride)
    assert len(counts) == 19 * stride + kernel
    assert counts.sum() == 20 * kernel
    inner = counts[kernel:-kernel]
    assert (len(inner.unique()) == 1) == (kernel % stride == 0)


def test_a_checkerboard_shows_in_the_output_of_a_constant_map():
    x, weight = torch.ones(1, 1, 6, 6), torch.ones(1, 1, 3, 3)
    out = F.conv_transpose2d(x, weight, stride=2)[0, 0]
    counts = overlaps(6, 3, 2)
    assert torch.equal(out, torch.outer(counts, counts).float())
    assert out[4:6, 4:6].tolist() == [[4, 2], [2, 1]]


@pytest.mark.parametrize("rate", [2, 3])
def test_an_atrous_convolution_is_the_ordinary_one_on_each_interleaved_sub_map(rate):
    x, weight = torch.rand(1, 2, 6 * rate, 5 * rate), torch.randn(3, 2, 3, 3)
    whole = F.conv2d(x, weight, padding=rate, dilation=rate)
    for top in range(rate):
        for left in range(rate):
            part = F.conv2d(x[..., top::rate, left::rate], weight, padding=1)
            assert torch.allclose(whole[..., top::rate, left::rate], part, atol=1e-5)


def _seen(rates):
    """Which pixels of a line one output of 3-tap convolutions with these rates looks at."""
    x = torch.zeros(1, 1, 101, requires_grad=True)
    y = x
    for rate in rates:
        y = F.conv1d(y, torch.ones(1, 1, 3), padding=rate, dilation=rate)
    y[0, 0, 50].backward()
    places = x.grad.flatten().nonzero().flatten()
    return len(places), int(places[-1] - places[0]) + 1


def test_rates_that_double_see_everything_and_equal_rates_leave_a_grid():
    assert _seen([4]) == (3, (3 - 1) * 4 + 1)
    assert _seen([1, 2, 4, 8]) == (31, 31)
    assert _seen([4, 4, 4, 4]) == (9, 33)


def test_shortcuts_keep_the_gradient_of_the_first_of_twenty_layers():
    def first_gradient(with_shortcuts):
        torch.manual_seed(0)
        layers = [nn.Conv2d(8, 8, 3, padding=1) for _ in range(20)]
        x = torch.rand(1, 8, 16, 16)
        for layer in layers:
            y = layer(x).relu()
            x = shortcut(y, x) if with_shortcuts else y
        x.mean().backward()
        return layers[0].weight.grad.norm().item()

    assert first_gradient(True) > 1000 * first_gradient(False) > 0


def test_three_ways_of_joining():
    x, earlier = torch.rand(1, 2, 3, 4), torch.rand(1, 2, 3, 4)
    assert torch.equal(skip(x, earlier), torch.cat([x, earlier], dim=1))
    assert torch.equal(shortcut(x, earlier), x + earlier)
    gated = gate(earlier, torch.full((1, 1, 3, 4), -100.0))
    assert gated.shape == earlier.shape
    assert gated.max() < 1e-30
