"""Lovász losses against the vectors of specs/losses.md, segmentation_models_pytorch and the definition."""

import pytest
import torch

from atrous.losses import lovasz_gradient, lovasz_hinge, lovasz_softmax
from tests.losses.common import BINARY_LOGITS, BINARY_TARGET, LOGITS, MASK, scene


def jaccard_loss(wrong, truth):
    """One minus the intersection over union of a mask that is wrong at these pixels."""
    decided = truth ^ wrong
    union = (decided | truth).sum().item()
    return 1 - (decided & truth).sum().item() / union if union else 0.0


def extension(errors, truth):
    """Lovász's extension by its definition: each error times what its pixel adds to the Jaccard loss."""
    total, wrong = 0.0, torch.zeros_like(truth)
    for pixel in errors.argsort(descending=True).tolist():
        before = jaccard_loss(wrong, truth)
        wrong[pixel] = True
        total += errors[pixel].item() * (jaccard_loss(wrong, truth) - before)
    return total


def test_gradient_vectors():
    expected = torch.tensor([0.333333, 0.166667, 0.25, 0.25])
    torch.testing.assert_close(lovasz_gradient(torch.tensor([True, False, True, True])), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0])
def test_gradients_are_the_differences_of_the_jaccard_loss(share):
    truth = torch.rand(40, generator=torch.Generator().manual_seed(0)) < share
    losses = [jaccard_loss(torch.arange(40) < number, truth) for number in range(41)]
    expected = torch.tensor(losses).diff()
    torch.testing.assert_close(lovasz_gradient(truth), expected)
    assert lovasz_gradient(truth).sum().item() == pytest.approx(1, abs=1e-5)


def test_gradients_of_many_pixels_keep_their_digits():
    """Neighbouring values of the loss differ by less than float32 can tell of numbers near 1."""
    truth = torch.arange(2_000_000) % 2 == 0
    gradient = lovasz_gradient(truth)
    half = len(truth) // 2
    assert gradient[-2].item() == pytest.approx(1 / (half + half - 1), rel=1e-6)
    assert gradient[1].item() == pytest.approx((half - 1) / half / (half + 1), rel=1e-6)
    assert gradient.double().sum().item() == pytest.approx(1, abs=1e-5)


def test_vectors():
    assert lovasz_softmax(LOGITS, MASK).item() == pytest.approx(0.397364, abs=1e-6)
    assert lovasz_hinge(BINARY_LOGITS, BINARY_TARGET).item() == pytest.approx(0.715000, abs=1e-6)


@pytest.mark.parametrize("per_image", [False, True])
def test_softmax_is_the_definition(per_image):
    logits, mask = scene(11, size=(5, 8))
    mask[mask == 2] = 1
    mask[0][mask[0] == 1] = 2  # class 1 is in the second image alone, class 2 in the first
    groups = [slice(0, 1), slice(1, 2)] if per_image else [slice(0, 2)]
    values = []
    for group in groups:
        labelled = mask[group] != 255
        labels = mask[group][labelled]
        probability = logits[group].softmax(1).transpose(0, 1)[:, labelled]
        values.append(
            torch.tensor(
                [
                    extension((probability[label] - (labels == label).float()).abs(), labels == label)
                    for label in labels.unique().tolist()
                ]
            ).mean()
        )
    torch.testing.assert_close(lovasz_softmax(logits, mask, per_image=per_image), torch.stack(values).mean())


@pytest.mark.parametrize("per_image", [False, True])
def test_hinge_is_the_definition(per_image):
    logits, mask = scene(12, size=(5, 8))
    mask[mask == 2] = 1  # a map that is true nowhere counts
    groups = [slice(0, 1), slice(1, 2)] if per_image else [slice(0, 2)]
    values = []
    for group in groups:
        labelled = mask[group] != 255
        scores = logits[group].transpose(0, 1)[:, labelled]
        truth = [mask[group][labelled] == label for label in range(3)]
        signs = [2 * t.float() - 1 for t in truth]
        maps = [extension((1 - s * x).relu(), t) for s, x, t in zip(signs, scores, truth, strict=True)]
        values.append(sum(maps) / 3)
    loss = lovasz_hinge(logits, mask, per_image=per_image)
    assert loss.item() == pytest.approx(sum(values) / len(values), rel=1e-5)


def test_segmentation_models_pytorch_agrees():
    smp = pytest.importorskip("segmentation_models_pytorch").losses
    logits, mask = scene(13)
    theirs = smp.LovaszLoss("multiclass", ignore_index=255)
    torch.testing.assert_close(lovasz_softmax(logits, mask), theirs(logits, mask))
    theirs = smp.LovaszLoss("multiclass", ignore_index=255, per_image=True)
    torch.testing.assert_close(lovasz_softmax(logits, mask, per_image=True), theirs(logits, mask))
    one, target = logits[:, :1], (mask == 1).long()
    theirs = smp.LovaszLoss("binary", per_image=False)
    torch.testing.assert_close(lovasz_hinge(one, target), theirs(one, target))


def test_images_without_labels_are_left_out_of_the_mean_over_images():
    logits, mask = scene(14)
    alone = lovasz_softmax(logits[:1], mask[:1], per_image=True)
    hinge = lovasz_hinge(logits[:1], mask[:1], per_image=True)
    mask[1] = 255
    torch.testing.assert_close(lovasz_softmax(logits, mask, per_image=True), alone)
    torch.testing.assert_close(lovasz_hinge(logits, mask, per_image=True), hinge)
