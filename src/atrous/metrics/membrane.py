r"""How well membranes divide a picture into cells: the scores of the ISBI 2012 challenge.

A network gives every pixel a probability of cell; membranes are where it is low. At each threshold the pixels above it
are cells, 4-connected components are regions, slice by slice, and the best threshold counts.

As the challenge has it since its revision (`thin`): the predicted membranes are thinned to lines before regions are
compared, by a flood of the cells over the membranes, so that the width of a membrane costs nothing, only what it joins
or divides; :math:`V^{Rand}` and :math:`V^{info}` are computed slice by slice, without the pixels of the true membrane,
and averaged over the slices; then the maximum over the thresholds 0, 0.1, ... 1 is taken, of each of the two by itself.

As it had it at first: the Rand error is 1 minus the largest F-score of pairs, without thinning, with the pairs of all
slices added up; the pixel error is the share of wrong pixels; `atrous.metrics.warping` has the third.

Different from the challenge's program: its truth is thresholded along with the prediction, which changes nothing for
thresholds below 1 and leaves no truth at 1; here the truth stays what it is.

Reference:
    Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for connectomics, Frontiers in
    Neuroanatomy 2015, https://doi.org/10.3389/fnana.2015.00142; Vincent and Soille, Watersheds in digital spaces, PAMI
    1991, https://doi.org/10.1109/34.87344
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int32, Integer

from atrous.errors import DataError, UsageError
from atrous.metrics.rand import (
    InformationScores,
    RandScores,
    foreground_overlaps,
    pair_sums,
    scores_of_entropies,
    scores_of_pairs,
)

__all__ = ["THRESHOLDS", "MembraneScores", "PixelScores", "cells", "membrane_scores", "pixel_scores", "thinned_cells"]

THRESHOLDS = tuple(step / 10 for step in range(11))
"""0, 0.1, ... 1: those of the challenge."""

MembraneMask = Bool[np.ndarray, "*size"] | Integer[np.ndarray, "*size"]


class PixelScores(NamedTuple):
    """How many pixels are right at one threshold.

    Attributes:
        error: share of wrong pixels, 0..1; with slices of one size also the mean over the slices.
        cell_iou: intersection over union of cells.
        membrane_iou: intersection over union of membranes.
        f_score: F1 score of the cells.
    """

    error: float
    cell_iou: float
    membrane_iou: float
    f_score: float


@dataclass(frozen=True)
class MembraneScores:
    """The scores of a stack.

    Attributes:
        thresholds: that were tried.
        v_rand_curve: mean :math:`V^{Rand}` of the slices at each of them.
        v_info_curve: mean :math:`V^{info}`.
        v_rand: means over the slices at the best threshold for :math:`V^{Rand}`.
        threshold: that threshold, the lowest of equals.
        v_info: means over the slices at the best threshold for :math:`V^{info}`.
        info_threshold: that threshold.
        rand_error: 1 minus the best F-score of pairs, of unthinned cells, over all slices at once.
        pixels: at 0.5.
        best_pixels: at `threshold`.
        pixel_f_error: 1 minus the best F1 score of cell pixels over the thresholds.
        thin: whether membranes were thinned for the two scores of regions.
    """

    thresholds: tuple[float, ...]
    v_rand_curve: tuple[float, ...]
    v_info_curve: tuple[float, ...]
    v_rand: RandScores
    threshold: float
    v_info: InformationScores
    info_threshold: float
    rand_error: float
    pixels: PixelScores
    best_pixels: PixelScores
    pixel_f_error: float
    thin: bool


def cells(mask: Bool[np.ndarray, "H W"]) -> Int32[np.ndarray, "H W"]:
    """Number the 4-connected components of a mask from 1; 0 where it is not set.

    Example:
        >>> cells(np.array([[True, False], [False, True]]))            # corners do not join
        array([[1, 0],
               [0, 2]], dtype=int32)
    """
    numbers: np.ndarray = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)[1]
    return numbers


def thinned_cells(mask: Bool[np.ndarray, "H W"]) -> Int32[np.ndarray, "H W"]:
    """Number the 4-connected components of a mask and let them grow over the rest, up to lines of 0 where two meet.

    The flat watershed of Vincent and Soille: all components grow by one pixel at a time. Where a membrane has an even
    width, its line lies on the side of the component that is looked at second, by columns and then by rows, which is
    the order of the challenge's own program; other programs may put it on the other side. A mask without any set pixel
    is one region, as there.

    Example:
        >>> thinned_cells(np.array([[1, 0, 0, 0, 1, 1]], bool))                                  # 3 wide, then 1
        array([[1, 1, 0, 2, 2, 2]], dtype=int32)
    """
    return _thinned(cells(mask))


def pixel_scores(
    probability_of_cell: Float[np.ndarray, "*size"],
    true_mask: MembraneMask,
    threshold: float = 0.5,
    *,
    ignore: Bool[np.ndarray, "*size"] | None = None,
) -> PixelScores:
    r"""Compare pixels at one threshold, over all slices at once.

    .. math:: E = \frac{1}{n} \sum_z ([t_z > 0] - [p_z > \theta])^2

    Args:
        probability_of_cell: 0..1 for every pixel.
        true_mask: 0 for membrane and one other value for cell, of the same shape.
        threshold: pixels above it are cells.
        ignore: pixels that count for nothing.

    Raises:
        UsageError: if the shapes differ.
        DataError: if the truth has more than two values or just one, or a probability is none.

    Example:
        >>> pixel_scores(np.array([[0.9, 0.8], [0.6, 0.2]]), np.array([[1, 1], [0, 0]]))
        PixelScores(error=0.25, cell_iou=0.6666666666666666, membrane_iou=0.5, f_score=0.8)
    """
    truth = _checked(probability_of_cell, true_mask, ignore)
    return _pixels(*_counts(probability_of_cell, truth, ignore, threshold))


def membrane_scores(
    probability_of_cell: Float[np.ndarray, "N H W"],
    true_mask: Bool[np.ndarray, "N H W"] | Integer[np.ndarray, "N H W"],
    thresholds: Sequence[float] = THRESHOLDS,
    thin: bool = True,
    *,
    ignore: Bool[np.ndarray, "N H W"] | None = None,
) -> MembraneScores:
    """All scores of a stack of slices.

    Args:
        probability_of_cell: 0..1 for every pixel.
        true_mask: 0 for membrane and one other value (1, 255 or True) for cell.
        thresholds: pixels above a threshold are cells; each 0..1.
        thin: thin the predicted membranes to lines first, as the challenge does.
        ignore: pixels that count for nothing. They still belong to what is predicted when regions are found.

    Raises:
        UsageError: if the shapes differ, or there is no threshold or one out of range.
        DataError: if the truth is of more than two values or of one, has a slice without any cell, or a probability is
            none.

    Example:
        >>> truth = np.ones((1, 6, 9), int)
        >>> truth[:, :, 4] = 0
        >>> probability = np.where(truth, 0.9, 0.1)
        >>> probability[:, :, 3:6] = 0.1                         # three wide: thinned, the line is the true one
        >>> scores = membrane_scores(probability, truth)
        >>> (scores.v_rand.f_score, scores.threshold, round(scores.pixels.membrane_iou, 4))
        (1.0, 0.1, 0.3333)
    """
    truth = _checked(probability_of_cell, true_mask, ignore)
    if not thresholds or not all(0 <= threshold <= 1 for threshold in thresholds):
        raise UsageError(f"thresholds are {tuple(thresholds)}: give at least one, each from 0 to 1")
    regions = _true_regions(truth, ignore)
    rand, info, pairs, pixels = [], [], [], []
    for threshold in thresholds:
        first, second, sums = _at(probability_of_cell, regions, threshold, thin)
        rand.append(first)
        info.append(second)
        pairs.append(scores_of_pairs(sums).f_score)
        pixels.append(_pixels(*_counts(probability_of_cell, truth, ignore, threshold)))
    best, best_info = (int(np.argmax([scores.f_score for scores in curve])) for curve in (rand, info))
    return MembraneScores(
        thresholds=tuple(thresholds),
        v_rand_curve=tuple(scores.f_score for scores in rand),
        v_info_curve=tuple(scores.f_score for scores in info),
        v_rand=rand[best],
        threshold=thresholds[best],
        v_info=info[best_info],
        info_threshold=thresholds[best_info],
        rand_error=1 - max(pairs),
        pixels=_pixels(*_counts(probability_of_cell, truth, ignore, 0.5)),
        best_pixels=pixels[best],
        pixel_f_error=1 - max(scores.f_score for scores in pixels),
        thin=thin,
    )


def _thinned(labels: Int32[np.ndarray, "H W"]) -> Int32[np.ndarray, "H W"]:
    from atrous.metrics._kernels import flood

    if not labels.any():
        return np.ones_like(labels)
    grown = labels.copy()
    flood(grown)
    return grown


def _checked(
    probability: np.ndarray, mask: np.ndarray, ignore: Bool[np.ndarray, "..."] | None
) -> Bool[np.ndarray, "..."]:
    """Where the true cells are."""
    if probability.shape != mask.shape or (ignore is not None and ignore.shape != mask.shape):
        others = mask.shape if ignore is None else (mask.shape, ignore.shape)
        raise UsageError(f"probabilities of {probability.shape} and masks of {others}: compare stacks of one shape")
    _must_be_binary(mask if ignore is None else mask[~ignore])
    low, high = float(probability.min()), float(probability.max())
    if not (low >= 0 and high <= 1):  # also where one is NaN
        raise DataError(f"probabilities run from {low:g} to {high:g}: give the probability of cell, 0 to 1")
    return mask != 0


def _must_be_binary(mask: np.ndarray) -> None:
    """Raise unless a truth has membrane and cell, and nothing else."""
    if not mask.size:
        raise DataError("the truth has no pixel that counts: give slices with labelled pixels")
    low, high = mask.min(), mask.max()
    if low == high:
        what = "membrane (0), no cell" if low == 0 else f"cell ({int(low)}), no membrane (0)"
        raise DataError(f"the truth is all {what}: nothing can be measured; give slices that show both")
    if low != 0 or ((mask != low) & (mask != high)).any():
        values = np.unique(mask)
        shown = ", ".join(str(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")
        raise DataError(f"the truth has the values {shown}: give 0 for membrane and one other value for cell")


def _true_regions(truth: np.ndarray, ignore: np.ndarray | None) -> list[Int32[np.ndarray, "H W"]]:
    """The true cells of each slice, 0 where a pixel counts for nothing."""
    regions = []
    for number, mask in enumerate(truth):
        labels = cells(mask)
        if ignore is not None:
            labels[ignore[number]] = 0
        if not labels.any():
            raise DataError(f"slice {number} of the truth has no cell: its Rand scores are undefined; leave it out")
        regions.append(labels)
    return regions


def _at(
    probability: np.ndarray, regions: list[np.ndarray], threshold: float, thin: bool
) -> tuple[RandScores, InformationScores, Float[np.ndarray, "3"]]:
    """Mean scores of the slices at a threshold, and the pairs of the unthinned cells of all of them."""
    rand, info, pairs = [], [], np.zeros(3)
    for scores, truth in zip(probability, regions, strict=True):
        plain = cells(_above(scores, threshold))
        overlaps = foreground_overlaps(plain, truth)
        pairs += pair_sums(overlaps)
        if thin:
            overlaps = foreground_overlaps(_thinned(plain), truth)
        rand.append(scores_of_pairs(pair_sums(overlaps)))
        info.append(scores_of_entropies(overlaps))
    return RandScores(*np.mean(rand, axis=0).tolist()), InformationScores(*np.mean(info, axis=0).tolist()), pairs


def _above(scores: np.ndarray, threshold: float) -> Bool[np.ndarray, "*size"]:
    """Above the threshold as it is, not rounded to the precision of the scores."""
    return scores > np.float64(threshold)


def _counts(
    probability: np.ndarray, truth: np.ndarray, ignore: np.ndarray | None, threshold: float
) -> tuple[int, int, int, int]:
    """Pixels that are cell in both, in the prediction alone, in the truth alone, and in neither."""
    decided = _above(probability, threshold)
    if ignore is not None:
        truth, decided = truth[~ignore], decided[~ignore]
    both = int(np.count_nonzero(truth & decided))
    extra, missed = int(np.count_nonzero(decided)) - both, int(np.count_nonzero(truth)) - both
    return both, extra, missed, truth.size - both - extra - missed


def _pixels(both: int, extra: int, missed: int, neither: int) -> PixelScores:
    wrong = extra + missed
    return PixelScores(
        wrong / (both + wrong + neither),
        both / (both + wrong),
        neither / (neither + wrong),
        2 * both / (2 * both + wrong),
    )
