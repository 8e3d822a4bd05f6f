"""The scores of the ISBI 2012 challenge: thinning against a plain port, published vectors, and loops."""

from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from atrous.errors import DataError, UsageError
from atrous.metrics import cells, information_scores, membrane_scores, pixel_scores, rand_scores, thinned_cells

TRUTH = np.ones((6, 9), int)
TRUTH[:, 4] = 0


def near(values):
    return pytest.approx(values, abs=6e-7)


def membrane(*columns, gap=None):
    mask = np.ones((6, 9), bool)
    mask[:, list(columns)] = False
    if gap is not None:
        mask[gap] = True
    return mask


def flooded(mask):
    """Vincent and Soille's flood of a binary picture in plain steps; keys are (x, y), as the program has them."""
    height, width = mask.shape
    label, count = {}, 0
    places = [(x, y) for x in range(width) for y in range(height)]

    def around(x, y):
        near = [(x - 1, y), (x, y - 1), (x + 1, y), (x, y + 1)]
        return [(u, v) for u, v in near if 0 <= u < width and 0 <= v < height]

    for level in (True, False):
        line, queue = [place for place in places if mask[place[1], place[0]] == level], deque()
        for place in line:
            label[place] = "waiting"
            if any(isinstance(label.get(other), int) for other in around(*place)):
                label[place] = "queued"
                queue.append(place)
        while queue:
            place = queue.popleft()
            flag = False
            for other in around(*place):
                mine, its = label[place], label.get(other)
                if its == "waiting":
                    label[other] = "queued"
                    queue.append(other)
                elif isinstance(its, int) and its > 0:
                    if mine == "queued" or (mine == 0 and flag):
                        label[place] = its
                    elif mine > 0 and mine != its:
                        label[place], flag = 0, False
                elif its == 0 and mine == "queued":
                    label[place], flag = 0, True
        for place in line:
            if label[place] == "waiting":
                count += 1
                label[place] = count
                queue.append(place)
                while queue:
                    for other in around(*queue.popleft()):
                        if label.get(other) == "waiting":
                            label[other] = count
                            queue.append(other)
    return np.array([[label[x, y] for x in range(width)] for y in range(height)])


