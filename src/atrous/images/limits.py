"""What fits into memory: a header is believed only as far as there is room for what it declares."""

import os
from pathlib import Path

from atrous.findings import FindingError, error

__all__ = ["free_memory", "must_fit", "out_of_memory"]

_SMALL = 1 << 26
"""Bytes that are asked for without a look at the memory."""

_CGROUP = Path("/sys/fs/cgroup")
_FIX = (
    "If that is its true size, write it as a tiled TIFF or as Zarr, which are read by windows, or free some memory; if "
    "not, it is damaged: take it out."
)


def must_fit(size: int, name: object, shape: tuple[int, ...]) -> None:
    """Raise unless the pixels of an image fit into the memory that is free.

    Args:
        size: bytes that decoding takes.
        name: of the file.
        shape: that its header declares, (height, width) or more.

    Raises:
        FindingError: if they do not.
    """
    if size <= _SMALL or (free := free_memory()) is None or size <= free:
        return
    numbers = " x ".join(map(str, shape))
    message = f"declares {numbers} numbers, which take {_gigabytes(size)}, and {_gigabytes(free)} of memory are free"
    raise FindingError(error("too_large", name, message, _FIX))


def out_of_memory(name: object) -> FindingError:
    """The error about an image that a decoder found no memory for."""
    return FindingError(error("too_large", name, "needs more memory than there is", _FIX))


def free_memory() -> int | None:
    """Bytes that can be had without swapping, within the limit of a container; None where the system does not tell."""
    known = [number for number in (_machine(), _container()) if number is not None]
    return min(known, default=None)


def _machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    available = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)
    if available is None and hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return available


def _container() -> int | None:
    """What a control group leaves; files that it could forget do not count."""
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = (_CGROUP / "memory.current").read_text(encoding="ascii").strip()
        lines = (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    if not limit.isdigit():
        return None  # "max"
    files = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    return max(int(limit) - int(used) + files, 0)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB" if size < 1e15 else f"{size / 1e15:.3g} PB"
