"""The Dice and Tversky families against the vectors of specs/losses.md, segmentation_models_pytorch and loops."""

import pytest
import torch

from atrous.losses import (
    binary_dice_loss,
    binary_tversky_loss,
    dice_loss,
    dice_loss_squared,
    focal_tversky_loss,
    generalized_dice_loss,
    tversky_loss,
)
from tests.losses.common import BINARY_LOGITS, BINARY_TARGET, LOGITS, MASK, scene


def of_class(label, logits=LOGITS, mask=MASK):
    """Probabilities and truth of one class at the labelled pixels."""
    return logits.softmax(1)[:, label][mask != 255], (mask == label)[mask != 255].float()


@pytest.mark.parametrize(
    ("loss", "options", "expected"),
    [
        (dice_loss, {}, 0.358221),
        (dice_loss, {"smooth": 1.0}, 0.2749),
        (dice_loss, {"smooth": 2.0}, 0.223281),  # smooth 1 of segmentation_models_pytorch
        (tversky_loss, {"alpha": 0.5, "beta": 0.5, "smooth": 1.0}, 0.223281),
        (dice_loss_squared, {}, 0.174242),  # not 1 - .825757: the mean of the next test's overlaps
        (tversky_loss, {}, 0.347214),
        (tversky_loss, {"alpha": 0.7, "beta": 0.3}, 0.360808),
        (tversky_loss, {"alpha": 0.5, "beta": 0.5}, 0.358221),
        (focal_tversky_loss, {"gamma": 1.0}, 0.347214),
    ],
)
def test_vectors(loss, options, expected):
    assert loss(LOGITS, MASK, **options).item() == pytest.approx(expected, abs=5e-5 if expected == 0.2749 else 1.1e-6)


@pytest.mark.parametrize(
    ("power", "expected"), [(1, [0.646385, 0.602446, 0.676505]), (2, [0.813199, 0.783205, 0.880869])]
)
def test_dice_of_each_class(power, expected):
    for label, overlap in enumerate(expected):
        probability, truth = of_class(label)
        below = (probability**power + truth**power).sum()
        assert (2 * probability * truth).sum() / below == pytest.approx(overlap, abs=1e-6)


def test_segmentation_models_pytorch_agrees_where_every_class_is_there():
    smp = pytest.importorskip("segmentation_models_pytorch").losses
    logits, mask = scene()
    for smooth in (0.0, 1.0, 30.0):
        theirs = smp.DiceLoss("multiclass", smooth=smooth, ignore_index=255)(logits, mask)
        torch.testing.assert_close(dice_loss(logits, mask, smooth=2 * smooth), theirs)
        theirs = smp.TverskyLoss("multiclass", smooth=smooth, ignore_index=255, alpha=0.3, beta=0.7)(logits, mask)
        torch.testing.assert_close(tversky_loss(logits, mask, smooth=smooth), theirs)


@pytest.mark.parametrize("loss", [dice_loss, dice_loss_squared, tversky_loss, focal_tversky_loss])
def test_classes_that_are_not_in_the_mask_are_skipped(loss):
    mask = torch.where(MASK == 2, 255, MASK)
    sums = {label: (p, t) for label in (0, 1) for p, t in [of_class(label, mask=mask)]}
    expected = []
    for probability, truth in sums.values():
        both, false, missed = (
            (probability * truth).sum(),
            (probability * (1 - truth)).sum(),
            ((1 - probability) * truth).sum(),
        )
        if loss is dice_loss_squared:
            expected.append(1 - 2 * both / (probability**2 + truth).sum())
            continue
        alpha, beta = (0.5, 0.5) if loss is dice_loss else (0.3, 0.7)
        value = 1 - both / (both + alpha * false + beta * missed)
        expected.append(value**0.75 if loss is focal_tversky_loss else value)
    torch.testing.assert_close(loss(LOGITS, mask), torch.stack(expected).mean())


