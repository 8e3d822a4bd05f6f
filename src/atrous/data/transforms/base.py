"""What every transform is, how one act moves all maps of a sample, and the checks that arguments share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from torch import Tensor

from atrous.errors import RecipeError
from atrous.types import IGNORE_INDEX, Sample

__all__ = ["Compose", "Transform", "chance", "check_positive", "check_probability", "check_range", "compose", "move"]


class Transform(Protocol):
    """A sample becomes a sample; all that is random comes from the generator it is handed.

    Images are float32 (C, H, W) in their own numbers, masks int64 (H, W). The sample that is given stays as it is.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Transform one sample."""
        ...


@dataclass(frozen=True)
class Compose:
    """Transforms one after the other, drawing from one generator."""

    transforms: tuple[Transform, ...]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply all in order."""
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


def compose(transforms: Sequence[Transform]) -> Compose:
    """One transform that applies `transforms` in order."""
    return Compose(tuple(transforms))


def move(
    sample: Sample,
    *,
    image: Callable[[Tensor], Tensor],
    labels: Callable[[Tensor, int], Tensor],
    weight: Callable[[Tensor], Tensor] | None = None,
) -> Sample:
    """Do one geometric act to everything in a sample that has height and width.

    Args:
        sample: stays as it is; the result shares what was not touched.
        image: act on a (C, H, W) map.
        labels: act on a (H, W) map of whole numbers; its second argument is what stands where nothing is known
            (255 in a mask, 0 in an instance map).
        weight: act on a (H, W) map of weights; `image` where None. A weight map made from distances to borders should
            be computed anew after a deformation: carried along, it keeps the distances of before.

    Raises:
        RecipeError: if the sample has key points, which these acts do not move.
    """
    if "keypoints" in sample:
        raise RecipeError(
            "This transform moves images and masks, but the sample has key points: remove it from augment."
        )
    moved = dict(sample)
    for key, act in (
        ("image", image),
        ("mask", lambda mask: labels(mask, IGNORE_INDEX)),
        ("instances", lambda instances: labels(instances, 0)),
        ("weight", weight or (lambda plane: image(plane[None])[0])),
    ):
        if key in moved:
            moved[key] = act(cast(Tensor, moved[key]))
    return cast(Sample, moved)


def chance(rng: np.random.Generator, p: float) -> bool:
    """True with probability `p`. Draws one number whatever `p` is, so that what follows does not depend on it."""
    return bool(rng.random() < p)


def check_probability(name: str, p: float) -> None:
    """Refuse a probability outside 0..1."""
    if not 0.0 <= p <= 1.0:
        raise RecipeError(f"{name}: p is {p:g}, but a probability lies between 0 and 1: give p: 0.5, for example.")


def check_positive(name: str, key: str, value: float, *, zero: bool = False) -> None:
    """Refuse a value below (or at, unless `zero`) 0, and one that is not finite."""
    if not np.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise RecipeError(f"{name}: {key} is {value:g}, but must be {'at least' if zero else 'greater than'} 0.")


def check_range(name: str, low: float, high: float) -> None:
    """Refuse a range whose ends are exchanged, not finite, or not above 0."""
    check_positive(name, "low", low)
    check_positive(name, "high", high)
    if low > high:
        raise RecipeError(f"{name}: low {low:g} is greater than high {high:g}: exchange them.")
