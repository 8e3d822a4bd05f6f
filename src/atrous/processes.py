"""Which process this is, on which machine, and whether another one still runs."""

import os
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path

__all__ = ["began", "host_name", "is_dead", "machine"]


def host_name() -> str:
    """What people call this machine."""
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


@cache
def machine() -> str:
    """Eight digits for this machine and its space of process numbers: a container numbers its own processes."""
    names = [host_name()]
    with suppress(OSError):
        names.append(Path("/etc/machine-id").read_text(encoding="ascii", errors="replace"))
    with suppress(OSError):
        names.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 (it points to no path)
    return f"{zlib.crc32(chr(10).join(names).encode()):08x}"


def is_dead(where: str, process: int, start: str = "") -> bool:
    """Whether a process surely runs no more.

    Args:
        where: its `machine`; of another than this one nobody can tell.
        process: its number.
        start: what `began` said of it; numbers are given anew.
    """
    if os.name != "posix" or where != machine():  # Windows would end the one it asks for
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # it belongs to another user
        pass
    return bool(start) and began(process) not in ("", start)


def began(process: int) -> str:
    """When a process began, as the system counts since which boot; empty where it does not tell."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii", errors="replace").strip()
        return f"{fields[19]} since {boot[:8]}"
    return ""
