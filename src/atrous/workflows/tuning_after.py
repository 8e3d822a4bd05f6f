"""What is chosen by the validation images once the weights are there: the section `tune` of a recipe.

`tune: [crf, min_size]` tries a few dense CRFs, then sizes below which parts are cleaned away, and writes what scores
higher into the bundle, as its sections `refine` and `clean`. What scores no higher is left out.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from atrous.bundle import Bundle, update_bundle
from atrous.data import Folder, Pair
from atrous.data.folder import spread
from atrous.data.reading import read_pair
from atrous.inference import Predictor
from atrous.inference.remembering import RememberingScorer
from atrous.postprocess.choosing import TUNED, choose
from atrous.postprocess.search import LabelledScores
from atrous.workflows.predicted_pairs import PredictedPairs

__all__ = ["tune_after"]

LOG = logging.getLogger(__name__)
IMAGES = 12
"""Validation images by which settings are chosen, at most, evenly spread."""
PIXELS = 6_000_000
"""Their pixels together, at most: large images are fewer."""


def tune_after(bundle: Bundle, folder: Folder, names: Sequence[str]) -> Bundle:
    """Choose settings by the validation images, and write them into the bundle.

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
    pairs, least = _chosen_pairs(folder)
    predictor.scorer = RememberingScorer(predictor.scorer)
    samples: Sequence[LabelledScores] = PredictedPairs(predictor, folder, pairs)
    sections: dict[str, Any] = {}
    for name in TUNED:  # in their order: cleaning comes after refining
        if name in names and pairs:
            samples, section = choose(name, samples, least)
            sections |= section
            LOG.info("tuned by %d validation images: %s", len(pairs), _words(name, section))
    if not sections:
        return bundle
    update_bundle(bundle.path, sections=sections)
    return replace(bundle, recipe={**bundle.recipe, **sections})


def _chosen_pairs(folder: Folder) -> tuple[list[Pair], int]:
    """The validation images that settings are chosen by, and the pixels of the smallest."""
    chosen: list[Pair] = []
    sizes: list[int] = []
    for pair in spread([pair for pair in folder.splits["val"] if pair.mask or pair.instances], IMAGES):
        truth = read_pair(pair, folder)[1]
        if truth is None or truth.ndim != 2 or (chosen and sum(sizes) + truth.size > PIXELS):
            continue
        chosen.append(pair)
        sizes.append(truth.size)
    return chosen, min(sizes, default=0)


def _words(name: str, section: dict[str, Any]) -> str:
    if not section:
        return f"{name} does no good and is left out"
    value = next(iter(section.values()))
    return f"{name}: " + ", ".join(f"{key} {word}" for key, word in value.items() if key != "name")
