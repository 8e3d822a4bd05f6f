"""How well a bundle finds membranes: the scores of the ISBI 2012 challenge on a split of a data folder."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.errors import DataError, UsageError, did_you_mean
from atrous.types import IGNORE_INDEX
from atrous.workflows.evaluation import labelled_pairs, must_agree, open_like
from atrous.workflows.runs import load_predictor

if TYPE_CHECKING:
    from atrous.data import Folder, Pair
    from atrous.inference import Predictor
    from atrous.metrics.membrane import MembraneScores, PixelScores

__all__ = ["score_isbi"]

CELL = ("cell", "foreground")
"""What the class of cells is called where nobody says it: in the challenge's layout, and in masks without a table."""


def score_isbi(
    bundle: "str | Path | Predictor",
    data_folder: str | Path,
    split: str = "val",
    *,
    cell: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    classes: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Segment the slices of a split whole, and score what divides them; see `atrous.metrics.membrane`.

    The probability of cell is the score of its class. Everything that is no cell is membrane, ignored pixels excepted.

    Args:
        bundle: a bundle, a run folder, a Hugging Face Hub id, or a predictor.
        data_folder: a data folder of slices of one size; where it has no split files, it is split as for the training.
        split: one of its splits.
        cell: the class of cells; None looks for "cell" or "foreground", and takes the second of two classes.
        device: "auto", "cpu", "cuda", ...; a predictor stays where it is.
        precision: "auto", "float32", "bfloat16" or "float16"; that of a predictor is its own.
        classes: a classes.yaml to use instead of the folder's own.
        progress: called with the number of slices done and of all.

    Returns:
        Plain numbers by name: `v_rand`, its `_split` and `_merge` and the `v_rand_threshold` that it was best at, the
        same for `v_info`; `rand_error` and `pixel_f_error` at their own best thresholds; `pixel_error`, `cell_iou`,
        `membrane_iou`, `mean_iou` and `warping_error` at 0.5, and with `_best` but the last at `v_rand_threshold`. Also
        `bundle`, `data`, `split`, `images` (their names), `cell` (the class), `curve` (mean V_rand by threshold),
        `seconds` (of the predictions).

    Raises:
        DataError: if the folder cannot be read or has no such split or no mask in it, slices differ in size, or the
            truth shows no cell or no membrane.
        UsageError: if there is no such class of cells.
        BundleError: if the bundle's classes or images are not those of the data.
    """
    from atrous.metrics import membrane_scores, warping_error

    name, recipe, loaded, predictor = _load(bundle, device, precision)
    folder = open_like(recipe, data_folder, classes)
    pairs = labelled_pairs(folder, split)
    must_agree(name, loaded, folder)
    number = _class_of_cells(cell, predictor.class_names)
    probability, truth, seconds = _predicted(predictor, folder, pairs, number, progress)
    ignore = truth == IGNORE_INDEX
    mask, ignored = truth == number, ignore if ignore.any() else None
    scores = membrane_scores(probability, mask, ignore=ignored)
    result = {
        "bundle": name,
        "data": str(data_folder),
        "split": split,
        "images": [pair.name for pair in pairs],
        "cell": predictor.class_names[number],
        **_plain(scores),
        "warping_error": warping_error(probability, mask, movable=None if ignored is None else ~ignored),
        "seconds": seconds,
    }
    if progress is not None:
        progress(len(pairs), len(pairs))
    return result


def _load(
    bundle: "str | Path | Predictor", device: str, precision: str
) -> tuple[str, dict[str, Any], Any, "Predictor"]:
    """A name, the recipe, what the classes and images are, and the predictor."""
    if isinstance(bundle, str | Path):
        loaded, predictor = load_predictor(bundle, device=device, precision=precision)
        return str(bundle), loaded.recipe, loaded, predictor
    kind = SimpleNamespace(class_names=bundle.class_names, kind=bundle.kind, channels=bundle.scorer.in_channels)
    return type(bundle).__name__, {}, kind, bundle


def _class_of_cells(cell: str | None, class_names: Sequence[str]) -> int:
    """The number of the class of cells."""
    names = list(class_names)
    if cell is not None:
        if cell not in names:
            raise UsageError(f"there is no class {cell!r} of cells. {did_you_mean(cell, names)}")
        return names.index(cell)
    found = [names.index(word) for word in CELL if word in names]
    if not found and len(names) != 2:
        raise UsageError(f"which of the classes {names} is that of cells is not known: say it with cell=NAME")
    return found[0] if found else 1


def _predicted(
    predictor: "Predictor",
    folder: "Folder",
    pairs: Sequence["Pair"],
    number: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """The probabilities of cell and the true classes of all slices, and the seconds of the predictions."""
    from atrous.data.folder import read_pair

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
        prediction = predictor(raster.array, scores=True)
        seconds += time.perf_counter() - start
        assert prediction.scores is not None  # they were asked for
        # Sums of rounded shares may end a hair above 1.
        probabilities.append(np.clip(prediction.scores[number].astype(np.float32), 0, 1))
        truths.append(truth)
    return np.stack(probabilities), np.stack(truths), seconds


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
