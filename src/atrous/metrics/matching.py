r"""Objects matched one to one by their overlap: average precision over thresholds, and panoptic quality.

A predicted object may stand for a true one where their intersection over union is *above* a threshold. From 1/2 on, an
object has at most one such partner. Below, it may have several: then the largest number of pairs is taken that leaves
no object with two partners, looking for partners in order of falling overlap.

Not every part of an image says what a predicted object is worth. On `void` pixels the truth is not known: they count
for nothing in either map. In a `crowd` there are objects, but nobody has told them apart: it is part of the image, and
belongs to no object. A predicted object without a partner of which more than the threshold lies on void or crowd is no
error; COCO's rule, by which a crowd takes any number of detections, each by its share inside. COCO asks each crowd of
a class by itself, here all of them are one.

Reference:
    Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl, Nature Methods 2019,
    https://doi.org/10.1038/s41592-019-0612-7; Kirillov et al., Panoptic segmentation, CVPR 2019,
    https://arxiv.org/abs/1801.00868; Lin et al., Microsoft COCO, ECCV 2014, https://arxiv.org/abs/1405.0312, and its
    evaluation code, `pycocotools`
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from atrous.errors import UsageError
from atrous.metrics.labels import Labels, contingency

__all__ = [
    "DSB_THRESHOLDS",
    "Matching",
    "Overlaps",
    "PanopticQuality",
    "average_precision",
    "match_objects",
    "mean_average_precision",
    "overlaps",
    "panoptic_quality",
]

DSB_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""0.5, 0.55, ... 0.95: those of the Data Science Bowl."""


class Overlaps(NamedTuple):
    """The pairs of a true and a predicted object that share a pixel.

    Attributes:
        true_labels: number of each true object, ascending.
        predicted_labels: number of each predicted object, ascending.
        true: of each pair the place of its true object in `true_labels`.
        predicted: of each pair the place of its predicted object in `predicted_labels`.
        shared: of each pair the pixels that both have.
        iou: of each pair the intersection over union.
        true_area: pixels of each true object.
        predicted_area: pixels of each predicted object.
    """

    true_labels: Int[np.ndarray, " R"]
    predicted_labels: Int[np.ndarray, " S"]
    true: Int[np.ndarray, " N"]
    predicted: Int[np.ndarray, " N"]
    shared: Int[np.ndarray, " N"]
    iou: Float[np.ndarray, " N"]
    true_area: Int[np.ndarray, " R"]
    predicted_area: Int[np.ndarray, " S"]


class Matching(NamedTuple):
    """Objects of an image, matched.

    Attributes:
        pairs: (true number, predicted number) of each pair, by the true number.
        ious: intersection over union of each pair.
        misses: true objects without a partner.
        extras: predicted objects without a partner.
    """

    pairs: Int[np.ndarray, "N 2"]
    ious: Float[np.ndarray, " N"]
    misses: int
    extras: int


class PanopticQuality(NamedTuple):
    """Panoptic quality and its two factors, each 0..1; NaN without any object.

    Attributes:
        quality: PQ, the product of the other two.
        segmentation: SQ, the mean intersection over union of the pairs; NaN where there are none.
        recognition: RQ, the F1 score of the objects.
    """

    quality: float
    segmentation: float
    recognition: float


def overlaps(predicted_labels: Labels, true_labels: Labels) -> Overlaps:
    """Find the objects of two maps and how much of each other they cover.

    Args:
        predicted_labels: predicted object of every pixel, of any shape; 0 is none.
        true_labels: true object of every pixel; 0 is none.

    Raises:
        UsageError: if the shapes differ.
        DataError: if a label is negative.

    Example:
        >>> overlaps(np.array([7, 7, 7, 0]), np.array([1, 1, 0, 2])).iou
        array([0.66666667])
    """
    table = contingency(true_labels, predicted_labels)
    true_labels, true = np.unique(table.first, return_inverse=True)
    predicted_labels, predicted = np.unique(table.second, return_inverse=True)
    true, predicted = true.reshape(-1), predicted.reshape(-1)
    true_area, predicted_area = (np.bincount(places, table.pixels).astype(np.int64) for places in (true, predicted))
    # 0 is no object: the places of the objects move up where it was there.
    first, second = (int(len(labels) > 0 and labels[0] == 0) for labels in (true_labels, predicted_labels))
    both = (table.first > 0) & (table.second > 0)
    true, predicted, shared = true[both] - first, predicted[both] - second, table.pixels[both]
    true_area, predicted_area = true_area[first:], predicted_area[second:]
    iou = shared / (true_area[true] + predicted_area[predicted] - shared)
    return Overlaps(
        true_labels[first:], predicted_labels[second:], true, predicted, shared, iou, true_area, predicted_area
    )


