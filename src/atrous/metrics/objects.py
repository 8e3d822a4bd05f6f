"""How well single objects are found, where a data folder numbers them: SEG and average precision."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from atrous.metrics.matching import average_precision, match_objects, mean_average_precision
from atrous.metrics.seg import object_jaccards, seg_score
from atrous.types import IGNORE_INDEX, Prediction

__all__ = ["ObjectScores", "judged_by", "number_parts", "objects_of", "score_objects", "summarize_objects"]


@dataclass(frozen=True)
class ObjectScores:
    """The objects of one image against those that were predicted.

    Attributes:
        jaccards: of each true object, see `atrous.metrics.object_jaccards`.
        precision: at each threshold, see `atrous.metrics.average_precision`.
        objects: true ones.
        found: predicted ones, but for those that nobody can judge: on ignored pixels, and in crowds.
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

    Where classes may overlap, the first is a class like the others, and a pixel belongs to the likeliest.

    Returns:
        (H, W) int32; 0 is none. Corners connect.
    """
    if prediction.instances is not None:
        return prediction.instances
    if prediction.labels is None:
        return number_parts(prediction.classes)
    classes = prediction.classes.astype(np.int32)
    return number_parts(np.where(classes == IGNORE_INDEX, 0, classes + 1))


def judged_by(mask: np.ndarray, instances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where objects cannot be judged: pixels that are ignored, and crowds.

    A crowd is what has a class of objects and no number: objects that nobody has told apart, COCO's `iscrowd`, and in
    folders that number some classes alone the others.

    Args:
        mask: (H, W) classes, 255 where ignored; or (K, H, W), 1 where a class is, 255 where it is not known.
        instances: (H, W) numbers of the true objects.

    Returns:
        Two maps (H, W) of bool: void and crowd.

    Example:
        >>> void, crowd = judged_by(np.array([[0, 1, 1, 255]]), np.array([[0, 7, 0, 0]]))
        >>> void.tolist(), crowd.tolist()
        ([[False, False, False, True]], [[False, False, True, False]])
    """
    if mask.ndim == 3:
        some = (mask == 1).any(0)
        void = (mask == IGNORE_INDEX).any(0) & ~some
    else:
        void = mask == IGNORE_INDEX
        some = (mask > 0) & ~void
    return void, some & (instances == 0)


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
    """Compare the objects of one image; what is predicted on ignored pixels counts for nothing, see `judged_by`.

    Args:
        prediction: of the image.
        instances: (H, W) numbers of the true objects, 0 where there is none.
        truth: (H, W) classes, 255 where ignored; or (K, H, W) where they may overlap.
    """
    found, wanted = objects_of(prediction).astype(np.int64), instances.astype(np.int64)
    void, crowd = judged_by(truth, wanted)
    half = match_objects(found, wanted, void=void, crowd=crowd)
    precision = average_precision(found, wanted, void=void, crowd=crowd)
    found, wanted = np.where(void, 0, found), np.where(void, 0, wanted)
    counted = len(half.pairs) + half.extras
    return ObjectScores(object_jaccards(found, wanted), precision, _count(wanted), counted)


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
