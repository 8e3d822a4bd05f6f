"""What is chosen by the validation images once the weights are there: the section `tune` of a recipe.

`tune: [crf, min_size]` tries a few dense CRFs, then sizes below which parts are cleaned away, and writes what scores
higher into the bundle, as its sections `refine` and `clean`. What scores no higher is left out.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from atrous.bundle import Bundle, update_bundle
from atrous.data import Folder, Pair
from atrous.data.folder import spread
from atrous.data.reading import read_pair
from atrous.errors import RecipeError, did_you_mean
from atrous.inference import Predictor
from atrous.inference.remembering import RememberingScorer
from atrous.metrics import mean_iou
from atrous.postprocess.methods import CrfMethod, MinSizeMethod
from atrous.postprocess.search import LabelledScores, Setting, search
from atrous.tables import describe_value
from atrous.workflows.predicted_pairs import PredictedPairs

if TYPE_CHECKING:
    from atrous.recipe import Recipe
    from atrous.workflows.preparation import Inputs

__all__ = ["TUNED", "choose", "read_tune", "tune_after"]

IMAGES = 12
"""Validation images by which settings are chosen, at most, evenly spread."""
PIXELS = 6_000_000
"""Their pixels together, at most: large images are fewer."""
CRF_AXES: Mapping[str, Sequence[float]] = {
    "gaussian_xy": (3.0,),
    "gaussian_weight": (3.0,),
    "bilateral_xy": (40.0, 80.0),
    "bilateral_rgb": (5.0, 10.0),
    "bilateral_weight": (3.0, 6.0),
    "iterations": (5,),
}
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
"""Least sizes of parts that are tried, in pixels, up to a thousandth of an image."""
LEAST_GAIN = 5e-4
"""Of mean IoU; less than that is chance."""


TUNED: dict[str, tuple[CrfMethod | MinSizeMethod, Callable[[int], Mapping[str, Sequence[float]]]]] = {
    "crf": (CrfMethod(), lambda pixels: CRF_AXES),
    "min_size": (MinSizeMethod(), lambda pixels: {"min_size": (0, *(s for s in SIZES if s <= pixels / 1000))}),
}
"""What can be chosen, in the order in which it is applied: the method, and values for images of so many pixels."""


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


def tune_after(bundle: Bundle, inputs: "Inputs", recipe: "Recipe") -> Bundle:
    """Choose what the recipe wants chosen, and write it into the bundle.

    Returns:
        The bundle as it is now on the disk.
    """
    names = read_tune(recipe)
    if not names or not inputs.folder.splits.get("val"):
        return bundle
    predictor = Predictor.from_bundle(bundle, refine="none")
    if not predictor.task.pixelwise:
        print("tune: what decides objects as a whole is left as it is", file=sys.stderr)
        return bundle
    pairs, least = _chosen_pairs(inputs.folder)
    predictor.scorer = RememberingScorer(predictor.scorer)
    samples: Sequence[LabelledScores] = PredictedPairs(predictor, inputs.folder, pairs)
    sections: dict[str, Any] = {}
    for name in TUNED:  # in their order: cleaning comes after refining
        if name in names and pairs:
            samples, section = choose(name, samples, least)
            sections |= section
            print(f"tuned by {len(pairs)} validation images: {_words(name, section)}", file=sys.stderr)
    if not sections:
        return bundle
    update_bundle(bundle.path, sections=sections)
    return replace(bundle, recipe={**bundle.recipe, **sections})


def choose(
    name: str, samples: Sequence[LabelledScores], pixels: int
) -> tuple[Sequence[LabelledScores], dict[str, Any]]:
    """Choose the best setting of a method.

    Args:
        name: in `TUNED`.
        samples: labelled images.
        pixels: of the smallest.

    Returns:
        The images after the method, and the section of a recipe that asks for it; unchanged and empty where the gain is
        less than `LEAST_GAIN`.
    """
    method, axes = TUNED[name]
    found = search(samples, method, axes(pixels), mean_iou)
    if found.score <= found.plain + LEAST_GAIN:
        return samples, {}
    return _Processed(samples, method, found.setting), method.section(found.setting)


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


class _Processed(Sequence[LabelledScores]):
    """Images after a method with the setting that was chosen, made when they are asked for."""

    def __init__(self, samples: Sequence[LabelledScores], method: CrfMethod | MinSizeMethod, setting: Setting) -> None:
        self._samples, self._method, self._setting = samples, method, setting

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        return self._method.apply(self._samples[index], self._setting)


def _words(name: str, section: dict[str, Any]) -> str:
    if not section:
        return f"{name} does no good and is left out"
    value = next(iter(section.values()))
    return f"{name}: " + ", ".join(f"{key} {word}" for key, word in value.items() if key != "name")
