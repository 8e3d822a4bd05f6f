"""Which pixels and objects are wrong, and how: missed, a false alarm, or taken for another class."""

from collections.abc import Sequence

import numpy as np

from atrous.metrics import match_objects
from atrous.metrics.objects import judged_by
from atrous.types import IGNORE_INDEX

__all__ = ["CONFUSED", "FALSE_ALARM", "IGNORED", "MISSED", "RIGHT", "class_errors", "label_errors", "object_errors"]

RIGHT, MISSED, FALSE_ALARM, CONFUSED, IGNORED = range(5)
"""What a map of errors says of a pixel."""


def class_errors(
    truth: np.ndarray, predicted: np.ndarray, background: int | None, shares: Sequence[float] = ()
) -> np.ndarray:
    """Errors where every pixel has one class.

    Args:
        truth: (H, W) true classes, `IGNORE_INDEX` = counts for nothing.
        predicted: (H, W) decided classes.
        background: the class that objects stand before; None where there is none. The rarer of two classes then takes
            the part of the object: what is lost to a commoner class is missed, what a rarer one gains a false alarm.
        shares: of the pixels, for every class. Without them, and between equals, all that is wrong is confused.

    Returns:
        (H, W) uint8, numbers of this module.

    Example:
        >>> class_errors(np.array([[0, 1, 0, 1, 255]]), np.array([[0, 0, 2, 2, 1]]), 0).tolist()
        [[0, 1, 2, 3, 4]]
        >>> class_errors(np.array([[0, 1, 2]]), np.array([[1, 0, 1]]), None, [0.5, 0.3, 0.2]).tolist()
        [[2, 1, 1]]
    """
    wrong = truth != predicted
    found = np.where(wrong, CONFUSED, RIGHT).astype(np.uint8)
    if background is not None:
        found[wrong & (predicted == background)] = MISSED
        found[wrong & (truth == background)] = FALSE_ALARM
    elif len(shares):
        common = np.full(max(len(shares), IGNORE_INDEX + 1), np.nan)  # ignored pixels are neither
        common[: len(shares)] = shares
        found[common[truth] < common[predicted]] = MISSED
        found[common[truth] > common[predicted]] = FALSE_ALARM
    found[truth == IGNORE_INDEX] = IGNORED
    return found


def label_errors(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Errors where classes may overlap: a pixel at which one class is missed and another is too much is confused.

    Args:
        truth: (K, H, W) 1 where a class is, 0 where it is not, `IGNORE_INDEX` where nobody knows.
        labels: (K, H, W) bool, where it was decided to be.

    Returns:
        (H, W) uint8, numbers of this module; ignored where no class is known.
    """
    missed = ((truth == 1) & ~labels).any(0)
    extra = ((truth == 0) & labels).any(0)
    found = (MISSED * missed + FALSE_ALARM * extra).astype(np.uint8)  # both together are `CONFUSED`
    found[(truth == IGNORE_INDEX).all(0)] = IGNORED
    return found


def object_errors(truth: np.ndarray, found: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Whole objects that have no partner which they share more than half of their common area with.

    What nobody can judge is no error, as in the scores: predicted objects that lie on ignored pixels or in a crowd with
    more than half of their pixels, see `atrous.metrics.objects.judged_by`.

    Args:
        truth: (H, W) numbers of the true objects, 0 where there is none.
        found: (H, W) numbers of the predicted ones.
        mask: (H, W) classes, or (K, H, W) where they may overlap; `IGNORE_INDEX` where nobody knows.

    Returns:
        (H, W) uint8, numbers of this module: pixels of missed objects, of false ones, and of both confused.

    Example:
        >>> truth, found = np.array([[1, 1, 0, 2, 2, 0]]), np.array([[7, 7, 0, 0, 0, 9]])
        >>> object_errors(truth, found, (truth > 0).astype(np.uint8)).tolist()
        [[0, 0, 0, 1, 1, 2]]
    """
    truth, found = truth.astype(np.int64), found.astype(np.int64)
    void, crowd = judged_by(mask, truth)
    pairs = match_objects(found, truth, void=void, crowd=crowd).pairs
    numbers, places = np.unique(found, return_inverse=True)
    hidden = np.bincount(places.ravel(), weights=(void | crowd).ravel()) / np.bincount(places.ravel())
    missed = (truth > 0) & ~np.isin(truth, pairs[:, 0])
    extra = (found > 0) & ~np.isin(found, [*pairs[:, 1], *numbers[hidden > 0.5]])
    errors = (MISSED * missed + FALSE_ALARM * extra).astype(np.uint8)
    errors[void | (crowd & ~extra)] = IGNORED
    return errors
