"""How well single objects are found, where a data folder numbers them: SEG and average precision."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from atrous.metrics.matching import average_precision, mean_average_precision
from atrous.metrics.seg import object_jaccards, seg_score
from atrous.types import IGNORE_INDEX, Prediction

__all__ = ["ObjectScores", "number_parts", "objects_of", "score_objects", "summarize_objects"]


@dataclass(frozen=True)
class ObjectScores:
    """The objects of one image against those that were predicted.

    Attributes:
        jaccards: of each true object, see `atrous.metrics.object_jaccards`.
        precision: at each threshold, see `atrous.metrics.average_precision`.
        objects: true ones.
        found: predicted ones.
    """

    jaccards: np.ndarray
    precision: np.ndarray
    objects: int
    found: int

    @property
    def seg(self) -> float:
        """SEG over this image alone; NaN without an object."""
        return float(self.jaccards.mean()) if len(self.jaccards) else float("nan")


def objects_of(prediction: Prediction) -> np.ndarray:
    """Numbered objects: those of the prediction, else the connected parts of each class but the first.

    Returns:
        (H, W) int32; 0 is none. Corners connect.
    """
    return number_parts(prediction.classes) if prediction.instances is None else prediction.instances


def number_parts(classes: np.ndarray) -> np.ndarray:
    """The connected parts of each class but the first, numbered from 1; corners connect.

    Example:
        >>> number_parts(np.array([[1, 0, 1], [2, 0, 1]])).tolist()
        [[1, 0, 2], [3, 0, 2]]
    """
    numbers = np.zeros(classes.shape, np.int32)
    for value in np.unique(classes):
        if value:
            _, parts = cv2.connectedComponents((classes == value).astype(np.uint8), connectivity=8)
            numbers = np.where(parts > 0, parts + numbers.max(), numbers)
    return numbers.astype(np.int32)


def score_objects(prediction: Prediction, instances: np.ndarray, truth: np.ndarray) -> ObjectScores:
    """Compare the objects of one image; what is predicted on ignored pixels counts for nothing.

    Args:
        prediction: of the image.
        instances: (H, W) numbers of the true objects, 0 where there is none.
        truth: (H, W) classes, 255 where ignored.
    """
    found = objects_of(prediction).astype(np.int64)
    wanted = instances.astype(np.int64)
    known = truth != IGNORE_INDEX if truth.ndim == 2 else np.ones(truth.shape[1:], bool)
    found, wanted = np.where(known, found, 0), np.where(known, wanted, 0)
    return ObjectScores(
        object_jaccards(found, wanted), average_precision(found, wanted), *(_count(each) for each in (wanted, found))
    )


def summarize_objects(scores: Sequence[ObjectScores]) -> dict[str, Any]:
    """SEG over all objects, and average precision over all images; nothing where no image numbers its objects."""
    if not scores:
        return {}
    precision = np.stack([each.precision for each in scores])
    return {
        "seg": seg_score(each.jaccards for each in scores),
        "average_precision": mean_average_precision(precision),
        "average_precision_50": mean_average_precision(precision[:, :1]),
        "objects": sum(each.objects for each in scores),
        "found": sum(each.found for each in scores),
    }


def _count(numbers: np.ndarray) -> int:
    return int(np.count_nonzero(np.unique(numbers)))
