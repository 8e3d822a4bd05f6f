"""Crops: anywhere, in the middle, or where a class is; how often, and images smaller than the window."""

import numpy as np
import pytest
import torch

from atrous.augment import BalancedCrop, CenterCrop, ForegroundCrop, RandomCrop
from atrous.augment.crops import crop
from atrous.errors import RecipeError


def scene(height=60, width=80):
    """Mostly class 0; class 1 in 100 pixels, class 2 in one; an ignored corner."""
    mask = torch.zeros(height, width, dtype=torch.int64)
    mask[10:20, 40:50] = 1
    mask[50, 3] = 2
    mask[:5, :5] = 255
    rows, columns = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return {"image": torch.stack([rows, columns]), "mask": mask}


def noise(channels, height=37, width=52):
    rng = np.random.default_rng(0)
    return {
        "image": torch.from_numpy(rng.uniform(0, 255, (channels, height, width))).float(),
        "mask": torch.from_numpy(rng.integers(0, 4, (height, width))),
        "weight": torch.from_numpy(rng.uniform(0.5, 2, (height, width))).float(),
    }


def draws(transform, sample, count):
    return [transform(sample, np.random.default_rng(seed)) for seed in range(count)]


# Anywhere and in the middle


def test_a_crop_inside_is_a_slice():
    sample = noise(2)
    cut = crop(sample, 5, 9, 20, 30)
    assert torch.equal(cut["image"], sample["image"][:, 5:25, 9:39])
    assert torch.equal(cut["mask"], sample["mask"][5:25, 9:39])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (5, 40), (40, 5)])
def test_a_crop_larger_than_the_image_mirrors_it_and_ignores_the_rest(height, width):
    sample = noise(1, height, width)
    size = 31
    seen = set()
    for seed in range(20):
        cut = RandomCrop(size)(sample, np.random.default_rng(seed))
        assert cut["image"].shape == (1, size, size)
        labelled = cut["mask"] != 255
        assert labelled.sum() == min(height, size) * min(width, size)
        rows, columns = (torch.nonzero(labelled.any(dim)).flatten() for dim in (1, 0))
        if height <= size and width <= size:
            top, left = int(rows[0]), int(columns[0])
            seen.add((top, left))
            pads = ((top, size - top - height), (left, size - left - width))
            expected = np.pad(sample["image"][0].numpy(), pads, mode="reflect")
            np.testing.assert_array_equal(cut["image"][0].numpy(), expected)
            assert not cut["weight"][~labelled].any()
    assert len(seen) > 5 or height > size or width > size


def test_random_crops_reach_every_place():
    sample = {"image": torch.arange(12.0).reshape(1, 3, 4)}
    rng = np.random.default_rng(0)
    corners = {int(RandomCrop(2)(sample, rng)["image"][0, 0, 0]) for _ in range(200)}
    assert corners == {0, 1, 2, 4, 5, 6}


def test_a_random_crop_avoids_windows_without_a_label():
    mask = torch.full((64, 64), 255)
    mask[:32] = 1
    sample = {"image": torch.zeros(1, 64, 64), "mask": mask}
    rng = np.random.default_rng(0)
    assert all((RandomCrop(16)(sample, rng)["mask"] != 255).any() for _ in range(200))


def test_an_ignored_image_is_still_cropped():
    sample = {"image": torch.zeros(1, 20, 20), "mask": torch.full((20, 20), 255)}
    assert RandomCrop(8)(sample, np.random.default_rng(0))["mask"].shape == (8, 8)


def test_a_centre_crop_is_in_the_centre():
    cut = CenterCrop(2)({"image": torch.arange(16.0).reshape(1, 4, 4)}, np.random.default_rng(0))
    assert cut["image"][0].tolist() == [[5.0, 6.0], [9.0, 10.0]]


# Where a class is


