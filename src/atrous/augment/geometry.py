"""Transforms that change size or exchange sides: image, mask, instances and weight together.

Deterministic functions first (`resize`, `flip_horizontally`, ...), then the classes that draw their arguments. Images
and weights are read bilinearly, labels at the nearest pixel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Annotated

import cv2
import numpy as np
import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from atrous.augment.base import (
    ClassNumber,
    Positive,
    Probability,
    Side,
    WindowedSample,
    chance,
    check_positive,
    check_probability,
    check_range,
    exchange_pairs,
    in_full,
    move,
)
from atrous.augment.crops import check_size, crop, inside
from atrous.augment.resample import resample_image, resample_labels
from atrous.errors import RecipeError
from atrous.types import Sample

__all__ = [
    "DiscreteScale",
    "HorizontalFlip",
    "RandomScale",
    "Resize",
    "Rotate90",
    "VerticalFlip",
    "flip_horizontally",
    "flip_vertically",
    "quarter_turns",
    "resize",
]


# Deterministic acts


def resize(sample: Sample, height: int, width: int) -> Sample:
    """Bring everything to a size; pixel areas correspond (not corner centres), and shrinking does not alias."""

    def image(x: Tensor) -> Tensor:
        enlarged = height >= x.shape[1] and width >= x.shape[2]
        return _enlarge(x, height, width) if enlarged else resample_image(x, height, width)

    return move(
        sample,
        image=image,
        labels=lambda plane, _: resample_labels(plane, height, width),
        points=_resized(sample, height, width),
    )


def _resized(sample: Sample, height: int, width: int) -> Callable[[Tensor], Tensor]:
    """Where points come to stand: pixel areas correspond, whose corners lie half a pixel before the first centre."""
    rows, columns = sample["image"].shape[-2:]
    factors = torch.tensor([width / columns, height / rows], dtype=torch.float64)
    return lambda points: (points + 0.5) * factors - 0.5


def _enlarge(image: Float[Tensor, "C H W"], height: int, width: int) -> Float[Tensor, "C h w"]:
    # OpenCV: the same numbers as `resample_image` at a third of its time; it has no shrinking without aliases.
    out = np.empty((image.shape[0], height, width), np.float32)
    for plane, target in zip(image.to(torch.float32).numpy(), out, strict=True):
        cv2.resize(np.ascontiguousarray(plane), (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(out)


def windowed_resize(sample: Sample, height: int, width: int) -> WindowedSample:
    """The sample at another size, computed where it is asked for."""
    resized = _resized(sample, height, width)

    def cut(top: int, left: int, rows: int, columns: int) -> Sample:
        if (rows, columns) == (height, width) or not inside(top, left, rows, columns, of=(height, width)):
            return crop(resize(in_full(sample), height, width), top, left, rows, columns)
        window = (slice(top, top + rows), slice(left, left + columns))
        return move(
            sample,
            image=lambda image: resample_image(image, height, width, window),
            labels=lambda plane, _: resample_labels(plane, height, width, window),
            points=lambda points: resized(points) - torch.tensor([left, top]),
        )

    return WindowedSample(height, width, cut)


def flip_horizontally(sample: Sample) -> Sample:
    """Exchange left and right, and in the mask the classes of each of the sample's `flip_pairs`."""
    return _flip(sample, -1)


def flip_vertically(sample: Sample) -> Sample:
    """Exchange top and bottom, and in the mask the classes of each of the sample's `flip_pairs`."""
    return _flip(sample, -2)


def _flip(sample: Sample, axis: int) -> Sample:
    last, coordinate = sample["image"].shape[axis] - 1, -1 - axis  # x is the last axis and the first coordinate

    def points(places: Tensor) -> Tensor:
        mirrored = places.clone()
        mirrored[:, coordinate] = last - mirrored[:, coordinate]
        return mirrored

    flipped = move(
        sample, image=lambda image: image.flip(axis), labels=lambda plane, _: plane.flip(axis), points=points
    )
    return exchange_pairs(flipped)


def quarter_turns(sample: Sample, turns: int) -> Sample:
    """Turn by `turns` times 90 degrees counter-clockwise; exact. Odd turns exchange height and width."""
    height, width = sample["image"].shape[-2:]

    def points(places: Tensor) -> Tensor:
        lengths = [width, height]
        for _ in range(turns % 4):
            places = torch.stack([places[:, 1], lengths[0] - 1 - places[:, 0]], 1)
            lengths = lengths[::-1]
        return places

    return move(
        sample,
        image=lambda image: image.rot90(turns, (-2, -1)),
        labels=lambda plane, _: plane.rot90(turns, (-2, -1)),
        points=points,
    )


# Random draws


