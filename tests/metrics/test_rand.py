"""Rand and information scores against published vectors, and against loops over all pairs of pixels."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.errors import DataError, UsageError
from atrous.metrics import (
    adapted_rand_error,
    border_mask,
    contingency,
    cremi_rand_error,
    cremi_score,
    foreground_overlaps,
    information_scores,
    pair_sums,
    rand_error,
    rand_scores,
    scores_of_pairs,
    variation_of_information,
)
from atrous.metrics.labels import entropy

TRUTH = np.array([[1, 1, 0, 2, 2, 2], [1, 1, 0, 2, 2, 2], [1, 1, 0, 0, 0, 0], [1, 1, 0, 3, 3, 3]])
FOUND = np.array([[1, 1, 1, 1, 2, 2], [1, 1, 0, 0, 2, 2], [1, 1, 0, 0, 0, 0], [4, 4, 0, 3, 3, 0]])
APART, JOINED = np.array([1, 1, 2, 2]), np.array([1, 1, 1, 1])


def near(values, tolerance=6e-7):
    return pytest.approx(values, abs=tolerance)


def labels(shape=(12,), high=4):
    count = math.prod(shape)
    return st.lists(st.integers(0, high), min_size=count, max_size=count).map(lambda v: np.array(v).reshape(shape))


def test_the_vector_of_both_scores():
    """A .377163, B .259516, AB .217993 over 17 pixels, and the scores that follow."""
    n = 17
    assert pair_sums(foreground_overlaps(FOUND, TRUTH)) / n**2 == near([0.217993, 0.377163, 0.259516])
    assert rand_scores(FOUND, TRUTH) == near((0.577982, 0.84, 0.684783))
    assert information_scores(FOUND, TRUTH) == near((0.557164, 0.835791, 0.668611, 0.852025))


def test_the_entropies_of_the_vector():
    both, truth, predicted, alone = foreground_overlaps(FOUND, TRUTH)
    h_t, h_s, h_both = entropy(truth), entropy(predicted, alone), entropy(both, alone)
    assert (h_t, h_s) == near((1.028394, 1.542676))
    assert (h_both - h_s, h_both - h_t) == near((0.168871, 0.683153))


def test_what_is_joined_lowers_merge_and_what_is_split_lowers_split():
    assert rand_scores(JOINED, APART) == near((1, 0.5, 2 / 3))
    assert rand_scores(APART, JOINED) == near((0.5, 1, 2 / 3))
    assert rand_scores(APART, APART) == (1, 1, 1)
    assert information_scores(APART, APART) == near((1, 1, 1, 0))


def test_single_regions_have_no_information():
    """The challenge's rule: one region in the truth, or in the prediction, makes V_info 0."""
    assert information_scores(JOINED, APART)[:3] == (0, 1, 0)
    assert information_scores(APART, JOINED)[:3] == (1, 0, 0)
    assert information_scores(JOINED, APART).variation == near(math.log(2))


def test_scikit_image_has_precision_and_recall_the_other_way_round():
    """Its values (error, precision, recall); precision is what everybody else calls recall, the split score."""
    assert adapted_rand_error(JOINED, APART) == near((0.5, 1, 1 / 3))
    assert adapted_rand_error(APART, JOINED) == near((0.5, 1 / 3, 1))
    assert adapted_rand_error(FOUND, TRUTH) == near((0.394737, 0.5, 0.766667))
    assert adapted_rand_error(FOUND, TRUTH, ignore_label=None) == near((0.419847, 0.567164, 0.59375))


def test_cremi_does_not_penalise_what_is_lost_to_the_membrane():
    """Its values: error .329062, precision (merge) .835804, recall (split) .560398."""
    assert cremi_rand_error(FOUND, TRUTH) == near((0.329062, 0.560398, 0.835804))
    lost = np.array([1, 0, 0, 0, 0, 2, 0, 0, 0, 0])
    truth = np.array([1, 1, 1, 1, 1, 2, 2, 2, 2, 2])
    assert cremi_rand_error(lost, truth).merge == 1
    assert rand_scores(lost, truth).merge == 1
    joined = np.array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0])  # joined where one pixel each is left
    assert cremi_rand_error(joined, truth).merge == near((2 + 0.8) / (4 + 0.8))  # 8 pixels weigh as much as 0.8
    assert rand_scores(joined, truth).merge == near((2 + 8) / (4 + 8))


def test_variation_of_information_in_bits():
    """scikit-image returns (false splits, false merges): .870692, .707519; with 0 ignored .985582, .361277."""
    assert variation_of_information(FOUND, TRUTH, ignore_label=None) == near((0.870692, 0.707519))
    assert variation_of_information(FOUND, TRUTH) == near((0.985582, 0.361277))


def test_the_score_of_cremi():
    assert cremi_score(FOUND, TRUTH) == near(math.sqrt((0.985582 + 0.361277) * 0.329062))
    assert cremi_score(TRUTH, TRUTH) == 0


@pytest.mark.parametrize("distance", [0, 1, math.sqrt(2), 2])
def test_the_border_of_cremi_by_pairs(distance):
    height, width = TRUTH.shape
    places = list(product(range(height), range(width)))
    border = [
        (y, x)
        for y, x in places
        if any(
            TRUTH[y, x] != TRUTH[v, u]
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            if 0 <= v < height and 0 <= u < width
        )
    ]
    expected = [
        [min(math.dist((y, x), z) for z in border) <= distance + 1e-9 for x in range(width)] for y in range(height)
    ]
    assert border_mask(TRUTH, distance).tolist() == expected
    assert not border_mask(np.ones((3, 3), int), 5).any()


