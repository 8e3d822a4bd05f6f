"""Objects told apart by a border."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from atrous.errors import DataError, RecipeError
from atrous.tasks import TASKS, Instances
from atrous.tasks.instances import border_targets, grow


def discs(*circles, size=64):
    y, x = np.mgrid[:size, :size]
    numbers = np.zeros((size, size), np.int64)
    for number, (cy, cx, radius) in enumerate(circles, start=1):
        numbers[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = number
    return numbers


TWO = discs((32, 22, 11), (32, 43, 11))


def ideal(numbers, classes=None, reach=1, certain=0.9):
    """Scores of a network that knows the targets."""
    classes = (numbers > 0).astype(np.int64) if classes is None else classes
    count = int(classes.max()) + 1
    target = border_targets(torch.from_numpy(classes)[None], torch.from_numpy(numbers)[None], count, reach=reach)[0]
    scores = torch.full((count + 1, *numbers.shape), (1 - certain) / count)
    return scores.scatter(0, target[None], certain)


def slow_border(mask, numbers, border, reach):
    out = mask.copy()
    rim = np.zeros(mask.shape, bool)
    for y, x in np.ndindex(*mask.shape):
        near = numbers[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        own = numbers[y, x]
        rim[y, x] = (near != own).any() if own else len(set(near[near > 0].tolist())) > 1
    alone = [n for n in np.unique(numbers[numbers > 0]) if rim[numbers == n].all()]
    rim &= ~np.isin(numbers, alone)
    out[rim & (mask != 255)] = border
    return out


@pytest.mark.parametrize("reach", [1, 2, 3])
def test_borders_are_those_of_the_definition(reach):
    numbers = discs((10, 10, 6), (12, 20, 5), (30, 30, 1), (40, 22, 9), (41, 41, 9), size=52)
    numbers[50:, 50:] = 16_000_000
    mask = (numbers > 0).astype(np.int64)
    mask[:4] = 255
    found = border_targets(torch.from_numpy(mask)[None], torch.from_numpy(numbers)[None], 2, reach=reach)[0]
    assert (found.numpy() == slow_border(mask, numbers, 2, reach)).all()


def test_images_of_a_batch_do_not_mix():
    alone = border_targets(torch.ones(1, 4, 4).long(), torch.ones(1, 4, 4).long(), 2)
    numbers = torch.stack([torch.ones(4, 4).long(), torch.zeros(4, 4).long()])
    both = border_targets((numbers > 0).long(), numbers, 2)
    assert (both[0] == alone[0]).all()
    assert (both[1] == 0).all()


def test_a_small_object_stays_inside_whatever_its_number_means_in_another_image():
    """All of it would be border; a large object of the same number in the image beside it changes nothing."""
    small, large = torch.zeros(2, 1, 12, 12, dtype=torch.int64)
    small[0, 5, 5], large[0, 2:10, 2:10] = 1, 1
    alone = border_targets((small > 0).long(), small, 2)
    both = torch.cat([small, large])
    assert torch.equal(border_targets((both > 0).long(), both, 2)[:1], alone)
    assert alone[0, 5, 5] == 1


def test_touching_discs_come_apart():
    plain = ndimage.label(TWO > 0)[1]
    found = Instances(3).decode(ideal(TWO))
    assert plain == 1
    assert found.instances.max() == 2
    assert found.instances.dtype == np.int32
    overlap = max(
        (found.instances == a)[TWO == 1].mean() * (found.instances == b)[TWO == 2].mean() for a, b in ((1, 2), (2, 1))
    )
    assert overlap > 0.95
    assert set(np.unique(found.classes)) == {0, 1}
    assert ((found.classes > 0) == (found.instances > 0)).all()
    assert found.confidence.min() >= 0.5


def test_each_object_has_one_class():
    classes = np.where(TWO == 1, 2, np.where(TWO == 2, 1, 0))
    scores = ideal(TWO, classes)
    scores[:, 30:34, 20:24] = torch.tensor([0.05, 0.9, 0.05, 0.0])[:, None, None]  # some of the other class inside
    found = Instances(4).decode(scores)
    for number in (1, 2):
        assert len(np.unique(found.classes[found.instances == number])) == 1
    assert found.classes[32, 22] == 2


def test_small_objects_go_and_thin_ones_stay():
    numbers = discs((20, 20, 8))
    numbers[40:42, 10:40] = 2  # without an inside
    numbers[55, 55] = 3
    found = Instances(3, min_size=8).decode(ideal(numbers))
    assert found.instances.max() == 2
    assert (found.instances[40:42, 10:40] > 0).all()
    assert found.instances[55, 55] == 0
    assert Instances(3, min_size=0).decode(ideal(numbers)).instances.max() == 3


def test_nothing_found_is_no_object():
    scores = torch.zeros(3, 9, 9)
    scores[0] = 1
    found = Instances(3).decode(scores)
    assert found.instances.max() == found.classes.max() == 0


def test_validation_sees_the_same_foreground():
    task, scores = Instances(3, min_size=0), ideal(TWO)
    assert (task.decide(scores[None])[0].numpy() == (task.decode(scores).classes > 0)).mean() > 0.99


def test_half_of_the_probability_is_the_backgrounds():
    """In validation as in prediction: a pixel is an object's where the background has less than half."""
    task = Instances(3, min_size=0)
    scores = torch.tensor([0.5, 0.5, 0.0])[:, None, None].repeat(1, 4, 4)
    assert (task.decide(scores[None]) == 0).all()
    assert (task.decode(scores).classes == 0).all()
    scores[0, 1, 1] = 0.5 - 2**-20
    assert (task.decide(scores[None])[0] > 0).nonzero().tolist() == [[1, 1]]
    assert np.argwhere(task.decode(scores).classes).tolist() == [[1, 1]]


