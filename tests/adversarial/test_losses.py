"""Both sides' losses against binary cross-entropy, their gradients, and places that do not count."""

import math

import pytest
import torch
import torch.nn.functional as F

from atrous.adversarial import SEGMENTER_LOSSES, adversary_loss, mean_probability, pix2pix_loss
from atrous.adversarial.losses import modified, original


def logits(seed, scale=3.0):
    return scale * torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def against(z, target):
    """The definition, from the probability."""
    return F.binary_cross_entropy(z.sigmoid(), torch.full_like(z, target))


def test_the_adversary_calls_truth_1_and_outputs_0():
    real, fake = logits(0), logits(1)
    torch.testing.assert_close(adversary_loss(real, fake), against(real, 1.0) + against(fake, 0.0))
    torch.testing.assert_close(pix2pix_loss(real, fake), 0.5 * (against(real, 1.0) + against(fake, 0.0)))


def test_the_segmenter_in_both_forms():
    fake = logits(2)
    torch.testing.assert_close(modified(fake), against(fake, 1.0))
    torch.testing.assert_close(original(fake), -against(fake, 0.0))


def test_the_gradients_that_tell_the_forms_apart():
    fake = torch.tensor([[[[-6.0]]]], requires_grad=True)  # the discriminator is sure
    (strong,) = torch.autograd.grad(modified(fake), fake)
    (weak,) = torch.autograd.grad(original(fake), fake)
    probability = 1 / (1 + math.exp(6))
    assert strong.item() == pytest.approx(probability - 1, rel=1e-5)
    assert weak.item() == pytest.approx(-probability, rel=1e-4)


def test_large_logits_neither_overflow_nor_round_to_nothing():
    big = torch.full((1, 1, 1, 1), 200.0)
    assert adversary_loss(-big, big).item() == 400
    assert adversary_loss(big, -big).item() == 0
    assert modified(-big).item() == 200
    assert original(big).item() == -200
    assert modified(torch.full((1, 1, 1, 1), 30.0)).item() == pytest.approx(math.exp(-30), rel=1e-5)


@pytest.mark.parametrize("name", SEGMENTER_LOSSES)
def test_gradients_against_finite_differences(name):
    labelled = torch.rand(2, 1, 3, 4, generator=torch.Generator().manual_seed(3)) < 0.5
    for places in (None, labelled):
        loss = SEGMENTER_LOSSES[name]
        assert torch.autograd.gradcheck(lambda z, loss=loss, places=places: loss(z, places), logits(0).requires_grad_())
        pair = (logits(1).requires_grad_(), logits(2).requires_grad_())
        assert torch.autograd.gradcheck(lambda a, b, places=places: adversary_loss(a, b, places), pair)


def test_places_that_do_not_count():
    labelled = torch.zeros(2, 1, 3, 4, dtype=torch.bool)
    labelled[0, 0, 1, 2] = labelled[1, 0, 0, :2] = True
    real, fake = logits(0).requires_grad_(), logits(1).requires_grad_()
    chosen = [pair[labelled].view(-1, 1, 1, 1) for pair in (real, fake)]
    torch.testing.assert_close(adversary_loss(real, fake, labelled), adversary_loss(*chosen))
    torch.testing.assert_close(modified(fake, labelled), modified(chosen[1]))
    torch.testing.assert_close(original(fake, labelled), original(chosen[1]))
    torch.testing.assert_close(mean_probability(fake, labelled), chosen[1].sigmoid().mean())
    for gradient in torch.autograd.grad(adversary_loss(real, fake, labelled), (real, fake)):
        assert torch.equal(gradient[~labelled], torch.zeros(21, dtype=torch.float64))
        assert (gradient[labelled] != 0).all()


@pytest.mark.parametrize("name", SEGMENTER_LOSSES)
def test_nothing_labelled_is_zero_with_a_zero_gradient(name):
    fake, nothing = logits(0).requires_grad_(), torch.zeros(2, 1, 3, 4, dtype=torch.bool)
    loss = SEGMENTER_LOSSES[name](fake, nothing) + adversary_loss(fake, fake, nothing)
    (gradient,) = torch.autograd.grad(loss, fake)
    assert loss.item() == 0
    assert not gradient.any()


def test_low_precision_logits_are_computed_in_float32():
    fake = logits(0).bfloat16()
    for loss in SEGMENTER_LOSSES.values():
        assert loss(fake).dtype == torch.float32
        assert torch.equal(loss(fake), loss(fake.float()))
