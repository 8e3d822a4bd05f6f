"""The transforms of a recipe in their order, second samples in workers, and the first samples that training sees."""

import numpy as np
import pytest
import torch

from atrous.augment import (
    TRANSFORMS,
    BalancedCrop,
    BorderWeights,
    ChannelGain,
    CopyPaste,
    CutMix,
    DiscreteScale,
    Elastic,
    HorizontalFlip,
    Intensity,
    ObjectCrop,
    RandomCrop,
    Rotate90,
)
from atrous.augment.borders import weigh_borders
from atrous.augment.chain import WindowedCrop
from atrous.data import open_folder
from atrous.data.folder import FolderDataset
from atrous.data.options import DataOptions
from atrous.errors import DataError, RecipeError
from atrous.made import make_cells
from atrous.recipe import load_recipe
from atrous.training.augment import augmented_samples, read_augment, training_transform
from atrous.training.loaders import train_loader
from atrous.training.stream import Stream

MIXED = "[{name: horizontal_flip}, {name: copy_paste, p: 0.8}, {name: cutmix, p: 0.5}, border_weights]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return open_folder(make_cells(tmp_path_factory.mktemp("made") / "cells", count=7, size=48))


def recipe_of(augment, crop=32, batch_size=3):
    return load_recipe("unet", [f"data={{crop: {crop}, batch_size: {batch_size}, augment: {augment}}}"])


def steps_of(augment, crop=32):
    recipe = recipe_of(augment, crop)
    data = recipe.options("data", DataOptions)
    return training_transform(read_augment(data, recipe.place), data.crop).transforms


# Order


@pytest.mark.parametrize(
    ("augment", "crop", "kinds"),
    [
        ("[]", 32, [RandomCrop]),
        ("[]", "null", []),
        ("[elastic]", 32, [WindowedCrop]),
        ("[elastic, intensity, channel_gain]", 32, [WindowedCrop, Intensity, ChannelGain]),
        ("[intensity, elastic]", 32, [Intensity, WindowedCrop]),
        ("[elastic, horizontal_flip, rotate90]", 32, [WindowedCrop, HorizontalFlip, Rotate90]),
        ("[horizontal_flip, rotate90]", "[32, 16]", [HorizontalFlip, Rotate90, RandomCrop]),
        ("[horizontal_flip, elastic]", 32, [HorizontalFlip, WindowedCrop]),
        ("[discrete_scale, cutmix, intensity]", 32, [WindowedCrop, CutMix, Intensity]),
        ("[{name: object_crop, size: 40}, copy_paste]", 32, [ObjectCrop, RandomCrop, CopyPaste]),
        ("[{name: balanced_crop, size: 16}, elastic]", 32, [BalancedCrop, Elastic]),
        ("[border_weights, elastic, cutmix, intensity]", 32, [WindowedCrop, CutMix, BorderWeights, Intensity]),
        ("[border_weights, {name: balanced_crop, size: 16}, horizontal_flip]", 32,
         [BalancedCrop, HorizontalFlip, BorderWeights]),
        ("[border_weights, elastic]", "null", [Elastic, BorderWeights]),
    ],
)  # fmt: skip
def test_the_crop_comes_after_what_moves_pixels_and_weights_after_both(augment, crop, kinds):
    assert [type(step) for step in steps_of(augment, crop)] == kinds


def test_arguments_come_as_the_recipe_says_them():
    (scale,) = steps_of("[{name: discrete_scale, scales: [0.5, 2]}]", "null")
    assert scale == DiscreteScale((0.5, 2.0))
    (weights,) = steps_of("[{name: border_weights, w0: 10, sigma: 5, balance: false, classes: [1]}]", "null")
    assert weights == BorderWeights(balance=False, classes=(1,))


ALWAYS = " every image of the training and none of a prediction. "


