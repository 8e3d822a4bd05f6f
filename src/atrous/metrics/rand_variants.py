r"""Comparisons of regions as other programs count them, to stand beside their numbers.

`rand_error` is Rand's of 1971, `adapted_rand_error` that of scikit-image, `cremi_rand_error` that of CREMI and SNEMI3D,
and `variation_of_information` that of CREMI and scikit-image, in bits. They differ from the scores of `metrics.rand`
and from each other in what 0 means.

Reference:
    Rand, Objective criteria for the evaluation of clustering methods, JASA 1971, https://doi.org/10.2307/2284239;
    Meila, Comparing clusterings, Journal of Multivariate Analysis 2007, https://doi.org/10.1016/j.jmva.2006.11.013
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Integer

from atrous.errors import DataError
from atrous.metrics.labels import Labels, contingency, entropy, squares, totals
from atrous.metrics.rand import foreground_overlaps

__all__ = [
    "AdaptedRand",
    "Variation",
    "adapted_rand_error",
    "border_mask",
    "cremi_rand_error",
    "cremi_score",
    "rand_error",
    "variation_of_information",
]


class AdaptedRand(NamedTuple):
    """An adapted Rand error, 1 minus the harmonic mean of the two scores after it."""

    error: float
    split: float
    merge: float


class Variation(NamedTuple):
    """Variation of information in bits, in its two parts.

    Attributes:
        split: H(predicted | true), raised by true regions that are divided.
        merge: H(true | predicted), raised by true regions that are joined.
    """

    split: float
    merge: float


def rand_error(predicted_labels: Labels, true_labels: Labels) -> float:
    r"""Share of the pairs of pixels on which two maps disagree, 0..1: 1 minus Rand's index of 1971.

    .. math:: 1 - RI = \frac{\sum_i a_i^2 + \sum_j b_j^2 - 2 \sum_{ij} n_{ij}^2}{n (n - 1)}

    0 is a region like all others. In pictures nearly all pairs lie apart in both maps, so that the error is always
    small: the F-score of `rand_scores` leaves these pairs out.

    Raises:
        DataError: if there are less than two pixels, or a label is negative.

    Example:
        >>> rand_error(np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2]))       # 4 of 6 pairs are joined that are apart
        0.6666666666666666
    """
    table = contingency(true_labels, predicted_labels)
    n = float(table.pixels.sum())
    if n < 2:
        raise DataError(f"{n:.0f} pixels have no pairs: a Rand error needs label maps of at least two pixels")
    apart = squares(totals(table.first, table.pixels)) + squares(totals(table.second, table.pixels))
    return (apart - 2 * squares(table.pixels)) / (n * (n - 1))


def adapted_rand_error(predicted_labels: Labels, true_labels: Labels, *, ignore_label: int | None = 0) -> AdaptedRand:
    r"""1 minus the F-score of Rand's pairs, as scikit-image counts them.

    .. math:: split = \frac{\sum n_{ij}^2 - n}{\sum a_i^2 - n}, \quad merge = \frac{\sum n_{ij}^2 - n}{\sum b_j^2 - n}

    Unlike in `rand_scores`, a pixel makes no pair with itself, and what is predicted as 0 is one region like others.
    scikit-image names the split score precision and the merge score recall, the other way round than most.

    Args:
        predicted_labels: predicted region of every pixel, of any shape.
        true_labels: true region of every pixel.
        ignore_label: pixels of this true label are left out; None counts all.

    Raises:
        DataError: if nothing is left to count, or a label is negative.

    Example:
        >>> [round(value, 4) for value in adapted_rand_error(np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2]))]
        [0.5, 1.0, 0.3333]
    """
    where = None if ignore_label is None else true_labels != ignore_label
    table = contingency(true_labels, predicted_labels, where=where)
    n = float(table.pixels.sum())
    both, truth, predicted = (
        squares(counts) - n
        for counts in (table.pixels, totals(table.first, table.pixels), totals(table.second, table.pixels))
    )
    if truth == 0 or predicted == 0:
        raise DataError(
            "no region of the " + ("truth" if truth == 0 else "prediction") + " has two pixels: the adapted Rand error "
            "counts pairs within regions, give label maps with regions"
        )
    return AdaptedRand(1 - 2 * both / (truth + predicted), both / truth, both / predicted)


def cremi_rand_error(predicted_labels: Labels, true_labels: Labels) -> AdaptedRand:
    r"""1 minus the F-score of Rand's pairs, as CREMI, SNEMI3D and the challenge's 3-D program count them.

    They add the singletons as a share to sums of counts: :math:`\sum n_{ij}^2 + q / N` with the count q of true pixels
    predicted as 0 and all N pixels. The term is as good as nothing, so that pixels lost to the membrane cost next to
    nothing in merge: use it to stand beside published numbers, and `rand_scores` otherwise.

    Raises:
        DataError: if the truth has no region, or a label is negative.

    Example:
        >>> [round(value, 4) for value in cremi_rand_error(np.array([1, 1, 0, 0]), np.array([1, 1, 2, 2]))]
        [0.28, 0.5625, 1.0]
    """
    counts = foreground_overlaps(predicted_labels, true_labels)
    term = counts.alone / true_labels.size
    both, truth, predicted = squares(counts.both) + term, squares(counts.truth), squares(counts.predicted) + term
    return AdaptedRand(1 - 2 * both / (truth + predicted), both / truth, both / predicted)


def cremi_score(predicted_labels: Labels, true_labels: Labels) -> float:
    r"""CREMI's score of a volume, 0 where nothing is wrong: the geometric mean of its two measures.

    .. math:: \sqrt{(VI_{split} + VI_{merge}) \cdot ARAND}

    with `variation_of_information` and `cremi_rand_error`; the errors are theirs. The pixels that are 0 in the truth,
    and no others, are left out. CREMI sets those at borders to 0 beforehand, which is up to the caller: `border_mask`.

    Example:
        >>> round(cremi_score(np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2])), 4)                     # root of 1 * 1/3
        0.5774
    """
    parts = variation_of_information(predicted_labels, true_labels)
    return math.sqrt(sum(parts) * cremi_rand_error(predicted_labels, true_labels).error)


def border_mask(labels: Integer[np.ndarray, "H W"], distance: int | float) -> Bool[np.ndarray, "H W"]:
    """Pixels at a border of regions, which CREMI sets to 0 in the truth before it counts.

    Args:
        labels: region of every pixel.
        distance: in pixels, Euclidean and inclusive, from a pixel with another region among its four neighbours.

    Example:
        >>> border_mask(np.array([[1, 1, 1, 2, 2, 2]]), 1).astype(int)
        array([[0, 1, 1, 1, 1, 0]])
    """
    border = np.zeros(labels.shape, bool)
    down, across = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= across
    border[:, :-1] |= across
    if not border.any():
        return border
    away = cv2.distanceTransform((~border).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near: np.ndarray = np.rint(away.astype(np.float64) ** 2) <= distance**2 + 1e-9  # squares are whole numbers
    return near


def variation_of_information(
    predicted_labels: Labels, true_labels: Labels, *, ignore_label: int | None = 0
) -> Variation:
    r"""Variation of information in bits, in its two parts, as CREMI and scikit-image have it.

    .. math:: split = H(S|T) = -\sum_{ij} p_{ij} \log_2 \frac{p_{ij}}{a_i}, \quad
              merge = H(T|S) = -\sum_{ij} p_{ij} \log_2 \frac{p_{ij}}{b_j}

    What is predicted as 0 is one region like the others. CREMI leaves out the true label 0, scikit-image counts all
    unless it is told otherwise.

    Args:
        predicted_labels: predicted region of every pixel, of any shape.
        true_labels: true region of every pixel.
        ignore_label: pixels of this true label are left out; None counts all.

    Raises:
        DataError: if nothing is left to count, or a label is negative.

    Example:
        >>> variation_of_information(np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2]))
        Variation(split=0.0, merge=1.0)
    """
    where = None if ignore_label is None else true_labels != ignore_label
    table = contingency(true_labels, predicted_labels, where=where)
    if not len(table.pixels):
        raise DataError(f"every pixel of the truth is {ignore_label}, which counts for nothing: give one with regions")
    parts = (entropy(totals(labels, table.pixels)) for labels in (table.first, table.second))
    split, merge = (max(entropy(table.pixels) - part, 0.0) / math.log(2) for part in parts)
    return Variation(split, merge)
