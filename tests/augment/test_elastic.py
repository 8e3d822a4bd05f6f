"""The coarse-grid deformation: the vectors of specs/augmentation.md, and the invariants of any warp."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from atrous.augment import Elastic, Simard
from atrous.augment.elastic import (
    Positions,
    elastic_positions,
    gaussian_weights,
    random_grid,
    simard_noise,
    simard_positions,
    spline_weights,
    warp_image,
    warp_labels,
)


def _field(grid, height, width):
    positions = elastic_positions(grid, height, width)
    return positions.y - np.arange(height)[:, None], positions.x - np.arange(width)[None]


def _constant(dy, dx, points=3):
    return np.stack([np.full((points, points), float(dy)), np.full((points, points), float(dx))])


def test_one_vector_of_ten_gives_the_curve_of_the_specification():
    grid = np.zeros((2, 3, 3))
    grid[1, 1, 1] = 10.0
    dy, dx = _field(grid, 9, 9)
    assert dx[4].tolist() == [0, 1.5625, 5, 8.4375, 10, 8.4375, 5, 1.5625, 0]
    assert not dy.any()


@pytest.mark.parametrize(("points", "height", "width"), [(3, 33, 65), (3, 50, 71), (4, 61, 31), (2, 20, 30)])
def test_the_field_is_the_mirrored_interpolating_cubic_spline(points, height, width):
    grid = random_grid(np.random.default_rng(3), points=points)
    y, x = np.meshgrid(np.linspace(0, points - 1, height), np.linspace(0, points - 1, width), indexing="ij")
    for component, ours in zip(grid, _field(grid, height, width), strict=True):
        scipys = ndimage.map_coordinates(component, [y, x], order=3, mode="mirror")
        np.testing.assert_allclose(ours, scipys, atol=1e-5)


def test_the_field_takes_the_drawn_vectors_at_the_nodes():
    grid = random_grid(np.random.default_rng(0))
    dy, dx = _field(grid, 101, 61)
    np.testing.assert_allclose(dy[::50, ::30], grid[0], atol=1e-5)
    np.testing.assert_allclose(dx[::50, ::30], grid[1], atol=1e-5)


@pytest.mark.parametrize(("length", "points"), [(1, 3), (2, 2), (7, 3), (512, 5)])
def test_spline_weights_sum_to_one(length, points):
    weights = spline_weights(length, points)
    assert weights.shape == (length, points)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-12)


def test_drawn_vectors_have_the_papers_spread():
    grids = np.stack([random_grid(np.random.default_rng(seed)) for seed in range(1000)])
    assert abs(grids.mean()) < 0.3
    assert abs(grids.std() - 10) < 0.3


def test_a_zero_field_is_the_identity_bit_for_bit():
    image = torch.rand(3, 47, 83) * 65535
    labels = torch.randint(0, 70_000, (47, 83))
    positions = elastic_positions(np.zeros((2, 3, 3)), 47, 83)
    assert torch.equal(warp_image(image, positions), image)
    assert torch.equal(warp_labels(labels, positions), labels)


@pytest.mark.parametrize(("dy", "dx"), [(3, -5), (-7, 0), (1, 1)])
def test_a_constant_whole_shift_is_a_roll_in_the_interior(dy, dx):
    image, labels = torch.rand(2, 40, 56) * 255, torch.randint(0, 9, (40, 56))
    positions = elastic_positions(_constant(dy, dx), 40, 56)
    inside = (slice(8, -8), slice(8, -8))
    rolled = torch.roll(image, (-dy, -dx), (1, 2))
    assert torch.equal(warp_image(image, positions)[(slice(None), *inside)], rolled[(slice(None), *inside)])
    assert torch.equal(warp_labels(labels, positions)[inside], torch.roll(labels, (-dy, -dx), (0, 1))[inside])


def test_reading_is_backward_and_bilinear():
    image = torch.arange(25.0).reshape(1, 5, 5)
    y, x = (np.ascontiguousarray(a, np.float32) for a in np.mgrid[:5, :5])
    y[2, 2] += -0.25
    x[2, 2] += 0.5
    x[0, 0] -= 0.5  # between the first pixel and the mirrored second one; with the edge repeated it would be 0
    out = warp_image(image, Positions(y, x))
    assert out[0, 2, 2] == 11.25
    assert out[0, 0, 0] == 0.5
    out[0, 2, 2], out[0, 0, 0] = 12, 0
    assert torch.equal(out, image)


def test_borders_mirror_without_repeating_the_edge_however_far():
    row = torch.arange(4.0)[None, None]
    x = np.arange(-9, 13, dtype=np.float32)[None]
    expected = np.pad(np.arange(4), 9, mode="reflect")
    positions = Positions(np.zeros_like(x), x)
    assert warp_image(row, positions)[0, 0].tolist() == expected.tolist()
    assert warp_labels(row[0].long(), positions)[0].tolist() == expected.tolist()


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_constant_image_stays_constant(channels):
    sample = {"image": torch.full((channels, 64, 48), 37.5), "mask": torch.full((64, 48), 4)}
    out = Elastic(sigma=20)(sample, np.random.default_rng(1))
    assert torch.allclose(out["image"], sample["image"], rtol=1e-6)
    assert torch.equal(out["mask"], sample["mask"])


def test_image_and_mask_move_by_one_field():
    # The mask is the image's own threshold: after the move they still agree, but for pixels next to the edge.
    y, x = np.mgrid[:128, :128]
    ramp = torch.from_numpy(np.hypot(y - 60, x - 70)).float()
    sample = {"image": ramp[None], "mask": (ramp > 30).long(), "instances": (ramp > 30).long() * 300}
    out = Elastic(sigma=6)(sample, np.random.default_rng(5))
    sure = (out["image"][0] - 30).abs() > 1
    assert torch.equal(out["mask"][sure], (out["image"][0] > 30).long()[sure])
    assert torch.equal(out["instances"], out["mask"] * 300)
    assert (out["mask"] != sample["mask"]).sum() > 100
    assert out["mask"].dtype == out["instances"].dtype == torch.int64


def test_labels_stay_labels():
    mask = torch.from_numpy(np.random.default_rng(0).choice([0, 7, 255], (60, 60)))
    out = Elastic()({"image": torch.zeros(1, 60, 60), "mask": mask}, np.random.default_rng(2))
    assert set(out["mask"].unique().tolist()) <= {0, 7, 255}


def test_the_same_seed_draws_the_same_field():
    sample = {"image": torch.rand(1, 50, 60)}
    first, second, third = (Elastic()(sample, np.random.default_rng(seed))["image"] for seed in (4, 4, 5))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_a_strided_image_is_read_right():
    image = torch.rand(3, 20, 30)
    positions = elastic_positions(random_grid(np.random.default_rng(0), sigma=2), 10, 15)
    strided = image[:, ::2, ::2]
    assert torch.equal(warp_image(strided, positions), warp_image(strided.contiguous(), positions))


# Simard's field


def _simard_field(noise, alpha, sigma, window=None):
    positions = simard_positions(noise, alpha, sigma, window)
    return positions.y - np.arange(len(positions.y))[:, None], positions.x - np.arange(positions.x.shape[1])[None]


def test_an_impulse_gives_the_gaussian_of_the_specification():
    noise = np.zeros((2, 25, 25), np.float32)
    noise[1, 12, 12] = 1
    dy, dx = _simard_field(noise, 1.0, 2.0)
    assert dx.shape == (9, 9)
    assert dx[4].tolist() == pytest.approx(
        [0.0054, 0.0129, 0.0241, 0.0351, 0.0398, 0.0351, 0.0241, 0.0129, 0.0054], abs=5e-5
    )
    assert dx.sum() == pytest.approx(0.954593, abs=1e-4)
    assert not dy.any()


def test_the_field_is_noise_filtered_by_scipys_gaussian():
    noise = simard_noise(np.random.default_rng(0), 20, 31, sigma=2.5)
    assert noise.shape == (2, 40, 51)
    filtered = ndimage.gaussian_filter(noise.astype(float), (0, 2.5, 2.5), truncate=4, mode="constant")[
        :, 10:-10, 10:-10
    ]
    np.testing.assert_allclose(np.stack(_simard_field(noise, 30.0, 2.5)), 30 * filtered, atol=2e-5)


@pytest.mark.parametrize(("alpha", "sigma"), [(34.0, 4.0), (10.0, 1.0)])
def test_displacements_have_the_derived_spread_in_the_middle_and_at_the_border(alpha, sigma):
    fields = np.stack(
        [
            _simard_field(simard_noise(np.random.default_rng(seed), 9, 9, sigma=sigma), alpha, sigma)
            for seed in range(1000)
        ]
    )
    exact = alpha * (gaussian_weights(sigma) ** 2).sum() / 3**0.5
    assert exact == pytest.approx(alpha * 3**-0.5 / (2 * sigma * np.pi**0.5), rel=0.02)
    for place in ((4, 4), (0, 0), (8, 3)):
        drawn = fields[:, :, place[0], place[1]]
        assert abs(drawn.mean()) < 0.1 * exact
        assert drawn.std() == pytest.approx(exact, rel=0.06)


def test_numbers_of_the_paper():
    assert 34 * (gaussian_weights(4.0) ** 2).sum() / 3**0.5 == pytest.approx(1.38, abs=0.01)


def test_simards_zero_field_is_the_identity_and_a_constant_one_a_roll():
    image, labels = torch.rand(2, 40, 56) * 65535, torch.randint(0, 70_000, (40, 56))
    still = simard_positions(simard_noise(np.random.default_rng(0), 40, 56), 0.0)
    assert torch.equal(warp_image(image, still), image)
    assert torch.equal(warp_labels(labels, still), labels)
    noise = np.ones((2, 72, 88), np.float32)
    noise[1] = -1
    positions = simard_positions(noise, 3.0, 4.0)
    moved = Positions(positions.y.round(3), positions.x.round(3))
    rolled = np.roll(image.numpy(), (-3, 3), (1, 2))[:, 5:-5, 5:-5]
    np.testing.assert_array_equal(warp_image(image, moved)[:, 5:-5, 5:-5], rolled)
    np.testing.assert_allclose(positions.y, moved.y, atol=1e-4)


def test_simards_distortion_moves_image_and_labels_by_one_field_of_the_generator():
    y, x = np.mgrid[:96, :96]
    ramp = torch.from_numpy(np.hypot(y - 50, x - 44)).float()
    sample = {"image": ramp[None], "mask": (ramp > 30).long(), "instances": (ramp > 30).long() * 300}
    out, again, other = (Simard(100, 6)(sample, np.random.default_rng(seed)) for seed in (5, 5, 6))
    sure = (out["image"][0] - 30).abs() > 1
    assert torch.equal(out["mask"][sure], (out["image"][0] > 30).long()[sure])
    assert torch.equal(out["instances"], out["mask"] * 300)
    assert (out["mask"] != sample["mask"]).sum() > 50
    assert torch.equal(out["image"], again["image"])
    assert not torch.equal(out["image"], other["image"])
