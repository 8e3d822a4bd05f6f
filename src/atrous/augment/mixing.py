"""Transforms that mix a second sample of the data set into the first.

`Compose.bound` says where second samples come from. They have gone through the transforms named before, so that they
are augmented too, but not as the first; one of another size is cropped at random to the first's.

Copy-paste: Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", CVPR
2021, https://arxiv.org/abs/2012.07177. As there: a random part of the second image's objects, as they are, perhaps
mirrored. Different: no blending at the edges, without which the paper saw similar results.

CutMix: Yun et al., ICCV 2019, https://arxiv.org/abs/1905.04899. As there: a rectangle with the image's proportions,
whose share of the area is drawn by Beta(alpha, alpha). Different: it lies wholly inside the image, so that its area is
what was drawn, and labels are pasted like pixels instead of being averaged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import Bool, Int
from torch import Tensor

from atrous.augment.base import (
    ClassNumber,
    Mixing,
    Positive,
    Probability,
    chance,
    check_classes,
    check_positive,
    check_probability,
    need_mask,
    need_pixels_alone,
)
from atrous.augment.crops import RandomCrop
from atrous.augment.geometry import flip_horizontally
from atrous.augment.objects import number_objects
from atrous.errors import RecipeError
from atrous.types import Sample

_HIDDEN = "what is pasted would hide some of them and show those of another image"

__all__ = ["CopyPaste", "CutMix", "paste"]


# Deterministic act


def paste(
    sample: Sample, second: Sample, where: Bool[Tensor, "H W"], numbers: Int[Tensor, "H W"] | None = None
) -> Sample:
    """Replace pixels of one sample by those of another of the same size.

    Pasted instances get numbers above the sample's own. A weight map stays where both samples have one.

    Args:
        sample: with image and mask; stays as it is.
        second: with image and mask.
        where: the pixels to replace.
        numbers: object of each pixel of `second`, for the instances; its own instances where None. Without any, the
            result has no instances.

    Example:
        >>> one, two = ({"image": torch.full((1, 1, 3), v), "mask": torch.full((1, 3), int(v))} for v in (1.0, 2.0))
        >>> paste(one, two, torch.tensor([[False, True, False]]))["mask"].tolist()
        [[1, 2, 1]]
    """
    mixed = {key: value for key, value in sample.items() if key not in ("instances", "weight")}
    for key in ("image", "mask", "weight"):
        if key in sample and key in second:
            mixed[key] = torch.where(where, second[key], sample[key])  # type: ignore[literal-required]
    numbers = second.get("instances") if numbers is None else numbers
    if "instances" in sample and numbers is not None:
        own = sample["instances"]
        raised = torch.where(numbers > 0, numbers + own.max(), 0)
        mixed["instances"] = torch.where(where, raised, own)
    return cast(Sample, mixed)


# Random draws


@dataclass(frozen=True)
class CopyPaste(Mixing):
    """Paste objects of a second sample where they stand there, with their classes and instances.

    Objects are those of `instances`, where the second sample has them, else the connected parts of classes.

    Attributes:
        share: how likely each object is to be pasted.
        classes: whose objects; all but the background where None.
        background: the class that is no object.
        flip: whether the second sample is mirrored half of the time, with its `flip_pairs` exchanged.
        smallest: objects of fewer pixels are left out.
        p: how often to paste anything.
    """

    name: ClassVar[str] = "copy_paste"

    share: Annotated[float, Gt(0), Le(1)] = 0.5
    classes: tuple[ClassNumber, ...] | None = None
    background: ClassNumber = 0
    flip: bool = True
    smallest: Annotated[int, Ge(0)] = 16
    p: Probability = 0.5

    def __post_init__(self) -> None:
        check_probability(self.name, self.p)
        if not 0.0 < self.share <= 1.0:
            raise RecipeError(
                f"{self.name}: share is {self.share:g}, but a part of the objects lies above 0 and up to 1."
            )
        check_positive(self.name, "smallest", self.smallest, zero=True)
        check_classes(self.name, self.classes, self.background)

    def mix(self, sample: Sample, second: Callable[[], Sample], rng: np.random.Generator) -> Sample:
        """Draw objects of the second sample and perhaps paste them."""
        need_pixels_alone(self.name, sample, why=_HIDDEN)
        change, own = chance(rng, self.p), np.random.default_rng(rng.integers(2**63))
        if not change:
            return sample
        other = _fitted(self.name, sample, second(), own)
        if chance(own, 0.5) and self.flip:
            other = flip_horizontally(other)
        numbers = number_objects(other, self.background, classes=self.classes, corners=True)
        objects, areas = np.unique(numbers[numbers > 0].numpy(), return_counts=True)
        objects = objects[areas >= self.smallest]
        chosen = objects[own.random(len(objects)) < self.share]
        where = torch.from_numpy(np.isin(numbers.numpy(), chosen))
        return paste(sample, other, where, numbers)


@dataclass(frozen=True)
class CutMix(Mixing):
    """Paste a rectangle of a second sample where it stands there.

    Attributes:
        alpha: the rectangle's share of the area is drawn by Beta(alpha, alpha): 1 makes all shares as likely, less
            favours small and large ones, more favours halves.
        p: how often to paste.
    """

    name: ClassVar[str] = "cutmix"

    alpha: Positive = 1.0
    p: Probability = 0.5

    def __post_init__(self) -> None:
        check_positive(self.name, "alpha", self.alpha)
        check_probability(self.name, self.p)

    def mix(self, sample: Sample, second: Callable[[], Sample], rng: np.random.Generator) -> Sample:
        """Draw a rectangle and perhaps paste it."""
        need_pixels_alone(self.name, sample, why=_HIDDEN)
        change, own = chance(rng, self.p), np.random.default_rng(rng.integers(2**63))
        if not change:
            return sample
        shape = tuple(sample["image"].shape[-2:])
        side = own.beta(self.alpha, self.alpha) ** 0.5
        rows, columns = (_stretch(length, round(length * side), own) for length in shape)
        where = torch.zeros(shape, dtype=torch.bool)
        where[rows, columns] = True
        return paste(sample, _fitted(self.name, sample, second(), own), where)


def _stretch(length: int, size: int, rng: np.random.Generator) -> slice:
    start = int(rng.integers(length - size + 1))
    return slice(start, start + size)


def _fitted(name: str, sample: Sample, second: Sample, rng: np.random.Generator) -> Sample:
    """The second sample at the first's size, if the two go together."""
    for one in (sample, second):
        need_mask(name, one, use="remove it from augment")
    channels = [one["image"].shape[0] for one in (sample, second)]
    if channels[0] != channels[1]:
        raise RecipeError(
            f"{name}: the samples have {channels[0]} and {channels[1]} channels, but must have as many: convert one."
        )
    size: Sequence[int] = sample["image"].shape[-2:]
    return second if second["image"].shape[-2:] == size else RandomCrop((size[0], size[1]))(second, rng)
