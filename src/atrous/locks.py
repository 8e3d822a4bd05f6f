"""One process at a time for a folder: a file in it says which one, on which machine.

A killed process leaves its file, and the next one on the same machine sees that it is gone. The file comes into being
complete, by a hard link, which network file systems make for one of two machines alone.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from atrous.disk import alone, name_beside, remove_leftovers, write_errors
from atrous.errors import UsageError
from atrous.processes import began, host_name, is_dead, machine

__all__ = ["LOCK", "locked", "refuse_locked"]

LOCK = "run.lock"
"""The file in a folder that a process keeps for itself."""


class _Owner(NamedTuple):
    """Who keeps a folder."""

    process: int
    host: str
    machine: str
    began: str
    since: str
    token: str


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder for this process while the block runs.

    Args:
        folder: is there.

    Raises:
        UsageError: if another process keeps it, or may do so on another machine.
    """
    path, token = folder / LOCK, os.urandom(8).hex()
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    owner = _Owner(os.getpid(), host_name(), machine(), began(os.getpid()), now, token)
    with write_errors(path), alone(folder):
        remove_leftovers(path)
        refuse_locked(folder)
        path.unlink(missing_ok=True)  # of a process that is gone
        if not _create(path, json.dumps(owner._asdict()) + "\n"):
            refuse_locked(folder)
            raise UsageError(f"{folder}: another process began to work in this folder just now; name another folder.")
    try:
        yield
    finally:
        with suppress(OSError, UsageError):
            found = _read(path)
            if found is not None and found.token == token:
                path.unlink()


def refuse_locked(folder: Path, *, mine: bool = False) -> None:
    """Refuse to write into a folder that another process keeps.

    Args:
        folder: may lack.
        mine: accept what this process keeps itself.

    Raises:
        UsageError: naming the process, and what to do where nobody can tell whether it still runs.
    """
    path = folder / LOCK
    owner = _read(path)
    if owner is None or (mine and owner.process == os.getpid() and owner.machine == machine()):
        return
    if is_dead(owner.machine, owner.process, owner.began):
        return
    if owner.machine == machine():
        raise UsageError(
            f"{folder}: process {owner.process} has been working in this folder since {owner.since}; wait until it "
            "ends, or name another folder."
        )
    raise UsageError(
        f"{folder}: process {owner.process} on {owner.host} has been working in this folder since {owner.since}, and "
        f"from here nobody can tell whether it still does; if it does not, delete {path}."
    )


def _read(path: Path) -> _Owner | None:
    """What a lock says, or None where there is none."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        texts = {name: str(said[name])[:100] for name in ("host", "machine", "began", "since", "token")}
        return _Owner(process=int(said["process"]), **texts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        raise UsageError(
            f"{path}: does not say which process is working in this folder; if none is, delete the file."
        ) from None


def _create(path: Path, text: str) -> bool:
    """Make a file complete at once; False where another one was faster."""
    beside = name_beside(path)
    beside.write_text(text, encoding="utf-8")
    try:
        os.link(beside, path)
    except FileExistsError:
        return False
    except OSError:  # a disk without hard links
        with suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
            file.write(text)
            return True
        return False
    finally:
        beside.unlink(missing_ok=True)
    return True
