"""Masks for new images: files, folders and patterns in, one mask per image out."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from atrous.errors import AtrousError, DataError, UsageError
from atrous.inference import Predictor
from atrous.inference.running import Running, read_running
from atrous.inference.writing import FileWriter, PredictionFiles, find_images
from atrous.tasks.outputs import mask
from atrous.types import Progress
from atrous.workflows.runs import check_refine, check_tile

__all__ = ["PredictionFiles", "find_images", "predict"]

LOG = logging.getLogger(__name__)
NAMED = 3
"""Failed images that the closing error names."""


def predict(
    bundle: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    outputs: PredictionFiles = PredictionFiles(),  # noqa: B008 (frozen)
    progress: Progress | None = None,
    **how: Unpack[Running],
) -> list[Path]:
    """Segment images and write a mask of the same name for each.

    An image that cannot be segmented is reported at the end; all others are done. With `tile` the memory in use depends
    on the tile and the size of the mask alone, save that an overlay needs the whole image.

    Args:
        bundle: a bundle, a run folder, or a Hugging Face Hub id.
        images: files, folders of images, and patterns such as "scans/*.tif".
        out: the folder for the masks; it is made if it is not there.
        outputs: what to write.
        progress: called with the number of images done and of all.
        how: see `atrous.inference.Running`; the view "mc:N" has the uncertainty written too.

    Returns:
        The written masks.

    Raises:
        UsageError: before anything is done, if no image is found, or a file would fall on another or on an image.
        DataError: after all images, if some could not be segmented.
    """
    if outputs.format not in ("png", "tif"):
        raise UsageError(f"--format {outputs.format}: masks are written as png or tif.")
    making, calling = read_running(how, "predict")
    check_tile(calling["tile"], calling["margin"])
    check_refine(making["refine"])
    outputs = replace(outputs, uncertainty=any(view.split(":")[0] == "mc" for view in calling["views"]))
    folder, found = Path(out), find_images(images)
    FileWriter(folder, outputs, [mask((), ())]).plan(found)  # refuses before anything is loaded
    predictor = Predictor.load(bundle, **making)
    files = predictor.task.files(predictor.class_names, predictor.colors)
    if outputs.confidence and not any(file.option == "confidence" for file in files):
        LOG.warning("%s: its task, %s, has no confidence, so none is written", bundle, type(predictor.task).__name__)
    writer = FileWriter(folder, outputs, files)
    todo = writer.plan(found)
    predictor.check_views(calling["views"])
    written, failed = [], []
    for image in _counted(todo, progress):
        try:
            written.append(writer.write(predictor(image, scores=False, **calling), image, predictor))
        except AtrousError as error:
            failed.append(error)
    if failed:
        raise DataError(_complaint(failed, len(todo)))
    return written


def _counted(images: Sequence[Path], progress: Progress | None) -> Iterator[Path]:
    """The images one by one, and how many are done to whom it concerns."""
    for done, image in enumerate(images):
        if progress is not None:
            progress(done, len(images))
        yield image
    if progress is not None:
        progress(len(images), len(images))


def _complaint(failed: list[AtrousError], count: int) -> str:
    if len(failed) == 1 == count:
        return str(failed[0])
    reasons = "; ".join(str(error).rstrip(".") for error in failed[:NAMED])
    more = f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    rest = ", the others are done" if len(failed) < count else ""
    return f"{len(failed)} of {count} images could not be segmented{rest}: {reasons}{more}."
