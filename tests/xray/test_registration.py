"""Places, poses and lines against the geometry that they are computed from."""

import numpy as np
import pytest

from atrous.errors import DataError
from atrous.xray import c_arm
from atrous.xray.anatomy import template
from atrous.xray.camera import turn_about
from atrous.xray.registration import (
    epipolar_line,
    find_matrix,
    find_pose,
    from_matrix,
    pose_error,
    registration_error,
    triangulate,
)

VIEWS = [c_arm(0, 0), c_arm(50, 10), c_arm(-40, 30, roll=5.0), c_arm(10, -40, distances=(1200.0, 900.0))]
POINTS = template()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_places_are_found_from_exact_pixels(count: int) -> None:
    pixels = np.stack([view.project(POINTS) for view in VIEWS[:count]])
    np.testing.assert_allclose(triangulate(VIEWS[:count], pixels), POINTS, atol=1e-6)


def test_places_are_the_least_squares_of_the_pictures() -> None:
    rng = np.random.default_rng(0)
    pixels = np.stack([view.project(POINTS) for view in VIEWS]) + rng.normal(0, 2.0, (4, 23, 2))
    found = triangulate(VIEWS, pixels)

    def cost(points: np.ndarray) -> np.ndarray:
        return sum(((view.project(points) - seen) ** 2).sum(1) for view, seen in zip(VIEWS, pixels, strict=True))

    here = cost(found)
    for axis in range(3):
        for step in (-0.02, 0.02):
            assert (cost(found + step * np.eye(3)[axis]) > here).all()
    fewer = triangulate(VIEWS[:2], pixels[:2])
    errors = [np.linalg.norm(each - POINTS, axis=1).mean() for each in (found, fewer)]
    assert errors[0] < errors[1] < 8


def test_views_that_have_not_found_a_point_are_left_out() -> None:
    pixels = np.stack([view.project(POINTS) for view in VIEWS])
    pixels[0, 3] = pixels[2, 3] = np.nan
    pixels[:3, 5] = np.nan
    found = triangulate(VIEWS, pixels)
    np.testing.assert_allclose(found[3], POINTS[3], atol=1e-6)
    assert np.isnan(found[5]).all()
    with pytest.raises(DataError, match="4 views need pixels of the shape"):
        triangulate(VIEWS, pixels[:2])
    same = triangulate([VIEWS[0], VIEWS[0]], pixels[[1, 1]])
    assert np.isnan(same).all()  # from one place there is no depth


@pytest.mark.parametrize("view", VIEWS)
def test_a_matrix_of_eleven_unknowns_is_found_and_split(view: object) -> None:
    found = from_matrix(find_matrix(POINTS, view.project(POINTS)), (view.height, view.width))
    np.testing.assert_allclose(found.intrinsics, view.intrinsics, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(found.rotation, view.rotation, atol=1e-8)
    np.testing.assert_allclose(found.translation, view.translation, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(from_matrix(-3 * view.matrix, (4, 4)).rotation, view.rotation, atol=1e-12)


def test_a_matrix_needs_six_points_in_space() -> None:
    pixels = VIEWS[1].project(POINTS)
    with pytest.raises(DataError, match="needs 6 points, and 5 are known"):
        find_matrix(POINTS[:5], pixels[:5])
    flat = POINTS * [1, 0, 1]
    with pytest.raises(DataError, match="lie in one plane"):
        find_matrix(flat, VIEWS[1].project(flat))
    with pytest.raises(DataError, match="parallel rays"):
        from_matrix(np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]), (4, 4))


@pytest.mark.parametrize("view", VIEWS)
def test_a_pose_is_found_though_a_third_of_the_points_is_wrong(view: object) -> None:
    rng = np.random.default_rng(1)
    pixels = view.project(POINTS) + rng.normal(0, 0.5, (23, 2))
    wrong = rng.choice(23, 7, replace=False)
    pixels[wrong] += rng.uniform(25, 80, (7, 2)) * rng.choice([-1, 1], (7, 2))
    pixels[(wrong[0] + 1) % 23] = np.nan
    found = find_pose(POINTS, pixels, VIEWS[0] if view is not VIEWS[3] else view)
    assert found is not None
    assert not found.inliers[wrong].any()
    assert found.inliers.sum() >= 14
    assert found.error < 1
    degrees, millimetres = pose_error(found.beam, view, POINTS.mean(0))
    assert degrees < 1
    assert millimetres < 8  # along the line of sight pixels say little
    again = find_pose(POINTS, pixels, VIEWS[0] if view is not VIEWS[3] else view)
    np.testing.assert_array_equal(again.beam.rotation, found.beam.rotation)


def test_no_pose_is_made_up() -> None:
    view = VIEWS[0]
    pixels = view.project(POINTS)
    assert find_pose(POINTS[:4], pixels[:4], view) is None
    noise = np.random.default_rng(0).uniform(0, 256, (23, 2))
    found = find_pose(POINTS, noise, view, tolerance=2.0)
    assert found is None or found.inliers.sum() < 9


def test_errors_of_poses_are_those_that_were_put_in() -> None:
    view = VIEWS[2]
    centre = POINTS.mean(0)
    turned = turn_about(np.deg2rad(3.0) * np.array([0.6, 0.0, 0.8]))
    there = view.rotation @ centre + view.translation
    other = type(view)(
        view.intrinsics, turned @ view.rotation, turned @ (view.translation - there) + there + [0, 4, 3], 9, 9
    )
    degrees, millimetres = pose_error(other, view, centre)
    assert degrees == pytest.approx(3.0)
    assert millimetres == pytest.approx(5.0)
    assert pose_error(view, view, centre) == (0.0, 0.0)
    assert registration_error(other, view, POINTS).max() > 5


def test_a_point_lies_on_its_epipolar_line() -> None:
    for other in VIEWS[1:]:
        for seen, there in zip(VIEWS[0].project(POINTS), other.project(POINTS), strict=True):
            line = epipolar_line(VIEWS[0], seen, other)
            assert abs(line @ [*there, 1.0]) < 1e-8
            assert np.hypot(*line[:2]) == pytest.approx(1)
    with pytest.raises(DataError, match="no epipolar line"):
        epipolar_line(VIEWS[0], np.array([3.0, 4.0]), VIEWS[0])