@dataclass(frozen=True)
class RandomScale:
    """Resize by a factor drawn evenly between `low` and `high`, which hold 1 in a recipe. Put it before the crop.

    Attributes:
        low: smallest factor.
        high: largest factor.
        aspect: widths are stretched against heights by up to this ratio either way, at the same area: the ratio is
            drawn between 1 / aspect and aspect, evenly in its logarithm. 1 keeps all proportions.
    """

    low: Positive = 0.5
    high: Positive = 2.0
    aspect: Annotated[float, Ge(1)] = 1.0

    def __post_init__(self) -> None:
        check_range("random_scale", self.low, self.high)
        if not np.isfinite(self.aspect) or self.aspect < 1:
            raise RecipeError(
                f"random_scale: aspect is {self.aspect:g}, but the largest ratio of width to height is at least 1."
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a factor and resize."""
        return self.windowed(sample, rng).whole()

    def windowed(self, sample: Sample, rng: np.random.Generator) -> WindowedSample:
        """Draw a factor, and resize what is asked for."""
        factor, stretch = rng.uniform(self.low, self.high), 1.0
        if self.aspect > 1:
            stretch = float(np.exp(rng.uniform(-0.5, 0.5) * log(self.aspect)))
        return _scaled(sample, factor / stretch, factor * stretch)


@dataclass(frozen=True)
class DiscreteScale:
    """Resize by one of `scales`, which reach 1 in a recipe, each as likely. Put it before the crop.

    Attributes:
        scales: factors above 0; DeepLab's are 0.5, 0.75, 1, 1.25, 1.5.
    """

    scales: tuple[Positive, ...] = (0.5, 0.75, 1.0, 1.25, 1.5)

    def __post_init__(self) -> None:
        if not self.scales:
            raise RecipeError("discrete_scale: scales is empty: give one factor or more, such as [0.5, 1.0, 1.5].")
        for scale in self.scales:
            check_positive("discrete_scale", "scales", scale)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a factor and resize."""
        return self.windowed(sample, rng).whole()

    def windowed(self, sample: Sample, rng: np.random.Generator) -> WindowedSample:
        """Draw a factor, and resize what is asked for."""
        factor = self.scales[int(rng.integers(len(self.scales)))]
        return _scaled(sample, factor, factor)


def _scaled(sample: Sample, down: float, across: float) -> WindowedSample:
    height, width = sample["image"].shape[-2:]
    return windowed_resize(sample, max(1, round(height * down)), max(1, round(width * across)))


@dataclass(frozen=True)
class Resize:
    """Bring every image to one size, whatever its proportions.

    A recipe that names it in `augment` is refused, because predictions take images at their own size: see
    `atrous.augment.always`. It is for chains that are made in Python.

    Attributes:
        height: rows of the result, in pixels.
        width: columns of the result, in pixels.
    """

    height: Side
    width: Side

    def __post_init__(self) -> None:
        check_size("resize", (self.height, self.width))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Resize."""
        return self.windowed(sample, rng).whole()

    def windowed(self, sample: Sample, rng: np.random.Generator) -> WindowedSample:
        """Resize what is asked for."""
        return windowed_resize(sample, self.height, self.width)


@dataclass(frozen=True)
class HorizontalFlip:
    """Exchange left and right with probability `p`, and the classes that are each other's mirror image.

    Which they are stands in the data: `flip_pairs` of `classes.yaml`.

    Attributes:
        p: how often to flip.
        swap: was the place for such pairs; refused, because other transforms and predictions have to know them too.
    """

    p: Probability = 0.5
    swap: tuple[tuple[ClassNumber, ClassNumber], ...] = ()

    def __post_init__(self) -> None:
        check_probability("horizontal_flip", self.p)
        if self.swap:
            raise RecipeError(
                "horizontal_flip: swap is known to this transform alone, and the pairs concern every other mirror and "
                "the predictions too: name them in classes.yaml instead, such as flip_pairs: [[left eye, right eye]]."
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Perhaps flip."""
        return flip_horizontally(sample) if chance(rng, self.p) else sample


@dataclass(frozen=True)
class VerticalFlip:
    """Exchange top and bottom with probability `p`, and the classes that are each other's mirror image.

    Attributes:
        p: how often to flip.
    """

    p: Probability = 0.5

    def __post_init__(self) -> None:
        check_probability("vertical_flip", self.p)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Perhaps flip."""
        return flip_vertically(sample) if chance(rng, self.p) else sample


@dataclass(frozen=True)
class Rotate90:
    """Turn by 0, 90, 180 or 270 degrees, each as likely. Put it after a square crop: turning exchanges the sides.

    Nothing is mirrored: left stays left.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a number of quarter turns and turn."""
        return quarter_turns(sample, int(rng.integers(4)))
