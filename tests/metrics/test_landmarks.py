"""Measures of landmarks: published definitions by hand-computed numbers."""

import numpy as np
import pytest

from atrous.errors import UsageError
from atrous.metrics.landmark_state import LandmarkScores
from atrous.metrics.landmarks import (
    COCO_SIGMAS,
    area_under_curve,
    bootstrap_interval,
    detections,
    head_length,
    landmark_distances,
    mean_error,
    mirror_confusions,
    object_similarity,
    pck,
    pck_by_landmark,
    pck_curve,
    reference_lengths,
)

NAN = np.nan


def test_pckh_by_the_example_of_the_specs():
    """Head box (100, 50)-(130, 90): diagonal 50, L = 30, tolerance 15 px; 14.9 is right, 15.0 is wrong."""
    length = head_length(np.array([[100.0, 50.0, 130.0, 90.0]]))
    assert length.tolist() == [30.0]
    assert pck(np.array([[14.9]]), length, 0.5) == 1.0
    assert pck(np.array([[15.0]]), length, 0.5) == 0.0


def test_distances_say_what_is_unknown_and_what_was_missed():
    truth = np.array([[[0.0, 0.0], [1.0, 1.0], [NAN, NAN], [2.0, 2.0]]])
    found = np.array([[[3.0, 4.0, 0.9], [NAN, NAN, 0.0], [5.0, 5.0, 0.9], [2.0, 2.0, 0.1]]])
    assert landmark_distances(found, truth).tolist()[0][:2] == [5.0, np.inf]
    assert np.isnan(landmark_distances(found, truth)[0, 2])
    assert landmark_distances(found, truth, found[..., 2] < 0.2)[0, 3] == np.inf


def test_distances_in_space_are_millimetres_too():
    assert landmark_distances(np.array([[1.0, 2.0, 2.0]]), np.zeros((1, 3))).tolist() == [3.0]


def test_pck_counts_points_and_its_mean_by_landmark_counts_landmarks():
    distances = np.array([[1.0, 9.0], [1.0, NAN], [9.0, NAN]])
    assert pck(distances, 1.0, 5.0) == 0.5
    assert pck_by_landmark(distances, 1.0, 5.0).tolist() == [pytest.approx(2 / 3), 0.0]
    assert pck(distances, np.array([1.0, 1.0, 2.0]), 5.0) == 0.75
    assert np.isnan(pck(np.full((2, 2), NAN), 1.0, 5.0))


def test_a_missed_point_is_wrong_at_every_threshold_and_not_in_the_mean():
    distances = np.array([[1.0, np.inf]])
    assert pck(distances, 1.0, 1e9) == 0.5
    assert mean_error(distances) == 1.0
    assert area_under_curve(distances, 1.0, 2.0) == 0.25


def test_an_image_of_unknown_length_is_left_out():
    assert pck(np.array([[1.0], [1.0]]), np.array([10.0, NAN]), 0.2) == 1.0


@pytest.mark.parametrize(
    ("reference", "length"), [("pixel", 1.0), ("box", 20.0), ("diagonal", 20 * 2**0.5), ("image", 50.0), ((0, 2), 10.0)]
)
def test_reference_lengths(reference, length):
    truth = np.array([[[0.0, 5.0], [20.0, 25.0], [0.0, 15.0], [NAN, NAN]]])
    lengths = reference_lengths(reference, truth, sizes=np.array([[30, 40]]))
    assert lengths.tolist() == [pytest.approx(length)]


def test_a_given_box_is_taken_before_that_of_the_points():
    truth = np.array([[[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0], [3.0, 4.0]]])
    boxes = np.array([[0.0, 0.0, 30.0, 40.0], [NAN] * 4])
    assert reference_lengths("diagonal", truth, boxes).tolist() == [50.0, 5.0]


def test_lengths_that_say_nothing_are_unknown():
    truth = np.array([[[1.0, 1.0], [1.0, 1.0]], [[NAN, NAN], [1.0, 1.0]]])
    for reference in ("box", "diagonal", (0, 1)):
        assert np.isnan(reference_lengths(reference, truth)).all()


@pytest.mark.parametrize("reference", ["eyes", (0, 0), (0, 9)])
def test_unknown_references_are_refused(reference):
    with pytest.raises(UsageError, match="reference"):
        reference_lengths(reference, np.zeros((1, 3, 2)))


def test_nme_is_the_mean_over_images_of_the_mean_over_points():
    """Two faces, inter-ocular 10 and 20 px."""
    distances = np.array([[1.0, 3.0], [4.0, NAN]])
    assert mean_error(distances, np.array([10.0, 20.0]), by_image=True) == pytest.approx((0.2 + 0.2) / 2)
    assert mean_error(distances) == pytest.approx(8 / 3)


