r"""How well a division into regions is found: Rand's pairs of pixels, and their counterpart in information.

Two label maps are compared by the table of their overlaps: :math:`n_{ij}` pixels lie in the true region i and in the
predicted region j. Whatever numbers the regions have, the measures are the same. 0 is no region: membrane, background.

These are the scores of the ISBI 2012 challenge since its revision. They are foreground-restricted: pixels of the true
membrane are left out, and a pixel of a true region that is predicted as membrane is a region of its own, a singleton.

*Split* scores fall where true regions are divided, *merge* scores where they are joined. Other texts call the merge
score of Rand precision and the split score recall; scikit-image has these two words the other way round.

Reference:
    Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for connectomics, Frontiers in
    Neuroanatomy 2015, https://doi.org/10.3389/fnana.2015.00142
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from atrous.errors import DataError
from atrous.metrics.labels import Labels, contingency, entropy, squares, totals

__all__ = [
    "ForegroundOverlaps",
    "InformationScores",
    "RandScores",
    "foreground_overlaps",
    "information_scores",
    "pair_sums",
    "rand_scores",
    "scores_of_entropies",
    "scores_of_pairs",
]


class ForegroundOverlaps(NamedTuple):
    """What the foreground-restricted scores need of two maps: pixel counts of regions, those of the truth alone.

    Attributes:
        both: of each pair of a true and a predicted region.
        truth: of each true region.
        predicted: of each predicted region that meets a true one, the part in true regions.
        alone: pixels of true regions that are predicted as 0.
    """

    both: Int[np.ndarray, " N"]
    truth: Int[np.ndarray, " T"]
    predicted: Int[np.ndarray, " S"]
    alone: int


class RandScores(NamedTuple):
    """Foreground-restricted Rand scores, each 0..1, 1 where nothing is wrong.

    Attributes:
        split: :math:`V^{Rand}_{split}`, lowered by true regions that are divided.
        merge: :math:`V^{Rand}_{merge}`, lowered by true regions that are joined.
        f_score: :math:`V^{Rand}`, their harmonic mean.
    """

    split: float
    merge: float
    f_score: float


class InformationScores(NamedTuple):
    """Foreground-restricted information scores, each 0..1, and the distance that they are made of.

    Attributes:
        split: :math:`V^{info}_{split}`, lowered by true regions that are divided.
        merge: :math:`V^{info}_{merge}`, lowered by true regions that are joined.
        f_score: :math:`V^{info}`, their harmonic mean.
        variation: variation of information in nats, 0 where nothing is wrong.
    """

    split: float
    merge: float
    f_score: float
    variation: float


def foreground_overlaps(predicted_labels: Labels, true_labels: Labels) -> ForegroundOverlaps:
    """Count regions where the truth has one; the arguments and errors are those of `rand_scores`.

    Example:
        >>> found = foreground_overlaps(np.array([1, 1, 1, 0]), np.array([1, 1, 2, 2]))
        >>> (found.both.tolist(), found.truth.tolist(), found.predicted.tolist(), found.alone)
        ([2, 1], [2, 2], [3], 1)
    """
    table = contingency(true_labels, predicted_labels)
    true = table.first > 0
    if not true.any():
        raise DataError("the truth has no region, only 0: nothing is left to compare with; give one with regions")
    found = true & (table.second > 0)
    return ForegroundOverlaps(
        table.pixels[found],
        totals(table.first[true], table.pixels[true]),
        totals(table.second[found], table.pixels[found]),
        int(table.pixels[true & ~found].sum()),
    )


def rand_scores(predicted_labels: Labels, true_labels: Labels) -> RandScores:
    r"""Foreground-restricted Rand scores of a label map.

    With :math:`p_{ij} = n_{ij} / n` over the n pixels of true regions, and q the share of them that is predicted as 0:

    .. math:: V_{split} = \frac{\sum_{i,j \ge 1} p_{ij}^2 + q / n}{\sum_i a_i^2}, \quad
              V_{merge} = \frac{\sum_{i,j \ge 1} p_{ij}^2 + q / n}{\sum_{j \ge 1} b_j^2 + q / n}, \quad
              V = \frac{2 V_{split} V_{merge}}{V_{split} + V_{merge}}

    where :math:`a_i = \sum_{j \ge 0} p_{ij}` and :math:`b_j = \sum_{i \ge 1} p_{ij}`.

    Args:
        predicted_labels: predicted region of every pixel, of any shape; 0 is membrane.
        true_labels: true region of every pixel; pixels that are 0 here count for nothing.

    Raises:
        DataError: if the truth has no region, or a label is negative.
        UsageError: if the shapes differ.

    Example:
        >>> joined = rand_scores(np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2]))
        >>> (joined.split, joined.merge, round(joined.f_score, 4))
        (1.0, 0.5, 0.6667)
    """
    return scores_of_pairs(pair_sums(foreground_overlaps(predicted_labels, true_labels)))


def pair_sums(overlaps: ForegroundOverlaps) -> Float[np.ndarray, "3"]:
    """Ordered pairs of pixels that share a region: in both maps, in the truth, in the prediction.

    A pixel makes a pair with itself, too. Sums of several slices may be added up before `scores_of_pairs` reads them.

    Example:
        >>> pair_sums(foreground_overlaps(np.array([1, 1, 1, 0]), np.array([1, 1, 2, 2])))   # a singleton: 1
        array([ 6.,  8., 10.])
    """
    both, truth, predicted, alone = overlaps
    return np.array([squares(both) + alone, squares(truth), squares(predicted) + alone])


def scores_of_pairs(sums: Float[np.ndarray, "3"]) -> RandScores:
    """Rand scores from `pair_sums`, of one slice or added up over several.

    Example:
        >>> scores_of_pairs(np.array([6.0, 8.0, 10.0]))
        RandScores(split=0.75, merge=0.6, f_score=0.6666666666666666)
    """
    both, truth, predicted = (float(value) for value in sums)
    return RandScores(both / truth, both / predicted, 2 * both / (truth + predicted))


def information_scores(predicted_labels: Labels, true_labels: Labels) -> InformationScores:
    r"""Foreground-restricted information scores of a label map.

    With the shares of `rand_scores`, the singletons counted as the regions that they are, and I = H(T) - H(T|S):

    .. math:: V_{split} = \frac{I(S; T)}{H(S)}, \quad V_{merge} = \frac{I(S; T)}{H(T)}, \quad
              V = \frac{2 I(S; T)}{H(S) + H(T)}, \quad VI = H(S|T) + H(T|S)

    Where the truth is a single region, merge is 0 and split 1; where the prediction is, merge is 1 and split 0; V is 0
    in both cases, as the challenge's own program has it.

    Args:
        predicted_labels: predicted region of every pixel, of any shape; 0 is membrane.
        true_labels: true region of every pixel; pixels that are 0 here count for nothing.

    Raises:
        DataError: if the truth has no region, or a label is negative.
        UsageError: if the shapes differ.

    Example:
        >>> scores = information_scores(np.array([1, 1, 2, 3]), np.array([1, 1, 2, 2]))
        >>> [round(score, 4) for score in scores]              # ln 2 / 1.5 ln 2, ln 2 / ln 2, and half of ln 2 between
        [0.6667, 1.0, 0.8, 0.3466]
    """
    return scores_of_entropies(foreground_overlaps(predicted_labels, true_labels))


def scores_of_entropies(overlaps: ForegroundOverlaps) -> InformationScores:
    """Information scores from counted regions.

    Example:
        >>> scores_of_entropies(ForegroundOverlaps(np.array([2, 2]), np.array([2, 2]), np.array([4]), 0)).f_score
        0.0
    """
    truth = entropy(overlaps.truth)
    predicted, joint = (entropy(regions, overlaps.alone) for regions in (overlaps.predicted, overlaps.both))
    shared, variation = truth + predicted - joint, max(2 * joint - truth - predicted, 0.0)
    if predicted == 0:
        return InformationScores(0.0, 1.0, 0.0, variation)
    if truth == 0:
        return InformationScores(1.0, 0.0, 0.0, variation)
    return InformationScores(shared / predicted, shared / truth, 2 * shared / (truth + predicted), variation)