def same_regions(first, second):
    """Equal up to the numbers of the regions, 0 being 0."""
    pairs = set(zip(first.ravel().tolist(), second.ravel().tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) and all(
        (a == 0) == (b == 0) for a, b in pairs
    )


def test_components_are_joined_by_sides():
    assert cells(np.array([[1, 1, 0], [0, 0, 1], [1, 0, 1]], bool)).tolist() == [[1, 1, 0], [0, 0, 2], [3, 0, 2]]


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(max_examples=80)
def test_thinning_is_the_flood_of_the_program(mask):
    assert same_regions(thinned_cells(mask), flooded(mask))


def test_a_large_flood():
    mask = np.random.default_rng(0).random((60, 50)) < 0.5
    assert same_regions(thinned_cells(mask), flooded(mask))


def test_a_wide_membrane_is_thinned_to_its_middle():
    """The vector: V_rand = V_info = 1 after thinning, and recall .572917, .728477 and .578450 before."""
    mask, truth = membrane(3, 4, 5), cells(TRUTH > 0)
    assert (thinned_cells(mask)[0] == 0).nonzero()[0].tolist() == [4]
    assert rand_scores(thinned_cells(mask), truth) == (1, 1, 1)
    assert information_scores(thinned_cells(mask), truth).f_score == near(1)
    assert rand_scores(cells(mask), truth) == near((0.572917, 1, 0.728477))
    assert information_scores(cells(mask), truth).f_score == near(0.578450)


def test_an_even_membrane_goes_to_one_side():
    """The vector: columns 4 and 5 leave the line at column 5; recall .786458, V_rand .880466, V_info .732934."""
    thin = thinned_cells(membrane(4, 5))
    assert (thin == 0).nonzero()[1].tolist() == [5] * 6
    scores = rand_scores(thin, cells(TRUTH > 0))
    assert (scores.split, scores.f_score) == near((0.786458, 0.880466))
    assert information_scores(thin, cells(TRUTH > 0)).f_score == near(0.732934)


def test_a_gap_of_one_pixel_makes_one_region():
    """The vector: precision .5, V_rand .666667, V_info 0, although a single pixel is wrong."""
    thin = thinned_cells(membrane(4, gap=(3, 4)))
    assert (thin > 0).all()
    assert rand_scores(thin, cells(TRUTH > 0)) == near((1, 0.5, 2 / 3))
    assert information_scores(thin, cells(TRUTH > 0)).f_score == 0


def test_no_cell_at_all_is_one_region():
    assert thinned_cells(np.zeros((3, 4), bool)).tolist() == [[1] * 4] * 3
    assert thinned_cells(np.ones((3, 4), bool)).tolist() == [[1] * 4] * 3


def stack(seed=0, count=3, size=(24, 20)):
    rng = np.random.default_rng(seed)
    truth = np.ones((count, *size), int)
    truth[:, ::6] = 0
    truth[:, :, ::7] = 0
    return np.clip(0.2 + 0.6 * truth + 0.25 * rng.standard_normal(truth.shape), 0, 1).astype(np.float32), truth


@pytest.mark.parametrize("thin", [True, False])
def test_the_best_threshold_of_the_mean_over_slices(thin):
    """Per slice, averaged, and then the maximum; V_rand and V_info each at its own threshold."""
    probability, truth = stack()
    scores = membrane_scores(probability, truth, thin=thin)
    regions = thinned_cells if thin else cells
    table = {
        threshold: [
            (rand_scores(regions(p > np.float64(threshold)), cells(t > 0)),
             information_scores(regions(p > np.float64(threshold)), cells(t > 0)))
            for p, t in zip(probability, truth, strict=True)
        ]
        for threshold in np.arange(11) / 10
    }  # fmt: skip
    rand = {at: np.mean([slice_[0] for slice_ in slices], axis=0) for at, slices in table.items()}
    info = {at: np.mean([slice_[1] for slice_ in slices], axis=0) for at, slices in table.items()}
    assert scores.v_rand_curve == near([mean[2] for mean in rand.values()])
    assert scores.v_info_curve == near([mean[2] for mean in info.values()])
    assert scores.threshold == max(rand, key=lambda at: rand[at][2])
    assert scores.info_threshold == max(info, key=lambda at: info[at][2])
    assert scores.v_rand == near(rand[scores.threshold])
    assert scores.v_info == near(info[scores.info_threshold])
    assert scores.thin is thin
    assert 0.5 < scores.v_rand.f_score < 1


def test_the_first_rand_error_adds_pairs_and_does_not_thin():
    probability, truth = stack()
    scores = membrane_scores(probability, truth)
    best = 0.0
    for threshold in np.arange(11) / 10:
        through = [
            np.concatenate([np.where(m > 0, m + 1000 * k, 0) for k, m in enumerate(maps)])
            for maps in ([cells(p > np.float64(threshold)) for p in probability], [cells(t > 0) for t in truth])
        ]
        best = max(best, rand_scores(*through).f_score)
    assert scores.rand_error == near(1 - best)
    assert scores.rand_error != near(1 - scores.v_rand.f_score)


def test_pixels_are_counted_at_one_half_and_at_the_best_threshold():
    probability, truth = stack()
    scores = membrane_scores(probability, truth)
    assert scores.threshold != 0.5
    for threshold, got in ((0.5, scores.pixels), (scores.threshold, scores.best_pixels)):
        decided, cell = probability > np.float64(threshold), truth > 0
        assert got.error == near((decided != cell).mean())
        assert got.error == near(np.mean([(d != c).mean() for d, c in zip(decided, cell, strict=True)]))
        assert got.cell_iou == near((decided & cell).sum() / (decided | cell).sum())
        assert got.membrane_iou == near((~decided & ~cell).sum() / (~decided | ~cell).sum())
        assert got == pixel_scores(probability, truth, threshold)
    f_scores = [pixel_scores(probability, truth, at / 10).f_score for at in range(11)]
    assert scores.pixel_f_error == near(1 - max(f_scores))


def test_a_threshold_itself_is_membrane():
    probability = np.array([[0.5, 0.75, 0.25]])
    assert pixel_scores(probability, np.array([[0, 1, 0]]), 0.5).error == 0
    assert pixel_scores(probability.astype(np.float32), np.array([[0, 1, 0]]), 0.75).error == near(1 / 3)
    # 0.1 as float32 is a little above 0.1: it is compared as it is.
    assert pixel_scores(np.array([[0.1, 0.0]], np.float32), np.array([[1, 0]]), 0.1).error == 0


def test_truth_may_be_of_any_two_values():
    probability, truth = stack()
    scores = membrane_scores(probability, truth)
    for mask in (truth > 0, (truth * 255).astype(np.uint8), truth.astype(np.int16)):
        assert membrane_scores(probability, mask) == scores


def test_ignored_pixels_count_for_nothing():
    probability, truth = stack()
    ignore = np.zeros(truth.shape, bool)
    ignore[:, 8:15, 4:12] = True
    other = np.where(ignore, 1 - truth, truth)
    scores = membrane_scores(probability, truth, ignore=ignore)
    kept = truth[~ignore] > 0
    assert scores.pixels.error == near(((probability[~ignore] > 0.5) != kept).mean())
    assert membrane_scores(probability, other, ignore=ignore).pixels == scores.pixels
    hidden = cells(truth[0] > 0)
    hidden[ignore[0]] = 0
    alone = membrane_scores(probability[:1], truth[:1], [0.5], ignore=ignore[:1])
    assert alone.v_rand == near(rand_scores(thinned_cells(probability[0] > 0.5), hidden))


def test_a_perfect_prediction():
    _, truth = stack()
    scores = membrane_scores(truth.astype(np.float64), truth)
    assert scores.v_rand.f_score == scores.v_info.f_score == 1
    assert (scores.rand_error, scores.pixel_f_error, scores.pixels) == (0, 0, (0, 1, 1, 1))
    assert scores.threshold == 0  # the lowest of equals
    assert replace(scores, thin=False) != scores


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, r"the truth is all membrane \(0\), no cell"), (255, r"the truth is all cell \(255\), no membrane \(0\)")],
)
def test_a_constant_truth_is_refused(value, text):
    with pytest.raises(DataError, match=text):
        membrane_scores(np.full((1, 4, 4), 0.5), np.full((1, 4, 4), value))


