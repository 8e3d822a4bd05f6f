"""From a recipe's `data.augment` to the transform of training, and the samples that training sees first."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset

from atrous.data.options import DataOptions
from atrous.errors import AtrousError
from atrous.images.raster import Fill
from atrous.tables import read_section
from atrous.training.stream import Augmented, Stream
from atrous.types import Sample

if TYPE_CHECKING:
    from atrous.augment import Compose
    from atrous.data.folder import Folder
    from atrous.recipe import Recipe

__all__ = ["augmented_samples", "training_transform"]


@dataclass(frozen=True)
class _SecondSamples:
    """A data set as a source of second samples; it goes to the loader's workers with the transforms."""

    dataset: Dataset[Sample]

    def __call__(self, index: int) -> Sample:
        return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]


def training_transform(data: DataOptions, recipe: "Recipe", dataset: Dataset[Sample] | None = None) -> "Compose":
    """The transforms of `data.augment` with the random crop of `data.crop` among them.

    The crop comes after the last transform that moves pixels, so that rotated and scaled images fill it, and before
    those that mix samples, mirror, or change numbers only, which then work on fewer pixels. (Quarter turns too, where
    the crop is square.) A crop that `augment` names itself stays alone. Weight maps of borders are made last of all
    that touches the mask, wherever they are named, because they measure distances.

    Args:
        data: the section of the recipe.
        recipe: for the places of what is wrong.
        dataset: where transforms that mix take their second samples; they cannot be called without it.

    Raises:
        RecipeError: naming the entry that does not fit.
    """
    from atrous.augment import TRANSFORMS, BorderWeights, RandomCrop, compose
    from atrous.augment.crops import BalancedCrop, CenterCrop, ForegroundCrop

    place = recipe.place / "data" / "augment"
    steps: list[Any] = []
    for position, section in enumerate(data.augment):
        build, arguments = read_section(TRANSFORMS, section, kind="transform", place=place / position)
        steps.append(build(**arguments))
    weights = [step for step in steps if isinstance(step, BorderWeights)]
    steps = [step for step in steps if not isinstance(step, BorderWeights)]
    own = RandomCrop | CenterCrop | BalancedCrop | ForegroundCrop
    if data.crop is not None and not any(isinstance(step, own) for step in steps):
        steps.insert(_end(steps, _after_crop(data.crop)), RandomCrop(data.crop))
    end = _end(steps, _numbers_only())
    chain = compose([*steps[:end], *weights, *steps[end:]])
    return chain if dataset is None else chain.bound(_SecondSamples(dataset))


def augmented_samples(folder: "Folder", recipe: "Recipe", count: int, fill: Fill = None) -> list[Sample]:
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
    from atrous.data.folder import FolderDataset

    dataset = FolderDataset(folder, "train", fill=fill)
    transform = training_transform(recipe.options("data", DataOptions), recipe, dataset)
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


def _numbers_only() -> tuple[type, ...]:
    from atrous.augment import ChannelGain, ColorJitter, GaussianBlur, GaussianNoise, Intensity

    return (ChannelGain, ColorJitter, GaussianBlur, GaussianNoise, Intensity)


def _after_crop(size: int | tuple[int, int]) -> tuple[type, ...]:
    """What does the same to a random crop as a random crop of what it does."""
    from atrous.augment import CopyPaste, CutMix, HorizontalFlip, Rotate90, SeparateTouching, VerticalFlip

    square = isinstance(size, int) or size[0] == size[1]
    turns = (Rotate90,) if square else ()
    return (*_numbers_only(), CopyPaste, CutMix, HorizontalFlip, VerticalFlip, SeparateTouching, *turns)
