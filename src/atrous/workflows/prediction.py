"""Masks for new images: files, folders and patterns in, one mask per image out."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from atrous.errors import AtrousError, DataError
from atrous.inference import Predictor
from atrous.inference.coding import class_coding, value_coding
from atrous.inference.counting import count_table
from atrous.inference.inputs import find_inputs
from atrous.inference.running import Running, read_running
from atrous.inference.writing import FileWriter, PredictionFiles, counts_path, file_of
from atrous.tasks.outputs import mask
from atrous.types import Progress
from atrous.workflows.runs import check_engine, check_refine, check_tile

__all__ = ["PredictionFiles", "describe_counts", "find_inputs", "predict"]

LOG = logging.getLogger(__name__)
NAMED = 3
"""Failed images that the closing error names."""
OUT = "predictions"
"""Where masks go unless told otherwise."""


def predict(
    bundle: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path = OUT,
    *,
    outputs: PredictionFiles = PredictionFiles(),  # noqa: B008 (frozen)
    progress: Progress | None = None,
    **how: Unpack[Running],
) -> list[Path]:
    """Segment images and write a mask of the same name for each.

    An image that cannot be segmented is reported at the end; all others are done. With `tile` the memory in use depends
    on the tile and the size of the mask alone, save that an overlay needs the whole image. How much of every class the
    masks show stands in counts.csv beside them.

    Args:
        bundle: a bundle, a run folder, or a Hugging Face Hub id.
        images: files, folders of images, data folders, and patterns such as "scans/*.tif".
        out: the folder for the masks, which is made if it is not there; or the file of the mask of a single image.
        outputs: what to write.
        progress: called with the number of parts done, and of all as far as it is known: an image or page that is
            predicted in one pass is one part, and a larger one has a part for each tile.
        how: see `atrous.inference.Running`; the view "mc:N" has the uncertainty written too.

    Returns:
        The written masks; or, of a task that writes none, the tables.

    Raises:
        UsageError: before anything is done, if no image is found, or a file would fall on another or on an image.
        DataError: after all images, if some could not be segmented.
    """
    making, calling = read_running(how, "predict")
    check_tile(calling["tile"], calling["margin"])
    check_refine(making["refine"])
    check_engine(making["engine"])
    outputs = replace(outputs, uncertainty=any(view.split(":")[0] == "mc" for view in calling["views"]))
    place = Path(out)
    found = find_inputs(images, out=None if file_of(place) else place)
    FileWriter(place, outputs, [mask((), ())]).plan(found)  # refuses before anything is loaded
    predictor = Predictor.load(bundle, **making)
    files = predictor.task.files(predictor.class_names, predictor.colors)
    if outputs.confidence and not any(file.option == "confidence" for file in files):
        LOG.warning("%s: its task, %s, has no confidence, so none is written", bundle, type(predictor.task).__name__)
    if outputs.maps and not any(file.option == "maps" for file in files):
        LOG.warning("%s: its task, %s, has no belief maps, so none are written", bundle, type(predictor.task).__name__)
    known = predictor.classes if outputs.values == "data" else None
    coding = class_coding(predictor.colors) if known is None else value_coding(known)
    writer = FileWriter(place, outputs, files, coding, predictor.task.tables(predictor.class_names))
    todo = writer.plan(found)
    predictor.check_views(calling["views"])
    writer.begin(todo)
    parts = _Parts(progress, sum(len(image.pages) for image in todo))
    written, failed = [], []
    for image in todo:
        parts.begin(len(image.pages))
        try:
            with writer.writing(image, predictor) as put:
                for page in image.pages:
                    put(predictor(page, scores=outputs.maps, progress=parts.tile, **calling), page)
                    parts.next()
            written += writer.places(image)[:1] if writer.masks else []
        except AtrousError as error:
            failed.append(error)
    tables = writer.finish()
    parts.begin(0)
    for problem in failed if len(failed) > NAMED else ():
        LOG.warning("%s", problem)
    if failed:
        raise DataError(_complaint(failed, len(todo)))
    return [*written, *tables]


def describe_counts(masks: Sequence[Path], out: Path) -> str:
    """What `predict` counted in some masks, as a table, and where the numbers of each mask are; "" without masks.

    Args:
        masks: as `predict` gave them.
        out: as it was told.
    """
    counts = counts_path(out)
    table = count_table(counts, {mask.name for mask in masks})
    return table and f"{table}\ncounts of each mask: {counts}"


class _Parts:
    """How many pages and tiles are done, for whom it concerns."""

    def __init__(self, progress: Progress | None, count: int) -> None:
        self._progress, self._done, self._total, self._tiles, self._left = progress, 0, count, 1, 0

    def begin(self, pages: int) -> None:
        """The next image; of one that was given up, what is left counts as done."""
        for _ in range(self._left):
            self.next()
        self._left = pages
        self._tell(0)

    def tile(self, done: int, count: int) -> None:
        """So many of a page's tiles are done."""
        self._total, self._tiles = self._total + count - self._tiles, count
        if done:
            self._tell(done)

    def next(self) -> None:
        """A page is done."""
        self._done, self._tiles, self._left = self._done + self._tiles, 1, self._left - 1
        if self._left:
            self._tell(0)

    def _tell(self, more: int) -> None:
        if self._progress is not None:
            self._progress(self._done + more, self._total)


def _complaint(failed: list[AtrousError], count: int) -> str:
    if len(failed) == 1 == count:
        return str(failed[0])
    reasons = "; ".join(str(error).rstrip(".") for error in failed[:NAMED])
    more = f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    rest = ", the others are done" if len(failed) < count else ""
    return f"{len(failed)} of {count} images could not be segmented{rest}: {reasons}{more}."
