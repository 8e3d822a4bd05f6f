"""What is chosen by the validation images once the weights are there: the section `tune` of a recipe.

`tune: [crf, min_size]` tries a few dense CRFs, then sizes below which parts are cleaned away, and writes what scores
higher into the bundle, as its sections `refine` and `clean`. What scores no higher is left out, and so is what a single
class would pay for.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from atrous.bundle import Bundle, update_bundle
from atrous.data import Folder, Pair
from atrous.data.folder import spread
from atrous.data.reading import read_labels, read_pair
from atrous.inference import Predictor
from atrous.inference.remembering import RememberingScorer
from atrous.metrics import summarize
from atrous.postprocess import part_areas
from atrous.postprocess.choosing import TUNED, Chosen, choose
from atrous.postprocess.search import LabelledScores
from atrous.workflows.predicted_pairs import PredictedPairs

__all__ = ["tune_after"]

LOG = logging.getLogger(__name__)
IMAGES = 12
"""Validation images by which settings are chosen, at most, evenly spread."""
PIXELS = 6_000_000
"""Their pixels together, at most: large images are fewer."""
MASKS = 60
"""Training masks whose objects are measured, at most, evenly spread."""


def tune_after(bundle: Bundle, folder: Folder, names: Sequence[str]) -> Bundle:
    """Choose settings by the validation images, and write them into the bundle, with the IoU of each class.

    Args:
        bundle: of the run, on this machine.
        folder: its data.
        names: in `TUNED`.

    Returns:
        The bundle as it is now on the disk.
    """
    if not names or not folder.splits.get("val"):
        return bundle
    predictor = Predictor.from_bundle(bundle, refine="none")
    if not predictor.task.pixelwise:
        LOG.info("tune: what decides objects as a whole is left as it is")
        return bundle
    pairs = _chosen_pairs(folder)
    if not pairs:
        return bundle
    predictor.scorer = RememberingScorer(predictor.scorer)
    samples: Sequence[LabelledScores] = PredictedPairs(predictor, folder, pairs)
    objects = _training_objects(folder) if "min_size" in names else []
    found: dict[str, Chosen] = {}
    for name in TUNED:  # in their order: cleaning comes after refining
        if name in names:
            before = next((choice.before for choice in found.values()), None)
            found[name] = choose(name, samples, objects, before)
            samples = found[name].samples
    sections = {key: value for choice in found.values() for key, value in choice.section.items()}
    figures = {"images": len(pairs), **_figures(found, bundle.class_names), "settings": sections}
    for line in _told(figures):
        LOG.info("%s", line)
    update_bundle(bundle.path, sections=sections, metrics={"tuned": figures})
    return replace(bundle, recipe={**bundle.recipe, **sections}, metrics={**bundle.metrics, "tuned": figures})


def _figures(found: Mapping[str, Chosen], names: Sequence[str]) -> dict[str, Any]:
    """IoU of each class before and after what was chosen, and what was left out for the sake of which class."""
    first = next(iter(found.values())).before
    chosen = [choice.after for choice in found.values() if choice.section]
    before, after = (summarize(counts, names)["iou"] for counts in (first, chosen[-1] if chosen else first))
    left_out = {}
    for method, choice in found.items():
        would = summarize(choice.after, names)["iou"]
        lost = [names[number] for number in choice.harmed]
        left_out[method] = {name: [before[name], would[name]] for name in lost}
    return {
        "before": before,
        "after": after,
        "left_out": left_out,
        "chosen": [k for k, v in found.items() if v.section],
    }


def _told(figures: Mapping[str, Any]) -> list[str]:
    """The log of a choice: what was chosen, what was left out and why, and each class before and after."""
    lines = [f"tuned by {figures['images']} validation images:"]
    for method, lost in figures["left_out"].items():
        if method in figures["chosen"]:
            lines.append(f"  {method} is chosen")
        elif lost:
            costs = ", ".join(f"{name} IoU {was:.3f} to {now:.3f}" for name, (was, now) in lost.items())
            lines.append(f"  {method} raises the mean and is left out, because it costs {costs}")
        else:
            lines.append(f"  {method} does no good and is left out")
    if figures["chosen"]:
        rows = ((name, was, figures["after"][name]) for name, was in figures["before"].items())
        lines += [f"  {name}: IoU {was:.3f} before, {now:.3f} after" for name, was, now in rows]
    return lines


def _training_objects(folder: Folder) -> list[list[int]]:
    """Pixels of the objects of each class in the training masks, each connected part of a class being one."""
    objects: list[list[int]] = [[] for _ in folder.classes.names]
    for pair in spread([pair for pair in folder.splits["train"] if pair.mask or pair.instances], MASKS):
        mask = read_labels(pair, folder.classes, None)[0]
        if mask is not None and mask.ndim == 2:
            for number, areas in part_areas(mask).items():
                if number < len(objects):  # others are ignored pixels
                    objects[number] += areas.tolist()
    return objects


def _chosen_pairs(folder: Folder) -> list[Pair]:
    """The validation images that settings are chosen by."""
    chosen: list[Pair] = []
    pixels = 0
    for pair in spread([pair for pair in folder.splits["val"] if pair.mask or pair.instances], IMAGES):
        truth = read_pair(pair, folder)[1]
        if truth is None or truth.ndim != 2 or (chosen and pixels + truth.size > PIXELS):
            continue
        chosen.append(pair)
        pixels += truth.size
    return chosen
