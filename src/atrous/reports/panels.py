"""The report's pictures: images with their truth, and predicted anew, the best, the worst and the refined."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.data.folder import read_pair
from atrous.drawing import mark, to_display
from atrous.evaluation import labelled_pairs
from atrous.reports.errors import label_errors, object_errors
from atrous.reports.views import Panel
from atrous.types import IGNORE_INDEX, Sample

if TYPE_CHECKING:
    from atrous.data import Folder
    from atrous.evaluation import Evaluation, ImageResult
    from atrous.inference import Predictor

__all__ = ["SEEN", "example_panels", "ranked_panels", "refined_panels", "seen_panels"]

EXAMPLES, SEEN, RANKED = 4, 6, 3
"""Training images shown, crops as the network got them, and images shown as best and as worst."""
TILE_ABOVE = 4_000_000
"""Images of more pixels than this are segmented by tiles for the pictures."""


def example_panels(folder: "Folder") -> list[Panel]:
    """Some training images with their truth, evenly spread."""
    pairs = labelled_pairs(folder, "train")
    step = max(1, len(pairs) // EXAMPLES)
    return [_panel(folder, pair) for pair in pairs[::step][:EXAMPLES]]


def seen_panels(samples: Iterable[Sample], folder: "Folder") -> list[Panel]:
    """Crops of the training, as the network got them."""
    panels = []
    for sample in samples:
        image = sample["image"].permute(1, 2, 0).numpy()  # (C, H, W) -> (H, W, C)
        if folder.dtype == "uint8":
            image = image.clip(0, 255).round().astype(np.uint8)
        weight = sample["weight"].numpy() if "weight" in sample else None
        weight = None if weight is None or np.ptp(weight) == 0 else weight  # all alike say nothing
        mask = sample["mask"].numpy() if "mask" in sample else None
        objects = sample["instances"].numpy() if "instances" in sample else None
        name = folder.splits["train"][int(sample["index"])].name
        overlapping = mask is not None and mask.ndim == 3
        points = sample["keypoints"].numpy() if "keypoints" in sample else None
        panels.append(
            Panel(
                name,
                _marked(to_display(image), points, folder),
                _flat(mask),
                weight=weight,
                truth_objects=objects,
                overlapping=overlapping,
            )
        )
    return panels


def ranked_panels(
    folder: "Folder", predictor: "Predictor", measured: "Evaluation | None"
) -> tuple[list[Panel], list[Panel]]:
    """The best and the worst images of an evaluation, no image in both."""
    if measured is None:
        return [], []
    order = measured.ranked()
    worst = order[: min(RANKED, (len(order) + 1) // 2)]
    best = order[len(worst) :][::-1][:RANKED]
    pairs = {pair.name: pair for pair in folder.splits.get(measured.split, ())}

    def panels(results: "Iterable[ImageResult]") -> list[Panel]:
        known = [result for result in results if result.name in pairs]
        return [_panel(folder, pairs[r.name], predictor, score=r.figure(measured.rank.name)) for r in known]

    return panels(best), panels(worst)


def refined_panels(folder: "Folder", predictor: "Predictor", measured: "Evaluation | None") -> list[Panel]:
    """Images of an evaluation with and without the refinement, the worst first; none where nothing refines."""
    if measured is None or predictor.refiner is None:
        return []
    order = measured.ranked()
    pairs = {pair.name: pair for pair in folder.splits.get(measured.split, ())}
    named = [pairs[result.name] for result in order[:: max(1, len(order) // RANKED)] if result.name in pairs]
    panels = []
    for pair in named[:RANKED]:
        panel = _panel(folder, pair, predictor)
        panels.append(replace(panel, unrefined=_panel(folder, pair, predictor, refine="none").predicted))
    return panels


def _panel(
    folder: "Folder",
    pair: Any,
    predictor: "Predictor | None" = None,
    *,
    score: float | None = None,
    refine: str | None = None,
) -> Panel:
    raster, mask, instances = read_pair(pair, folder)
    points = pair.landmarks.points if pair.landmarks is not None else None
    image, truth = _marked(to_display(raster.visible()), points, folder), _flat(mask)
    panel = Panel(pair.name, image, truth, overlapping=mask is not None and mask.ndim == 3, truth_objects=instances)
    if predictor is None:
        return panel
    large = raster.array.shape[0] * raster.array.shape[1] > TILE_ABOVE
    found = predictor(raster, tile=1024 if large else None, refine=refine, scores=False)
    task = predictor.task
    drawn = None if task.shows_classes else task.draw(found, raster.visible(), predictor.colors)
    if drawn is not None and points is not None:
        drawn = mark(drawn, points, folder.classes.colors, cross=True)
    panel = replace(panel, predicted=found.classes, score=score, drawn=drawn, overlapping=found.labels is not None)
    if found.instances is None:  # where nobody tells objects apart, nor does the picture
        panel = replace(panel, truth_objects=None)
    elif instances is not None:
        errors = object_errors(instances, found.instances, instances > 0 if mask is None else mask)
        panel = replace(panel, predicted_objects=found.instances, errors=errors)
    else:
        panel = replace(panel, predicted_objects=found.instances)
    if found.labels is not None and mask is not None:
        panel = replace(panel, errors=label_errors(_planes(mask, len(found.labels)), found.labels))
    return panel


def _marked(image: np.ndarray, points: np.ndarray | None, folder: "Folder") -> np.ndarray:
    """A picture with the true landmarks as crosses, where there are some."""
    if points is None:
        return image
    return mark(image, points, folder.classes.colors, folder.classes.names, cross=True)


def _planes(mask: np.ndarray, count: int) -> np.ndarray:
    """A plane for each class, also where the mask has one class per pixel."""
    if mask.ndim == 3:
        return mask
    planes = (mask[None] == np.arange(count)[:, None, None]).astype(np.uint8)
    return np.where(mask[None] == IGNORE_INDEX, np.uint8(IGNORE_INDEX), planes)


def _flat(mask: "np.ndarray | None") -> Any:
    """A mask to look at: of classes that overlap, the last one on top, and 255 where none is."""
    if mask is None or mask.ndim == 2:
        return mask
    flat: np.ndarray = np.full(mask.shape[1:], IGNORE_INDEX, np.uint8)
    planes: Sequence[np.ndarray] = list(mask)
    for number, plane in enumerate(planes):
        flat[plane == 1] = number
    return flat
