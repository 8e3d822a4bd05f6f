import numpy as np
import pytest
import torch

from atrous.crf import dense_crf, exact_mean_field, local_crf
from atrous.crf.exact import ExactTerm
from atrous.errors import UsageError


def scene(height=10, width=9, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
    image[:, width // 2 :] += 120
    p = rng.random((classes, height, width)).astype(np.float32)
    p[0, :, : width // 2] += 1
    return p / p.sum(0), image


@pytest.mark.parametrize("normalization", ["none", "before", "after", "symmetric"])
def test_a_window_over_the_whole_image_is_exact_mean_field(normalization):
    probabilities, image = scene()
    y, x = np.mgrid[:10, :9]
    place = np.stack([x, y], -1).reshape(-1, 2)
    colour = np.concatenate([place / 4, image.reshape(-1, 3) / 20], 1)
    potts = 1 - np.eye(3)
    terms = [ExactTerm(place / 2, 1.5 * potts, normalization), ExactTerm(colour, 2 * potts, normalization)]
    exact = exact_mean_field(probabilities.reshape(3, -1), terms).reshape(3, 10, 9)
    ours = local_crf(
        probabilities, image, gaussian=(2, 1.5), bilateral=(4, 20, 2), normalization=normalization, window=19
    )
    assert np.abs(ours - exact).max() < 1e-4


def test_narrow_windows_err_more():
    probabilities, image = scene(24, 24)
    full = dense_crf(probabilities, image, bilateral=(4, 20, 2))
    errors = [
        np.abs(local_crf(probabilities, image, bilateral=(4, 20, 2), window=window) - full).mean()
        for window in (1, 3, 9)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05


def test_batches_tensors_and_gradients():
    scenes = [scene(seed=seed) for seed in range(2)]
    probabilities, images = (np.stack(part) for part in zip(*scenes, strict=True))
    together = local_crf(torch.from_numpy(probabilities), torch.from_numpy(images), window=3)
    for i in range(2):
        assert np.abs(local_crf(probabilities[i], images[i], window=3) - together[i].numpy()).max() < 1e-6
    logits = torch.randn(1, 3, 10, 9, requires_grad=True)
    local_crf(logits.softmax(1), torch.from_numpy(images[:1]), window=3, dilation=2)[:, 0].sum().backward()
    assert logits.grad is not None
    assert bool((logits.grad.abs() > 0).any())


def test_errors():
    probabilities, image = scene()
    with pytest.raises(UsageError, match="A window is odd"):
        local_crf(probabilities, image, window=4)
    with pytest.raises(UsageError, match="pass the softmax"):
        local_crf(probabilities * 3, image)
