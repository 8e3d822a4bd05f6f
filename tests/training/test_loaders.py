import pickle

import numpy as np
import pytest
import torch

from atrous.errors import DataError
from atrous.training.loaders import choose_workers, measure_normalization, train_loader
from atrous.training.stream import Augmented, Stream


def sample(image, mask=None):
    image = torch.as_tensor(image, dtype=torch.float32)
    return {"image": image, "mask": torch.zeros(image.shape[1:], dtype=torch.int64) if mask is None else mask}


def test_the_normalisation_is_that_of_the_labelled_pixels():
    generator = np.random.default_rng(0)
    images = generator.normal((100, -5), (20, 0.5), (6, 9, 11, 2)).transpose(0, 3, 1, 2)
    mask = torch.zeros(9, 11, dtype=torch.int64)
    mask[0] = 255
    mean, std = measure_normalization([sample(image, mask) for image in images], 6)
    known = images[:, :, 1:]
    assert mean == pytest.approx(known.mean((0, 2, 3)), rel=1e-5)
    assert std == pytest.approx(known.std((0, 2, 3)), rel=1e-5)


def test_large_numbers_keep_their_deviation():
    image = np.tile([60000.0, 60001.0], (1, 8, 4))
    mean, std = measure_normalization([sample(image)], 1)
    assert mean == [60000.5]
    assert std == pytest.approx([0.5])


def test_a_channel_that_never_changes_is_divided_by_one():
    assert measure_normalization([sample(np.full((1, 4, 4), 0.1))], 1)[1] == [1.0]


def test_many_images_are_sampled_evenly():
    asked = []

    class Many:
        def __getitem__(self, index):
            asked.append(index)
            return sample(np.zeros((1, 1000, 600)))

    measure_normalization(Many(), 1000)
    assert len(asked) == 200
    assert (asked[0], asked[-1]) == (0, 999)


def test_no_labelled_pixel_is_an_error():
    with pytest.raises(DataError, match="no labelled pixel"):
        measure_normalization([sample(np.zeros((1, 2, 2)), torch.full((2, 2), 255))], 1)


def test_workers_follow_the_recipe_or_the_machine():
    assert choose_workers(3, "cpu") == 3
    assert choose_workers("auto", "cpu") in (0, 1)
    assert choose_workers("auto", "cuda") >= 1


def test_what_a_spawned_worker_is_handed_can_be_pickled(make_plan):
    plan = make_plan()
    loader = train_loader(plan.train, Stream(7, 4, 0, lambda: range(1)), transform=None, workers=1, pin=False)
    for part in (loader.dataset, loader.collate_fn, loader.worker_init_fn):
        pickle.loads(pickle.dumps(part))
    assert isinstance(loader.dataset, Augmented)