def match_objects(
    predicted_labels: Labels,
    true_labels: Labels,
    threshold: float = 0.5,
    *,
    void: Bool[np.ndarray, "..."] | None = None,
    crowd: Bool[np.ndarray, "..."] | None = None,
) -> Matching:
    """Match objects one to one.

    Args:
        predicted_labels: predicted object of every pixel, of any shape; 0 is none.
        true_labels: true object of every pixel; 0 is none.
        threshold: pairs have an intersection over union above it; at least 0 and below 1.
        void: pixels whose truth is not known: they count for nothing.
        crowd: pixels of objects that nobody has told apart. A predicted object without a partner of whose pixels a
            larger share than the threshold is void or crowd is none in excess.

    Raises:
        UsageError: if the shapes differ, or the threshold is out of range.
        DataError: if a label is negative.

    Example:
        >>> matching = match_objects(np.array([5, 5, 5, 0, 6, 6]), np.array([1, 1, 1, 1, 0, 2]))
        >>> (matching.pairs.tolist(), matching.ious.tolist(), matching.misses, matching.extras)    # 6 has just 1/2 of 2
        ([[1, 5]], [0.75], 1, 1)
    """
    found, hidden = _judged(predicted_labels, true_labels, void, crowd)
    chosen = _assign(found, threshold)
    pairs = np.stack([found.true_labels[found.true[chosen]], found.predicted_labels[found.predicted[chosen]]], axis=1)
    extras = _extras(found, chosen, hidden, threshold)
    return Matching(pairs, found.iou[chosen], len(found.true_labels) - len(chosen), extras)


def average_precision(
    predicted_labels: Labels,
    true_labels: Labels,
    thresholds: Sequence[float] = DSB_THRESHOLDS,
    *,
    void: Bool[np.ndarray, "..."] | None = None,
    crowd: Bool[np.ndarray, "..."] | None = None,
) -> Float[np.ndarray, " T"]:
    r"""Share of right objects among all true and predicted ones of an image, at each threshold.

    .. math:: AP(t) = \frac{TP(t)}{TP(t) + FP(t) + FN(t)}

    Args:
        predicted_labels: predicted object of every pixel, of any shape; 0 is none.
        true_labels: true object of every pixel; 0 is none.
        thresholds: of the intersection over union, which has to be above them; each at least 0 and below 1.
        void: pixels whose truth is not known.
        crowd: pixels of objects that nobody has told apart; both as in `match_objects`.

    Returns:
        Of each threshold a score in 0..1; NaN where there is neither a true nor a predicted object that counts.

    Raises:
        UsageError: if the shapes differ, or a threshold is out of range.
        DataError: if a label is negative.

    Example:
        >>> truth = np.array([1, 1, 1, 1, 0, 2, 2])
        >>> average_precision(np.array([5, 5, 5, 0, 0, 6, 6]), truth, [0.5, 0.7, 0.8])          # 3/4 and 1
        array([1.        , 1.        , 0.33333333])
    """
    found, hidden = _judged(predicted_labels, true_labels, void, crowd)
    scores = np.full(len(thresholds), math.nan)
    for place, threshold in enumerate(thresholds):
        right = _assign(found, threshold)
        wrong = len(found.true_labels) - len(right) + _extras(found, right, hidden, threshold)
        if len(right) + wrong:
            scores[place] = len(right) / (len(right) + wrong)
    return scores


def mean_average_precision(scores: Float[np.ndarray, "N T"]) -> float:
    """The Data Science Bowl's score: the mean over the thresholds of each image, then over images; NaN without any.

    Args:
        scores: one row of `average_precision` per image; what is NaN is left out.

    Example:
        >>> mean_average_precision(np.array([[1.0, 0.5], [float("nan"), float("nan")], [0.5, 0.0]]))
        0.5
    """
    known = ~np.isnan(scores)
    counts = known.sum(axis=1)
    means = np.where(known, scores, 0.0).sum(axis=1)[counts > 0] / counts[counts > 0]
    return float(means.mean()) if len(means) else math.nan


