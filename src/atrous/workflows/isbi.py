"""How well a bundle finds membranes: the scores of the ISBI 2012 challenge on a split of a data folder."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from atrous.evaluation import labelled_pairs, must_agree, open_like
from atrous.evaluation.membranes import class_of_cells, predict_stack, score_stack
from atrous.workflows.runs import load_predictor

if TYPE_CHECKING:
    from atrous.inference import Predictor

__all__ = ["score_isbi"]


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
    name, recipe, loaded, predictor = _load(bundle, device, precision)
    folder = open_like(recipe, data_folder, classes)
    pairs = labelled_pairs(folder, split)
    must_agree(name, loaded, folder, given=classes is not None)
    number = class_of_cells(cell, predictor.class_names)
    probability, truth, seconds = predict_stack(predictor, folder, pairs, number, progress)
    described = {"bundle": name, "data": str(data_folder), "split": split, "images": [pair.name for pair in pairs]}
    result = {**described, "cell": predictor.class_names[number], **score_stack(probability, truth, number)}
    if progress is not None:
        progress(len(pairs), len(pairs))
    return {**result, "seconds": seconds}


def _load(
    bundle: "str | Path | Predictor", device: str, precision: str
) -> tuple[str, dict[str, Any], Any, "Predictor"]:
    """A name, the recipe, what the classes and images are, and the predictor."""
    if isinstance(bundle, str | Path):
        loaded, predictor = load_predictor(bundle, device=device, precision=precision)
        predictor.settle()
        return str(bundle), loaded.recipe, loaded, predictor
    kind = SimpleNamespace(
        class_names=bundle.class_names,
        dtype=bundle.dtype,
        channels=bundle.scorer.in_channels,
        classes=getattr(bundle, "classes", None),
    )
    return type(bundle).__name__, {}, kind, bundle
