"""How good a bundle is on labelled images: whole images of any size, measured by the bundle's task."""

from collections.abc import Callable
from pathlib import Path
from typing import Unpack

from atrous.bundle import Bundle
from atrous.evaluation import Evaluation, ImageResult, labelled_pairs, must_agree, open_like, score_split
from atrous.inference.running import Running, read_running
from atrous.workflows.runs import check_tile, load_predictor

__all__ = ["Evaluation", "ImageResult", "evaluate", "labelled_pairs", "must_agree", "open_like"]


def evaluate(
    bundle: str | Path | Bundle,
    data: str | Path,
    *,
    split: str = "val",
    boundary: bool = True,
    classes: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    **how: Unpack[Running],
) -> Evaluation:
    """Predict every labelled image of a split and compare.

    Whole images are predicted, of any size, and one confusion matrix is summed over all of them. Ignored pixels count
    for nothing. Where a folder has no split files, it is split as it was for the training of the bundle.

    Args:
        bundle: a bundle, a run folder, or a Hugging Face Hub id; or a bundle that has been loaded.
        data: a data folder.
        split: one of its splits.
        boundary: also measure the boundary F1, which takes some 15 ms for an image of 360 x 480 with 12 classes.
        classes: a classes.yaml to use instead of the folder's own.
        progress: called with the number of images done and of all.
        how: `device`, `precision`, `engine`, `refine`, `tile`, `margin`, `views`; see `atrous.inference.Running`.

    Raises:
        DataError: if the folder cannot be read or has no such split, or no mask in it.
        UsageError: if `refine`, `tile`, `margin` or `views` does not fit.
        BundleError: if the bundle's classes, channels or kind of image are not those of the data.
    """
    making, calling = read_running(how, "evaluate")
    check_tile(calling["tile"], calling["margin"])
    loaded, predictor = load_predictor(bundle, **making)
    folder = open_like(loaded.recipe, data, classes)
    pairs = labelled_pairs(folder, split)
    name = str(loaded.path if bundle is loaded else bundle)
    must_agree(name, loaded, folder, given=classes is not None)
    named = name, str(data), split
    return score_split(predictor, folder, pairs, named=named, boundary=boundary, how=calling, progress=progress)
