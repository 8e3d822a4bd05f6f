"""What the machine offers to a training."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from atrous.inference.devices import choose_device

__all__ = ["Machine", "describe"]


@dataclass(frozen=True)
class Machine:
    """Where a training will run.

    Attributes:
        device: "cpu", "cuda" or "mps".
        cores: processor cores that this process may use.
        memory: bytes that are free for it: of the accelerator, or of the main memory.
        name: of the device, for people.
    """

    device: str
    cores: int
    memory: int
    name: str


def describe(device: str = "auto") -> Machine:
    """This machine, as a training with that device finds it."""
    chosen = choose_device(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if chosen.type == "cuda":
        return Machine("cuda", cores, torch.cuda.mem_get_info(chosen)[0], torch.cuda.get_device_name(chosen))
    return Machine(chosen.type, cores, _free_memory(), f"{cores} processor cores")


def _free_memory() -> int:
    """Free main memory in bytes; half of all, or 8 GB, where the system does not say."""
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 8 << 30
