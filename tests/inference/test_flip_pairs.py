"""Views of classes that are each other's mirror image: a mirrored view says left where the image shows right."""

import numpy as np
import pytest
import torch

from atrous.inference import VIEWS, Predictor
from atrous.inference.views import average_scores


class Handed:
    """Sees to which hand a pixel belongs: by how the gradients of two channels turn, which every mirror turns round.

    Maps are background, left, right, and as many others as it is made with.
    """

    in_channels, alignment, margin = 2, 1, (1, 1)

    def __init__(self, num_classes=3):
        self.num_classes = num_classes

    def __call__(self, image):
        down, across = (image.roll(-1, axis) - image.roll(1, axis) for axis in (-2, -1))
        turn = across[:, 0] * down[:, 1] - down[:, 0] * across[:, 1]
        maps = torch.full((len(image), self.num_classes, *image.shape[-2:]), 0.02)
        maps[:, 1], maps[:, 2] = torch.sigmoid(turn / 50), torch.sigmoid(-turn / 50)
        return maps / maps.sum(1, keepdim=True)


def made(height=40, width=44):
    """Two channels whose gradients turn one way on the left and the other on the right."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    side = np.where(columns < width / 2, columns, width - 1 - columns)
    return np.stack([4 * side, 4 * rows], -1).astype(np.uint8)


def predictor(task="segmentation", *, pairs, num_classes=3):
    made_of = Predictor(Handed(num_classes), task=task, class_names=["background", "left", "right"])
    made_of.flip_pairs = pairs
    return made_of


@pytest.mark.parametrize("task", ["segmentation", "multilabel", "instances"])
@pytest.mark.parametrize("view", [*VIEWS, "all"])
def test_a_view_says_what_the_image_says(task, view):
    views = tuple(VIEWS) if view == "all" else (view,)
    maps = 4 if task == "instances" else 3
    knowing, image = predictor(task, pairs=((1, 2),), num_classes=maps), made()
    plain, seen = knowing(image), knowing(image, views=views)
    assert np.allclose(seen.scores, plain.scores, atol=1e-5)
    assert (seen.classes == plain.classes).all()
    assert {1, 2} <= set(np.unique(plain.scores.argmax(0)))


@pytest.mark.parametrize("view", VIEWS)
def test_only_mirrors_are_wrong_without_the_pairs(view):
    """Accuracy of oriented classes is that of guessing where pairs are not declared: why a bundle carries them."""
    image = made()
    unknowing = predictor(pairs=())
    plain, seen = unknowing(image).scores, unknowing(image, views=(view,)).scores
    assert np.allclose(plain, seen, atol=1e-5) == (not VIEWS[view].mirrors)
    assert VIEWS[view].mirrors == view.endswith("flip")


def test_maps_beside_the_pairs_stay_where_they_are():
    image = torch.arange(3.0).reshape(1, 1, 1, 3)
    scores = average_scores(lambda image, _: torch.cat([image, image + 10, image + 20], 1), image, ["hflip"], [(0, 2)])
    assert scores[0, :, 0].tolist() == [[10, 11, 12], [10, 11, 12], [10, 11, 12]]
