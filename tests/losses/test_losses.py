"""What every loss promises: ignored pixels, nothing labelled, low precision, finite gradients that are right."""

from functools import partial

import pytest
import torch

from atrous.losses import LOSSES, rmi_loss
from tests.losses.common import scene

# Where half the pixels of a small image are left out by design, they say little about ignored ones.
SETTINGS = {"topk_cross_entropy": {"fraction": 1.0}}


@pytest.fixture(params=LOSSES)
def loss(request):
    return partial(LOSSES[request.param], **SETTINGS.get(request.param, {}))


def gradient(loss, logits, mask, **options):
    logits = logits.clone().requires_grad_()
    value = loss(logits, mask, **options)
    value.backward()
    return value.detach(), logits.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_nothing_labelled_is_exactly_zero_with_a_zero_gradient(loss, dtype):
    logits, mask = scene()
    value, slope = gradient(loss, logits.to(dtype), torch.full_like(mask, 255))
    assert value.item() == 0
    assert torch.equal(slope, torch.zeros_like(slope))


def test_an_image_without_labels_changes_nothing(loss):
    logits, mask = scene()
    alone, expected = gradient(loss, logits[:1], mask[:1])
    mask[1] = 255
    value, slope = gradient(loss, logits, mask)
    torch.testing.assert_close(value, alone)
    torch.testing.assert_close(slope[:1], expected)
    assert torch.equal(slope[1], torch.zeros_like(slope[1]))


def test_ignored_pixels_change_nothing(loss):
    logits, mask = scene()
    changed = torch.where((mask == 255)[:, None], 50 * logits.flip(1), logits)
    value, slope = gradient(loss, logits, mask)
    other, others = gradient(loss, changed, mask)
    torch.testing.assert_close(other, value)
    torch.testing.assert_close(others, slope)
    ignored = (mask == 255)[:, None].expand_as(slope)
    assert torch.equal(slope[ignored], torch.zeros_like(slope[ignored]))
    assert (slope[~ignored] != 0).float().mean() > 0.4


def test_another_ignore_index(loss):
    logits, mask = scene()
    mask = torch.where(mask == 255, 2, torch.where(mask == 2, 255, mask))  # 255 and 2 exchanged
    again = torch.where(mask == 255, -1, mask)
    expected = loss(logits, mask)
    assert loss(logits, again, ignore_index=-1) == expected
    # An index that is a class's number, and 255 no label at all.
    named = torch.where(mask == 255, 2, torch.where(mask == 2, 1, mask))
    assert loss(logits, named, ignore_index=2) == loss(logits, torch.where(named == 2, 255, named))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_logits_are_computed_in_float32(loss, dtype):
    logits, mask = scene()
    low = logits.to(dtype)
    value = loss(low, mask)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(low.float(), mask))
    with torch.autocast("cpu", dtype):
        assert torch.equal(loss(low, mask), value)


def test_float64_stays(loss):
    logits, mask = scene()
    assert loss(logits.double(), mask).dtype == torch.float64
    torch.testing.assert_close(loss(logits.double(), mask).float(), loss(logits, mask))


def test_small_integer_masks_and_other_memory_formats(loss):
    logits, mask = scene()
    torch.testing.assert_close(loss(logits, mask.to(torch.uint8)), loss(logits, mask), rtol=0, atol=0)
    torch.testing.assert_close(loss(logits.to(memory_format=torch.channels_last), mask), loss(logits, mask))


def test_gradients_against_finite_differences(loss):
    logits, mask = scene(size=(8, 9))  # along random directions
    assert torch.autograd.gradcheck(lambda x: loss(x, mask), logits.double().requires_grad_(), fast_mode=True)
    logits, mask = scene(1, batch=1, size=(4, 3))  # and of every number alone
    mask[0, 0, 0] = 255
    if loss.func is rmi_loss:
        loss = partial(loss, pool=1, radius=2)
    assert torch.autograd.gradcheck(lambda x: loss(x, mask), logits.double().requires_grad_())


@pytest.mark.parametrize("scale", [60.0, 1e4])
@pytest.mark.parametrize("right", [True, False])
def test_sure_networks_leave_everything_finite(loss, scale, right):
    _, mask = scene()
    mask[0] = 1  # one image of a single class
    truth = mask if right else (mask + 1) % 3
    sure = scale * (2 * (truth[:, None] == torch.arange(3)[:, None, None]).float() - 1)
    value, slope = gradient(loss, sure, mask)
    assert value.isfinite()
    assert slope.isfinite().all()


def test_the_right_answer_costs_less_than_the_wrong_one(loss):
    _, mask = scene()
    right, wrong = (4 * ((mask + shift)[:, None] % 3 == torch.arange(3)[:, None, None]).float() for shift in (0, 1))
    assert loss(right, mask) < loss(wrong, mask)


def test_a_step_against_the_gradient_lowers_the_loss(loss):
    logits, mask = scene()
    value, slope = gradient(loss, logits, mask)
    assert loss(logits - 1e-2 * slope / slope.norm(), mask) < value
