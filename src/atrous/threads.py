"""Work shared out between threads: the kernels release the interpreter, so ordinary threads run them side by side.

Ordinary threads, unlike a parallel region of OpenMP, may be used by several callers at once and in a process that was
forked from one that used them: a child starts its own.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import torch

__all__ = ["Interval", "run", "split_evenly", "workers"]

Interval = tuple[int, int]

_POOLS: dict[tuple[int, int], ThreadPoolExecutor] = {}


def workers() -> int:
    """How many threads to use: as many as torch does, which is one in the worker processes of a data loader."""
    return torch.get_num_threads()


def split_evenly(length: int, parts: int, *, least: int = 1) -> list[Interval]:
    """0..length in at most `parts` even pieces of at least `least`.

    Example:
        >>> split_evenly(10, 3)
        [(0, 3), (3, 6), (6, 10)]
        >>> split_evenly(10, 3, least=5)
        [(0, 5), (5, 10)]
    """
    parts = max(1, min(parts, length // least))
    edges = [length * part // parts for part in range(parts + 1)]
    return list(pairwise(edges))


def run(work: Callable[..., Any], jobs: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Call `work` with the arguments of each job; the caller's own thread does the last of them."""
    *others, own = list(jobs)
    if not others:
        return [work(*own)]
    key = os.getpid(), len(others)  # a pool's threads do not exist in a forked child
    pool = _POOLS.get(key)
    if pool is None:
        pool = _POOLS.setdefault(key, ThreadPoolExecutor(len(others), thread_name_prefix="atrous"))
    futures = [pool.submit(work, *job) for job in others]
    result = work(*own)
    return [*(future.result() for future in futures), result]