@pytest.mark.parametrize("seed", range(3))
def test_growing_equals_a_slow_flood(seed):
    rng = np.random.default_rng(seed)
    levels = (ndimage.gaussian_filter(rng.random((24, 31)), 2) * 900 % 255).astype(np.uint8)
    mask = (rng.random(levels.shape) > 0.15).astype(np.uint8)
    labels = np.zeros(levels.shape, np.int32)
    for number in range(1, 6):
        y, x = rng.integers(0, 24), rng.integers(0, 31)
        labels[y, x] = number if mask[y, x] else 0
    slow, fast = labels.copy(), labels.copy()
    queue = [(int(levels[y, x]), at, y, x) for at, (y, x) in enumerate(np.argwhere(labels > 0))]
    arrived, level = len(queue), 0
    while queue:  # what lies lower than the water counts as at its height, in the order of arrival
        queue.sort(key=lambda item: (max(item[0], level), item[1]))
        height, _, y, x = queue.pop(0)
        level = max(level, height)
        for ny, nx in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
            if 0 <= ny < 24 and 0 <= nx < 31 and not slow[ny, nx] and mask[ny, nx]:
                slow[ny, nx] = slow[y, x]
                queue.append((max(int(levels[ny, nx]), level), arrived, ny, nx))
                arrived += 1
    grow(fast, levels, mask)
    assert (fast == slow).all()
    parts, _ = ndimage.label(mask)
    reached = np.unique(parts[labels > 0])
    assert ((fast > 0) == np.isin(parts, reached) & (mask > 0)).all()


def test_a_crowd_teaches_nothing_of_borders():
    """Objects that nobody has told apart would be one large inside: their logits get no gradient."""
    task = Instances(3)
    mask, numbers = (
        torch.from_numpy((TWO > 0).astype(np.int64))[None],
        torch.from_numpy(np.where(TWO == 2, 0, TWO))[None],
    )
    logits = torch.zeros(1, 3, 64, 64, requires_grad=True)
    sum(task.losses({"out": logits}, {"mask": mask, "instances": numbers}).values()).backward()
    crowd = torch.from_numpy(TWO == 2)
    assert not logits.grad[0][:, crowd].any()
    assert logits.grad[0][:, ~crowd].any(0).all()


