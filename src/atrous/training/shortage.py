"""What a training can run short of, found before it begins or told in words when it is too late."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from atrous.errors import AtrousError, UsageError, lacks_memory

__all__ = ["explaining_lack_of_memory", "limit_workers"]

LOG = logging.getLogger(__name__)
SHARED = Path("/dev/shm")
"""Where loader processes put their batches for the training to take."""
AHEAD = 2
"""Batches that each of them has ready, torch's `prefetch_factor`."""


def limit_workers(workers: int, samples: Dataset[Any], draws: list[Any]) -> int:
    """As many loader processes as were wished, or none where shared memory has no room for their batches.

    A container has 64 MB of it unless it was given more; what does not fit there waits for ever, without a word.

    Args:
        workers: that were wished.
        samples: give the sample of a draw.
        draws: of one step; the first is read, to see how large a sample is.
    """
    if not workers or not draws or not SHARED.is_dir():
        return workers
    sample = samples[draws[0]]
    if isinstance(sample, AtrousError):
        return workers  # it will be told where it is met
    step = len(draws) * sum(torch.as_tensor(value).nbytes for value in sample.values())
    needed, free = (AHEAD * workers + 1) * step, shutil.disk_usage(SHARED).free
    if needed <= free:
        return workers
    processes = "a loader process" if workers == 1 else f"{workers} loader processes"
    LOG.warning(
        "%s has %s MB free, and the batches of %s take %s MB, so images are loaded without; give a container more by "
        "--shm-size=%dg, or set data.workers=0",
        SHARED,
        f"{free / 1e6:.0f}",
        processes,
        f"{needed / 1e6:.0f}",
        needed // 1_000_000_000 + 1,
    )
    return 0


@contextmanager
def explaining_lack_of_memory() -> Iterator[None]:
    """Say in one line that a step needs more memory than there is, and what to do.

    Raises:
        UsageError: in place of what torch, NumPy or OpenCV raise.
    """
    try:
        yield
    except AtrousError:
        raise
    except Exception as error:
        if not lacks_memory(error):
            raise
        raise UsageError(
            "a training step needs more memory than there is: set a smaller data.batch_size, a smaller data.crop or a "
            "smaller network, with training.accumulate for as many images in a step. A run that has a checkpoint goes "
            "on with --resume where there is more memory."
        ) from error
