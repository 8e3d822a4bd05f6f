"""What `tune` chooses: the best for the mean, of what no single class pays for."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from atrous.metrics import class_iou, mean_iou
from atrous.postprocess import LabelledScores, harmed_classes, search
from atrous.postprocess.choosing import FRACTIONS, choose
from atrous.postprocess.methods import MinSizeMethod

SKY, ROAD, SIGN = 0, 1, 2


def street(seed: int, *, speckles: int = 80, signs: int = 12) -> LabelledScores:
    """A sky over a road, with signs of 6 x 6 pixels of which a network finds pieces, and road where there is none."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((120, 160), np.int64)
    truth[60:] = ROAD
    decided = truth.copy()
    for number in range(signs):
        top, left = rng.integers(4, 48), 12 * number + 4
        truth[top : top + 6, left : left + 6] = SIGN
        decided[top : top + 6, left : left + 6] = SKY
        decided[top : top + 2, left : left + 2] = SIGN  # a ninth of it is found
    for _ in range(speckles):  # patches of road in the sky, larger than what is found of a sign
        top, left = rng.integers(0, 52), rng.integers(0, 156)
        patch = decided[top : top + 4, left : left + 4]
        patch[patch == SKY] = ROAD
    scores = np.stack([decided == number for number in range(3)]).astype(np.float32)
    return LabelledScores(scores * 0.4 + 0.6 / 3, truth[..., None].astype(np.uint8), truth)


SAMPLES = [street(seed) for seed in range(3)]
OBJECTS = [[9000, 9100], [9600, 9600], [36] * 20]
"""Of the training masks: whole skies, whole roads, and signs."""


def test_one_size_for_all_classes_erases_the_small_ones_while_the_mean_rises() -> None:
    """What used to be chosen, by the mean alone."""
    found = search(SAMPLES, MinSizeMethod((1, 1, 1)), {"fraction": (0, 8, 16, 32, 64, 128)}, mean_iou)
    assert found.setting["fraction"] >= 32
    assert found.score > found.plain + 0.005
    before, after = class_iou(found.plain_counts), class_iou(found.counts)
    assert before[SIGN] > 0.1
    assert after[SIGN] == 0
    assert harmed_classes(found.plain_counts, found.counts) == [SIGN]


def test_sizes_come_from_the_objects_of_each_class_and_no_class_pays() -> None:
    chosen = choose("min_size", SAMPLES, OBJECTS)
    before, after = class_iou(chosen.before), class_iou(chosen.after)
    sizes = chosen.section["clean"]["min_size"]
    assert sizes[ROAD] > 16
    assert sizes[SIGN] <= 4
    assert after[ROAD] > before[ROAD] + 0.05
    assert after[SIGN] >= before[SIGN]
    assert chosen.harmed == []
    assert sizes[ROAD] in [int(fraction * 9600) for fraction in FRACTIONS]


def test_a_class_that_is_not_in_the_images_is_left_alone() -> None:
    """Nobody can say what cleaning would cost a class that the tuning images do not show."""
    samples = [street(seed, signs=0) for seed in range(2)]
    sizes = choose("min_size", samples, [*OBJECTS[:2], [5000] * 10]).section["clean"]["min_size"]
    assert sizes[SIGN] == 0
    assert sizes[ROAD] > 0


def test_a_crf_that_costs_a_class_too_much_is_left_out_and_the_class_is_named() -> None:
    """A field that smooths everything wins by the sky and the road, and there is no setting of it that keeps signs."""
    samples = [sample._replace(image=np.full((120, 160, 3), 90, np.uint8)) for sample in SAMPLES]
    chosen = choose("crf", samples)
    assert chosen.section == {}
    assert chosen.samples is samples
    assert chosen.harmed == [SIGN]
    assert mean_iou(chosen.after) > mean_iou(chosen.before)
    assert class_iou(chosen.before)[SIGN] > 0.1 > class_iou(chosen.after)[SIGN]


def test_losses_of_one_step_after_the_other_are_added_up() -> None:
    """Each step is measured by the masks before the first."""
    chosen = choose("min_size", SAMPLES, OBJECTS)
    better = chosen.before.clone()
    better[SIGN] = torch.tensor([0, 0, int(better[SIGN].sum())])  # as if a step before had cost signs already
    again = choose("min_size", SAMPLES, OBJECTS, before=better)
    assert again.section == {}
    assert SIGN in again.harmed
    assert again.before is better


def test_what_does_no_good_is_left_out() -> None:
    truth = street(0, speckles=0)
    right = np.stack([truth.mask == number for number in range(3)]).astype(np.float32)
    chosen = choose("min_size", [truth._replace(scores=right)], OBJECTS)
    assert (chosen.section, chosen.harmed) == ({}, [])
    assert chosen.before.tolist() == chosen.after.tolist()


@pytest.mark.parametrize(
    ("before", "after", "harmed"),
    [
        ([[90, 10], [10, 90]], [[90, 10], [10, 90]], []),
        ([[900, 100], [0, 1000]], [[892, 108], [0, 1000]], []),  # 0.900 to 0.892, 0.909 to 0.903
        ([[900, 100], [0, 1000]], [[880, 120], [0, 1000]], [0, 1]),
        ([[9000, 0], [99, 1]], [[9000, 0], [100, 0]], [1]),  # 0.010 to nothing is no point, but all there was
        ([[9000, 9], [100, 0]], [[9009, 0], [100, 0]], []),  # nothing was found of it before
        ([[90, 10], [0, 0]], [[100, 0], [0, 0]], []),  # the truth does not have it
    ],
)
def test_a_class_is_harmed_by_a_point_or_by_its_end(
    before: Sequence[Sequence[int]], after: Sequence[Sequence[int]], harmed: list[int]
) -> None:
    both = torch.tensor(before), torch.tensor(after)
    assert harmed_classes(*both) == harmed
    assert harmed_classes(*both, largest_loss=1) == []