def panoptic_quality(matchings: Iterable[Matching]) -> PanopticQuality:
    r"""Panoptic quality of one class over all images.

    .. math:: PQ = \frac{\sum_{TP} IoU}{TP + \frac12 FP + \frac12 FN} = SQ \cdot RQ

    Args:
        matchings: `match_objects` of each image at 1/2; pairs, misses and extras are added up.

    Example:
        >>> two = Matching(np.array([[1, 4], [2, 5]]), np.array([0.8, 0.6]), misses=2, extras=1)
        >>> tuple(round(value, 4) for value in panoptic_quality([two]))
        (0.4, 0.7, 0.5714)
    """
    pairs, overlap, missed = 0, 0.0, 0.0
    for matching in matchings:
        pairs += len(matching.ious)
        overlap += float(matching.ious.sum())
        missed += (matching.misses + matching.extras) / 2
    if pairs + missed == 0:
        return PanopticQuality(math.nan, math.nan, math.nan)
    segmentation = overlap / pairs if pairs else math.nan
    return PanopticQuality(overlap / (pairs + missed), segmentation, pairs / (pairs + missed))


def _judged(
    predicted_labels: Labels,
    true_labels: Labels,
    void: Bool[np.ndarray, "..."] | None,
    crowd: Bool[np.ndarray, "..."] | None,
) -> tuple[Overlaps, Float[np.ndarray, " S"]]:
    """The overlaps outside of void, and of each predicted object the share of its pixels on void or crowd."""
    regions = [region for region in (void, crowd) if region is not None]
    if not regions:
        found = overlaps(predicted_labels, true_labels)
        return found, np.zeros(len(found.predicted_labels))
    whole = overlaps(predicted_labels, np.any(regions, axis=0).astype(np.int64))
    shares = np.zeros(len(whole.predicted_labels))
    shares[whole.predicted] = whole.shared / whole.predicted_area[whole.predicted]
    if void is not None:
        predicted_labels, true_labels = (np.where(void, 0, labels) for labels in (predicted_labels, true_labels))
    found = overlaps(predicted_labels, true_labels)
    return found, shares[np.searchsorted(whole.predicted_labels, found.predicted_labels)]


def _extras(found: Overlaps, chosen: Int[np.ndarray, " N"], hidden: Float[np.ndarray, " S"], threshold: float) -> int:
    """Predicted objects without a partner, but for those that lie on void or crowd."""
    counted = hidden <= threshold
    counted[found.predicted[chosen]] = False
    return int(counted.sum())


def _assign(found: Overlaps, threshold: float) -> Int[np.ndarray, " N"]:
    """Places of the overlaps that are pairs: as many as there can be, in the order of the true objects."""
    if not 0 <= threshold < 1:
        raise UsageError(f"threshold is {threshold!r}: an intersection over union is above a number from 0 to below 1")
    above = np.flatnonzero(found.iou > threshold)
    if threshold >= 0.5:  # no object has two partners
        return above
    choices: dict[int, list[int]] = {}
    places: dict[tuple[int, int], int] = {}
    for place in above[np.argsort(-found.iou[above], kind="stable")].tolist():
        one, other = int(found.true[place]), int(found.predicted[place])
        choices.setdefault(one, []).append(other)
        places[one, other] = place
    partner: dict[int, int] = {}  # of a true object the predicted one
    holder: dict[int, int] = {}  # the other way round
    for one in choices:  # the object of the largest overlap first
        _find_partner(one, choices, partner, holder)
    return np.array(sorted(places[pair] for pair in partner.items()), dtype=np.int64)


def _find_partner(new: int, choices: dict[int, list[int]], partner: dict[int, int], holder: dict[int, int]) -> None:
    """Give one more true object a partner, if others can move to further choices of theirs: an augmenting path."""
    reached: dict[int, int] = {}  # of a predicted object the true one that it was reached from
    waiting = [new]
    for one in waiting:
        for other in choices[one]:
            if other in reached:
                continue
            reached[other] = one
            if other in holder:
                waiting.append(holder[other])
                continue
            while True:  # back along the path: each takes what it reached, and frees what it had
                mover = reached[other]
                freed = partner.get(mover)
                partner[mover], holder[other] = other, mover
                if freed is None:
                    return
                other = freed
