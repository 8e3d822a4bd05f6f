"""The boundary loss against the vector of specs/losses.md, scipy's distance transform and loops."""

import numpy as np
import pytest
import torch

from atrous.errors import UsageError
from atrous.losses import boundary_loss, signed_distances
from tests.losses.common import scene


def square():
    mask = torch.zeros(1, 5, 5, dtype=torch.int64)
    mask[:, 1:4, 1:4] = 1
    return mask


def test_vectors():
    distance = signed_distances(square(), 2)[0, 1]
    assert distance.dtype == torch.float32
    assert distance[0, 0].item() == pytest.approx(1.414214, abs=1e-6)
    assert distance[0, 1:4].tolist() == [1, 1, 1]
    assert distance[1, 1:4].tolist() == [0, 0, 0]
    assert distance[2, 2].item() == -1
    scores = torch.where(square() == 1, 0.9, 0.2)
    logits = torch.stack([(1 - scores).log(), scores.log()], 1)
    assert boundary_loss(logits, square(), classes=[1]).item() == pytest.approx(0.105255, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_distances_are_scipys(dtype):
    scipy = pytest.importorskip("scipy.ndimage")
    generator = torch.Generator().manual_seed(0)
    mask = torch.nn.functional.interpolate(
        torch.randint(0, 4, (2, 1, 9, 7), generator=generator).float(), scale_factor=6
    )[:, 0].to(dtype)  # fmt: skip
    distances = signed_distances(mask, 4).numpy()
    for image, maps in zip(mask.numpy(), distances, strict=True):
        for label, distance in enumerate(maps):
            inside = image == label
            expected = np.where(inside, 1 - scipy.distance_transform_edt(inside), scipy.distance_transform_edt(~inside))
            np.testing.assert_allclose(distance, expected, rtol=1e-6, atol=1e-6)


def test_ignored_pixels_belong_to_no_class_and_bound_none():
    mask = torch.tensor([[[0, 0, 255, 1, 1, 1, 255]]])
    assert signed_distances(mask, 2)[0, :, 0].tolist() == [
        [-2, -1, 1, 2, 3, 4, 5],  # the ignored pixel is nearer to class 0, and not of it
        [3, 2, 1, -1, -2, -3, 1],
    ]


def test_classes_that_are_absent_or_everywhere_have_no_distance():
    mask = torch.zeros(2, 4, 4, dtype=torch.int64)
    mask[1, 0, 0] = 1
    distances = signed_distances(mask, 3)
    assert not distances[0].any()
    assert not distances[1, 2].any()
    assert distances[1, :2].any()


@pytest.mark.parametrize("classes", [None, [1, 2], [0]])
def test_it_is_the_loop(classes):
    logits, mask = scene(15, size=(6, 9))
    chosen = classes or [0, 1, 2]
    probability, total = logits.softmax(1), 0.0
    for b, label in [(b, label) for b in range(2) for label in chosen]:
        mine = torch.nonzero(mask[b] == label).tolist()
        others = torch.nonzero((mask[b] != label) & (mask[b] != 255)).tolist()
        for y, x in torch.nonzero(mask[b] != 255).tolist():
            apart = min(np.hypot(y - v, x - u) for v, u in (others if [y, x] in mine else mine))
            total += probability[b, label, y, x].item() * (1 - apart if [y, x] in mine else apart)
    expected = total / (mask != 255).sum().item() / len(chosen)
    assert boundary_loss(logits, mask, classes=classes).item() == pytest.approx(expected, rel=1e-4)


def test_two_classes_together_see_the_distance_from_between_them():
    logits, mask = scene(16, classes=2)
    both, expected = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    boundary_loss(both, mask).backward()
    labelled = mask != 255
    between = (signed_distances(mask, 2)[:, 1] - 0.5)[labelled]
    (between * expected.softmax(1)[:, 1][labelled]).mean().backward()
    torch.testing.assert_close(both.grad, expected.grad)


def test_classes_that_do_not_exist():
    for classes in ([3], [-1], []):
        with pytest.raises(UsageError) as caught:
            boundary_loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64), classes=classes)
        assert str(caught.value) == (
            f"boundary_loss: classes is {classes}, but it names some of the classes 0 to 2; change it."
        )