def test_losses_see_borders_and_train():
    task = Instances(3, loss=["cross_entropy", "dice"])
    numbers = torch.from_numpy(TWO)[None]
    batch = {"mask": (numbers > 0).long(), "instances": numbers}
    logits = torch.zeros(1, 3, 64, 64, requires_grad=True)
    losses = task.losses({"out": logits}, batch)
    sum(losses.values()).backward()
    assert set(losses) == {"cross_entropy", "dice"}
    border = border_targets(batch["mask"], numbers, 2)[0] == 2
    assert (logits.grad[0, 2][border] < 0).all()
    assert (logits.grad[0, 2][~border] > 0).all()
    right = torch.log(ideal(TWO, certain=0.999))[None]
    assert sum(task.losses({"out": right}, batch).values()) < 0.02


def test_what_does_not_fit_is_told():
    batch = {"mask": torch.zeros(1, 4, 4).long()}
    with pytest.raises(DataError, match="instances/"):
        Instances(3).losses({"out": torch.zeros(1, 3, 4, 4)}, batch)
    with pytest.raises(RecipeError, match="border"):
        Instances(3, loss={"name": "cross_entropy", "weights": "enet"})
    with pytest.raises(RecipeError, match="background"):
        Instances(2)
    assert TASKS["instances"] is Instances


def test_validation_prefers_objects_told_apart():
    task = Instances(3)
    batch = {"mask": torch.from_numpy((TWO > 0).astype(np.int64))[None], "instances": torch.from_numpy(TWO)[None]}

    def measured(*scores):
        validator = task.validator()
        for each in scores:
            validator.update(each[None], batch)
        return validator.compute()

    joined = ideal(TWO)
    joined[1] = torch.from_numpy(TWO > 0) * 0.9  # an inside without a border, right in every pixel
    joined[2], joined[0] = 0.05, 1 - joined[1] - 0.05
    apart = ideal(TWO)
    apart[:, :8, :8] = torch.tensor([0.1, 0.8, 0.1])[:, None, None]  # and a wrong corner
    assert measured(joined)["mean_iou"] > measured(apart)["mean_iou"]
    assert measured(joined)["average_precision"] < 0.1
    assert measured(apart)["average_precision"] == pytest.approx(2 / 3, abs=0.1)
    both = (measured(joined)["average_precision"] + measured(apart)["average_precision"]) / 2
    assert measured(joined, apart)["average_precision"] == pytest.approx(both)
    assert tuple(measured(apart)) == tuple(measure.name for measure in task.measures)
    del batch["instances"]  # then the parts of the mask are the objects, and these two touch
    assert measured(joined)["average_precision"] == 1


def test_objects_on_ignored_pixels_count_for_nothing():
    mask = np.where(TWO == 2, 255, TWO > 0)  # nobody knows what the second one is
    validator = Instances(3).validator()
    batch = {"mask": torch.from_numpy(mask.astype(np.int64))[None], "instances": torch.from_numpy(TWO)[None]}
    validator.update(ideal(discs((32, 22, 11)))[None], batch)  # and it is not found
    assert validator.compute()["average_precision"] > 0.9
    validator.reset()
    validator.update(ideal(discs((32, 22, 11), (32, 45, 8)))[None], batch)  # nor is finding it an error
    assert validator.compute()["average_precision"] > 0.9


def test_objects_in_a_crowd_count_for_nothing_in_validation():
    """The second disc has its class and no number: to find it is no error, and to miss it neither."""
    numbered = np.where(TWO == 2, 0, TWO)
    validator = Instances(3).validator()
    batch = {"mask": torch.from_numpy((TWO > 0).astype(np.int64))[None], "instances": torch.from_numpy(numbered)[None]}
    for found in (discs((32, 22, 11)), discs((32, 22, 11), (32, 46, 5))):
        validator.reset()
        validator.update(ideal(found)[None], batch)
        assert validator.compute()["average_precision"] > 0.9
