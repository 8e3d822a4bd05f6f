"""What discriminators are shown: the spec's vectors, loops, gradients, and ignored pixels."""

import pytest
import torch

from atrous.adversarial.inputs import (
    INPUTS,
    basic,
    beside_image,
    conditioned,
    one_hot,
    product,
    scaling,
    soft_maps,
    soften,
    times_image,
)
from atrous.layers import shrink

MASK = torch.tensor([[[0, 1, 255], [2, 255, 1]]])
LABELLED = (MASK != 255)[:, None]


def pixel(*values):
    return torch.tensor(values).view(1, -1, 1, 1)


def scene(seed=0, classes=3, channels=2):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(1, classes, *MASK.shape[-2:], generator=generator)
    return logits, torch.randn(1, channels, *MASK.shape[-2:], generator=generator)


@pytest.mark.parametrize(
    ("soft", "expected"),
    [((0.5, 0.3, 0.2), (0.071429, 0.9, 0.028571)), ((0.01, 0.95, 0.04), (0.01, 0.95, 0.04))],
)
def test_the_vectors_of_scaling(soft, expected):
    found = soften(pixel(0.0, 1.0, 0.0), pixel(*soft))
    torch.testing.assert_close(found, pixel(*expected), atol=1e-6, rtol=0)
    assert float(found.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("tau", [0.5, 0.9, 1.0])
def test_scaling_pixel_by_pixel(tau):
    logits, _ = scene()
    soft, hard = soft_maps(logits, LABELLED), one_hot(MASK, 3)
    expected = torch.zeros_like(soft)
    for y, x in [(0, 0), (0, 1), (1, 0), (1, 2)]:
        label = int(MASK[0, y, x])
        s = soft[0, :, y, x]
        top = max(tau, float(s[label]))
        for c in range(3):
            expected[0, c, y, x] = top if c == label else s[c] * (1 - top) / (1 - s[label])
    torch.testing.assert_close(soften(hard, soft, tau=tau), expected)


def test_scaling_of_certainty_has_no_nan():
    soft = pixel(0.0, 1.0, 0.0).requires_grad_()
    for tau in (0.9, 1.0):
        found = soften(pixel(0.0, 1.0, 0.0), soft, tau=tau)
        assert torch.equal(found, pixel(0.0, 1.0, 0.0))
        (gradient,) = torch.autograd.grad(found.square().sum(), soft)
        assert gradient.isfinite().all()


def test_scaled_ground_truth_against_finite_differences():
    logits = scene()[0].double().requires_grad_()
    hard = one_hot(MASK, 3).double()
    assert torch.autograd.gradcheck(lambda x: soften(hard, soft_maps(x, LABELLED), tau=0.9), logits)
    assert torch.autograd.gradcheck(lambda x: soften(hard, soft_maps(5 * x, LABELLED), tau=0.5), logits)


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_against_finite_differences(name):
    logits, image = scene()
    form = INPUTS[name]()
    image, logits = image.double(), logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: form.arrange(soft_maps(x, LABELLED), image), logits)


@pytest.mark.parametrize("name", INPUTS)
def test_ignored_pixels_are_zero_on_both_sides_and_learn_nothing(name):
    logits, image = scene()
    form = INPUTS[name]()
    logits.requires_grad_()
    soft = soft_maps(logits, LABELLED)
    truth = form.truth(one_hot(MASK, 3), soft)
    ignored = (MASK == 255)[0]
    for maps in (soft, truth):
        assert not maps[0, :, ignored].any()
        torch.testing.assert_close(maps[0, :, ~ignored].sum(0), torch.ones(4))
    (gradient,) = torch.autograd.grad(form.arrange(soft, image).square().sum(), logits)
    assert torch.equal(gradient[0, :, ignored], torch.zeros(3, 2))
    assert gradient[0, :, ~ignored].any()


@pytest.mark.parametrize(("name", "channels"), [("product", 63), ("conditioned", 24), ("basic", 21), ("scaling", 21)])
def test_channels_of_the_input_with_21_classes(name, channels):
    form = INPUTS[name]()
    assert form.channels(21, 3) == channels
    assert form.arrange(torch.rand(2, 21, 2, 2), torch.rand(2, 3, 2, 2)).shape == (2, channels, 2, 2)


def test_products_come_class_by_class_for_each_channel():
    logits, image = scene(channels=3)
    maps = logits.softmax(1)
    found = times_image(maps, image)
    for channel in range(3):
        for label in range(3):
            torch.testing.assert_close(found[:, channel * 3 + label], image[:, channel] * maps[:, label])


def test_the_image_stands_behind_the_maps():
    logits, image = scene()
    assert torch.equal(beside_image(logits, image)[:, :3], logits)
    assert torch.equal(beside_image(logits, image)[:, 3:], image)


def test_only_scaling_softens_the_ground_truth():
    logits, _ = scene()
    soft, hard = soft_maps(logits, LABELLED), one_hot(MASK, 3)
    for form in (basic(), product(), conditioned()):
        assert torch.equal(form.truth(hard, soft), hard)
    assert not torch.equal(scaling().truth(hard, soft), hard)
    assert torch.equal(scaling(tau=0.8).truth(hard, soft), soften(hard, soft, tau=0.8))


def test_one_hot_maps():
    hard = one_hot(MASK.to(torch.uint8), 3)
    expected = [[[1, 0, 0], [0, 0, 0]], [[0, 1, 0], [0, 0, 1]], [[0, 0, 0], [1, 0, 0]]]
    assert torch.equal(hard[0], torch.tensor(expected, dtype=torch.float32))
    assert torch.equal(one_hot(MASK, 3, ignore_index=1)[0, 1], torch.zeros(2, 3))


def test_low_precision_logits_become_exact_maps():
    logits = scene()[0].bfloat16()
    assert torch.equal(soft_maps(logits, LABELLED), soft_maps(logits.float(), LABELLED))


def test_masks_shrink_to_the_pixels_at_the_centres():
    mask = torch.arange(7 * 9).view(1, 7, 9)
    for size in ((7, 9), (3, 4), (1, 1), (14, 5)):
        found = shrink(mask, size)
        rows = [int((2 * y + 1) * 7 / (2 * size[0])) for y in range(size[0])]
        columns = [int((2 * x + 1) * 9 / (2 * size[1])) for x in range(size[1])]
        assert torch.equal(found[0], mask[0][rows][:, columns])