def by_pairs(predicted, truth):
    """The definition of the restricted scores: ordered pairs; a singleton shares a region with itself only."""
    places = [z for z in range(truth.size) if truth.flat[z]]
    sums = [0, 0, 0]
    for y, z in product(places, places):
        in_truth = truth.flat[y] == truth.flat[z]
        in_prediction = y == z or (predicted.flat[y] == predicted.flat[z] != 0)
        for k, hit in enumerate((in_truth and in_prediction, in_truth, in_prediction)):
            sums[k] += hit
    return sums


@given(labels(), labels())
@settings(max_examples=60)
def test_restricted_scores_by_pairs(predicted, truth):
    if not truth.any():
        return
    both, true, found = by_pairs(predicted, truth)
    assert pair_sums(foreground_overlaps(predicted, truth)).tolist() == [both, true, found]
    assert rand_scores(predicted, truth) == near((both / true, both / found, 2 * both / (true + found)), 1e-12)


@given(labels(), labels())
@settings(max_examples=60)
def test_information_by_singletons(predicted, truth):
    """Singletons written out as regions of their own: then plain entropies must give the same."""
    kept = truth > 0
    if not kept.any():
        return
    t, s = truth[kept], predicted[kept].copy()
    s[s == 0] = 100 + np.arange((s == 0).sum())

    def h(*maps):
        counts = np.unique(np.stack(maps), axis=1, return_counts=True)[1] / len(t)
        return -(counts * np.log(counts)).sum()

    scores = information_scores(predicted, truth)
    assert scores.variation == near(2 * h(s, t) - h(s) - h(t), 1e-9)
    if h(s) > 0 and h(t) > 0:
        shared = h(s) + h(t) - h(s, t)
        assert scores[:3] == near((shared / h(s), shared / h(t), 2 * shared / (h(s) + h(t))), 1e-9)


@given(labels(), labels())
@settings(max_examples=60)
def test_the_classical_error_by_pairs(predicted, truth):
    n = truth.size
    wrong = sum(
        (predicted[y] == predicted[z]) != (truth[y] == truth[z]) for y, z in product(range(n), range(n)) if y != z
    )
    assert rand_error(predicted, truth) == near(wrong / (n * (n - 1)), 1e-12)


@given(labels((3, 4), 5), labels((3, 4), 5))
@settings(max_examples=40)
def test_numbers_of_regions_do_not_matter(predicted, truth):
    """Small numbers, large ones and huge ones take different ways through the count."""
    for factor, kind in ((1, np.uint8), (3000, np.int32), (20_000_000, np.int64), (2**40, np.uint64)):
        table = contingency((truth * factor).astype(kind), predicted)
        expected = {}
        for pair in zip((truth.ravel() * factor).tolist(), predicted.ravel().tolist(), strict=True):
            expected[pair] = expected.get(pair, 0) + 1
        got = dict(
            zip(zip(table.first.tolist(), table.second.tolist(), strict=True), table.pixels.tolist(), strict=True)
        )
        assert got == expected
        assert list(got) == sorted(got)


def test_tables_too_large_to_be_counted_whole(monkeypatch):
    monkeypatch.setattr("atrous.metrics.labels.LARGEST_TABLE", 4)
    assert rand_scores(FOUND, TRUTH) == near((0.577982, 0.84, 0.684783))


def test_a_part_is_counted():
    table = contingency(TRUTH, FOUND, where=TRUTH == 2)
    assert table.first.tolist() == [2, 2, 2]
    assert table.second.tolist() == [0, 1, 2]
    assert table.pixels.tolist() == [1, 1, 4]


def test_slices_are_added_up_by_pairs():
    """Pairs of two slices never share a region: numbering the regions through gives the same as adding sums."""
    truth, found = np.stack([TRUTH, TRUTH[::-1]]), np.stack([FOUND, FOUND[:, ::-1]])
    through_truth, through_found = truth.copy(), found.copy()
    through_truth[1][truth[1] > 0] += 10
    through_found[1][found[1] > 0] += 10
    sums = sum(pair_sums(foreground_overlaps(s, t)) for s, t in zip(found, truth, strict=True))
    assert scores_of_pairs(sums) == near(rand_scores(through_found, through_truth), 1e-12)


@pytest.mark.parametrize("score", [rand_scores, information_scores, cremi_rand_error])
def test_a_truth_without_regions_is_refused(score):
    with pytest.raises(DataError, match="the truth has no region, only 0"):
        score(FOUND, np.zeros_like(TRUTH))


def test_other_refusals():
    with pytest.raises(UsageError, match=r"label maps of \(4, 6\) and \(3, 6\): compare maps of one shape"):
        contingency(TRUTH, FOUND[:3])
    with pytest.raises(DataError, match="label -2: labels of regions count from 1"):
        rand_scores(FOUND - 2, TRUTH)
    with pytest.raises(DataError, match="every pixel of the truth is 0"):
        variation_of_information(FOUND, np.zeros_like(TRUTH))
    with pytest.raises(DataError, match="no region of the truth has two pixels"):
        adapted_rand_error(np.array([1, 1]), np.array([1, 2]))
    with pytest.raises(DataError, match="no region of the prediction has two pixels"):
        adapted_rand_error(np.array([1, 2]), np.array([1, 1]))
    with pytest.raises(DataError, match="1 pixels have no pairs"):
        rand_error(np.array([1]), np.array([1]))
