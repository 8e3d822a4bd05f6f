"""Samples as they are stored come out of the transforms as samples in full do."""

import numpy as np
import pytest
import torch

from atrous.augment import (
    Elastic,
    HorizontalFlip,
    RandomCrop,
    RandomScale,
    Resize,
    Rotation,
    compose,
)
from atrous.augment.base import in_full
from atrous.data.dataset import _sample, _stored

CHAINS = {
    "scale": [RandomScale(0.5, 2.0), RandomCrop(24), HorizontalFlip()],
    "far beyond": [RandomScale(0.5, 0.6), RandomCrop(64)],
    "resize": [Resize(40, 60), RandomCrop((16, 24))],
    "crop": [RandomCrop(24), HorizontalFlip()],
    "crop beyond": [RandomCrop(90)],
    "rotation": [Rotation(20.0), RandomCrop(20)],
    "elastic": [Elastic(sigma=3), RandomScale(0.7, 1.4), RandomCrop(24)],
    "no crop": [HorizontalFlip()],
    "nothing": [],
}
KINDS = {
    "grey": ((50, 70, 1), np.uint8),
    "colour": ((50, 70, 3), np.uint8),
    "five channels of 16 bits": ((40, 44, 5), np.uint16),
    "floats": ((40, 44, 2), np.float32),
}


def arrays(kind: str, planes: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape, dtype = KINDS[kind]
    rng = np.random.default_rng(0)
    image = (rng.random(shape) * (255 if dtype == np.uint8 else 60_000)).astype(dtype)
    mask = rng.integers(0, 2 if planes else 4, (3, *shape[:2]) if planes else shape[:2]).astype(np.uint8)
    mask[..., 5:9, 3:30] = 255
    instances = rng.integers(0, 900, shape[:2]).astype(np.uint16)
    return image, mask, instances


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("planes", [False, True])
def test_stored_and_full_samples_become_the_same(chain, kind, planes):
    given = arrays(kind, planes)
    kept = [array.copy() for array in given]
    transform = compose(CHAINS[chain])
    for seed in range(4):
        full = transform(_sample(7, *given), np.random.default_rng(seed))
        stored = transform(_stored(7, *given), np.random.default_rng(seed))
        assert full.keys() == stored.keys()
        for key, value in full.items():
            assert stored[key].dtype == value.dtype, key
            assert stored[key].shape == value.shape, key
            assert torch.equal(stored[key], value), key
        assert stored["image"].is_contiguous()
    assert all((array == old).all() for array, old in zip(given, kept, strict=True)), "what was stored has changed"


def test_in_full_shares_what_is_full():
    sample = _sample(0, *arrays("colour", planes=False))
    full = in_full(sample)
    assert all(full[key].data_ptr() == sample[key].data_ptr() for key in ("image", "mask", "instances"))
