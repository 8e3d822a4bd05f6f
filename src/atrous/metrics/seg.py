r"""How well single objects are found: the measures SEG and DET of the Cell Tracking Challenge.

A predicted object is that of a true object where it covers *more than half* of it; so there is at most one.

Objects are pooled over a whole data set: an image with many cells weighs more than one with few. SEG asks about true
objects alone. A truth in which only some objects are drawn (the challenge's gold truth is so) therefore serves for SEG,
and what is predicted elsewhere costs nothing. DET counts what is predicted in excess, and needs every object of an
image to be known, though not its shape.

Reference:
    Maska et al., A benchmark for comparison of cell tracking algorithms, Bioinformatics 2014,
    https://doi.org/10.1093/bioinformatics/btu080; Matula et al., Cell tracking accuracy measurement based on comparison
    of acyclic oriented graphs, PLoS ONE 2015, https://doi.org/10.1371/journal.pone.0144959
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from atrous.metrics.labels import Labels
from atrous.metrics.matching import Overlaps, overlaps

__all__ = ["DetectionCounts", "det_score", "detection_counts", "object_jaccards", "seg_score"]

SPLIT, MISS, EXTRA = 5, 10, 1
"""What DET charges for a predicted object that covers one object too many, for an object missed and one in excess."""


class DetectionCounts(NamedTuple):
    """What DET counts; the counts of several images may be added up.

    Attributes:
        objects: true objects.
        splits: vertices to be split: for each predicted object, the true ones it stands for, less one.
        misses: true objects without a predicted one.
        extras: predicted objects that stand for no true one.
    """

    objects: int
    splits: int
    misses: int
    extras: int


def object_jaccards(predicted_labels: Labels, true_labels: Labels) -> Float[np.ndarray, " R"]:
    r"""How well each true object of an image is drawn.

    .. math:: J(R, S) = \frac{|R \cap S|}{|R \cup S|}, \quad |R \cap S| > \tfrac12 |R|

    Args:
        predicted_labels: predicted object of every pixel, of any shape; 0 is none.
        true_labels: true object of every pixel; 0 is none, or not drawn.

    Returns:
        Of each true object, in the order of their numbers, the Jaccard index with the predicted object that covers more
        than half of it, 0 where there is none.

    Raises:
        UsageError: if the shapes differ.
        DataError: if a label is negative.

    Example:
        >>> truth = np.array([1, 1, 1, 1, 0, 2, 2, 2, 0, 3])
        >>> object_jaccards(np.array([5, 5, 5, 0, 0, 6, 0, 0, 0, 7]), truth)           # object 2: a third is covered
        array([0.75, 0.  , 1.  ])
    """
    found = overlaps(predicted_labels, true_labels)
    jaccards = np.zeros(len(found.true_labels))
    covering = _covering(found)
    jaccards[found.true[covering]] = found.iou[covering]
    return jaccards


def seg_score(jaccards: Iterable[Float[np.ndarray, " _"]]) -> float:
    """SEG: the mean over all true objects of all images, 0..1; 0 where there are none, as the challenge has it.

    Args:
        jaccards: `object_jaccards` of each image.

    Example:
        >>> seg_score([np.array([0.75, 0.0, 1.0]), np.array([]), np.array([0.9])])    # 2.65 / 4, no mean of means
        0.6625
    """
    pooled = np.concatenate([np.zeros(0), *jaccards])
    return float(pooled.mean()) if len(pooled) else 0.0


def detection_counts(predicted_labels: Labels, true_labels: Labels) -> DetectionCounts:
    """What `det_score` needs of an image.

    Args:
        predicted_labels: predicted object of every pixel, of any shape; 0 is none.
        true_labels: true object of every pixel, or a mark inside it; 0 is none.

    Raises:
        UsageError: if the shapes differ.
        DataError: if a label is negative.

    Example:
        >>> detection_counts(np.array([4, 4, 4, 4, 0, 9]), np.array([1, 1, 2, 2, 3, 0]))
        DetectionCounts(objects=3, splits=1, misses=1, extras=1)
    """
    found = overlaps(predicted_labels, true_labels)
    chosen = found.predicted[_covering(found)]
    distinct, objects = len(np.unique(chosen)), len(found.true_labels)
    return DetectionCounts(
        objects, len(chosen) - distinct, objects - len(chosen), len(found.predicted_labels) - distinct
    )


def det_score(counts: Iterable[DetectionCounts]) -> float:
    r"""DET: what mending the detection costs, set against making it anew; 0..1, and 0 where there is no true object.

    .. math:: DET = 1 - \frac{\min(5 N_S + 10 N_{FN} + N_{FP}, 10 N)}{10 N}

    Args:
        counts: `detection_counts` of each image; they are added up.

    Example:
        >>> round(det_score([DetectionCounts(objects=3, splits=0, misses=1, extras=1)]), 6)        # 1 - 11 / 30
        0.633333
    """
    objects, splits, misses, extras = (sum(column) for column in zip((0, 0, 0, 0), *counts, strict=True))
    if objects == 0:
        return 0.0
    anew = MISS * objects
    return 1 - min(SPLIT * splits + MISS * misses + EXTRA * extras, anew) / anew


def _covering(found: Overlaps) -> Int[np.ndarray, " N"]:
    """Of the overlaps those that are more than half of their true object."""
    return np.flatnonzero(2 * found.shared > found.true_area[found.true])
