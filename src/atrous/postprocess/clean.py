"""What may be done to decided classes: speckles and holes take the class around them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import cv2
import numpy as np
from annotated_types import Ge
from jaxtyping import Integer

from atrous.errors import AtrousError, UsageError
from atrous.tables import Place, check_arguments, describe_value
from atrous.types import Prediction

__all__ = ["Cleaning", "read_clean", "remove_small"]

_HERE = Place("clean")


def remove_small(classes: Integer[np.ndarray, "H W"], min_size: int) -> Integer[np.ndarray, "H W"]:
    """Give parts of fewer than `min_size` pixels the class of the nearest pixel that stays.

    A part is a connected region of one class, corners not included. A hole in an object is a part like a speckle
    beside it: both go by the same number. Where no part is large enough, all stay.

    Args:
        classes: decided classes, at most 65536 of them.
        min_size: pixels; 0 and 1 leave everything as it is.

    Example:
        >>> remove_small(np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], np.uint8), 2).max()
        np.uint8(0)
    """
    small = np.zeros(classes.shape, np.uint8)
    for value in np.unique(classes) if min_size > 1 else ():
        count, parts, stats, _ = cv2.connectedComponentsWithStats((classes == value).astype(np.uint8), connectivity=4)
        little = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < min_size)
        little = little[little > 0]  # 0 is everything else
        if len(little):
            chosen = np.zeros(count, np.uint8)
            chosen[little] = 1
            small |= chosen[parts]
    if not small.any() or small.all():
        return classes
    # Each pixel of a small part learns the number of the nearest pixel that stays.
    _, nearest = cv2.distanceTransformWithLabels(small, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    kept = small == 0
    table = np.zeros(int(nearest.max()) + 1, classes.dtype)
    table[nearest[kept]] = classes[kept]
    return np.where(kept, classes, table[nearest])


@dataclass(frozen=True)
class Cleaning:
    """What is cleaned away from decided classes; the section `clean` of a recipe.

    Attributes:
        min_size: parts with fewer pixels take the class around them, see `remove_small`.
    """

    min_size: Annotated[int, Ge(0)] = 0

    def __call__(self, prediction: Prediction) -> Prediction:
        """A prediction with cleaned classes; scores and confidence are those from before."""
        return replace(prediction, classes=remove_small(prediction.classes, self.min_size))


def read_clean(value: Any, *, place: Place = _HERE, error: type[AtrousError] = UsageError) -> Cleaning | None:
    """What a section `clean` says; None where there is none.

    Raises:
        UsageError: (or `error`) if it does not fit.
    """
    if value is None or isinstance(value, Cleaning):
        return value
    if not isinstance(value, Mapping):
        raise error(f"{place}: got {describe_value(value)}, but it is a section such as `clean: {{min_size: 50}}`.")
    return Cleaning(**check_arguments(Cleaning, dict(value), place=place, error=error))
