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
from atrous.losses.base import softmax_probabilities
from atrous.losses.overlap import Overlap
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


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ignored", [0, 40, 210])
def test_sums_of_a_softmax_are_those_of_maps_of_truth(squared, dtype, ignored):
    """Values and gradients of the form without maps; a class number beyond the maps is true nowhere."""
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(2, 4, 7, 15, generator=generator)).to(dtype).contiguous(memory_format=torch.channels_last)
    mask = torch.randint(0, 5, (2, 7, 15), generator=generator)
    mask.flatten()[torch.randperm(210, generator=generator)[:ignored]] = 255
    weights = torch.randn(2, 4, generator=generator)
    results = []
    for form in (Overlap.of_softmax, maps_of_truth):
        leaf = logits.clone().requires_grad_()
        both, predicted, pixels = form(leaf, mask, 255, squared=squared)
        (weights[0] * both + weights[1] * predicted).sum().backward()
        results.append((both, predicted, pixels, leaf.grad))
    for found, wanted in zip(*results, strict=True):
        assert found.dtype == wanted.dtype
        torch.testing.assert_close(found, wanted, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-4)


def maps_of_truth(logits, mask, ignore_index, *, squared):
    probability, truth = softmax_probabilities(logits, mask, ignore_index)
    overlap = Overlap.of(probability, truth)
    return overlap._replace(predicted=probability.square().sum((0, 2, 3))) if squared else overlap


def test_pixels_that_are_ignored_may_hold_anything():
    logits = LOGITS.clone()
    mask = MASK.clone()
    mask[..., 0], logits[..., 0] = 255, float("nan")
    assert torch.isfinite(dice_loss(logits, mask))
