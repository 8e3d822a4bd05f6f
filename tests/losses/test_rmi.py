"""Region mutual information against the formula in numpy, pixel by pixel, and where it could break."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from atrous.losses import binary_cross_entropy, region_uncertainty, rmi_loss
from tests.losses.common import scene

EPSILON = 5e-4


def pool(plane, size, kind):
    """Square cells of `size`, the first beginning `size // 2` pixels of zeros before the map."""
    pad = size // 2
    padded = np.pad(plane, pad)
    rows, columns = ((side - size) // size + 1 for side in padded.shape)
    reduce = np.mean if kind == "average" else np.max
    return np.array(
        [
            [reduce(padded[y * size : (y + 1) * size, x * size : (x + 1) * size]) for x in range(columns)]
            for y in range(rows)
        ]
    )


def neighbourhoods(plane, radius):
    rows, columns = (side - radius + 1 for side in plane.shape)
    return np.array([plane[y : y + radius, x : x + radius].ravel() for y in range(rows) for x in range(columns)]).T


def unknown(truth, probability, radius):
    """The formula as the paper has it, with an inverse."""
    y, p = (neighbourhoods(plane, radius) for plane in (truth, probability))
    y, p = y - y.mean(1, keepdims=True), p - p.mean(1, keepdims=True)
    d = len(y)
    left = y @ y.T - y @ p.T @ np.linalg.inv(p @ p.T + EPSILON * np.eye(d)) @ p @ y.T
    sign, logdet = np.linalg.slogdet(left + EPSILON * np.eye(d))
    assert sign > 0
    return logdet / 2 / d


@pytest.mark.parametrize(
    ("radius", "size", "kind", "share"),
    [
        (3, 4, "average", 0.5),
        (3, 4, "maximum", 0.5),
        (2, 3, "average", 0.25),
        (3, 1, "average", 0.0),
        (1, 2, "maximum", 0.8),
    ],
)
def test_it_is_the_formula(radius, size, kind, share):
    logits, mask = scene(17, size=(21, 26))
    probability, total = logits.double().sigmoid().numpy(), 0.0
    for b, label in [(b, label) for b in range(2) for label in range(3)]:
        labelled = (mask[b] != 255).numpy()
        truth = (
            pool((mask[b] == label).numpy().astype(float), size, kind) if size > 1 else (mask[b] == label).numpy() * 1.0
        )
        guess = probability[b, label] * labelled
        total += unknown(truth, pool(guess, size, kind) if size > 1 else guess, radius) / 2
    truth = (mask[:, None] == torch.arange(3)[:, None, None]).float()
    labelled = mask != 255
    each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1)
    cross_entropy = each[labelled].mean()
    expected = share * cross_entropy.item() + (1 - share) * total
    loss = rmi_loss(logits, mask, radius=radius, pool=size, pooling=kind, share=share)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_cross_entropy_alone():
    logits, mask = scene()
    expected = binary_cross_entropy(logits, mask, reduction="pixel_mean")
    assert torch.equal(rmi_loss(logits, mask, share=1.0), expected)


def test_maps_without_room_for_a_neighbourhood_leave_it_out():
    for side, fits in ((7, False), (8, True)):
        logits, mask = scene(size=(side, 40))
        mask[:] = torch.arange(40) // 14
        half = 0.5 * binary_cross_entropy(logits, mask, reduction="pixel_mean")
        assert torch.equal(rmi_loss(logits, mask), half) != fits


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("sure", [0.0, 30.0, 1e4])
def test_constant_regions_are_finite(value, sure):
    """Truth and probability without variance: only the diagonal is left."""
    target = torch.full((1, 1, 64, 64), value).long()
    logits = torch.full((1, 1, 64, 64), sure).requires_grad_()
    loss = rmi_loss(logits, target)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    if value == 0 and sure == 0:
        edge = unknown(np.zeros((17, 17)), pool(np.full((64, 64), 0.5), 4, "average"), 3)
        assert loss.item() == pytest.approx(0.5 * np.log(2) + 0.5 * edge, rel=1e-5)


def test_a_perfect_network_is_finite_and_better_than_a_blurred_one():
    mask = torch.zeros(1, 128, 128, dtype=torch.int64)
    mask[:, 30:90, 45:100] = 1
    right = 40 * (torch.stack([mask == 0, mask == 1], 1).float() - 0.5)
    blurred = F.avg_pool2d(right, 33, stride=1, padding=16)
    right.requires_grad_()
    loss = rmi_loss(right, mask, share=0.0)
    loss.backward()
    assert loss < rmi_loss(blurred, mask, share=0.0) < rmi_loss(-blurred + 3, mask, share=0.0) + 1
    assert right.grad.isfinite().all()


def test_uncertainty_sees_structure_and_not_scale_or_offset_alone():
    """A probability that is a linear function of the truth leaves nothing unknown; noise leaves all."""
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(1, 1, 40, 40, generator=generator) > 0.5).double()
    noise = torch.rand(1, 1, 40, 40, generator=generator, dtype=torch.float64)
    alone = region_uncertainty(truth, torch.zeros_like(truth))
    assert region_uncertainty(truth, 0.3 * truth + 0.2) < alone - 4
    assert alone - 0.1 < region_uncertainty(truth, noise) <= alone


def test_images_without_labels_are_left_out_of_the_mean():
    logits, mask = scene(18)
    alone = rmi_loss(logits[:1], mask[:1], share=0.0)
    mask[1] = 255
    torch.testing.assert_close(rmi_loss(logits, mask, share=0.0), alone)
