"""Belief maps: what the published grids and Gaussians give, reading as the inverse of drawing, and the border."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from atrous.errors import UsageError
from atrous.layers.belief import DECODERS, PIXELS, background_of, draw_beliefs, read_beliefs
from atrous.types import CellGrid

SUB_PIXEL = ("parabola", "soft_argmax")


def test_values_are_those_of_the_published_grid():
    """Specs: sigma 7, joint (100, 60), cell (12, 7) of stride 8 stands at (99.5, 59.5): 0.994911; cut at 21.24 px."""
    maps = draw_beliefs(torch.tensor([[100.0, 60.0]]), (46, 46), 7.0, CellGrid.centred(8))
    assert maps[0, 7, 12].item() == pytest.approx(0.994911, abs=1e-6)
    row = draw_beliefs(torch.tensor([[50.0, 0.0]]), (1, 101), 7.0)[0, 0]
    assert row[50 - 21] > 0.01
    assert row[50 + 21] > 0.01
    assert not row[: 50 - 21].any()
    assert not row[50 + 22 :].any()


def test_hourglass_values_at_whole_cells():
    """Specs: sigma of one cell gives 1, .606531, .135335, .011109 at distances 0 to 3; the fourth is below the cut."""
    grid = CellGrid.centred(4)
    x = float(grid.start + 10 * grid.stride)
    row = draw_beliefs(torch.tensor([[x, float(grid.start)]]), (1, 21), 4.0, grid)[0, 0, 10:15]
    assert row.tolist() == pytest.approx([1.0, 0.606531, 0.135335, 0.011109, 0.0], abs=1e-6)


def test_absent_points_have_no_belief_and_batches_are_drawn_alike():
    points = torch.tensor([[[3.0, 2.0], [torch.nan, torch.nan]], [[5.0, 1.0], [0.0, 0.0]]])
    maps = draw_beliefs(points, (6, 8), 1.5)
    assert maps.shape == (2, 2, 6, 8)
    assert not maps[0, 1].any()
    torch.testing.assert_close(maps[1], draw_beliefs(points[1], (6, 8), 1.5))


def test_a_window_of_the_maps_is_the_maps_of_the_window():
    points = torch.tensor([[-2.0, 4.0], [20.0, 30.0]])
    whole = draw_beliefs(points, (40, 40), 3.0)
    assert whole[0].any()  # a point outside reaches in
    torch.testing.assert_close(whole[:, 5:25, 8:30], draw_beliefs(points - torch.tensor([8.0, 5.0]), (20, 22), 3.0))


def test_background_is_one_less_the_highest():
    maps = draw_beliefs(torch.tensor([[2.0, 2.0], [2.0, 2.0], [9.0, 2.0]]), (5, 12), 1.0)
    background = background_of(maps)
    assert background.shape == (1, 5, 12)
    assert background[0, 2, 2] == 0
    assert background[0, 2, 9] == 0
    assert background[0, 0, 6] == 1


@pytest.mark.parametrize("decoder", SUB_PIXEL)
@pytest.mark.parametrize(("stride", "sigma"), [(1, 2.0), (1, 7.0), (4, 4.0), (4, 8.0), (8, 7.0)])
@pytest.mark.parametrize("size", [(97, 131), (128, 160)])
def test_reading_is_the_inverse_of_drawing(decoder, stride, sigma, size):
    grid = CellGrid.centred(stride)
    points = _points(size, 3.2 * sigma)
    maps = draw_beliefs(points, [grid.cells(side) for side in size], sigma, grid)
    found = read_beliefs(maps, sigma, grid, decoder)
    assert (found[:, :2] - points).norm(dim=1).max() < 0.05
    assert found[:, 2].allclose(maps.flatten(1).amax(1).double())


@pytest.mark.parametrize("decoder", SUB_PIXEL)
def test_reading_is_the_inverse_of_drawing_with_aligned_corners_and_after_a_resize(decoder):
    size, smaller = (129, 161), (65, 107)
    points = _points(size, 32.0)
    factors = torch.tensor([smaller[1] / size[1], smaller[0] / size[0]])
    shrunk = (points + 0.5) * factors - 0.5
    for grid in (CellGrid.cornered(4), CellGrid.centred(4)):
        maps = draw_beliefs(shrunk, [grid.cells(side) for side in smaller], 4.0, grid)
        found = (read_beliefs(maps, 4.0, grid, decoder)[:, :2] + 0.5) / factors - 0.5
        assert (found - points).norm(dim=1).max() < 0.05


@pytest.mark.parametrize(("stride", "sigma", "worst"), [(4, 8.0, 0.01), (4, 4.0, 0.12), (8, 8.0, 0.2)])
def test_enlarged_maps_are_read_below_a_pixel(stride, sigma, worst):
    """Networks enlarge their maps bilinearly; a step of Newton there is 0.81 px off at stride 4 and sigma 8."""
    points = _points((128, 160), 3.2 * sigma)
    maps = draw_beliefs(points, (128 // stride, 160 // stride), sigma, CellGrid.centred(stride))
    enlarged = F.interpolate(maps[None], (128, 160), mode="bilinear")[0]
    for decoder in SUB_PIXEL:
        found = read_beliefs(enlarged, sigma, PIXELS, decoder)
        assert (found[:, :2] - points).norm(dim=1).max() < worst


def test_decoders_differ_as_was_computed_beforehand():
    """real_behaviour.md: stride 4, mean error of the maximum 1.54 px, of the quarter shift 0.77, of the parabola 0."""
    grid, points = CellGrid.centred(4), _points((128, 160), 26.0, count=400)
    maps = draw_beliefs(points, (32, 40), 8.0, grid)
    errors = {name: _error(read_beliefs(maps, 8.0, grid, name), points) for name in DECODERS}
    assert errors["maximum"] == pytest.approx(1.54, abs=0.1)
    assert errors["quarter"] == pytest.approx(0.77, abs=0.06)
    assert errors["parabola"] < 1e-3
    assert errors["soft_argmax"] < 1e-2
    noisy = maps + 0.05 * torch.randn(maps.shape, generator=torch.Generator().manual_seed(0))
    errors = {name: _error(read_beliefs(noisy, 8.0, grid, name), points) for name in DECODERS}
    assert errors["parabola"] < 0.4 < 1.0 < errors["quarter"] < errors["maximum"]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("stride", "sigma"), [(1, 5.0), (4, 8.0), (8, 7.0)])
def test_no_decoder_leaves_the_highest_cell_by_more_than_half_a_cell_at_the_border(decoder, stride, sigma):
    """Clipped neighbours gave 9 px; noise at the border may not throw a landmark across the image."""
    grid, size = CellGrid.centred(stride), (96, 120)
    rng = np.random.default_rng(1)
    y, x = rng.uniform(-0.5, 95.5, 60), rng.uniform(-0.5, 119.5, 60)
    x[:30] = rng.uniform(-0.5, stride * 1.5, 30)
    y[30:] = rng.uniform(95.5 - stride * 1.5, 95.5, 30)
    points = torch.from_numpy(np.stack([x, y], 1))
    maps = draw_beliefs(points, [grid.cells(side) for side in size], sigma, grid)
    maps += 0.05 * torch.randn(maps.shape, generator=torch.Generator().manual_seed(0))
    found, highest = (read_beliefs(maps, sigma, grid, name)[:, :2] for name in (decoder, "maximum"))
    assert ((found - highest)[:30, 0].abs() <= stride / 2 + 1e-9).all()
    assert ((found - highest)[30:, 1].abs() <= stride / 2 + 1e-9).all()
    assert (found >= -0.5).all()
    assert (found <= torch.tensor([119.5, 95.5])).all()


def test_the_parabola_is_exact_up_to_the_border():
    grid, size = CellGrid.centred(8), (96, 120)
    points = torch.tensor([[-0.4, 40.0], [119.3, 2.0], [60.0, 0.0], [3.5, 95.0]])
    maps = draw_beliefs(points, [grid.cells(side) for side in size], 7.0, grid)
    assert (read_beliefs(maps, 7.0, grid)[:, :2] - points).norm(dim=1).max() < 0.01


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    "maps", [torch.zeros(2, 5, 7), -torch.rand(2, 5, 7) - 1, torch.ones(2, 1, 1), torch.ones(2, 2, 9)]
)
def test_maps_without_a_top_give_their_highest_cell(decoder, maps):
    found = read_beliefs(maps, 2.0, PIXELS, decoder)
    assert found.isfinite().all()
    assert found[:, 2].tolist() == pytest.approx(maps.flatten(1).amax(1).tolist())
    highest = read_beliefs(maps, 2.0, PIXELS, "maximum")
    assert ((found - highest)[:, :2].abs() <= 2.0).all()


def test_an_unknown_decoder_and_maps_without_a_cell_are_refused():
    with pytest.raises(UsageError, match=r"no decoder 'parabel'.*parabola"):
        read_beliefs(torch.zeros(1, 3, 3), 1.0, PIXELS, "parabel")
    with pytest.raises(UsageError, match="0 x 3 cells"):
        read_beliefs(torch.zeros(1, 0, 3), 1.0)


def _points(size, margin, count=60):
    rng = np.random.default_rng(0)
    sides = [rng.uniform(margin, side - 1 - margin, count) for side in size[::-1]]
    return torch.from_numpy(np.stack(sides, 1))


def _error(found, points):
    return float((found[:, :2] - points).norm(dim=1).mean())
