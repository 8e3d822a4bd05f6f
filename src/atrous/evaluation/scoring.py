"""The walk through the images of a split: each is predicted whole, as a person gets it, and measured by the task."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from atrous.data.reading import read_truth
from atrous.evaluation.results import JOINED, Evaluation, ImageResult

if TYPE_CHECKING:
    from atrous.data import Folder, Pair
    from atrous.inference import Predictor
    from atrous.tasks import Evaluator

__all__ = ["score_split"]


def score_split(
    predictor: "Predictor",
    folder: "Folder",
    pairs: Sequence["Pair"],
    *,
    named: tuple[str, str, str],
    boundary: bool = True,
    how: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Evaluation:
    """Predict the images of a split, and sum up how well.

    Args:
        predictor: of the bundle.
        folder: of the images.
        pairs: those with labels, see `labelled_pairs`.
        named: what the bundle, the data and the split are called.
        boundary: also measure the boundary F1.
        how: tile, margin and views, as the predictor takes them.
        progress: called with the number of images done and of all.
        clock: seconds, for the time of the predictions.
    """
    predictor.settle()
    evaluator = predictor.task.evaluator(predictor.class_names, boundary=boundary)
    images, cuts, joined = _score_images(
        predictor, folder, pairs, evaluator, how=how or {}, progress=progress, clock=clock
    )
    bundle, data, split = named
    return Evaluation(
        bundle=bundle,
        data=data,
        split=split,
        class_names=tuple(predictor.class_names),
        matrix=evaluator.matrix,
        summary=evaluator.compute(),
        images=tuple(images),
        seconds=sum(image.seconds for image in images),
        notes=_notes_of(predictor, cuts) | ({"objects": JOINED} if joined else {}),
        rank=evaluator.ranks,
    )


def _score_images(
    predictor: "Predictor",
    folder: "Folder",
    pairs: Sequence["Pair"],
    evaluator: "Evaluator",
    *,
    how: Mapping[str, Any],
    progress: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[ImageResult], list[str], bool]:
    """Predict images and have them measured.

    Args:
        predictor: of the bundle.
        folder: of the images.
        pairs: those with labels, see `labelled_pairs`.
        evaluator: fresh; holds the sums afterwards.
        how: tile, margin and views, as the predictor takes them.
        progress: called with the number of images done and of all.
        clock: seconds, for the time of each prediction.

    Returns:
        The result of each image, what the predictor noted of it, and whether objects that the data numbers were taken
        as the connected parts of their class.
    """
    images, notes, joined = [], [], False
    for done, pair in enumerate(pairs):
        if progress is not None:
            progress(done, len(pairs))
        raster, truth = read_truth(pair, folder)
        start = clock()
        prediction = predictor(raster, scores=False, **how)
        seconds = clock() - start
        figures = evaluator.update(prediction, {**truth, "flip_pairs": predictor.flip_pairs})
        images.append(ImageResult.of(pair.name, seconds, figures))
        notes.append(predictor.last_note)
        objects = truth.get("instances")
        joined |= prediction.instances is None and objects is not None
    if progress is not None:
        progress(len(pairs), len(pairs))
    return images, notes, joined


def _notes_of(predictor: "Predictor", notes: Sequence[str]) -> dict[str, str]:
    """Where and how; of the images that were cut into tiles, what the predictor said of the last."""
    tiled = [text for text in notes if not text.endswith("in one pass")]
    how = "whole images" if not tiled else f"{len(tiled)} of {len(notes)} images by tiles, such as {tiled[-1]}"
    refine = f"refined by {predictor.refiner}" if predictor.refiner is not None else ""
    where = {"device": predictor.device, "precision": predictor.precision, "engine": predictor.engine}
    return {**where, "tile": how, "refine": refine}
