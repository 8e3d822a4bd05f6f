"""Small files of the workflows, written whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path

from atrous.errors import UsageError

__all__ = ["write_bytes", "write_text"]


def write_text(path: Path, text: str) -> Path:
    """Write a text file beside its place, then renames it.

    Raises:
        UsageError: if the disk refuses.
    """
    return write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file beside its place, then renames it.

    Raises:
        UsageError: if the disk refuses.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        why = error.strerror or error
        raise UsageError(f"{path}: cannot be written ({why}); choose another place with -o.") from error
    return path
