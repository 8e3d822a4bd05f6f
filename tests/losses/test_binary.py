"""Focal loss and the losses of sigmoids against the vectors of specs/losses.md, torch and loops."""

import pytest
import torch
import torch.nn.functional as F

from atrous.errors import UsageError
from atrous.losses import (
    LOSSES,
    binary_cross_entropy,
    binary_focal_loss,
    cross_entropy,
    focal_loss,
    one_versus_rest,
)
from tests.losses.common import BINARY_LOGITS, BINARY_TARGET, LOGITS, MASK, WEIGHTS, scene

SIGMOIDS = ["lovasz_hinge", "rmi", "binary_cross_entropy", "binary_focal", "binary_dice", "binary_tversky"]


def test_focal_vectors():
    assert focal_loss(LOGITS, MASK).item() == pytest.approx(0.135763, abs=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_without_a_focus_is_cross_entropy(weights):
    torch.testing.assert_close(
        focal_loss(LOGITS, MASK, weights=weights, gamma=0.0), cross_entropy(LOGITS, MASK, weights=weights)
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0, 3.5])
def test_focal_is_the_loop_with_weights_of_classes_and_pixels(gamma):
    logits, mask = scene(5)
    pixels = torch.rand(mask.shape, generator=torch.Generator().manual_seed(1))
    probability = logits.softmax(1)
    above = below = 0.0
    for b, y, x in torch.nonzero(mask != 255).tolist():
        label = mask[b, y, x]
        p = probability[b, label, y, x]
        above -= (WEIGHTS[label] * pixels[b, y, x] * (1 - p) ** gamma * p.log()).item()
        below += WEIGHTS[label].item()
    loss = focal_loss(logits, mask, weights=WEIGHTS, pixel_weights=pixels, gamma=gamma)
    assert loss.item() == pytest.approx(above / below, rel=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_a_pixel_that_is_exactly_right_has_a_finite_gradient(gamma):
    """Where p is 1 to the last bit, (1 - p)^gamma has no slope below gamma = 1."""
    logits = torch.tensor([200.0, 0.0])[None, :, None, None].clone().requires_grad_()
    mask = torch.zeros(1, 1, 1, dtype=torch.int64)
    focal_loss(logits, mask, gamma=gamma).backward()
    binary_focal_loss(logits, mask, gamma=gamma).backward()
    assert logits.grad.isfinite().all()


def test_binary_vectors():
    assert binary_cross_entropy(BINARY_LOGITS, BINARY_TARGET).item() == pytest.approx(0.482521, abs=1e-6)
    focal = binary_focal_loss(BINARY_LOGITS, BINARY_TARGET, alpha=None)
    assert focal.item() == pytest.approx(0.096228, abs=1e-6)
    assert binary_focal_loss(BINARY_LOGITS, BINARY_TARGET).item() == pytest.approx(0.049670, abs=1e-6)


def test_the_prior_bias_of_the_paper_starts_many_false_entries_nearly_right():
    start = torch.full((1, 1, 10, 10), -torch.tensor(0.99 / 0.01).log().item())
    nothing = torch.zeros(1, 1, 10, 10, dtype=torch.int64)
    expected = 0.75 * 0.01**2 * -torch.tensor(0.99).log().item()
    assert binary_focal_loss(start, nothing).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("reduction", ["mean", "sum", "pixel_mean"])
def test_binary_cross_entropy_is_torchs_where_entries_are_known(reduction):
    logits, _ = scene(6)
    generator = torch.Generator().manual_seed(2)
    target = torch.randint(0, 2, logits.shape, generator=generator)
    target[:, 0, :4] = 255
    target[:, :, 7] = 255
    known = target != 255
    total = F.binary_cross_entropy_with_logits(logits[known], target[known].float(), reduction="sum")
    divisor = {"mean": known.sum(), "sum": 1, "pixel_mean": known.any(1).sum()}[reduction]
    torch.testing.assert_close(binary_cross_entropy(logits, target, reduction=reduction), total / divisor)


def test_binary_losses_weigh_pixels_above_the_line():
    logits, mask = scene(7)
    pixels = torch.rand(mask.shape, generator=torch.Generator().manual_seed(1))
    labelled = (mask != 255)[:, None].expand_as(logits)
    truth = mask[:, None] == torch.arange(3)[:, None, None]
    each = F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")
    expected = (each * pixels[:, None])[labelled].mean()
    torch.testing.assert_close(binary_cross_entropy(logits, mask, pixel_weights=pixels), expected)
    p = logits.sigmoid()
    missing, alpha = torch.where(truth, 1 - p, p), torch.where(truth, 0.25, 0.75)
    expected = (alpha * missing**2 * each * pixels[:, None])[labelled].mean()
    torch.testing.assert_close(binary_focal_loss(logits, mask, pixel_weights=pixels), expected)
    pixels[mask == 255] = torch.nan
    assert binary_focal_loss(logits, mask, pixel_weights=pixels).isfinite()


@pytest.mark.parametrize("name", SIGMOIDS)
def test_a_mask_of_classes_is_one_map_of_truth_for_each(name):
    logits, mask = scene(8)
    truth, labelled = one_versus_rest(mask, 3)
    maps = torch.where(labelled, truth.long(), 255)
    torch.testing.assert_close(LOSSES[name](logits, maps), LOSSES[name](logits, mask))
    one = LOSSES[name](logits[:, :1], torch.where(mask == 2, 0, mask))  # a single map asks for class 1
    torch.testing.assert_close(one, LOSSES[name](logits[:, :1], torch.where(mask == 2, 0, mask)[:, None]))


@pytest.mark.parametrize("name", SIGMOIDS)
def test_entries_that_nobody_knows_change_nothing(name):
    logits, mask = scene(9)
    maps = (mask[:, None] == torch.arange(3)[:, None, None]).long()
    maps[0, 1, 2:9] = 255
    maps[1, 0] = 255
    logits.requires_grad_()
    loss = LOSSES[name](logits, maps)
    loss.backward()
    changed = torch.where(maps == 255, 30.0, logits.detach())
    torch.testing.assert_close(LOSSES[name](changed, maps), loss.detach())
    assert torch.equal(logits.grad[maps == 255], torch.zeros_like(logits.grad[maps == 255]))


@pytest.mark.parametrize("name", SIGMOIDS)
def test_maps_of_truth_and_falsehood(name):
    logits, mask = scene(10)
    maps = mask[:, None] == torch.arange(3)[:, None, None]
    assert torch.equal(LOSSES[name](logits, maps), LOSSES[name](logits, maps.to(torch.uint8)))


@pytest.mark.parametrize("name", SIGMOIDS)
def test_every_entry_ignored(name):
    logits = scene()[0].requires_grad_()
    loss = LOSSES[name](logits, torch.full(logits.shape, 255))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_a_target_of_another_number_of_maps(unchecked):
    with pytest.raises(UsageError) as caught:
        binary_cross_entropy(torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.int64))
    assert str(caught.value) == (
        "the target has 1 maps and the network 3; give one map of 0 and 1 for each, or one class per pixel (B, H, W)."
    )
