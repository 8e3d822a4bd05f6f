r"""The overlaps of two label maps, counted: what all comparisons of regions and objects start from.

Label maps have a number of at least 0 for every pixel. Which number a region has does not matter, and the numbers need
not follow each other.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Integer

from atrous.errors import DataError, UsageError

__all__ = ["Contingency", "Labels", "contingency", "entropy", "squares", "totals"]

Labels = Integer[np.ndarray, "..."]

LARGEST_TABLE = 1 << 24
"""Cells of a table that is counted whole; beyond it only the cells that occur are."""

FEW = 1 << 12
"""Labels that need no new numbers for such a table: two maps of so many fit."""


class Contingency(NamedTuple):
    """The overlaps of two label maps: one entry for each pair of labels that meets in a pixel, in ascending order.

    Attributes:
        first: label in the first map.
        second: label in the second map.
        pixels: how many have both.
    """

    first: Int[np.ndarray, " N"]
    second: Int[np.ndarray, " N"]
    pixels: Int[np.ndarray, " N"]


def contingency(first: Labels, second: Labels, *, where: Bool[np.ndarray, "..."] | None = None) -> Contingency:
    r"""Count the pixels of each pair of labels: :math:`n_{ij} = |\{z : a_z = i, b_z = j\}|`.

    Args:
        first: a label of at least 0 for every pixel, of any shape.
        second: the same of another map, of the same shape.
        where: count only these pixels.

    Raises:
        UsageError: if the shapes differ.
        DataError: if a label is negative.

    Example:
        >>> table = contingency(np.array([[1, 1, 0], [1, 2, 2]]), np.array([[7, 7, 0], [0, 7, 7]]))
        >>> [tuple(int(value) for value in entry) for entry in zip(*table)]          # (first, second, pixels)
        [(0, 0, 1), (1, 0, 1), (1, 7, 2), (2, 7, 2)]
    """
    if first.shape != second.shape or (where is not None and where.shape != first.shape):
        others = second.shape if where is None else (second.shape, where.shape)
        raise UsageError(f"label maps of {first.shape} and {others}: compare maps of one shape")
    a, b = (first.ravel(), second.ravel()) if where is None else (first[where], second[where])
    (a_labels, a), (b_labels, b) = _numbered(a), _numbered(b)
    height, width = len(a_labels), len(b_labels)
    codes = np.multiply(a, width, dtype=np.int64) + b
    if height * width <= LARGEST_TABLE:
        counts = np.bincount(codes, minlength=1)
        present = np.flatnonzero(counts)
        counts = counts[present]
    else:
        present, counts = np.unique(codes, return_counts=True)
    return Contingency(a_labels[present // width], b_labels[present % width], counts.astype(np.int64))


def totals(labels: Int[np.ndarray, " N"], counts: Int[np.ndarray, " N"]) -> Int[np.ndarray, " K"]:
    """The counts of each label, added up, in the order of the labels.

    Example:
        >>> totals(np.array([3, 1, 3]), np.array([10, 1, 5]))
        array([ 1, 15])
    """
    _, places = np.unique(labels, return_inverse=True)
    return np.bincount(places.reshape(-1), counts).astype(np.int64)  # doubles hold such counts exactly


def squares(counts: Int[np.ndarray, " N"]) -> float:
    """The sum of their squares: the ordered pairs of pixels within regions of so many pixels.

    Example:
        >>> squares(np.array([2, 3]))
        13.0
    """
    return float((counts.astype(np.float64) ** 2).sum())


def entropy(counts: Int[np.ndarray, " N"], alone: int = 0) -> float:
    r"""Entropy in nats of regions of so many pixels each, and of so many singletons.

    .. math:: H = -\sum_i \frac{n_i}{n} \ln \frac{n_i}{n} + \frac{s}{n} \ln n, \quad n = \sum_i n_i + s

    Example:
        >>> round(entropy(np.array([2]), 2), 4)                              # 1/2 ln 2 + 1/2 ln 4
        1.0397
    """
    n = float(counts.sum() + alone)
    share = counts / n
    return float(alone / n * math.log(n) - (share * np.log(share)).sum())


def _numbered(labels: Integer[np.ndarray, " N"]) -> tuple[Int[np.ndarray, " K"], Integer[np.ndarray, " N"]]:
    """Labels, ascending, and of every pixel its place among them; all up to the highest where these are few."""
    if not labels.size:
        return np.zeros(1, np.int64), labels
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise DataError(f"label {low}: labels of regions count from 1, and 0 is no region; shift them")
    if labels.dtype == np.uint64:  # which numpy counts only as signed
        labels = labels.astype(np.int64)
    if high < FEW:
        return np.arange(high + 1), labels
    if high < max(LARGEST_TABLE, labels.size):
        found = np.flatnonzero(np.bincount(labels))
        place = np.zeros(high + 1, np.int64)
        place[found] = np.arange(len(found))
        return found, place[labels]
    found, places = np.unique(labels, return_inverse=True)
    return found.astype(np.int64), places.reshape(-1)
