"""How well membranes divide cells: a stack of predicted slices, and the ISBI 2012 challenge's scores as numbers."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.data.folder import read_pair
from atrous.errors import DataError, UsageError, did_you_mean
from atrous.metrics import membrane_scores, warping_error
from atrous.types import IGNORE_INDEX

if TYPE_CHECKING:
    from atrous.data import Folder, Pair
    from atrous.inference import Predictor
    from atrous.metrics.membrane import MembraneScores, PixelScores

__all__ = ["class_of_cells", "predict_stack", "score_stack"]

CELL = ("cell", "foreground")
"""What the class of cells is called where nobody says it: in the challenge's layout, and in masks without a table."""


def class_of_cells(cell: str | None, class_names: Sequence[str]) -> int:
    """The number of the class of cells.

    Args:
        cell: its name, or None to look for "cell" or "foreground", and to take the second of two classes.
        class_names: of the predictor.

    Raises:
        UsageError: if there is no such class.
    """
    names = list(class_names)
    if cell is not None:
        if cell not in names:
            raise UsageError(f"there is no class {cell!r} of cells. {did_you_mean(cell, names)}")
        return names.index(cell)
    found = [names.index(word) for word in CELL if word in names]
    if not found and len(names) != 2:
        raise UsageError(f"which of the classes {names} is that of cells is not known: say it with cell=NAME")
    return found[0] if found else 1


def predict_stack(
    predictor: "Predictor",
    folder: "Folder",
    pairs: Sequence["Pair"],
    number: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Predict all slices of a stack.

    Args:
        predictor: of the slices.
        folder: of the data.
        pairs: the slices.
        number: the class of cells.
        progress: called with the number of slices done and of all.

    Returns:
        The probabilities of cell (N, H, W), the true classes (N, H, W), and the seconds of the predictions.

    Raises:
        DataError: if slices differ in size.
        UsageError: if the classes of the masks overlap.
    """
    probabilities: list[np.ndarray] = []
    truths: list[np.ndarray] = []
    seconds = 0.0
    for done, pair in enumerate(pairs):
        if progress is not None:
            progress(done, len(pairs))
        raster, truth, _ = read_pair(pair, folder)
        assert truth is not None  # labelled_pairs has seen to it
        if truth.ndim != 2:
            raise UsageError(f"{folder.root}: its classes overlap, but a pixel is cell or membrane; give index masks")
        if truths and truth.shape != truths[0].shape:
            sizes = " and ".join(f"{height} x {width}" for height, width in (truths[0].shape, truth.shape))
            raise DataError(
                f"{pair.image}: slices of {sizes} pixels make no stack; score them apart, or crop them to one size."
            )
        start = time.perf_counter()
        prediction = predictor(raster, scores=True)
        seconds += time.perf_counter() - start
        assert prediction.scores is not None  # they were asked for
        # Sums of rounded shares may end a hair above 1.
        probabilities.append(np.clip(prediction.scores[number].astype(np.float32), 0, 1))
        truths.append(truth)
    return np.stack(probabilities), np.stack(truths), seconds


def score_stack(probability: np.ndarray, truth: np.ndarray, number: int) -> dict[str, Any]:
    """The challenge's scores, as numbers by name; see `atrous.workflows.isbi.score_isbi`.

    Args:
        probability: of cell (N, H, W).
        truth: the true classes (N, H, W); 255 counts for nothing.
        number: the class of cells; everything else is membrane.

    Raises:
        DataError: if a slice of the truth has no cell or no membrane.
    """
    ignore = truth == IGNORE_INDEX
    mask, ignored = truth == number, ignore if ignore.any() else None
    scores = membrane_scores(probability, mask, ignore=ignored)
    movable = None if ignored is None else ~ignored
    return {**_plain(scores), "warping_error": warping_error(probability, mask, movable=movable)}


def _plain(scores: "MembraneScores") -> dict[str, Any]:
    """The scores as numbers by name."""
    return {
        "v_rand": scores.v_rand.f_score,
        "v_rand_split": scores.v_rand.split,
        "v_rand_merge": scores.v_rand.merge,
        "v_rand_threshold": scores.threshold,
        "v_info": scores.v_info.f_score,
        "v_info_split": scores.v_info.split,
        "v_info_merge": scores.v_info.merge,
        "v_info_threshold": scores.info_threshold,
        "rand_error": scores.rand_error,
        "pixel_f_error": scores.pixel_f_error,
        **_pixels(scores.pixels, ""),
        **_pixels(scores.best_pixels, "_best"),
        "curve": {f"{at:g}": value for at, value in zip(scores.thresholds, scores.v_rand_curve, strict=True)},
    }


def _pixels(scores: "PixelScores", ending: str) -> dict[str, float]:
    return {
        f"pixel_error{ending}": scores.error,
        f"cell_iou{ending}": scores.cell_iou,
        f"membrane_iou{ending}": scores.membrane_iou,
        f"mean_iou{ending}": (scores.cell_iou + scores.membrane_iou) / 2,
    }