def test_every_class_is_as_likely_and_its_window_holds_it():
    outs = draws(BalancedCrop(9), scene(), 300)
    assert all(out["mask"].shape == (9, 9) for out in outs)
    # A window of 9 pixels holds class 1 or class 2 by chance in 5 % of the places.
    share = [sum((out["mask"] == number).any().item() for out in outs) / 300 for number in (1, 2)]
    assert 0.26 < share[0] < 0.45
    assert 0.26 < share[1] < 0.45


def test_the_pixel_stands_anywhere_in_the_window_and_every_pixel_is_drawn():
    alone = torch.zeros(60, 80, dtype=torch.int64)
    alone[50, 3] = 1
    outs = draws(ForegroundCrop(7, p=1.0), {**scene(), "mask": alone}, 300)
    rows = {int(torch.nonzero(out["mask"] == 1)[0, 0]) for out in outs}
    columns = {int(torch.nonzero(out["mask"] == 1)[0, 1]) for out in outs}
    assert rows == set(range(7))
    assert columns == {0, 1, 2, 3}  # the image's border is three pixels away
    centres = {tuple(out["image"][:, 0, 0].tolist()) for out in draws(ForegroundCrop(1, p=1.0), scene(), 900)}
    assert len(centres) == 101


def test_the_foreground_is_there_as_often_as_asked():
    mask = torch.zeros(100, 100, dtype=torch.int64)
    mask[50, 50] = 3
    sample = {"image": torch.zeros(1, 100, 100), "mask": mask}
    held = sum((out["mask"] == 3).any().item() for out in draws(ForegroundCrop(5, p=0.4), sample, 400)) / 400
    assert 0.33 < held < 0.47
    assert all((out["mask"] == 3).any() for out in draws(ForegroundCrop(5, p=1.0), sample, 30))
    ones = {"image": torch.zeros(1, 100, 100), "mask": torch.where(mask == 3, 0, 1)}
    assert all((out["mask"] == 0).any() for out in draws(ForegroundCrop(5, p=1.0, background=1), ones, 30))


@pytest.mark.parametrize("build", [BalancedCrop, lambda size: ForegroundCrop(size, p=1.0)])
@pytest.mark.parametrize(("height", "width"), [(3, 4), (3, 40), (40, 3)])
def test_an_image_smaller_than_the_window_lies_somewhere_inside_it(build, height, width):
    mask = torch.zeros(height, width, dtype=torch.int64)
    mask[-1, -1] = 1
    sample = {"image": torch.rand(1, height, width), "mask": mask}
    places = set()
    for out in draws(build(12), sample, 40):
        assert out["mask"].shape == (12, 12)
        labelled = out["mask"] != 255
        assert labelled.sum() == min(height, 12) * min(width, 12)
        places.add(tuple(torch.nonzero(labelled)[0].tolist()))
    assert len(places) > 4


@pytest.mark.parametrize("build", [BalancedCrop, lambda size: ForegroundCrop(size, p=1.0)])
def test_without_any_class_to_look_for_the_window_is_anywhere(build):
    empty = {"image": scene()["image"], "mask": torch.full((60, 80), 255)}
    corners = {tuple(out["image"][:, 0, 0].tolist()) for out in draws(build(20), empty, 60)}
    assert len(corners) > 50
    assert max(y for y, _ in corners) > 30
    assert max(x for _, x in corners) > 45


@pytest.mark.parametrize("transform", [BalancedCrop(4), ForegroundCrop(4)])
def test_a_sample_without_a_mask_is_refused(transform):
    with pytest.raises(RecipeError, match="_crop: the sample has no mask: use random_crop instead"):
        transform({"image": torch.zeros(1, 9, 9)}, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BalancedCrop(0), "balanced_crop: the size is 0x0 pixels, but each side must be at least 1"),
        (lambda: ForegroundCrop((4, -1)), "foreground_crop: the size is 4x-1 pixels"),
        (lambda: ForegroundCrop(4, p=2), "foreground_crop: p is 2, but a probability lies between 0 and 1"),
        (lambda: ForegroundCrop(4, background=-1), "foreground_crop: there is no class -1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(build, message):
    with pytest.raises(RecipeError) as caught:
        build()
    assert message in str(caught.value)
