"""Loaders for training and validation, and what the training images say about normalisation."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from atrous.errors import AtrousError, DataError
from atrous.training.stream import Augmented, Stream, collate, collate_step, quiet_worker
from atrous.types import IGNORE_INDEX, Sample

__all__ = ["choose_workers", "explaining_lost_workers", "measure_normalization", "train_loader", "val_loader"]

MEASURED = 200
"""Training images that the normalisation is measured on, evenly spaced."""
MEASURED_SIDE = 512
"""Pixels looked at along each side of a measured image, evenly spaced."""


def choose_workers(workers: int | Literal["auto"], device: str) -> int:
    """Loader processes.

    Beside an accelerator the CPU is free to load. When the CPU trains, one worker fills the gaps that the network
    leaves; more would take cores from it. Where processes are not forked it is left out: each would import torch again,
    and a script that trains at its top level would start over in it.
    """
    if workers != "auto":
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device == "cpu":
        return min(1, cores - 1) if multiprocessing.get_all_start_methods()[0] == "fork" else 0
    return max(1, min(8, cores - 1))


@contextmanager
def explaining_lost_workers() -> Iterator[None]:
    """Say in one line what the end of a loader process means; torch raises it as an error of our own code.

    It raises it from a signal handler, so in the midst of anything, and what was interrupted may have taken it for an
    error of its own: a checkpoint that cannot be written. Hence the whole chain of errors is looked at.

    Raises:
        AtrousError: in place of torch's error.
    """
    try:
        yield
    except Exception as error:
        if not any("DataLoader worker" in str(link) for link in _chain(error) if isinstance(link, RuntimeError)):
            raise
        raise AtrousError(
            "a process that loads images was ended from outside, most often because the machine ran out of memory; "
            "train with data.workers=0, or with fewer workers than there were, a smaller data.batch_size or a smaller "
            "data.crop. A run that has a checkpoint goes on with --resume."
        ) from None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those it was raised from or while handling."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def train_loader(
    dataset: Dataset[Sample],
    stream: Stream,
    *,
    transform: Callable[[Sample, np.random.Generator], Sample] | None,
    workers: int,
    pin: bool,
) -> DataLoader[Any]:
    """For each step the list of its batches of augmented draws, as the stream says."""
    return DataLoader(
        Augmented(dataset, transform, stream.seed),
        batch_sampler=stream,  # type: ignore[arg-type]
        collate_fn=partial(collate_step, batch_size=stream.batch_size),
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=quiet_worker if workers else None,
        pin_memory=pin,
    )


def val_loader(
    dataset: Dataset[Sample], *, size: int, workers: int, pin: bool, rank: int = 0, processes: int = 1
) -> DataLoader[Any]:
    """Whole images, one by one, in order; of several processes, each reads every so many.

    All read equally many, because a model that is spread over processes runs in all of them at once: the last images
    may be read by two, and `TrainingModule` counts each only once.
    """
    mine = [min(index + rank, size - 1) for index in range(0, size, processes)]
    return DataLoader(
        Augmented(dataset, None, 0),
        batch_sampler=[[(index, index)] for index in mine],
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=quiet_worker if workers else None,
        pin_memory=pin,
    )


def measure_normalization(dataset: Dataset[Sample], size: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, over labelled pixels of evenly spaced training images.

    A channel that never changes gets a deviation of one.

    Args:
        dataset: of training samples.
        size: its length.
    """
    count, total, squares = 0, np.zeros(()), np.zeros(())
    for index in np.unique(np.linspace(0, size - 1, min(size, MEASURED)).round().astype(int)):
        sample = dataset[int(index)]
        step = max(1, -(-max(sample["image"].shape[-2:]) // MEASURED_SIDE))
        image = torch.as_tensor(sample["image"])[:, ::step, ::step].double().numpy()
        known = np.ones(image.shape[1:], bool)
        if "mask" in sample:
            known = torch.as_tensor(sample["mask"])[..., ::step, ::step].numpy() != IGNORE_INDEX
            known = known.any(0) if known.ndim == 3 else known  # of classes that may overlap, one that is known will do
        values = image[:, known & np.isfinite(image).all(0)]
        count += values.shape[1]
        total, squares = total + values.sum(1), squares + (values**2).sum(1)
    if not count:
        raise DataError("the training masks have no labelled pixel; look at their values with `atrous check`.")
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    deviation = np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6), deviation, 1.0)
    return mean.tolist(), deviation.tolist()
