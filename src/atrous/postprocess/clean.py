"""What may be done to decided classes: speckles and holes take the class around them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import cv2
import numpy as np
from annotated_types import Ge
from jaxtyping import Integer

from atrous.errors import AtrousError, UsageError
from atrous.tables import Place, check_arguments, describe_value
from atrous.types import Prediction

__all__ = ["Cleaning", "part_areas", "read_clean", "remove_small"]

_HERE = Place("clean")


def remove_small(classes: Integer[np.ndarray, "H W"], min_size: int | Sequence[int]) -> Integer[np.ndarray, "H W"]:
    """Give parts of fewer than `min_size` pixels the class of the nearest pixel that stays.

    A part is a connected region of one class, corners not included. A hole in an object is a part like a speckle
    beside it: each goes by the size of its own class. Where no part is large enough, all stay.

    Args:
        classes: decided classes, at most 65536 of them.
        min_size: pixels, for all classes or for each; 0 and 1 leave a class as it is.

    Example:
        >>> remove_small(np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], np.uint8), 2).max()
        np.uint8(0)
        >>> remove_small(np.array([[0, 0, 2, 0], [0, 1, 0, 0]], np.uint8), [0, 0, 2]).tolist()
        [[0, 0, 0, 0], [0, 1, 0, 0]]
    """
    small = np.zeros(classes.shape, np.uint8)
    sizes = {} if isinstance(min_size, int) else dict(enumerate(min_size))  # 255, no class at all, has none
    for value in np.unique(classes).tolist():
        least = min_size if isinstance(min_size, int) else sizes.get(value, 0)
        if least <= 1:
            continue
        parts, areas = _parts(classes, value)
        little = areas < least
        little[0] = False  # everything else
        if little.any():
            small |= little.astype(np.uint8)[parts]
    if not small.any() or small.all():
        return classes
    # Each pixel of a small part learns the number of the nearest pixel that stays.
    _, nearest = cv2.distanceTransformWithLabels(small, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    kept = small == 0
    table = np.zeros(int(nearest.max()) + 1, classes.dtype)
    table[nearest[kept]] = classes[kept]
    return np.where(kept, classes, table[nearest])


def part_areas(classes: Integer[np.ndarray, "H W"]) -> dict[int, Integer[np.ndarray, " N"]]:
    """Pixels of each part of each class, in the sense of `remove_small`.

    Example:
        >>> part_areas(np.array([[0, 0, 1], [1, 0, 1]], np.uint8))
        {0: array([3], dtype=int32), 1: array([2, 1], dtype=int32)}
    """
    return {value: _parts(classes, value)[1][1:] for value in np.unique(classes).tolist()}


def _parts(classes: Integer[np.ndarray, "H W"], value: int) -> tuple[np.ndarray, np.ndarray]:
    """The number of each pixel's part of a class, 0 for other classes, and the pixels of each number."""
    chosen = (classes == value).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(chosen, connectivity=4)
    return parts, stats[:, cv2.CC_STAT_AREA]


@dataclass(frozen=True)
class Cleaning:
    """What is cleaned away from decided classes; the section `clean` of a recipe.

    Attributes:
        min_size: parts with fewer pixels take the class around them, see `remove_small`; a number for all classes, or a
            list of one for each.
    """

    min_size: Annotated[int, Ge(0)] | tuple[Annotated[int, Ge(0)], ...] = 0

    def check(self, classes: int, *, place: Place = _HERE, error: type[AtrousError] = UsageError) -> None:
        """Refuse a list of another length than there are classes.

        Raises:
            UsageError: (or `error`) always then.
        """
        if isinstance(self.min_size, tuple) and len(self.min_size) != classes:
            raise error(
                f"{place / 'min_size'}: got {len(self.min_size)} sizes for {classes} classes; give one for each, in "
                "their order, or a single number."
            )

    def __call__(self, prediction: Prediction) -> Prediction:
        """A prediction with cleaned classes; scores and confidence are those from before."""
        return replace(prediction, classes=remove_small(prediction.classes, self.min_size))


def read_clean(
    value: Any, *, classes: int | None = None, place: Place = _HERE, error: type[AtrousError] = UsageError
) -> Cleaning | None:
    """What a section `clean` says; None where there is none.

    Args:
        value: the section.
        classes: how many there are, where that is known.
        place: where it stands, for messages.
        error: class of the error to raise.

    Raises:
        UsageError: (or `error`) if it does not fit.
    """
    if value is None or isinstance(value, Cleaning):
        return value
    if not isinstance(value, Mapping):
        raise error(f"{place}: got {describe_value(value)}, but it is a section such as `clean: {{min_size: 50}}`.")
    cleaning = Cleaning(**check_arguments(Cleaning, dict(value), place=place, error=error))
    if classes is not None:
        cleaning.check(classes, place=place, error=error)
    return cleaning
