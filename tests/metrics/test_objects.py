"""SEG, DET, average precision and panoptic quality: published vectors, and loops over all pairs of objects."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from atrous.errors import DataError, UsageError
from atrous.metrics import (
    average_precision,
    det_score,
    detection_counts,
    match_objects,
    mean_average_precision,
    object_jaccards,
    overlaps,
    panoptic_quality,
    seg_score,
)
from atrous.metrics.matching import DSB_THRESHOLDS, Matching
from atrous.metrics.seg import DetectionCounts

TRUTH = np.array([1, 1, 1, 1, 0, 2, 2, 2, 0, 3])
FOUND = np.array([5, 5, 5, 0, 0, 6, 0, 0, 0, 7])

maps = arrays(np.int32, (5, 6), elements=st.integers(0, 4))


def all_ious(predicted, truth):
    """By the definition, for each pair of numbers."""
    table = {}
    for t in set(truth.ravel().tolist()) - {0}:
        for s in set(predicted.ravel().tolist()) - {0}:
            table[t, s] = ((truth == t) & (predicted == s)).sum() / ((truth == t) | (predicted == s)).sum()
    return table


def most_pairs(predicted, truth, threshold):
    """The largest number of pairs above a threshold, by trying all of them."""
    table = all_ious(predicted, truth)
    true, found = sorted({t for t, _ in table}), sorted({s for _, s in table})
    short, long = (true, found) if len(true) <= len(found) else (found, true)
    key = (lambda a, b: (a, b)) if short is true else (lambda a, b: (b, a))
    return max(
        (
            sum(table[key(a, b)] > threshold for a, b in zip(short, order, strict=True))
            for order in permutations(long, len(short))
        ),
        default=0,
    )


def test_the_vector_of_the_cell_tracking_challenge():
    """IoU .75, 0 (a third is covered), 1: SEG .583333; one missed and one in excess of three: DET .633333."""
    assert object_jaccards(FOUND, TRUTH).tolist() == [0.75, 0, 1]
    assert seg_score([object_jaccards(FOUND, TRUTH)]) == pytest.approx(0.583333, abs=6e-7)
    assert detection_counts(FOUND, TRUTH) == (3, 0, 1, 1)
    assert det_score([detection_counts(FOUND, TRUTH)]) == pytest.approx(0.633333, abs=6e-7)


def test_half_an_object_is_not_more_than_half():
    assert object_jaccards(np.array([1, 1, 2, 2]), np.array([1, 1, 1, 1])).tolist() == [0]
    assert object_jaccards(np.array([1, 1, 1, 2]), np.array([1, 1, 1, 1])).tolist() == [0.75]


def test_a_predicted_object_may_cover_two():
    """Both are matched with it, for SEG; for DET it is one to be split."""
    truth, found = np.array([1, 1, 2, 2, 0]), np.array([4, 4, 4, 4, 4])
    assert object_jaccards(found, truth).tolist() == [0.4, 0.4]
    assert detection_counts(found, truth) == (2, 1, 0, 0)
    assert det_score([DetectionCounts(2, 1, 0, 0)]) == 1 - 5 / 20


def test_seg_asks_about_true_objects_alone():
    """Sparse truth: what is predicted elsewhere costs SEG nothing, and DET does count it."""
    truth, found = np.array([3, 3, 0, 0, 0, 0]), np.array([1, 1, 0, 2, 0, 7])
    assert seg_score([object_jaccards(found, truth)]) == 1
    assert detection_counts(found, truth).extras == 2


def test_objects_are_pooled_over_images():
    scores = [np.array([1.0, 1.0, 1.0]), np.array([0.0]), np.zeros(0)]
    assert seg_score(scores) == 0.75  # no mean of means, which were 0.5
    assert seg_score([]) == seg_score([np.zeros(0)]) == 0
    counts = [DetectionCounts(3, 0, 0, 0), DetectionCounts(1, 0, 1, 2)]
    assert det_score(counts) == 1 - 12 / 40
    assert det_score([DetectionCounts(1, 0, 1, 50)]) == 0  # no worse than nothing at all
    assert det_score([]) == det_score([DetectionCounts(0, 0, 0, 4)]) == 0


@given(maps, maps)
@settings(max_examples=60)
def test_seg_by_pairs(predicted, truth):
    expected = []
    for t in sorted(set(truth.ravel().tolist()) - {0}):
        best = 0.0
        for s in set(predicted.ravel().tolist()) - {0}:
            both = ((truth == t) & (predicted == s)).sum()
            if both > 0.5 * (truth == t).sum():
                best = both / ((truth == t) | (predicted == s)).sum()
        expected.append(best)
    assert object_jaccards(predicted, truth).tolist() == pytest.approx(expected)


@given(maps, maps)
@settings(max_examples=60)
def test_overlaps_by_pairs(predicted, truth):
    found = overlaps(predicted, truth)
    got = {
        (int(found.true_labels[t]), int(found.predicted_labels[s])): iou
        for t, s, iou in zip(found.true, found.predicted, found.iou, strict=True)
    }
    assert got == pytest.approx({pair: iou for pair, iou in all_ious(predicted, truth).items() if iou > 0})
    assert found.true_area.tolist() == [(truth == t).sum() for t in found.true_labels]
    assert found.predicted_area.tolist() == [(predicted == s).sum() for s in found.predicted_labels]


@given(maps, maps, st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7]))
@settings(max_examples=120)
def test_as_many_pairs_as_there_can_be_one_to_one(predicted, truth, threshold):
    matching = match_objects(predicted, truth, threshold)
    assert len(matching.pairs) == most_pairs(predicted, truth, threshold)
    assert len(set(matching.pairs[:, 0])) == len(set(matching.pairs[:, 1])) == len(matching.pairs)
    table = all_ious(predicted, truth)
    assert [table[t, s] for t, s in matching.pairs.tolist()] == pytest.approx(matching.ious.tolist())
    assert (matching.ious > threshold).all()
    assert matching.misses == len(set(truth.ravel().tolist()) - {0}) - len(matching.pairs)
    assert matching.extras == len(set(predicted.ravel().tolist()) - {0}) - len(matching.pairs)


def test_the_largest_overlap_is_not_taken_where_it_costs_a_pair():
    """Greedy takes (1, 5) of 4/7 and leaves 2 and 6 alone; 6 for 1 and 5 for 2 are two pairs."""
    truth = np.array([1, 1, 1, 1, 1, 2, 2])
    found = np.array([6, 5, 5, 5, 5, 5, 5])
    table = all_ious(found, truth)
    assert table[1, 5] == max(table.values())
    assert table[2, 6] == 0
    assert match_objects(found, truth, 0.1).pairs.tolist() == [[1, 6], [2, 5]]


def test_an_overlap_has_to_be_above_the_threshold():
    truth, found = np.array([1, 1, 0, 2]), np.array([1, 0, 0, 2])
    assert average_precision(found, truth, [0.49, 0.5]).tolist() == [1, 1 / 3]


def test_average_precision_over_the_thresholds_of_the_data_science_bowl():
    """IoU .75 and 1, one missed and one in excess: 2 of 4 up to .70, 1 of 5 from .75 on."""
    assert DSB_THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    scores = average_precision(FOUND, TRUTH)
    assert scores.tolist() == [0.5] * 5 + [0.2] * 5
    assert mean_average_precision(scores[None]) == pytest.approx(0.35)


def test_images_are_averaged_and_empty_ones_left_out():
    empty = np.zeros(4, int)
    assert np.isnan(average_precision(empty, empty)).all()
    assert average_precision(empty, np.ones(4, int)).tolist() == [0] * 10
    assert average_precision(np.ones(4, int), empty).tolist() == [0] * 10
    rows = np.stack([average_precision(FOUND, TRUTH), average_precision(empty, empty), np.zeros(10)])
    assert mean_average_precision(rows) == pytest.approx(0.175)
    assert math.isnan(mean_average_precision(rows[1:2]))


def test_panoptic_quality_of_the_vector():
    """IoU .8 and .6 with 3 predicted and 4 true objects: SQ .7, RQ .571429, PQ .4."""
    halves = [Matching(np.array([[k, k]]), np.array([iou]), 1, k) for k, iou in ((0, 0.8), (1, 0.6))]
    quality = panoptic_quality(halves)
    assert quality == pytest.approx((0.4, 0.7, 0.571429), abs=6e-7)
    assert quality.quality == pytest.approx(quality.segmentation * quality.recognition)
    assert all(math.isnan(value) for value in panoptic_quality([]))
    alone = panoptic_quality([Matching(np.zeros((0, 2), int), np.zeros(0), 1, 0)])
    assert (alone.quality, alone.recognition) == (0, 0)


def test_void_pixels_count_for_nothing():
    truth = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    found = np.array([4, 4, 4, 4, 4, 5, 5, 5, 6, 6])
    void = np.array([0, 0, 0, 1, 1, 0, 1, 1, 1, 0], bool)
    matching = match_objects(found, truth, void=void)
    assert matching.ious.tolist() == [1]  # 3 / 5 with the void pixels
    assert matching.extras == 1  # 5 lies on void by two thirds, 6 by just a half
    assert match_objects(found, truth).ious.tolist() == [0.6]
    assert match_objects(found, truth).extras == 2


def test_refusals():
    for score in (object_jaccards, detection_counts, average_precision, match_objects):
        with pytest.raises(UsageError, match=r"label maps of \(10,\) and \(9,\): compare maps of one shape"):
            score(FOUND[1:], TRUTH)
        with pytest.raises(DataError, match="label -1"):
            score(FOUND - 1, TRUTH)
    for threshold in (-0.1, 1.0):
        with pytest.raises(UsageError, match="above a number from 0 to below 1"):
            match_objects(FOUND, TRUTH, threshold)
