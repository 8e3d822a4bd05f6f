"""The warping error against published vectors, and simple pixels against the definition of topology."""

import numpy as np
import pytest

from atrous.errors import UsageError
from atrous.metrics import warping_error
from atrous.metrics.membrane import cells
from atrous.metrics.warping import AROUND, simple_neighbourhoods, warp

TRUTH = np.ones((7, 9), int)
TRUTH[:, 4] = 0


def changed(*changes):
    picture = TRUTH.astype(np.float64)
    for place, value in changes:
        picture[place] = value
    return picture


@pytest.mark.parametrize(
    ("picture", "left", "wrong"),
    [
        (changed((np.s_[:, 4], 1), (np.s_[:, 5], 0)), 0, 14),
        (changed(((3, 4), 1)), 1, 1),
        (changed(((3, 6), 0)), 1, 1),
        (changed((np.s_[:, 3:6], 0)), 0, 14),
        (changed((np.s_[3, 0:4], 0)), 1, 4),
    ],
    ids=["moved", "gap", "hole", "wide", "line"],
)
def test_the_vectors(picture, left, wrong):
    """Of 63 pixels: what is wrong, and what is left when boundaries may move."""
    assert ((picture > 0.5) != (TRUTH > 0)).sum() == wrong
    assert warping_error(picture[None], TRUTH[None]) * 63 == pytest.approx(left)


def test_116_of_256_neighbourhoods_are_simple():
    assert simple_neighbourhoods().sum() == 116


def test_simple_pixels_change_no_count():
    """In a 5 x 5 picture of membrane around, turning over the centre of a simple neighbourhood keeps the counts of
    4-connected cells and 8-connected membranes; so it must for every one of the 116."""
    import cv2

    for code in range(256):
        picture = np.zeros((5, 5), np.uint8)
        for k, (y, x) in enumerate(AROUND):
            picture[2 + y, 2 + x] = code >> k & 1
        counts = []
        for centre in (0, 1):
            picture[2, 2] = centre
            around = cv2.connectedComponents(1 - picture, connectivity=8)[0]
            counts.append((cells(picture > 0).max(), around))
        if simple_neighbourhoods()[code]:
            assert counts[0] == counts[1]


def test_warping_keeps_the_topology():
    rng = np.random.default_rng(0)
    truth = np.ones((40, 40), int)
    truth[::8], truth[:, ::9] = 0, 0
    probability = np.clip(0.2 + 0.6 * np.roll(truth, 1, axis=1) + 0.2 * rng.standard_normal(truth.shape), 0, 1)
    warped = warp(truth, probability)
    assert (warped != (truth > 0)).any()
    assert cells(warped).max() == cells(truth > 0).max()
    before, after = ((mask != (probability > 0.5)).sum() for mask in (truth > 0, warped))
    assert after < before


def test_the_surest_mismatch_is_turned_first():
    truth = np.array([[1, 1, 1, 0, 0, 0]])
    probability = np.array([[1.0, 1.0, 0.4, 0.9, 0.4, 0.4]])
    # Turned by certainty, 3 becomes cell first; then 2 cannot become membrane, which would part the cell.
    assert warp(truth, probability).tolist() == [[True, True, True, True, False, False]]


def test_ties_are_visited_by_columns():
    """Two equal mismatches exclude each other; the one of the left column comes first."""
    truth = np.array([[1, 1, 0], [0, 0, 0]])
    probability = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert warp(truth, probability).tolist() == [[True, True, False], [True, False, False]]


def test_only_movable_pixels_turn_and_count():
    picture = changed((np.s_[:, 4], 1), (np.s_[:, 5], 0))
    movable = np.zeros((7, 9), bool)
    movable[:3] = True
    warped = warp(TRUTH, picture, movable=movable)
    assert (warped[3:] == (TRUTH[3:] > 0)).all()
    assert warping_error(picture[None], TRUTH[None], movable=movable[None]) == pytest.approx(
        ((warped != (picture > 0.5)) & movable).mean()
    )


def test_slices_are_averaged():
    pictures = np.stack([changed(((3, 4), 1)), changed((np.s_[:, 4], 1), (np.s_[:, 5], 0))])
    assert warping_error(pictures, np.stack([TRUTH, TRUTH])) == pytest.approx(1 / 63 / 2)


def test_shapes_must_agree(unchecked):
    with pytest.raises(UsageError, match=r"probabilities and masks of \(1, 7, 9\), \(2, 7, 9\): compare stacks"):
        warping_error(TRUTH[None].astype(float), np.stack([TRUTH, TRUTH]))
