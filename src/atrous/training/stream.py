"""The stream of training samples: what is drawn at a step is a pure function of (seed, step).

Draws are numbered through the whole run. Draw `d` of a data set of `N` images belongs to epoch `d // N` and takes its
image from that epoch's permutation; its augmentation has a random generator of its own, seeded by `d`. So neither
workers nor resuming change a batch, every batch is full, and an epoch may end in the middle of one.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from atrous.errors import AtrousError, UsageError
from atrous.types import Sample

__all__ = ["Augmented", "Stream", "collate", "collate_step", "mix", "quiet_worker"]

Draw = tuple[int, int]
"""Number of the draw in the run, and the image that it takes."""

_ORDER, _AUGMENT, _STEP, _REGION = 1, 2, 3, 4  # so that draw 7, epoch 7 and step 7 share no random numbers


def mix(seed: int, step: int, rank: int = 0) -> int:
    """A 63-bit seed for everything random inside a training step of a process, such as dropout.

    Example:
        >>> mix(0, 1) != mix(0, 2) and mix(0, 1) == mix(0, 1)
        True
    """
    entropy = [seed, _STEP, step, rank] if rank else [seed, _STEP, step]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


class Stream:
    """A batch sampler that goes on from where the run stands.

    A step takes `batch_size * accumulate * processes` draws. Of each batch that all processes share, every one takes
    its own piece, so that two processes see together what one with the doubled batch sees.

    Args:
        size: images in the data set.
        batch_size: draws per batch of one process.
        seed: of the run.
        segment: called at the start of each iteration: the steps to draw for.
        accumulate: batches per step.
        rank: of this process.
        processes: that train together.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        segment: Callable[[], range],
        *,
        accumulate: int = 1,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.size, self.batch_size, self.seed, self.segment = size, batch_size, seed, segment
        self.accumulate, self.rank, self.processes = accumulate, rank, processes
        self._order = lru_cache(maxsize=2)(self._permutation)

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in self.segment():
            yield self.batch(step)

    def batch(self, step: int) -> list[Draw]:
        """The draws of one step for this process, batch after batch."""
        shared = self.batch_size * self.processes
        first = step * self.accumulate * shared + self.rank * self.batch_size
        draws = [first + part * shared + place for part in range(self.accumulate) for place in range(self.batch_size)]
        return [(draw, int(self._order(draw // self.size)[draw % self.size])) for draw in draws]

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, _ORDER, epoch]).permutation(self.size)


class Augmented(Dataset[Sample | AtrousError]):
    """A data set read by draws: each gets the random generator of its number.

    An error of ours comes back as a value: raised inside a worker it would lose its text in a traceback.
    """

    def __init__(
        self,
        dataset: Dataset[Sample],
        transform: Callable[[Sample, np.random.Generator], Sample] | None,
        seed: int,
    ) -> None:
        self.dataset, self.transform, self.seed = dataset, transform, seed

    def __getitem__(self, draw: Draw) -> Sample | AtrousError:
        number, index = draw
        try:
            sample = self._read(number, index)
            if self.transform is not None:
                sample = self.transform(sample, np.random.default_rng([self.seed, _AUGMENT, number]))
        except AtrousError as error:
            return error
        return sample

    def _read(self, number: int, index: int) -> Sample:
        """The image, or of a large one a region that is the draw's own."""
        draw = getattr(self.dataset, "draw", None)
        if draw is None or self.transform is None:  # validation sees whole images
            return self.dataset[index]
        return draw(index, np.random.default_rng([self.seed, _REGION, number]))


def collate(samples: list[Sample | AtrousError]) -> dict[str, Tensor] | AtrousError:
    """Stack samples into a batch, or hand on the first error."""
    good: list[dict[str, Any]] = []
    for sample in samples:
        if isinstance(sample, AtrousError):
            return sample
        good.append(dict(sample))
    sizes = {tuple(sample["image"].shape[-2:]) for sample in good}
    if len(sizes) > 1:
        shown = ", ".join(f"{height}x{width}" for height, width in sorted(sizes)[:3])
        return UsageError(
            f"data.crop: images of different sizes ({shown}) make no batch; set data.crop, or data.batch_size=1."
        )
    # Not every image has instances; and flip_pairs are for the transforms, which have been here already.
    shared = [key for key in good[0] if key != "flip_pairs" and all(key in sample for sample in good)]
    return {key: torch.stack([torch.as_tensor(sample[key]) for sample in good]) for key in shared}


def collate_step(samples: list[Sample | AtrousError], *, batch_size: int) -> list[dict[str, Tensor]] | AtrousError:
    """The batches of one step, or the first error."""
    batches = []
    for begin in range(0, len(samples), batch_size):
        batch = collate(samples[begin : begin + batch_size])
        if isinstance(batch, AtrousError):
            return batch
        batches.append(batch)
    return batches


def quiet_worker(_: int) -> None:
    """One thread per loader worker: the threads belong to the network."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
