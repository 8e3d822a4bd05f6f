"""How much memory there is: of the machine, and of the container that this process runs in."""

import os
from pathlib import Path

__all__ = ["free_memory", "in_bytes"]

_CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Bytes that can be had without swapping, within the limit of a container; None where the system does not tell."""
    known = [number for number in (_machine(), _container()) if number is not None]
    return min(known, default=None)


def in_bytes(size: int) -> str:
    """A size in words.

    Example:
        >>> in_bytes(14_000_000_000), in_bytes(36 * 10**12), in_bytes(4 * 10**15)
        ('14 GB', '36 TB', '4 PB')
    """
    factor, unit = next((step for step in ((1e15, "PB"), (1e12, "TB")) if size >= step[0]), (1e9, "GB"))
    return f"{size / factor:.3g} {unit}"


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
