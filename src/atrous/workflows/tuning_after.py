"""What is chosen by the validation images once the weights are there: the section `tune` of a recipe.

`tune: [crf, min_size]` tries a few dense CRFs, then sizes below which parts are cleaned away, and writes what scores
higher into the bundle, as its sections `refine` and `clean`. What scores no higher is left out.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.errors import RecipeError, did_you_mean
from atrous.tables import describe_value

if TYPE_CHECKING:
    from atrous.data import Folder
    from atrous.inference import Predictor
    from atrous.recipe import Recipe
    from atrous.workflows.preparation import Inputs

__all__ = ["TUNED", "read_tune", "tune_after"]

IMAGES = 12
"""Validation images by which settings are chosen, at most, evenly spread."""
PIXELS = 6_000_000
"""Their pixels together, at most: large images are fewer."""
CRF_SETTINGS = [
    {"bilateral_xy": xy, "bilateral_rgb": rgb, "bilateral_weight": weight}
    for xy in (40.0, 80.0)
    for rgb in (5.0, 10.0)
    for weight in (3.0, 6.0)
]
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
"""Least sizes of parts that are tried, in pixels, up to a thousandth of an image."""
LEAST_GAIN = 5e-4
"""Of mean IoU; less than that is chance."""


@dataclass(frozen=True)
class _Sample:
    """A validation image: scores, its own numbers, and the truth."""

    scores: Any
    image: np.ndarray
    truth: np.ndarray


def read_tune(recipe: "Recipe") -> list[str]:
    """What a recipe wants chosen.

    Raises:
        RecipeError: if the section is no list of names in `TUNED`.
    """
    section, place = recipe.section("tune", []), recipe.place / "tune"
    names = [section] if isinstance(section, str) else section
    if not isinstance(names, list):
        raise RecipeError(f"{place}: got {describe_value(section)}, but it is a list such as [crf, min_size].")
    for name in names:
        if not isinstance(name, str) or name not in TUNED:
            raise RecipeError(f"{place}: {describe_value(name)} cannot be tuned. {did_you_mean(str(name), TUNED)}")
    return list(names)


def tune_after(bundle: Path, inputs: "Inputs", recipe: "Recipe") -> None:
    """Choose what the recipe wants chosen, and write it into the bundle."""
    from atrous.bundle import update_bundle
    from atrous.inference import Predictor

    names = read_tune(recipe)
    if not names or not inputs.folder.splits.get("val"):
        return
    predictor = Predictor.load(bundle, refine="none")
    if not predictor.task.pixelwise:
        print("tune: what decides objects as a whole is left as it is", file=sys.stderr)
        return
    samples = _samples(predictor, inputs.folder)
    chosen: dict[str, Any] = {}
    for name in TUNED:  # in their order: cleaning comes after refining
        if name in names and samples:
            samples, section = TUNED[name](samples, len(inputs.folder.classes.names))
            chosen |= section
            print(f"tuned by {len(samples)} validation images: {_words(name, section)}", file=sys.stderr)
    if chosen:
        update_bundle(bundle, sections=chosen)


def _samples(predictor: "Predictor", folder: "Folder") -> list[_Sample]:
    from atrous.data.folder import read_pair, spread

    pairs = [pair for pair in folder.splits["val"] if pair.mask or pair.instances]
    samples: list[_Sample] = []
    pixels = 0
    for pair in spread(pairs, IMAGES):
        raster, truth, _ = read_pair(pair, folder)
        if truth is None or truth.ndim != 2 or (samples and pixels + truth.size > PIXELS):
            continue
        pixels += truth.size
        image = np.nan_to_num(raster.array) if raster.array.dtype.kind == "f" else raster.array
        samples.append(_Sample(predictor(raster.array, scores=True).scores, image, truth))
    return samples


def _tune_crf(samples: list[_Sample], classes: int) -> tuple[list[_Sample], dict[str, Any]]:
    """The best of a few settings of the dense CRF; the samples as it leaves them."""
    from atrous.crf import dense_crf

    best, section, kept = _score((sample.scores for sample in samples), samples, classes) + LEAST_GAIN, None, samples
    for setting in CRF_SETTINGS:
        bilateral = (setting["bilateral_xy"], setting["bilateral_rgb"], setting["bilateral_weight"])
        refined = [
            dense_crf(sample.scores, sample.image, gaussian=(3, 3.0), bilateral=bilateral, iterations=5)
            for sample in samples
        ]
        score = _score(refined, samples, classes)
        if score > best:
            best, section = score, {"name": "crf", "gaussian_xy": 3.0, "gaussian_weight": 3.0, **setting}
            kept = [_Sample(scores, old.image, old.truth) for scores, old in zip(refined, samples, strict=True)]
    return kept, {} if section is None else {"refine": {**section, "iterations": 5}}


def _tune_min_size(samples: list[_Sample], classes: int) -> tuple[list[_Sample], dict[str, Any]]:
    """The best least size of parts."""
    from atrous.postprocess import remove_small

    decided = [sample.scores.argmax(0).astype(np.uint8 if classes <= 256 else np.uint16) for sample in samples]
    largest = min(sample.truth.size for sample in samples) / 1000
    scores = {
        size: _judge([remove_small(each, size) for each in decided], samples, classes)
        for size in (0, *(size for size in SIZES if size <= largest))
    }
    best = max(scores, key=lambda size: (scores[size], -size))
    return samples, {"clean": {"min_size": best}} if scores[best] > scores[0] + LEAST_GAIN else {}


def _score(scores: Any, samples: Sequence[_Sample], classes: int) -> float:
    return _judge([each.argmax(0) for each in scores], samples, classes)


def _judge(decided: Sequence[np.ndarray], samples: Sequence[_Sample], classes: int) -> float:
    """Mean IoU over all samples together."""
    import torch

    from atrous.metrics import confusion_matrix, mean_iou

    counts = torch.zeros(classes, classes, dtype=torch.int64)
    for each, sample in zip(decided, samples, strict=True):
        counts += confusion_matrix(
            torch.from_numpy(each.astype(np.int64)), torch.from_numpy(sample.truth.astype(np.int64)), classes
        )
    return float(mean_iou(counts))


def _words(name: str, section: dict[str, Any]) -> str:
    if not section:
        return f"{name} does no good and is left out"
    value = next(iter(section.values()))
    return f"{name}: " + ", ".join(f"{key} {word}" for key, word in value.items() if key != "name")


TUNED: dict[str, Callable[[list[_Sample], int], tuple[list[_Sample], dict[str, Any]]]] = {
    "crf": _tune_crf,
    "min_size": _tune_min_size,
}
"""What can be chosen, in the order in which it is applied."""
