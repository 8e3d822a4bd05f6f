"""A result that is worth nothing says so, wherever it is told."""

import math

import pytest
import torch

from atrous.evaluation import caution_of_steps
from atrous.evaluation.cautions import caution_of_result, constant_answer
from atrous.metrics import summarize

NAMES = ["soil", "crop", "weed"]


def caution(matrix):
    return caution_of_result(matrix, summarize(torch.tensor(matrix), NAMES[: len(matrix)]))


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        ([[0, 816], [0, 184]], r"its mean IoU is 0\.092, and the commonest class everywhere would have 0\.408"),
        ([[816, 0], [184, 0]], r"is 0\.408, and the commonest class everywhere would have 0\.408"),
        ([[800, 16], [180, 4]], r"is 0\.412, and .* 0\.408"),
        ([[900, 0, 0], [80, 0, 0], [20, 0, 0]], r"is 0\.300, and .* 0\.300"),
        ([[[0, 90], [0, 10]], [[0, 60], [0, 40]]], r"is 0\.250, and all classes everywhere would have 0\.250"),
        ([[[90, 0], [10, 0]], [[60, 0], [40, 0]]], r"is 0\.000, and all classes everywhere would have 0\.250"),
    ],
)
def test_no_better_than_a_constant_answer(matrix, says):
    import re

    assert re.search(says, caution(matrix))
    assert "NOTHING OF USE" in caution(matrix)


@pytest.mark.parametrize(
    "matrix",
    [
        [[800, 16], [100, 84]],
        [[100, 0], [0, 0]],  # one class alone: nothing can be better
        [[0, 0], [0, 0]],
        [[[80, 10], [2, 8]], [[50, 10], [10, 30]]],
        [],
    ],
)
def test_what_learned_something_or_cannot_be_judged(matrix):
    assert (caution(matrix) if matrix and torch.tensor(matrix).sum() else caution_of_result(matrix, {})) == ""


def test_the_constant_answer_by_hand():
    assert constant_answer([[6, 1], [2, 1]]) == pytest.approx(0.7 / 2)
    assert math.isnan(constant_answer([]))


def test_few_steps():
    assert caution_of_steps(100) == ""
    assert caution_of_steps(1).startswith("HARDLY TRAINED, 1 STEP IN ALL: ")
    assert caution_of_steps(99, ahead=True).startswith("ONLY ABOUT 99 STEPS FIT INTO THE TIME: ")
    assert "--budget" in caution_of_steps(5)
