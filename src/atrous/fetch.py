"""Files of weights from the network: resumed where they broke off, checked, and never half under their final name."""

import hashlib
import os
import re
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from atrous.errors import ModelError

__all__ = ["cache_folder", "fetch", "fill"]

CHUNK = 1 << 18  # bytes between two words about the progress
ATTEMPTS = 5  # connections that may break off in a row without a byte more
TIMEOUT = 30.0  # seconds without an answer

Progress = Callable[[int, int | None], None]


def cache_folder() -> Path:
    """Where fetched weights are kept: ATROUS_CACHE, or `atrous` in the user's cache folder."""
    given = os.environ.get("ATROUS_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "atrous"


def fetch(
    address: str, *, folder: str | Path | None = None, sha256: str | None = None, progress: Progress | None = None
) -> Path:
    """The file of an address, from the folder if it is there, else from the network.

    A download that broke off goes on where it was; the server must know the `Range` of HTTP for that, or it starts
    again. The file comes under its name only when it is complete and its hash is right.

    Args:
        address: http or https.
        folder: where files are kept; `cache_folder()` by default.
        sha256: of the file, or the first 8 digits of it or more. By default the digits that the name of the file ends
            in, as in `fcn_resnet50_coco-1167a1af.pth`; a name without digits is not checked.
        progress: called with the bytes that are there, and of all where that is known.

    Raises:
        ModelError: if the address cannot be reached, the hash is another, or the disk refuses.
    """
    name = Path(unquote(urlsplit(address).path)).name
    if not name:
        raise ModelError(f"{address}: the address names no file")
    target = (Path(folder) if folder is not None else cache_folder()) / name
    wanted = (sha256 or _hash_in(name) or "").lower()
    part = target.with_name(f".{name}.part")
    try:
        if target.is_file():
            _check(target, wanted, address)
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        fill(address, part, resumable=bool(wanted), progress=progress)
        _check(part, wanted, address)
        part.replace(target)
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = f"HTTP {error.code}" if isinstance(error, HTTPError) else getattr(error, "reason", error)
        raise ModelError(
            f"{address}: could not be fetched ({reason}); check the connection and try again, "
            f"or copy the file from another machine to {target}"
        ) from error
    except OSError as error:
        raise ModelError(f"{target}: cannot be written ({error.strerror or error}); set ATROUS_CACHE") from error
    return target


def _hash_in(name: str) -> str | None:
    """The digits before the ending of a file's name, as torch.hub writes them."""
    found = re.search(r"-([0-9a-f]{8,64})\.", name)
    return found[1] if found else None


def _check(path: Path, wanted: str, address: str) -> None:
    """Remove a file whose hash is another, and say so."""
    if not wanted:
        return
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    if not digest.hexdigest().startswith(wanted):
        path.unlink()
        raise ModelError(
            f"{address}: the file is not the one that was meant: its SHA-256 begins with "
            f"{digest.hexdigest()[: max(len(wanted), 8)]}, expected {wanted}; it was removed, try again"
        )


def fill(address: str, part: Path, *, resumable: bool, progress: Progress | None) -> None:
    """Fill a file from an address, in as many connections as it takes as long as each brings something.

    What the network raises is left to the caller. A file that is not `resumable` is begun anew.
    """
    if not resumable:  # without a hash nobody would notice that the file there has changed meanwhile
        part.unlink(missing_ok=True)
    idle = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _receive(address, part, before, progress):
                return
            reason: Exception = ConnectionError("the connection broke off")
        except HTTPError as error:
            if error.code < 500:
                raise
            reason = error
        except (HTTPException, ConnectionError, TimeoutError) as error:
            reason = error
        after = part.stat().st_size if part.is_file() else 0
        idle = idle + 1 if after <= before else 0
        if idle >= ATTEMPTS:
            raise reason


def _receive(address: str, part: Path, start: int, progress: Progress | None) -> bool:
    """One connection; True when the file is complete."""
    headers = {"User-Agent": "atrous", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        answer = urlopen(Request(address, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and start:  # nothing lies beyond: complete already, which the hash will tell
            return True
        raise
    with answer:
        resumed = answer.status == 206 and _begins_at(answer, start)
        total = _length(answer, start if resumed else 0)
        with part.open("ab" if resumed else "wb") as file:
            there = start if resumed else 0
            while block := answer.read(CHUNK):
                file.write(block)
                there += len(block)
                if progress is not None:
                    progress(there, total)
    return total is None or there >= total


def _begins_at(answer: Any, start: int) -> bool:
    return str(answer.headers.get("Content-Range", "")).startswith(f"bytes {start}-")


def _length(answer: Any, start: int) -> int | None:
    """Bytes of the whole file, where the server says."""
    given = answer.headers.get("Content-Length")
    return start + int(given) if given else None
