"""Averages over regions, against adaptive average pooling and against their definition."""

from math import ceil, floor

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.export import Dim

from atrous.errors import ModelError
from atrous.layers.pyramid import PyramidPooling, averaging_matrix, block_average, pyramid_average

BINS = (1, 2, 3, 6)


@pytest.mark.parametrize("size", [*range(1, 41), 60, 90, 119])
def test_the_matrix_averages_the_pixels_between_floor_and_ceil(size):
    matrix = averaging_matrix(size, BINS, torch.empty(0, dtype=torch.float64))
    rows = []
    for bins in BINS:
        for i in range(bins):
            pixels = range(floor(i * size / bins), ceil((i + 1) * size / bins))
            rows.append([1 / len(pixels) if pixel in pixels else 0.0 for pixel in range(size)])
    assert torch.allclose(matrix, torch.tensor(rows, dtype=torch.float64))


@pytest.mark.parametrize("height", range(1, 20))
def test_it_equals_adaptive_average_pooling_at_every_size(height):
    for width in (1, 2, 5, 6, 12, 17, 31):
        x = torch.rand(2, 3, height, width)
        for grid, bins in zip(pyramid_average(x, (*BINS, 7)), (*BINS, 7), strict=True):
            assert torch.allclose(grid, F.adaptive_avg_pool2d(x, bins), atol=1e-6)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 1e-2)])
def test_other_types_and_memory_formats(memory_format, dtype, tolerance):
    x = torch.rand(2, 4, 13, 10).to(dtype).to(memory_format=memory_format)
    for grid, bins in zip(pyramid_average(x, BINS), BINS, strict=True):
        assert grid.dtype == dtype
        assert (grid.double() - F.adaptive_avg_pool2d(x.double(), bins)).abs().max() < tolerance


def test_the_gradient_is_that_of_adaptive_average_pooling():
    x = torch.rand(1, 2, 7, 9, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(1, 2, 6, 6, dtype=torch.float64)
    (ours,) = torch.autograd.grad((pyramid_average(x, (6,))[0] * weight).sum(), x)
    (theirs,) = torch.autograd.grad((F.adaptive_avg_pool2d(x, 6) * weight).sum(), x)
    assert torch.allclose(ours, theirs)


@pytest.mark.parametrize("bins", BINS)
def test_equal_blocks_are_the_fixed_windows_of_a_60x60_map(bins):
    x = torch.rand(1, 4, 60, 60)
    blocks = block_average(x, bins)
    assert torch.equal(blocks, F.avg_pool2d(x, kernel_size=60 // bins, stride=60 // bins))
    assert torch.allclose(blocks, pyramid_average(x, (bins,))[0], atol=1e-6)


def test_equal_blocks_refuse_a_size_that_cannot_be_cut():
    with pytest.raises(ModelError, match="a map of 9 x 12 cannot be cut into 6 x 6 equal blocks: give sizes that are"):
        block_average(torch.rand(1, 1, 9, 12), 6)


def peer(x):
    """Pooling and interpolation as PyTorch has them."""
    return [
        F.interpolate(F.adaptive_avg_pool2d(x, bins), size=x.shape[-2:], mode="bilinear", align_corners=True)
        for bins in BINS
    ]


class Joined(nn.Module):
    """All maps of the pyramid, one behind the other."""

    def __init__(self):
        super().__init__()
        self.pooling = PyramidPooling(BINS, [nn.Identity() for _ in BINS])

    def forward(self, x):
        return torch.cat(self.pooling(x), dim=1)


def test_an_export_computes_the_regions_of_sizes_that_were_not_traced(unchecked):
    dynamic = {"x": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
    program = torch.export.export(Joined(), (torch.rand(2, 2, 9, 12),), dynamic_shapes=dynamic).module()
    for size in [(5, 6), (6, 6), (3, 2), (13, 44), (60, 60)]:  # some sizes equal a grid's
        x = torch.rand(1, 2, *size)
        assert torch.allclose(program(x), torch.cat(peer(x), dim=1), atol=1e-6)


def test_one_map_per_grid_each_through_its_projection():
    projections = [nn.Conv2d(4, 2, 1) for _ in BINS]
    x = torch.rand(1, 4, 8, 11)
    maps = PyramidPooling(BINS, projections)(x)
    for given, bins, project in zip(maps, BINS, projections, strict=True):
        grid = project(F.adaptive_avg_pool2d(x, bins))
        assert torch.allclose(given, F.interpolate(grid, (8, 11), mode="bilinear", align_corners=True), atol=1e-6)


@pytest.mark.parametrize("bins", [(), (0, 2), (1, 2, 3)])
def test_bins_that_do_not_fit_are_refused(bins):
    with pytest.raises(ModelError, match="give numbers of at least 1, and one projection for each"):
        PyramidPooling(bins, [nn.Identity(), nn.Identity()])
