"""What the section `tune` of a recipe can name: methods of post-processing, and the values that are tried of each.

A setting is chosen by the mean over the classes, and only where no class pays for it: see `harmed_classes`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from atrous.errors import RecipeError, did_you_mean
from atrous.metrics import mean_iou
from atrous.postprocess.harm import harmed_classes
from atrous.postprocess.methods import CrfMethod, MinSizeMethod
from atrous.postprocess.search import LabelledScores, SearchResult, Setting, search
from atrous.recipe import Recipe
from atrous.tables import describe_value

__all__ = ["TUNED", "Chosen", "choose", "read_tune"]

CRF_AXES: Mapping[str, Sequence[float]] = {
    "gaussian_xy": (3.0,),
    "gaussian_weight": (3.0,),
    "bilateral_xy": (40.0, 80.0),
    "bilateral_rgb": (5.0, 10.0),
    "bilateral_weight": (3.0, 6.0),
    "iterations": (5,),
}
FRACTIONS = (0.05, 0.1, 0.25, 0.5)
"""Of a small object: least sizes of parts that are tried."""
SMALL_OBJECT = 0.05
"""So many of a class's objects in the training masks are smaller than what is called a small one."""
LEAST_GAIN = 5e-4
"""Of mean IoU; less than that is chance."""
TUNED = ("crf", "min_size")
"""What can be chosen, in the order in which it is applied."""


class Chosen(NamedTuple):
    """What came of one method.

    Attributes:
        samples: the images after the method; as they were where it is left out.
        section: of a recipe that asks for the setting; empty where the method is left out.
        before: counts of the images before any method, rows the true classes.
        after: of the images as they are now; where the method is left out for the sake of classes, what it would give.
        harmed: the classes that it is left out for.
    """

    samples: Sequence[LabelledScores]
    section: dict[str, Any]
    before: Any
    after: Any
    harmed: list[int]


def read_tune(recipe: Recipe) -> list[str]:
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


def choose(
    name: str,
    samples: Sequence[LabelledScores],
    objects: Sequence[Sequence[int]] = (),
    before: Any = None,
) -> Chosen:
    """Choose the best setting of a method of those that harm no class.

    Args:
        name: in `TUNED`.
        samples: labelled images.
        objects: for `min_size` the pixels of each object of each class in the training masks.
        before: counts of the images before the first method; None where this is the first.

    Returns:
        The choice; without a section where the gain is less than `LEAST_GAIN`, or some class would pay for it.
    """
    method: CrfMethod | MinSizeMethod = CrfMethod()
    if name == "min_size":
        method, found = _search_sizes(samples, objects, before)
    else:
        found = search(samples, method, CRF_AXES, mean_iou, allows=partial(_harms_none, before))
    first = found.plain_counts if before is None else before
    gains = found.score > found.plain + LEAST_GAIN
    harmed = harmed_classes(first, found.counts) if gains else []
    if not gains or harmed:
        return Chosen(samples, {}, first, found.counts if harmed else found.plain_counts, harmed)
    processed = _Processed(samples, method, found.setting)
    return Chosen(processed, method.section(found.setting), first, found.counts, [])


def _search_sizes(
    samples: Sequence[LabelledScores], objects: Sequence[Sequence[int]], before: Any
) -> tuple[MinSizeMethod, SearchResult]:
    """The best fraction of small objects, with those classes left alone that cleaning would harm."""
    small = [float(np.quantile(areas, SMALL_OBJECT)) if len(areas) else 0.0 for areas in objects]
    while True:
        method = MinSizeMethod(small)
        found = search(samples, method, {"fraction": FRACTIONS}, mean_iou)
        first = found.plain_counts if before is None else before
        unseen = [number for number, row in enumerate(found.plain_counts.sum(1).tolist()) if not row]
        spared = [number for number in {*unseen, *harmed_classes(first, found.counts)} if small[number]]
        if not spared:
            return method, found
        for number in spared:
            small[number] = 0.0


def _harms_none(before: Any, plain: Any, counts: Any) -> bool:
    return not harmed_classes(plain if before is None else before, counts)


class _Processed(Sequence[LabelledScores]):
    """Images after a method with the setting that was chosen, made when they are asked for."""

    def __init__(self, samples: Sequence[LabelledScores], method: CrfMethod | MinSizeMethod, setting: Setting) -> None:
        self._samples, self._method, self._setting = samples, method, setting

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        return self._method.apply(self._samples[index], self._setting)
