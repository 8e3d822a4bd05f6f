"""Weights of a CRF learnt from made images whose best ones are known."""

import numpy as np
import pytest
import torch

from atrous.crf import dense_crf
from atrous.crf.learn import learn_compatibility
from atrous.errors import UsageError

SIZE = 28


def noisy_samples(count=2, seed=0):
    """A bright field in a dark one: 30 apart, with a texture of 4, and probabilities that are often wrong.

    A bandwidth of colour far below the texture joins no pixels; one far above 30 joins the two fields.
    """
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(count):
        y, x = np.mgrid[:SIZE, :SIZE]
        mask = ((y - 13) ** 2 + (x - rng.integers(10, 18)) ** 2 < 64).astype(np.int64)
        grey = 100 + 30 * mask + rng.normal(0, 4, mask.shape)
        image = np.repeat(grey[..., None], 3, 2).clip(0, 255).astype(np.uint8)
        wrong = rng.random(mask.shape) < 0.3
        p = np.where(mask ^ wrong, 0.7, 0.3)
        mask[:2] = 255
        samples.append((np.stack([1 - p, p]), image, mask))
    return samples


@pytest.mark.parametrize("form", ["potts", "diagonal", "matrix"])
def test_weights_are_learnt_and_lower_the_loss(form):
    samples = noisy_samples()
    found = learn_compatibility(
        samples, form=form, gaussian=(1.0, 0.0), bilateral=(20.0, 12.0, 0.0), epochs=8, lr=0.3, iterations=3
    )
    assert len(found.losses) == 8
    assert found.losses[-1] < 0.6 * found.losses[0]
    weight = found.settings["bilateral"][2]
    assert np.shape(weight) == {"potts": (), "diagonal": (2,), "matrix": (2, 2)}[form]
    if form == "matrix":
        assert weight[0][1] == weight[1][0] > 0
    else:
        assert np.min(weight) > 0
    for probabilities, image, mask in noisy_samples(2, seed=5):  # images that were not learnt from
        counted = mask != 255
        refined = dense_crf(probabilities, image, **found.settings)
        assert (refined.argmax(0) == mask)[counted].mean() > (probabilities.argmax(0) == mask)[counted].mean() + 0.1


def test_a_weight_for_each_class_learns_to_favour_the_rare_one():
    """Lines of one pixel are few, and so are the messages of their class: a weight of its own makes up for it."""
    rng = np.random.default_rng(0)
    mask = np.zeros((SIZE, SIZE), np.int64)
    mask[:, 4::8] = 1
    image = np.full((SIZE, SIZE, 3), 90, np.uint8)
    p = np.clip(0.15 + 0.6 * mask + rng.normal(0, 0.15, mask.shape), 0.02, 0.98)
    sample = np.stack([1 - p, p]), image, mask
    start = {"gaussian": (2.0, 1.0), "bilateral": (10.0, 10.0, 1.0), "epochs": 15, "iterations": 3}
    one, each = (learn_compatibility([sample], form=form, **start) for form in ("potts", "diagonal"))
    assert one.losses[0] == pytest.approx(each.losses[0])
    assert each.losses[-1] < one.losses[-1] < one.losses[0]
    for *_, weights in (each.settings["gaussian"], each.settings["bilateral"]):
        assert weights[1] > weights[0] + 0.3


def test_the_loss_is_that_of_the_refined_scores():
    (probabilities, image, mask), start = noisy_samples(1)[0], (20.0, 12.0, 2.0)
    found = learn_compatibility([(probabilities, image, mask)], bilateral=start, epochs=1, iterations=4)
    refined = dense_crf(probabilities, image, bilateral=start, iterations=4)
    counted = mask != 255
    expected = -np.log(np.take_along_axis(refined, mask.clip(max=1)[None], 0)[0][counted]).mean()
    assert found.losses[0] == pytest.approx(expected, rel=1e-4)


def test_tensors_and_arrays_learn_the_same():
    samples = noisy_samples(1)
    tensors = [tuple(torch.from_numpy(array) for array in samples[0])]
    arguments = {"bilateral": (20.0, 12.0, 2.0), "epochs": 2, "iterations": 2}
    assert learn_compatibility(samples, **arguments) == learn_compatibility(tensors, **arguments)


def test_what_cannot_be_learnt_from_is_refused():
    probabilities, image, mask = noisy_samples(1)[0]
    with pytest.raises(UsageError, match=r"mask \(H, W\); got \(2, 28, 28\), \(28, 28, 3\) and \(27, 28\)"):
        learn_compatibility([(probabilities, image, mask[1:])])
    with pytest.raises(UsageError, match="learnt from labelled images, got none"):
        learn_compatibility([])
    with pytest.raises(UsageError, match="Not one of 1 masks has a pixel of class"):
        learn_compatibility([(probabilities, image, np.full_like(mask, 255))])
    with pytest.raises(UsageError, match=r"There is no form 'pots'\. Did you mean 'potts'"):
        learn_compatibility([(probabilities, image, mask)], form="pots")
