"""What the section `tune` of a recipe can name: methods of post-processing, and the values that are tried of each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from atrous.errors import RecipeError, did_you_mean
from atrous.metrics import mean_iou
from atrous.postprocess.methods import CrfMethod, MinSizeMethod
from atrous.postprocess.search import LabelledScores, Setting, search
from atrous.recipe import Recipe
from atrous.tables import describe_value

__all__ = ["TUNED", "choose", "read_tune"]

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


class _Processed(Sequence[LabelledScores]):
    """Images after a method with the setting that was chosen, made when they are asked for."""

    def __init__(self, samples: Sequence[LabelledScores], method: CrfMethod | MinSizeMethod, setting: Setting) -> None:
        self._samples, self._method, self._setting = samples, method, setting

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        return self._method.apply(self._samples[index], self._setting)
