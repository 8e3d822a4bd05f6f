"""A scorer that remembers gives the same numbers, and asks the network once."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from atrous.inference import Predictor
from atrous.inference.remembering import RememberingScorer
from tests.networks import made_image


class Counting:
    """Scores with a slow hand: counts how often it is asked."""

    num_classes, in_channels, alignment, margin = 2, 1, 1, (0, 0)
    precision = "float32"

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, image: Tensor) -> Tensor:
        self.asked += 1
        bright = (image / 255).clamp(0, 1)
        return torch.cat([1 - bright, bright], 1)


def test_equal_images_are_scored_once() -> None:
    inner = Counting()
    scorer = RememberingScorer(inner)
    first, second = (torch.full((1, 1, 4, 6), value) for value in (30.0, 60.0))
    expected = inner(first), inner(second)
    inner.asked = 0
    for image, wanted in ((first, 0), (second, 1), (first.clone(), 0), (second, 1)):
        assert torch.equal(scorer(image), expected[wanted])
    assert inner.asked == 2
    turned = first.reshape(1, 1, 6, 4)  # the same bytes, another image
    assert scorer(turned).shape == (1, 2, 6, 4)
    assert inner.asked == 3
    assert scorer.precision == "float32"
    assert scorer.seconds > 0
    with pytest.raises(AttributeError):
        _ = scorer.no_such_thing


def test_what_is_done_to_a_result_does_not_reach_the_memory() -> None:
    scorer, image = RememberingScorer(Counting()), torch.full((1, 1, 4, 6), 30.0)
    expected = scorer(image).clone()
    for _ in range(2):
        scorer(image).zero_()
    assert torch.equal(scorer(image), expected)


def test_what_has_no_room_is_scored_anew() -> None:
    inner = Counting()
    scorer = RememberingScorer(inner, room=2 * 4 * 6 * 4)  # bytes of one image's scores
    for value in (1.0, 2.0, 1.0, 2.0):
        scorer(torch.full((1, 1, 4, 6), value))
    assert inner.asked == 3


def test_a_predictor_gives_the_same_whole_and_in_tiles(any_model: Any) -> None:
    predictor = Predictor(any_model, class_names=["a", "b", "c"], device="cpu", precision="float32")
    image = made_image(96, 128)
    expected = [predictor(image, tile=tile, margin=16, scores=True) for tile in (None, 64)]
    predictor.scorer = RememberingScorer(predictor.scorer)
    for _ in range(2):
        for tile, wanted in zip((None, 64), expected, strict=True):
            found = predictor(image, tile=tile, margin=16, scores=True)
            np.testing.assert_array_equal(found.scores, wanted.scores)
            np.testing.assert_array_equal(found.classes, wanted.classes)
    assert predictor.scorer.seconds > 0
