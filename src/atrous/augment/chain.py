"""Transforms one after the other, and where their second samples come from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from atrous.augment.base import Mixing, SampleSource, Transform, Windowed, in_full
from atrous.augment.crops import RandomCrop
from atrous.types import Sample

__all__ = ["Compose", "WindowedCrop", "compose"]


@dataclass(frozen=True)
class Compose:
    """Transforms one after the other, drawing from one generator.

    A transform that mixes two samples gets its second one from `source`: any sample is as likely, and goes through the
    transforms before that place, those that mix excepted. It is drawn from a generator of its own, seeded by the
    first's, so that a result depends on the generator it is given alone; it is read only where it is needed.
    """

    transforms: tuple[Transform, ...]
    source: SampleSource | None = None

    def bound(self, source: SampleSource) -> "Compose":
        """The same transforms, with second samples from `source`."""
        return replace(self, source=source)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply all in order. A crop that comes first may get a sample as it is stored, see `in_full`.

        Raises:
            RecipeError: if a transform needs a second sample and there is no source of them.
        """
        if "keypoints" in sample and "weight" not in sample:
            sample = _weighed(sample)
        if not self.transforms or not isinstance(self.transforms[0], WindowedCrop | RandomCrop):
            sample = in_full(sample)
        for position, transform in enumerate(self.transforms):
            if isinstance(transform, Mixing) and self.source is not None:
                sample = transform.mix(sample, self._second(self.source, position, rng), rng)
            else:
                sample = transform(sample, rng)
            if not position:
                sample = in_full(sample)
        return sample

    def _second(self, source: SampleSource, position: int, rng: np.random.Generator) -> Callable[[], Sample]:
        seed = int(rng.integers(2**63))

        def read() -> Sample:
            own = np.random.default_rng(seed)
            sample = source(int(own.integers(len(source))))
            for transform in self.transforms[:position]:
                if not isinstance(transform, Mixing):
                    sample = transform(sample, own)
            return sample

        return read


def _weighed(sample: Sample) -> Sample:
    """With weight 1 everywhere: transforms set it to 0 where they mirror the image, which doubles no landmark."""
    weight = torch.ones(()).expand(sample["image"].shape[-2:])
    return cast(Sample, {**sample, "weight": weight})


@dataclass(frozen=True)
class WindowedCrop:
    """A transform and the random crop after it, of which only the crop's pixels are computed.

    Draws and gives what the two would, one after the other.
    """

    transform: Windowed
    crop: RandomCrop

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw what the transform does and then a place, and compute the window there."""
        return self.crop.search(self.transform.windowed(sample, rng), rng)


def compose(transforms: Sequence[Transform]) -> Compose:
    """One transform that applies `transforms` in order."""
    chain: list[Transform] = []
    for transform in transforms:
        before = chain[-1] if chain else None
        if isinstance(transform, RandomCrop) and isinstance(before, Windowed):
            chain[-1] = WindowedCrop(before, transform)
        else:
            chain.append(transform)
    return Compose(tuple(chain))