@pytest.mark.parametrize(
    ("augment", "text"),
    [
        (
            "[{name: resize, height: 60, width: 80}]",
            "augment.0: resize resizes" + ALWAYS + "Let the model do it: ",
        ),
        ("[elastic, {name: random_scale, low: 0.4, high: 0.6}]", "data.augment.1: random_scale shrinks" + ALWAYS),
        ("[{name: random_scale, low: 1.5, high: 2}]", "random_scale enlarges" + ALWAYS + "Let the scales reach 1."),
        ("[{name: discrete_scale, scales: [0.5, 0.75]}]", "discrete_scale shrinks" + ALWAYS),
        ("[{name: horizontal_flip, p: 1}]", "horizontal_flip mirrors" + ALWAYS + "Give a p below 1"),
        ("[{name: vertical_flip, p: 1.0}]", "vertical_flip mirrors" + ALWAYS),
        ("[{name: gaussian_blur, low: 1, high: 2, p: 1}]", "gaussian_blur blurs" + ALWAYS),
        ("[{name: channel_gain, low: 1.5, high: 2}]", "channel_gain brightens" + ALWAYS),
        ("[{name: channel_gain, low: 0.1, high: 0.5}]", "channel_gain darkens" + ALWAYS),
        (
            "[{name: horizontal_flip, swap: [[1, 2]]}]",
            "data.augment.0: horizontal_flip: swap is known to this transform",
        ),
        (
            "[{name: horizontal_flip, swap: [[1, 2]]}]",
            "classes.yaml instead, such as flip_pairs: [[left eye, right eye]]",
        ),
        ("[{name: cutmix, alfa: 1}]", "CutMix takes no argument 'alfa'. Did you mean 'alpha'?"),
        ("[{name: simard, sigma: big}]", "got 'big' (str), but sigma of Simard must be float"),
        ("[border_weight]", "there is no transform 'border_weight'. Did you mean 'border_weights'?"),
        ("[elastic, {name: shift, pixels: -1}]", "shift: pixels is -1"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(augment, text):
    with pytest.raises(RecipeError) as caught:
        steps_of(augment)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


# Weights


def test_weights_are_made_of_the_masks_that_training_sees(folder):
    for sample in augmented_samples(folder, recipe_of("[border_weights, elastic, {name: rotation, degrees: 30}]"), 4):
        assert sample["weight"].shape == (32, 32)
        assert torch.equal(sample["weight"], weigh_borders(sample)["weight"])
        assert sample["weight"].max() > 1


# Second samples


def loaded(folder, recipe, *, workers, steps=range(4)):
    data = recipe.options("data", DataOptions)
    dataset = FolderDataset(folder, "train")
    stream = Stream(len(dataset), data.batch_size, recipe.seed, lambda: steps)
    transform = training_transform(read_augment(data, recipe.place), data.crop, dataset)
    loader = train_loader(dataset, stream, transform=transform, workers=workers, pin=False)
    return [batch for step in loader for batch in step]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("workers", [1, 2])
def test_neither_workers_nor_resuming_change_what_is_mixed(folder, workers):
    recipe = recipe_of(MIXED)
    batches = loaded(folder, recipe, workers=0)
    assert batches[0]["weight"].shape == (3, 32, 32)
    for one, other in zip(batches, loaded(folder, recipe, workers=workers), strict=True):
        assert same(one, other)
    later = loaded(folder, recipe, workers=workers, steps=range(2, 4))
    assert all(same(one, other) for one, other in zip(batches[2:], later, strict=True))


def test_samples_are_mixed_indeed(folder):
    plain, mixed = (
        loaded(folder, recipe_of(augment), workers=0)
        for augment in ("[horizontal_flip]", "[horizontal_flip, {name: copy_paste, p: 1.0, share: 1.0}]")
    )
    changed = [(a["image"] != b["image"]).any(1) for a, b in zip(plain, mixed, strict=True)]
    assert sum(change.any((1, 2)).sum() for change in changed) >= 6
    for change, a, b in zip(changed, plain, mixed, strict=True):
        assert (b["mask"][change] == 1).all()
        assert (b["mask"] >= a["mask"]).all()


def test_an_unreadable_second_image_is_told_with_its_own_text(tmp_path):
    folder = open_folder(make_cells(tmp_path / "cells", count=5, size=32))
    dataset = FolderDataset(folder, "train")
    recipe = recipe_of("[{name: cutmix, p: 1.0}]", crop=16, batch_size=1)
    sample = dataset[0]
    for pair in dataset.pairs:
        pair.image.write_bytes(b"torn")
    data = recipe.options("data", DataOptions)
    transform = training_transform(read_augment(data, recipe.place), data.crop, dataset)
    with pytest.raises(DataError, match="cannot be read as an image"):
        transform(sample, np.random.default_rng(0))


# First samples


def test_the_first_samples_are_those_of_training(folder):
    recipe = recipe_of(f"[elastic, {MIXED[1:-1]}, intensity]")
    batches = loaded(folder, recipe, workers=0)
    samples = augmented_samples(folder, recipe, 8)
    for number, sample in enumerate(samples):
        batch = batches[number // 3]
        assert set(sample) == set(batch)
        assert all(torch.equal(sample[key], batch[key][number % 3]) for key in sample)


def test_a_file_that_cannot_be_read_ends_it_with_its_own_text(tmp_path):
    folder = open_folder(make_cells(tmp_path / "cells", count=5, size=32))
    for pair in folder.splits["train"]:
        pair.image.write_bytes(b"torn")
    with pytest.raises(DataError, match="cannot be read as an image"):
        augmented_samples(folder, recipe_of("[]", crop=16), 1)


# A transform may be drawn so that it leaves next to everything as it is: else it is preprocessing, see `never_spares`.
SPARED = {
    "random_scale": "{low: 1, high: 2}", "discrete_scale": "{scales: [0.5, 1.25]}", "gaussian_blur": "{low: 0.3, p: 1}",
    "channel_gain": "{low: 1, high: 1.2}", "random_crop": "{size: 8}", "center_crop": "{size: 8}",
    "balanced_crop": "{size: 8}", "foreground_crop": "{size: 8}", "object_crop": "{size: 8}",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name != "resize"])
def test_every_transform_is_taken_that_may_spare_an_image(name):
    assert len(steps_of(f"[{{name: {name}, {SPARED.get(name, '{}')[1:-1]}}}]", "null")) == 1


def test_no_recipe_that_comes_along_changes_every_image():
    """All are resolved without complaint, their stages too."""
    from atrous.recipe import list_recipes, load_recipe
    from atrous.training.resolved import resolve_run

    assert [name for name in list_recipes() if not resolve_run(load_recipe(name)).stages] == []
