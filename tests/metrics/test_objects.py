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
from atrous.metrics.objects import judged_by, number_parts, objects_of, score_objects, summarize_objects
from atrous.metrics.seg import DetectionCounts
from atrous.types import Prediction

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


def coco_counts(predicted, truth, crowd, threshold):
    """COCO's rule, detection by detection: a partner first, then a crowd by intersection over the detection's area."""
    table, free = all_ious(predicted, truth), set(truth.ravel().tolist()) - {0}
    detections = set(predicted.ravel().tolist()) - {0}
    right = ignored = 0
    for number in detections:
        own = predicted == number
        partner = [t for t in free if table[t, number] > threshold]
        if partner:
            free -= set(partner)
            right += 1
        elif (own & crowd).sum() / own.sum() > threshold:
            ignored += 1
    return right, len(detections) - right - ignored, len(free)


@given(maps, maps, st.sampled_from([0.5, 0.6, 0.75, 0.95]))
@settings(max_examples=200)
def test_crowds_take_detections_by_their_share_inside(predicted, truth, threshold):
    crowd = (truth == 4) | (truth == 3)
    truth = np.where(crowd, 0, truth)
    right, wrong, missed = coco_counts(predicted, truth, crowd, threshold)
    matching = match_objects(predicted, truth, threshold, crowd=crowd)
    assert (len(matching.pairs), matching.extras, matching.misses) == (right, wrong, missed)
    (score,) = average_precision(predicted, truth, [threshold], crowd=crowd)
    total = right + wrong + missed
    assert score == right / total if total else math.isnan(score)
    # With void the same, on what is left of both maps outside of it.
    void = matching_outside(predicted, truth, crowd, threshold)
    found = match_objects(predicted, truth, threshold, void=crowd)
    assert (len(found.pairs), found.extras, found.misses) == void


def matching_outside(predicted, truth, void, threshold):
    left = np.where(void, 0, predicted)
    table, right = all_ious(left, np.where(void, 0, truth)), 0
    free = set(np.where(void, 0, truth).ravel().tolist()) - {0}
    wrong = 0
    for number in set(left.ravel().tolist()) - {0}:
        partner = [t for t in free if table.get((t, number), 0) > threshold]
        free -= set(partner)
        right += bool(partner)
        own = predicted == number
        wrong += not partner and (own & void).sum() / own.sum() <= threshold
    return right, wrong, len(free)


def scene():
    """A found cell of 16 pixels in an image of 12 x 20."""
    classes, instances = np.zeros((12, 20), np.int64), np.zeros((12, 20), np.int64)
    classes[2:6, 2:6], instances[2:6, 2:6] = 1, 1
    return classes, instances


def scored(prediction, instances, truth):
    confidence = np.ones(prediction.shape, np.float16)
    return score_objects(Prediction(classes=prediction, confidence=confidence), instances, truth)


def test_an_unlabelled_object_that_is_found_costs_nothing():
    """It stands under 255: AP was 0.5 where it was found, and is that of the rest."""
    truth, instances = scene()
    found = truth.copy()
    found[2:6, 12:16] = 1
    truth[1:7, 11:17] = 255
    both = scored(found, instances, truth)
    assert both.precision.tolist() == [1] * 10
    assert (both.objects, both.found, both.seg) == (1, 1, 1)
    beside = scored(np.where(np.arange(20) >= 18, 1, found), instances, truth)
    assert beside.precision.tolist() == [0.5] * 10
    assert (beside.objects, beside.found) == (1, 2)


def test_an_object_that_leaves_what_is_ignored_is_judged_by_its_share_inside():
    truth, instances = scene()
    found = truth.copy()
    found[2:6, 10:14] = 1
    truth[2:6, 11:20] = 255  # twelve of its sixteen pixels
    assert scored(found, instances, truth).precision.tolist() == [1] * 5 + [0.5] * 5
    assert scored(found, instances, truth).found == 1


def test_two_objects_in_a_crowd_are_no_errors():
    """A region with `iscrowd` has its class and no number: AP was 0.33 with two objects found in it, and is 1."""
    truth, instances = scene()
    truth[2:10, 10:20] = 1
    found = scene()[0]
    found[3:6, 11:14] = found[3:6, 16:19] = 1
    both = scored(found, instances, truth)
    assert both.precision.tolist() == [1] * 10
    assert (both.objects, both.found, both.seg) == (1, 1, 1)
    assert scored(truth, instances, truth).precision.tolist() == [1] * 10  # or all of it as one
    assert scored(scene()[0], instances, truth).precision.tolist() == [1] * 10  # or nothing
    plain = average_precision(number_parts(found), instances)
    assert plain.tolist() == pytest.approx([1 / 3] * 10)  # what it would be if crowds were background


def test_a_crowd_hides_no_miss_and_no_false_alarm():
    truth, instances = scene()
    truth[2:10, 10:20] = 1
    nothing = np.zeros_like(truth)
    assert scored(nothing, instances, truth).precision.tolist() == [0] * 10
    alarm = scene()[0]
    alarm[10:12, 2:8] = 1
    assert scored(alarm, instances, truth).precision.tolist() == [0.5] * 10


def test_an_image_of_nothing_but_a_crowd_says_nothing():
    truth = np.ones((6, 6), np.int64)
    alone = scored(truth, np.zeros((6, 6), np.int64), truth)
    assert np.isnan(alone.precision).all()
    assert (alone.objects, alone.found) == (0, 0)
    both = summarize_objects([alone, scored(scene()[0], scene()[1], scene()[0])])
    assert (both["average_precision"], both["average_precision_50"], both["found"]) == (1, 1, 1)


def test_overlapping_classes_are_ignored_where_none_is_known_and_crowds_where_one_is():
    instances = scene()[1]
    planes = np.zeros((2, 12, 20), np.uint8)
    planes[0] = instances > 0
    planes[:, 8:] = 255
    planes[1, 2:6, 12:18] = 1  # no number: a crowd
    void, crowd = judged_by(planes, instances)
    assert void[8:].all()
    assert not void[:8].any()
    assert crowd.sum() == 24
    labels = planes == 1
    labels[1, 9:11, 3:5] = True
    classes = np.where(labels.any(0), labels.argmax(0), 255).astype(np.uint8)
    prediction = Prediction(classes=classes, confidence=np.ones((12, 20), np.float16), labels=labels)
    assert np.unique(objects_of(prediction)).tolist() == [0, 1, 2, 3]  # the first class too, and no object of 255
    assert score_objects(prediction, instances, planes).precision.tolist() == [1] * 10


def test_refusals():
    for score in (object_jaccards, detection_counts, average_precision, match_objects):
        with pytest.raises(UsageError, match=r"label maps of \(10,\) and \(9,\): compare maps of one shape"):
            score(FOUND[1:], TRUTH)
        with pytest.raises(DataError, match="label -1"):
            score(FOUND - 1, TRUTH)
    for threshold in (-0.1, 1.0):
        with pytest.raises(UsageError, match="above a number from 0 to below 1"):
            match_objects(FOUND, TRUTH, threshold)
