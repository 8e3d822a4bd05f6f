"""From a recipe's `data.augment` to the transform of training, and the samples that training sees first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from atrous.augment import (
    TRANSFORMS,
    BorderWeights,
    ChannelGain,
    ColorJitter,
    Compose,
    CopyPaste,
    CutMix,
    GaussianBlur,
    GaussianNoise,
    HorizontalFlip,
    Intensity,
    RandomCrop,
    Rotate90,
    SeparateTouching,
    VerticalFlip,
    compose,
)
from atrous.augment.always import never_spares
from atrous.augment.crops import BalancedCrop, CenterCrop, ForegroundCrop
from atrous.data.folder import Folder, FolderDataset
from atrous.data.options import DataOptions
from atrous.errors import AtrousError, RecipeError
from atrous.images.raster import Fill
from atrous.recipe import Recipe
from atrous.tables import NamedSection, Place, read_section
from atrous.training.stream import Augmented, Stream
from atrous.types import Sample

__all__ = ["augmented_samples", "read_augment", "training_transform"]

NUMBERS_ONLY = (ChannelGain, ColorJitter, GaussianBlur, GaussianNoise, Intensity)
"""Transforms that move no pixel."""


@dataclass(frozen=True)
class _SecondSamples:
    """A data set as a source of second samples; it goes to the loader's workers with the transforms."""

    dataset: Dataset[Sample]

    def __call__(self, index: int) -> Sample:
        return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]


def read_augment(data: DataOptions, place: Place) -> tuple[NamedSection, ...]:
    """The transforms that `data.augment` names, checked.

    Args:
        data: the section of the recipe.
        place: of the recipe.

    Raises:
        RecipeError: naming the entry that does not fit.
    """
    here = place / "data" / "augment"
    sections: list[NamedSection] = []
    for position, written in enumerate(data.augment):
        section = read_section(TRANSFORMS, written, kind="transform", place=here / position)
        try:
            transform = section()
        except RecipeError as problem:  # what a transform says of its own arguments
            raise RecipeError(f"{here / position}: {problem}") from None
        if fault := never_spares(transform):
            raise RecipeError(f"{here / position}: {written if isinstance(written, str) else written['name']} {fault}.")
        sections.append(section)
    return tuple(sections)


def training_transform(
    augment: Sequence[NamedSection], crop: int | tuple[int, int] | None, dataset: Dataset[Sample] | None = None
) -> Compose:
    """The transforms of `data.augment` with the random crop of `data.crop` among them.

    The crop comes after the last transform that moves pixels, so that rotated and scaled images fill it, and before
    those that mix samples, mirror, or change numbers only, which then work on fewer pixels. (Quarter turns too, where
    the crop is square.) A crop that `augment` names itself stays alone. Weight maps of borders are made last of all
    that touches the mask, wherever they are named, because they measure distances.

    Args:
        augment: from `read_augment`.
        crop: side, or (height, width), of the random crop; None is whole images.
        dataset: where transforms that mix take their second samples; they cannot be called without it.
    """
    steps: list[Any] = [build() for build in augment]
    weights = [step for step in steps if isinstance(step, BorderWeights)]
    steps = [step for step in steps if not isinstance(step, BorderWeights)]
    own = RandomCrop | CenterCrop | BalancedCrop | ForegroundCrop
    if crop is not None and not any(isinstance(step, own) for step in steps):
        steps.insert(_end(steps, _after_crop(crop)), RandomCrop(crop))
    end = _end(steps, NUMBERS_ONLY)
    chain = compose([*steps[:end], *weights, *steps[end:]])
    return chain if dataset is None else chain.bound(_SecondSamples(dataset))


def augmented_samples(folder: Folder, recipe: Recipe, count: int, fill: Fill = None) -> list[Sample]:
    """The first `count` samples that training with this recipe sees, as its network gets them.

    Args:
        folder: images and masks.
        recipe: its sections `data` and `seed` are read.
        count: how many; more than the folder has images continue into the next epochs.
        fill: what pixels without data hold, one value per channel: the mean of the network.

    Raises:
        RecipeError: if the section does not fit.
        DataError: if a file cannot be read.
    """
    dataset, data = FolderDataset(folder, "train", fill=fill), recipe.options("data", DataOptions)
    transform = training_transform(read_augment(data, recipe.place), data.crop, dataset)
    augmented = Augmented(dataset, transform, recipe.seed)
    samples: list[Sample] = []
    for draw in Stream(len(dataset), count, recipe.seed, lambda: range(1)).batch(0):
        sample = augmented[draw]
        if isinstance(sample, AtrousError):
            raise sample
        samples.append(sample)
    return samples


def _end(steps: list[Any], kinds: tuple[type, ...]) -> int:
    """The position after the last step that is of none of these kinds."""
    end = len(steps)
    while end and isinstance(steps[end - 1], kinds):
        end -= 1
    return end


def _after_crop(size: int | tuple[int, int]) -> tuple[type, ...]:
    """What does the same to a random crop as a random crop of what it does."""
    square = isinstance(size, int) or size[0] == size[1]
    turns = (Rotate90,) if square else ()
    return (*NUMBERS_ONLY, CopyPaste, CutMix, HorizontalFlip, VerticalFlip, SeparateTouching, *turns)
