"""Other sizes: the numbers of torch, whole or by the window; and a view's window is a crop of the whole."""

import numpy as np
import pytest
import torch

from atrous.augment import (
    Compose,
    DiscreteScale,
    Elastic,
    RandomCrop,
    RandomScale,
    Resize,
    Rotation,
    Simard,
    compose,
)
from atrous.augment.chain import WindowedCrop
from atrous.augment.crops import crop
from atrous.augment.geometry import HorizontalFlip, Rotate90
from atrous.augment.resample import resample_image, resample_labels

SIZES = [(74, 104), (18, 26), (60, 30), (9, 130), (37, 52), (1, 1)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_size_is_that_of_torch(height, width):
    image, labels = torch.rand(2, 37, 52) * 255, torch.randint(0, 100_000, (37, 52))
    expected = torch.nn.functional.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(resample_image(image, height, width), expected, rtol=1e-4, atol=1e-3)
    nearest = torch.nn.functional.interpolate(labels[None, None].double(), (height, width), mode="nearest-exact")[0, 0]
    assert torch.equal(resample_labels(labels, height, width), nearest.long())


def test_the_same_size_is_the_same_image_bit_for_bit():
    image = torch.rand(3, 20, 31) * 65535
    assert torch.equal(resample_image(image, 20, 31), image)


@pytest.mark.parametrize(("height", "width"), SIZES[:-1])
def test_a_window_is_that_window_of_the_whole(height, width):
    image, labels = torch.rand(2, 37, 52), torch.randint(0, 9, (37, 52))
    rows, columns = slice(height // 3, height), slice(width // 4, width - width // 5)
    whole = resample_image(image, height, width)
    assert torch.equal(resample_image(image, height, width, (rows, columns)), whole[:, rows, columns])
    window = resample_labels(labels, height, width, (rows, columns))
    assert torch.equal(window, resample_labels(labels, height, width)[rows, columns])


def test_strides_do_not_matter():
    image = torch.rand(3, 40, 60)[:, ::2, 5:35]
    assert torch.equal(resample_image(image, 11, 50), resample_image(image.contiguous(), 11, 50))


def sample():
    rng = np.random.default_rng(0)
    mask = torch.from_numpy(rng.integers(0, 4, (60, 70)))
    image = torch.from_numpy(rng.uniform(0, 255, (3, 60, 70))).float()
    return {"image": image, "mask": mask, "instances": mask * 1000, "weight": image[0] / 255}


VIEWED = [
    RandomScale(0.5, 2.0),
    RandomScale(0.5, 2.0, aspect=1.5),
    DiscreteScale(),
    Resize(50, 81),
    Rotation(40),
    Rotation(40, p=0.5),
    Elastic(4),
    Elastic(4, p=0.5),
    Simard(20, 3),
    Simard(20, 3, p=0.5),
]


@pytest.mark.parametrize("size", [24, (31, 40), 200])
@pytest.mark.parametrize("transform", VIEWED, ids=repr)
def test_a_crop_after_a_transform_computes_its_own_pixels_alone_and_the_same_ones(transform, size):
    fused = compose([transform, RandomCrop(size)])
    assert isinstance(fused.transforms[0], WindowedCrop)
    for seed in range(4):
        one = fused(sample(), np.random.default_rng(seed))
        other = Compose((transform, RandomCrop(size)))(sample(), np.random.default_rng(seed))
        assert one.keys() == other.keys()
        for key, value in one.items():
            torch.testing.assert_close(value, other[key], rtol=1e-4, atol=1e-2 if key == "image" else 1e-4)


def test_a_view_beyond_the_image_is_padded_as_a_crop_is():
    for transform in VIEWED:
        view = transform.windowed(sample(), np.random.default_rng(1))
        whole = view.whole()
        assert whole["mask"].shape == (view.height, view.width)
        for window in ((-5, 3, 20, 30), (view.height - 4, 2, 9, 9)):
            cut, expected = view.cut(*window), crop(whole, *window)
            torch.testing.assert_close(cut["image"], expected["image"], rtol=1e-4, atol=1e-2)
            assert torch.equal(cut["mask"], expected["mask"])


def test_only_a_random_crop_right_after_such_a_transform_is_joined_to_it():
    assert len(compose([Elastic(), HorizontalFlip(), RandomCrop(8)]).transforms) == 3
    assert len(compose([Rotate90(), RandomCrop(8), Elastic(), Elastic(), RandomCrop(8)]).transforms) == 4