@pytest.mark.parametrize(
    "loss", [dice_loss, dice_loss_squared, tversky_loss, focal_tversky_loss, generalized_dice_loss]
)
def test_sums_run_over_the_batch_together(loss):
    pair, masks = torch.cat([LOGITS, LOGITS.flip(1)]), torch.cat([MASK, torch.zeros_like(MASK)])
    wide, long = torch.cat([LOGITS, LOGITS.flip(1)], dim=3), torch.cat([MASK, torch.zeros_like(MASK)], dim=2)
    torch.testing.assert_close(loss(pair, masks), loss(wide, long))


@pytest.mark.parametrize("absent", [[], [2], [1, 2]])
def test_generalized_dice_is_the_loop(absent):
    mask = torch.where(torch.isin(MASK, torch.tensor(absent)), 255, MASK)
    terms = [of_class(label, mask=mask) for label in range(3)]
    sizes = [truth.sum().item() for _, truth in terms]
    largest = max(1 / size**2 for size in sizes if size)
    weights = [1 / size**2 if size else largest for size in sizes]
    above = sum(w * (p * t).sum() for w, (p, t) in zip(weights, terms, strict=True))
    below = sum(w * (p + t).sum() for w, (p, t) in zip(weights, terms, strict=True))
    torch.testing.assert_close(generalized_dice_loss(LOGITS, mask), 1 - 2 * above / below)


def test_generalized_dice_of_images_as_large_as_they_come():
    """Squares of sizes and of their inverses stay numbers in float32."""
    logits = torch.zeros(1, 2, 1, 1).expand(1, 2, 2048, 2048)
    mask = torch.zeros(1, 2048, 2048, dtype=torch.uint8)
    mask[0, 0, 0] = 1
    size = 2048.0**2
    inverse = 1 / (size - 1) ** 2
    expected = 1 - 2 * (inverse * (size - 1) / 2 + 0.5) / (inverse * (1.5 * size - 1) + size / 2 + 1)
    assert generalized_dice_loss(logits, mask).item() == pytest.approx(expected, rel=1e-5)


def test_perfect_focal_tversky_has_a_finite_gradient():
    logits = torch.tensor([100.0, -100.0])[None, :, None, None].expand(1, 2, 2, 2).clone().requires_grad_()
    focal_tversky_loss(logits, torch.zeros(1, 2, 2, dtype=torch.int64)).backward()
    assert logits.grad.isfinite().all()


def test_misses_alone_where_nothing_is_predicted():
    """With beta = 0 both sides of the fraction are 0."""
    logits = torch.tensor([-200.0, 200.0])[None, :, None, None].expand(1, 2, 2, 2).clone().requires_grad_()
    loss = tversky_loss(logits, torch.zeros(1, 2, 2, dtype=torch.int64), beta=0.0)
    loss.backward()
    assert loss.item() == 1
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_binary_forms_are_those_of_sigmoids(smooth):
    probability, truth = BINARY_LOGITS.sigmoid(), BINARY_TARGET.float()
    both = (probability * truth).sum()
    false, missed = (probability * (1 - truth)).sum(), ((1 - probability) * truth).sum()
    expected = 1 - (2 * both + smooth) / (probability.sum() + truth.sum() + smooth)
    torch.testing.assert_close(binary_dice_loss(BINARY_LOGITS, BINARY_TARGET, smooth=smooth), expected)
    expected = 1 - (both + smooth) / (both + 0.3 * false + 0.7 * missed + smooth)
    torch.testing.assert_close(binary_tversky_loss(BINARY_LOGITS, BINARY_TARGET, smooth=smooth), expected)


@pytest.mark.parametrize("loss", [binary_dice_loss, binary_tversky_loss])
def test_two_classes_of_a_softmax_are_one_map_of_their_difference(loss):
    logits, mask = scene(classes=2)
    twice = torch.stack([logits[:, 0] - logits[:, 1], logits[:, 1] - logits[:, 0]], 1)
    softmax = {binary_dice_loss: dice_loss, binary_tversky_loss: tversky_loss}[loss]
    torch.testing.assert_close(loss(twice, mask), softmax(logits, mask))