def test_the_area_is_that_under_the_curve():
    distances = np.random.default_rng(0).exponential(0.3, (40, 5))
    thresholds = np.linspace(0, 0.5, 5001)
    curve = pck_curve(distances, 1.0, thresholds)
    assert (np.diff(curve) >= 0).all()
    assert area_under_curve(distances, 1.0, 0.5) == pytest.approx(np.trapezoid(curve, thresholds) / 0.5, abs=1e-3)
    assert area_under_curve(np.zeros((2, 2)), 1.0, 0.5) == 1.0
    with pytest.raises(UsageError, match="largest"):
        area_under_curve(distances, 1.0, 0.0)


def test_oks_is_that_of_coco():
    """By the formula of pycocotools' `computeOks`: vars = (2 sigma)^2, e = d^2 / vars / (area + eps) / 2."""
    rng = np.random.default_rng(0)
    distances, areas = rng.exponential(10.0, (3, 17)), np.array([900.0, 5000.0, 20000.0])
    distances[0, 3:] = NAN
    sigmas = np.array(COCO_SIGMAS)
    expected = []
    for row, area in zip(distances, areas, strict=True):
        known = ~np.isnan(row)
        e = row[known] ** 2 / (sigmas[known] * 2) ** 2 / (area + np.spacing(1)) / 2
        expected.append(np.exp(-e).sum() / e.size)
    assert object_similarity(distances, areas, COCO_SIGMAS).tolist() == pytest.approx(expected)
    with pytest.raises(UsageError, match="2 sigmas for 17 landmarks"):
        object_similarity(distances, areas, [0.1, 0.1])


def test_a_missed_point_has_no_similarity():
    assert object_similarity(np.array([[0.0, np.inf]]), np.array([1.0]), [0.1, 0.1]).tolist() == [0.5]


def test_missed_and_invented():
    said = np.array([[True, False, True, True]])
    there = np.array([[True, True, False, False]])
    outside = np.array([[False, False, True, False]])
    counts = detections(said, there, outside)
    assert (counts.there, counts.found, counts.missed, counts.invented) == (2, 1, 1, 1)
    assert counts.rate == 0.5
    assert detections(said, there).invented == 2
    assert np.isnan(detections(said, np.zeros_like(there)).rate)


def test_mirrored_landmarks_are_confused_only_where_both_are_known():
    truth = np.array([[[0.0, 0.0], [10.0, 0.0], [5.0, 5.0]], [[0.0, 0.0], [NAN, NAN], [5.0, 5.0]]])
    found = np.array([[[8.0, 0.0], [9.0, 0.0], [0.0, 0.0]]] * 2)
    assert mirror_confusions(found, truth, [(0, 1)]).tolist() == [[True, False, False], [False, False, False]]


def test_intervals_hold_the_figure_and_narrow_with_more_images():
    errors = np.random.default_rng(0).exponential(2.0, 400)

    def interval(count):
        return bootstrap_interval(lambda drawn: float(errors[:count][drawn].mean()), count, draws=300)

    few, many = interval(20), interval(400)
    assert few[0] < errors[:20].mean() < few[1]
    assert many[0] < errors.mean() < many[1]
    assert many[1] - many[0] < (few[1] - few[0]) / 2
    assert many == interval(400)
    assert np.isnan(bootstrap_interval(lambda drawn: 1.0, 1)).all()
    assert np.isnan(bootstrap_interval(lambda drawn: NAN, 5, draws=10)).all()


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng, held = np.random.default_rng(1), 0
    for trial in range(100):
        sample = rng.normal(3.0, 1.0, 60)
        low, high = bootstrap_interval(lambda drawn, s=sample: float(s[drawn].mean()), 60, draws=200, seed=trial)
        held += low < 3.0 < high
    assert 86 <= held <= 100


def test_the_state_knows_what_lies_in_the_image():
    scores = LandmarkScores()
    scores.add(np.zeros((3, 3)), np.array([[-0.5, 0.0], [9.6, 0.0], [NAN, NAN]]), (8, 10))
    scores.add(np.zeros((3, 3)), np.array([[0.0, 7.5], [0.0, 7.6], [9.5, 0.0]]), (8, 10), np.array([0, 0, 3, 4]))
    assert scores.inside().tolist() == [[True, False, False], [True, False, True]]
    assert scores.lengths("diagonal")[1] == 5.0
    assert scores.lengths("image").tolist() == pytest.approx([164**0.5] * 2)
