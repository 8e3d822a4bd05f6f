"""Boundary F1 against vectors worked out by hand, and against a loop over all pairs of pixels."""

import math

import numpy as np
import pytest
import torch

from atrous.metrics import boundary_f1, boundary_tolerance, class_boundary_f1, mean_boundary_f1

NAN = math.nan


def rectangle(rows, columns, size=(10, 10)):
    mask = torch.zeros(size, dtype=torch.int64)
    mask[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = 1
    return mask


def by_pairs(classes, mask, k, theta):
    """The definition, pixel by pixel."""

    def boundary(labels):
        H, W = labels.shape
        found = []
        for y in range(H):
            for x in range(W):
                if mask[y, x] == 255 or labels[y, x] != k:
                    continue
                near = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
                near = [(i, j) for i, j in near if 0 <= i < H and 0 <= j < W and mask[i, j] != 255]
                if any(labels[i, j] != k for i, j in near):
                    found.append((y, x))
        return found

    def share(points, others):
        hits = [min((y - i) ** 2 + (x - j) ** 2 for i, j in others) <= theta**2 for y, x in points if others]
        return sum(hits) / len(points) if points else 0.0

    ours, theirs = boundary(classes), boundary(mask)
    if not ours and not theirs:
        return NAN
    p, r = share(ours, theirs), share(theirs, ours)
    return 2 * p * r / (p + r) if p + r else 0.0


@pytest.mark.parametrize(
    ("theta", "expected"), [(0, 0.421053), (1, 0.783217), (1.5, 0.783217), (1.999, 0.783217), (2, 1.0)]
)
def test_two_rectangles(theta, expected):
    """The spec's: 20 and 18 boundary pixels; at 1, 16 of 18 and 14 of 20 are found. At 2 all: `<=`, not `<`."""
    scores = boundary_f1(rectangle((2, 7), (4, 8)), rectangle((2, 7), (2, 7)), 2, tolerance=theta)
    assert float(scores[1]) == pytest.approx(expected, abs=1e-6)


def test_a_diagonal_is_measured_as_a_length():
    """Single pixels at (2, 2) and (4, 4): 2.83 apart, more than a city's 2 and less than 3."""
    mask, classes = rectangle((2, 2), (2, 2)), rectangle((4, 4), (4, 4))
    assert float(boundary_f1(classes, mask, 2, tolerance=2.82)[1]) == 0
    assert float(boundary_f1(classes, mask, 2, tolerance=math.sqrt(8))[1]) == 1


@pytest.mark.parametrize("theta", [0, 1, math.sqrt(2), 2, 2.3, 3, 5])
def test_against_all_pairs(theta):
    rng = np.random.default_rng(3)
    for size in [(9, 14), (13, 8)]:
        mask = torch.from_numpy(rng.integers(0, 3, (size[0] // 3 + 1, size[1] // 3 + 1)).repeat(3, 0).repeat(3, 1))
        mask = mask[: size[0], : size[1]].contiguous()
        classes = mask.roll((1, 2), (0, 1))
        classes[:3, :3] = 1
        mask[5:8, 2:5] = 255
        scores = boundary_f1(classes, mask, 3, tolerance=theta)
        for k in range(3):
            assert float(scores[k]) == pytest.approx(by_pairs(classes.numpy(), mask.numpy(), k, theta), abs=1e-12)


def test_what_is_in_one_map_only_counts_zero_and_what_is_in_none_not_at_all():
    mask, classes = rectangle((2, 5), (2, 5)), rectangle((2, 5), (2, 5)) * 2
    scores = boundary_f1(classes, mask, 4, tolerance=2)
    assert scores[1:3].tolist() == [0, 0]
    assert float(scores[0]) == 1
    assert math.isnan(scores[3])
    assert mean_boundary_f1(scores[None]) == pytest.approx(1 / 3)


def test_a_map_of_one_class_has_no_boundary():
    nothing = torch.zeros(6, 7, dtype=torch.int64)
    assert math.isnan(boundary_f1(nothing, nothing, 1)[0])
    assert boundary_f1(nothing, rectangle((2, 3), (2, 3), (6, 7)), 2).tolist() == [0, 0]


def test_ignored_pixels_count_for_nothing():
    """Whatever is decided there; and a border to them is none."""
    mask = rectangle((2, 7), (2, 7))
    mask[:, 8:] = 255
    classes = rectangle((2, 7), (2, 7))
    expected = boundary_f1(classes, mask, 2, tolerance=0)
    assert expected.tolist() == [1, 1]
    classes[4:, 8:] = 1
    assert boundary_f1(classes, mask, 2, tolerance=0).tolist() == [1, 1]
    everything = torch.full((5, 5), 255)
    assert torch.isnan(boundary_f1(torch.zeros_like(everything), everything, 2)).all()


def test_a_class_number_may_be_ignored():
    mask, classes = rectangle((2, 7), (2, 7)), rectangle((2, 7), (4, 8))
    scores = boundary_f1(classes, mask, 2, ignore_index=0)
    assert math.isnan(mean_boundary_f1(scores[None, 1:])) or float(scores[1]) == 0


def test_the_tolerance_follows_the_diagonal():
    assert boundary_tolerance(300, 400) == pytest.approx(3.75)
    size = (300, 400)
    mask = rectangle((50, 200), (50, 200), size)
    assert float(boundary_f1(rectangle((50, 200), (53, 203), size), mask, 2)[1]) == 1
    assert float(boundary_f1(rectangle((50, 200), (54, 204), size), mask, 2)[1]) < 1


def test_means_over_classes_and_images():
    scores = torch.tensor([[0.5, NAN, 1.0], [0.7, NAN, 0.1], [NAN, NAN, NAN]], dtype=torch.float64)
    assert class_boundary_f1(scores).nan_to_num(-1).tolist() == pytest.approx([0.6, -1, 0.55])
    assert mean_boundary_f1(scores) == pytest.approx((0.75 + 0.4) / 2)
