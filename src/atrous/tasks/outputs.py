"""The arrays that `predict` stores, each from a prediction."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from atrous.drawing import Color
from atrous.errors import DataError
from atrous.types import Prediction

__all__ = ["Output", "ResultTable", "belief", "confidence", "instances", "mask", "plane", "uncertainty"]

LARGEST_PALETTE = 256


class Output(NamedTuple):
    """An array that `predict` stores for every image.

    Attributes:
        folder: under the folder of the masks, with "/" between levels; "" for the masks themselves.
        make: from a prediction, and whether the file holds any number (TIFF) or 8 and 16 bits (PNG), to the array.
        option: the option that asks for it, "confidence", "uncertainty" or "maps" (which keeps the scores of the
            prediction); "" where it is always written.
        palette: colours of its values, or None.
        classes: the array holds class numbers, 255 where there is none: the file gets the mask values that the bundle
            knows for them.
        dtype: what TIFF and NIfTI files hold, where that is not the array's own.
    """

    folder: str
    make: Callable[[Prediction, bool], np.ndarray]
    option: str = ""
    palette: Sequence[Color] | None = None
    classes: bool = False
    dtype: str = ""


class ResultTable(NamedTuple):
    """A file of the folder to which `predict` adds lines for every image.

    Attributes:
        name: of the file, which ends in .csv.
        about: what it holds, in a word or two.
        columns: behind `file` and `page`.
        rows: from a prediction to its lines.
        made_of: other files beside it, by name: from all lines, `file` and `page` included, to the text.
    """

    name: str
    about: str
    columns: tuple[str, ...]
    rows: Callable[[Prediction], Sequence[Sequence[object]]]
    made_of: Mapping[str, Callable[[Sequence[Sequence[str]]], str]] = {}


def mask(class_names: Sequence[str], colors: Sequence[Color]) -> Output:
    """The decided classes: 8 bits with the colours as palette, 16 bits above 256 classes."""
    few = len(class_names) <= LARGEST_PALETTE
    kind = np.uint8 if few else np.uint16

    def make(prediction: Prediction, exact: bool) -> np.ndarray:
        return prediction.classes.astype(kind, copy=False)

    return Output("", make, palette=colors if few else None, classes=True)


def confidence() -> Output:
    """The score of the decided class: exact as float32, else 8 bits where 255 is certain."""

    def make(prediction: Prediction, exact: bool) -> np.ndarray:
        score = prediction.confidence
        return score if exact else _bytes(score, lambda part: part)

    return Output("confidence", make, option="confidence", dtype="float32")


def uncertainty(num_classes: int) -> Output:
    """The variance of the scores, exact as float32; else its root in 8 bits, where 255 is the largest there can be."""

    def make(prediction: Prediction, exact: bool) -> np.ndarray:
        variance = prediction.uncertainty
        if variance is None:
            raise DataError("the prediction has no uncertainty; ask for the view mc:N, which samples it.")
        largest = max((1 - 1 / num_classes) / num_classes, 1e-12)
        return variance if exact else _bytes(variance, lambda part: np.sqrt(part / largest).clip(0, 1))

    return Output("uncertainty", make, option="uncertainty")


def instances() -> Output:
    """The number of each pixel's object: int32 where exact, else 16 bits."""

    def make(prediction: Prediction, exact: bool) -> np.ndarray:
        numbers = prediction.instances
        if numbers is None:
            raise DataError("the prediction does not tell objects apart; use a bundle of task 'instances'.")
        most = int(numbers.max(initial=0))
        if not exact and most >= 2**16:
            raise DataError(f"{most} objects are more than a PNG can number; write --format tif.")
        numbers = numbers.astype(np.int32 if exact else np.uint16, copy=False)
        return numbers if prediction.valid is None else np.where(prediction.valid, numbers, numbers.dtype.type(0))

    return Output("instances", make)


def plane(number: int, folder: str) -> Output:
    """Where one of the classes is that may overlap: 255, else 0; in a folder of its own within `labels`."""

    def make(prediction: Prediction, exact: bool) -> np.ndarray:
        if prediction.labels is None:
            raise DataError("the prediction has no plane for each class; use a bundle of task 'multilabel'.")
        there = prediction.labels[number]
        there = there if prediction.valid is None else there & prediction.valid
        return there.astype(np.uint8) * np.uint8(255)

    return Output(f"labels/{folder}", make)


def belief(number: int, folder: str) -> Output:
    """The belief map of one landmark, in a folder of its own within `maps`: float32 where exact, else 255 for 1."""

    def make(prediction: Prediction, exact: bool) -> np.ndarray:
        if prediction.scores is None:
            raise DataError("the prediction kept no belief maps; ask for its scores.")
        scores = prediction.scores[number]
        return scores if exact else _bytes(scores, lambda part: part.clip(0, 1))

    return Output(f"maps/{folder}", make, option="maps")


def _bytes(array: np.ndarray, share: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Shares of 1 as 0..255, some rows at a time: of a large image in no more memory than they take."""
    result = np.empty(array.shape, np.uint8)
    step = max((1 << 22) // max(array.shape[1], 1), 1)
    for top in range(0, len(array), step):
        rows = slice(top, top + step)
        result[rows] = np.rint(share(array[rows].astype(np.float32)) * 255)
    return result