def test_shapes_must_agree(unchecked):
    probability, truth = stack()
    with pytest.raises(UsageError, match=r"probabilities of \(3, 24, 20\) and masks of \(2, 24, 20\)"):
        membrane_scores(probability, truth[:2])


def test_other_refusals():
    probability, truth = stack()
    with pytest.raises(DataError, match=r"the truth has the values 0, 1, 2: give 0 for membrane"):
        membrane_scores(probability, np.where(np.arange(20) > 15, 2, truth))
    with pytest.raises(DataError, match=r"the truth has the values 1, 2: give 0"):
        membrane_scores(probability, truth + 1)
    with pytest.raises(DataError, match="slice 1 of the truth has no cell"):
        membrane_scores(probability, truth * np.array([1, 0, 1])[:, None, None])
    with pytest.raises(DataError, match="probabilities run from -1 to 1: give the probability of cell"):
        membrane_scores(truth * 2.0 - 1, truth)
    with pytest.raises(DataError, match="probabilities run from nan"):
        membrane_scores(np.where(truth > 0, np.nan, 0.5), truth)
    with pytest.raises(DataError, match="the truth has no pixel that counts"):
        membrane_scores(probability, truth, ignore=np.ones(truth.shape, bool))
    for thresholds in ((), (0.5, 1.5)):
        with pytest.raises(UsageError, match="give at least one, each from 0 to 1"):
            membrane_scores(probability, truth, thresholds)
