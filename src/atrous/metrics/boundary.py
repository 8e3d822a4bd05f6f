r"""How well boundaries are drawn: the boundary F1 of each class, in its distance form.

A boundary pixel of a class is a pixel of it with another class among its four neighbours. A boundary pixel counts as
found where the other map has a boundary pixel of the class within the tolerance, *at most* (:math:`\le`) that far:

.. math:: P = \frac{|\{z \in B_d : d(z, B_t) \le \theta\}|}{|B_d|}, \quad
          R = \frac{|\{z \in B_t : d(z, B_d) \le \theta\}|}{|B_t|}, \quad F = \frac{2 P R}{P + R}

with the boundaries :math:`B_t` of the truth and :math:`B_d` of the decision. An image's score is the mean over its
classes, and a data set's the mean over its images: boundaries are short, and pixels of all images in one sum would let
the large ones speak alone.

As in the paper: the distance form, theta = 0.75 % of the image's diagonal, the mean over the classes of an image and
then over images; a class that only one of the two maps has scores 0.

Different from the paper: "at most" where it has "less than". Where it leaves things open: an image's border is no
boundary, and neither is a border to ignored pixels, which count for nothing in either map; a class that both maps have,
but without a boundary in either, is undefined. Where the truth hides its boundaries under ignored pixels, as PASCAL VOC
does, next to nothing is left to measure.

Reference:
    Csurka, Larlus and Perronnin, What is a good evaluation measure for semantic segmentation?, BMVC 2013,
    https://doi.org/10.5244/C.27.32
"""

import math

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from atrous.types import IGNORE_INDEX

__all__ = ["boundary_f1", "boundary_tolerance", "class_boundary_f1", "mean_boundary_f1"]

SHARE_OF_DIAGONAL = 0.0075


def boundary_tolerance(height: int, width: int) -> float:
    """The usual tolerance, in pixels: 0.75 % of the image's diagonal.

    Example:
        >>> boundary_tolerance(360, 480)
        4.5
    """
    return SHARE_OF_DIAGONAL * math.hypot(height, width)


def boundary_f1(
    classes: Integer[Tensor, "H W"],
    mask: Integer[Tensor, "H W"],
    num_classes: int,
    *,
    tolerance: int | float | None = None,
    ignore_index: int = IGNORE_INDEX,
) -> Float[Tensor, " K"]:
    """Boundary F1 of each class in one image.

    Args:
        classes: decided class of every pixel, 0 to K - 1.
        mask: true class of every pixel; pixels of any other value than 0 to K - 1 count for nothing, in both maps.
        num_classes: K.
        tolerance: pixels that a boundary may be off, inclusive; None takes `boundary_tolerance`.
        ignore_index: true pixels of this value count for nothing, even where it is below K.

    Returns:
        Of each class a score in 0..1; NaN where neither map has the class, or neither has a boundary of it.

    Example:
        >>> mask, classes = torch.zeros(2, 10, 10, dtype=torch.int64)
        >>> mask[2:8, 2:8] = classes[2:8, 4:9] = 1
        >>> boundary_f1(classes, mask, 2, tolerance=1)[1]                   # 2 * .8889 * .7 / (.8889 + .7)
        tensor(0.7832, dtype=torch.float64)
    """
    truth, decided = mask.cpu().numpy(), classes.cpu().numpy()
    theta = boundary_tolerance(*truth.shape) if tolerance is None else tolerance
    valid = (truth >= 0) & (truth < num_classes) & (truth != ignore_index)
    borders = [_boundary(labels, valid) for labels in (decided, truth)]
    present = [np.bincount(labels[valid], minlength=num_classes) > 0 for labels in (decided, truth)]
    scores = torch.full((num_classes,), math.nan, dtype=torch.float64)
    for k in np.flatnonzero(present[0] | present[1]):
        if not (present[0][k] and present[1][k]):
            scores[k] = 0
            continue
        ours, theirs = (border & (labels == k) for border, labels in zip(borders, (decided, truth), strict=True))
        if ours.any() or theirs.any():
            precision, recall = _share_near(ours, theirs, theta), _share_near(theirs, ours, theta)
            scores[k] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return scores


def class_boundary_f1(scores: Float[Tensor, "N K"]) -> Float[Tensor, " K"]:
    """Mean score of each class over the images in which it is defined; NaN where in none.

    Example:
        >>> class_boundary_f1(torch.tensor([[0.5, float("nan")], [0.7, 0.2]]))
        tensor([0.6000, 0.2000])
    """
    return scores.nanmean(0)


def mean_boundary_f1(scores: Float[Tensor, "N K"]) -> float:
    """Mean over the classes of each image, then over the images that have any; NaN without.

    Args:
        scores: one row of `boundary_f1` per image.

    Example:
        >>> round(mean_boundary_f1(torch.tensor([[0.5, float("nan")], [0.7, 0.2]])), 4)        # (0.5 + 0.45) / 2
        0.475
    """
    return float(scores.nanmean(1).nanmean())


def _boundary(labels: Integer[np.ndarray, "H W"], valid: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Pixels with a neighbour of another class, above, below, left or right; both of them valid."""
    border = np.zeros(labels.shape, bool)
    down = (labels[1:] != labels[:-1]) & valid[1:] & valid[:-1]
    across = (labels[:, 1:] != labels[:, :-1]) & valid[:, 1:] & valid[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= across
    border[:, :-1] |= across
    return border


def _share_near(points: Bool[np.ndarray, "H W"], others: Bool[np.ndarray, "H W"], theta: int | float) -> float:
    """Share of the points with one of the others at most theta away; 0 without points or others."""
    if not points.any() or not others.any():
        return 0.0
    rows, columns = (np.flatnonzero((points | others).any(axis)) for axis in (1, 0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)  # most classes lie in a part of the image
    points, others = points[part], others[part]
    # The squared distances of a precise transform are whole numbers: rounded, no root decides whether 2 is 2.
    distance = cv2.distanceTransform((~others).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[points]
    return float((np.rint(distance.astype(np.float64) ** 2) <= theta**2 + 1e-9).mean())
