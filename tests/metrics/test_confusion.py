"""The confusion matrix against loops, and the measures against the vectors of specs/metrics.md."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from atrous import metrics
from atrous.metrics import METRICS, ConfusionMatrix, class_accuracy, class_iou, confusion_matrix, summarize

TRUE = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 255, 255])
DECIDED = torch.tensor([0, 0, 1, 0, 1, 1, 0, 1, 0, 2])
MATRIX = torch.tensor([[3, 1, 0, 0], [1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])


def by_loops(decided, true, classes, ignore):
    counts = [[0] * classes for _ in range(classes)]
    for p, t in zip(decided.flatten().tolist(), true.flatten().tolist(), strict=True):
        if 0 <= t < classes and t != ignore:
            counts[t][p] += 1
    return torch.tensor(counts)


def test_the_vector():
    assert torch.equal(confusion_matrix(DECIDED, TRUE, 4), MATRIX)
    assert METRICS["pixel_accuracy"](MATRIX) == pytest.approx(0.625)
    assert METRICS["mean_accuracy"](MATRIX) == pytest.approx(0.472222, abs=1e-6)
    assert METRICS["mean_iou"](MATRIX) == pytest.approx(0.333333, abs=1e-6)
    assert METRICS["frequency_weighted_iou"](MATRIX) == pytest.approx(0.45)
    nan = float("nan")
    np.testing.assert_allclose(class_accuracy(MATRIX), [0.75, 2 / 3, 0, nan])
    np.testing.assert_allclose(class_iou(MATRIX), [0.6, 0.4, 0, nan])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_counts_are_those_of_loops(seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    classes = seed + 2
    mask = torch.randint(0, classes, (2, 7, 11), generator=generator)
    mask[torch.rand(mask.shape, generator=generator) < 0.2] = 255
    mask[torch.rand(mask.shape, generator=generator) < 0.1] = -1 if seed % 2 else 100
    decided = torch.randint(0, classes, mask.shape, generator=generator).to(dtype)
    ours = confusion_matrix(decided, mask, classes)
    assert ours.dtype == torch.int64
    assert torch.equal(ours, by_loops(decided, mask, classes, 255))
    assert torch.equal(confusion_matrix(decided, mask, classes, ignore_index=1), by_loops(decided, mask, classes, 1))


@pytest.mark.parametrize("seed", range(5))
def test_measures_are_those_of_exact_fractions(seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randint(0, 30, (5, 5), generator=generator)
    matrix[2] = 0  # never true
    matrix[4], matrix[:, 4] = 0, 0  # nowhere at all
    rows = matrix.tolist()
    total = sum(map(sum, rows))
    accuracies, overlaps, weighted = [], [], Fraction(0)
    for k in range(5):
        true, decided, right = sum(rows[k]), sum(row[k] for row in rows), rows[k][k]
        if true:
            accuracies.append(Fraction(right, true))
        if true + decided - right:
            overlaps.append(Fraction(right, true + decided - right))
            weighted += Fraction(true, total) * overlaps[-1]
    assert len(accuracies) == 3
    assert len(overlaps) == 4  # the class that is only predicted counts, with 0
    assert METRICS["pixel_accuracy"](matrix) == pytest.approx(float(Fraction(sum(rows[k][k] for k in range(5)), total)))
    assert METRICS["mean_accuracy"](matrix) == pytest.approx(float(sum(accuracies) / 3))
    assert METRICS["mean_iou"](matrix) == pytest.approx(float(sum(overlaps) / 4))
    assert METRICS["frequency_weighted_iou"](matrix) == pytest.approx(float(weighted))


def test_a_decided_class_beyond_the_last_is_refused():
    with pytest.raises(ValueError, match="decided classes run from 0 to 2, but there are 2 classes"):
        confusion_matrix(DECIDED, TRUE, 2)


def test_no_pixels_at_all():
    empty = torch.zeros(0, dtype=torch.int64)
    assert torch.equal(confusion_matrix(empty, empty, 3), torch.zeros(3, 3, dtype=torch.int64))
    assert all(math.isnan(METRICS[name](torch.zeros(3, 3, dtype=torch.int64))) for name in METRICS)


def test_large_counts_stay_exact():
    matrix = torch.tensor([[2**52, 1], [0, 2**40]])
    assert METRICS["pixel_accuracy"](matrix) < 1
    assert torch.equal((matrix + matrix)[0], torch.tensor([2**53, 2]))


def test_the_state_adds_batches_up_and_starts_again():
    state = ConfusionMatrix(4)
    state.update(DECIDED[None, :6].view(1, 2, 3), TRUE[None, :6].view(1, 2, 3))
    state.update(DECIDED[None, 6:].view(1, 2, 2), TRUE[None, 6:].view(1, 2, 2))
    assert torch.equal(state.compute(), MATRIX)
    state.reset()
    assert state.matrix.sum() == 0


def test_the_state_sums_over_processes():
    state = ConfusionMatrix(4)
    state.update(DECIDED.view(1, 2, 5), TRUE.view(1, 2, 5))
    assert state._reductions["matrix"](torch.stack([state.matrix, state.matrix])).tolist() == (2 * MATRIX).tolist()


def test_what_compute_returns_is_a_copy():
    state = ConfusionMatrix(4)
    state.update(DECIDED.view(1, 2, 5), TRUE.view(1, 2, 5))
    before = state.compute()
    state.update(DECIDED.view(1, 2, 5), TRUE.view(1, 2, 5))
    assert before.sum() == 8


def test_summaries_name_the_classes():
    summary = summarize(MATRIX, ["a", "b", "c", "d"])
    assert summary["mean_iou"] == METRICS["mean_iou"](MATRIX)
    assert summary["iou"]["a"] == pytest.approx(0.6)
    assert math.isnan(summary["iou"]["d"])
    assert summary["accuracy"]["b"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="2 class names for a matrix of 4 classes"):
        summarize(MATRIX, ["a", "b"])


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="has no attribute 'Confusion'"):
        metrics.Confusion  # noqa: B018
