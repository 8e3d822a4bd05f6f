"""Files from the network: resumed where they broke off, checked, and never half under their final name."""

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from atrous.disk import leftovers, name_beside, write_errors
from atrous.errors import AtrousError, ModelError

__all__ = ["cache_folder", "fetch"]

CHUNK = 1 << 18  # bytes between two words about the progress
ATTEMPTS = 5  # connections that may break off in a row without a byte more
TIMEOUT = 30.0  # seconds without an answer

ByteProgress = Callable[[int, int | None], None]


def cache_folder() -> Path:
    """Where fetched files are kept: ATROUS_CACHE, or `atrous` in the user's cache folder."""
    given = os.environ.get("ATROUS_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "atrous"


def fetch(
    address: str,
    *,
    folder: str | Path | None = None,
    digest: str | None = None,
    progress: ByteProgress | None = None,
    error: type[AtrousError] = ModelError,
    instead: str = "set ATROUS_CACHE to another folder",
) -> Path:
    """The file of an address, from the folder if it is there, else from the network.

    The file comes under its name only when it is complete and its hash is right. With a hash, a transfer that broke off
    goes on where it was, also in a later call or after the process was killed; the server must know the `Range` of HTTP
    for that, or it starts again. Without a hash nobody would notice that the file has changed meanwhile, so it is begun
    anew. Processes that fetch the same file at once do not disturb each other.

    Args:
        address: http or https.
        folder: where files are kept; `cache_folder()` by default.
        digest: "md5:..." or "sha256:...", of the whole file, or its first 8 digits or more; digits alone are of
            SHA-256. By default the digits that the name of the file ends in, as in `fcn_resnet50_coco-1167a1af.pth`.
            With "", or where the name has no digits, the length alone is checked.
        progress: called with the bytes that are there, and of all where that is known.
        error: the class of what is raised.
        instead: what the user can do where the disk refuses.

    Raises:
        AtrousError: of the class `error`, if the address cannot be reached, the hash is another, or the disk refuses.
    """
    name = Path(unquote(urlsplit(address).path)).name
    if not name:
        raise error(f"{address}: the address names no file")
    target = (Path(folder) if folder is not None else cache_folder()) / name
    wanted = (digest if digest is not None else _hash_in(name) or "").lower()
    if ":" in wanted and not wanted.startswith(("md5:", "sha256:")):
        raise error(f"{digest}: a hash is given as md5:DIGITS or sha256:DIGITS; correct it, or leave it out")
    with write_errors(target, error=error, instead=instead):
        try:
            if target.is_file():
                _check(target, wanted, address, error)
            else:
                _fetch(address, target, wanted, progress, error)
        except (URLError, HTTPException, TimeoutError, ConnectionError, SSLError) as problem:
            reason = f"HTTP {problem.code}" if isinstance(problem, HTTPError) else getattr(problem, "reason", problem)
            raise error(
                f"{address}: could not be fetched ({reason}); check the connection and try again, "
                f"or copy the file from another machine to {target}"
            ) from problem
    return target


def _hash_in(name: str) -> str | None:
    """The digits before the ending of a file's name, as torch.hub writes them."""
    found = re.search(r"-([0-9a-f]{8,64})\.", name)
    return found[1] if found else None


def _fetch(address: str, target: Path, wanted: str, progress: ByteProgress | None, error: type[AtrousError]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _take_up(target, resumable=bool(wanted))
    try:
        _fill(address, part, progress)
        _check(part, wanted, address, error)
        part.replace(target)
    finally:
        with suppress(OSError):
            if wanted and part.exists():  # of nobody now: the next call takes it up
                part.replace(target.with_name(f".{target.name}.part"))
            part.unlink(missing_ok=True)


def _take_up(target: Path, *, resumable: bool) -> Path:
    """A file of this process's own beside the target: the longest that a broken transfer left, or one not there yet."""
    part = name_beside(target)
    for left in sorted(leftovers(target), key=_size, reverse=True):
        with suppress(OSError):  # another process was faster
            left.rename(part) if resumable and not part.exists() else left.unlink()
    return part


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _check(path: Path, wanted: str, address: str, error: type[AtrousError]) -> None:
    """Remove a file whose hash is another, and say so."""
    if not wanted:
        return
    before, _, digits = wanted.rpartition(":")
    kind = before or "sha256"
    hasher = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            hasher.update(block)
    found = hasher.hexdigest()
    if not found.startswith(digits):
        path.unlink()
        title = {"sha256": "SHA-256"}.get(kind, kind.upper())
        needed = digits if len(digits) >= len(found) else f"one that begins with {digits}"
        raise error(
            f"{address}: is not the file that was meant: its {title} is {found}, and {needed} is needed. "
            "It was removed; try again, or ask its makers."
        )


def _fill(address: str, part: Path, progress: ByteProgress | None) -> None:
    """Fill a file from an address, in as many connections as it takes as long as each brings something.

    What the network raises is left to the caller.
    """
    idle = 0
    while True:
        before = _size(part)
        try:
            if _receive(address, part, before, progress):
                return
            reason: Exception = ConnectionError("the connection broke off")
        except HTTPError as error:
            if error.code < 500:
                raise
            reason = error
        except (HTTPException, ConnectionError, TimeoutError, SSLError) as error:
            reason = error
        idle = idle + 1 if _size(part) <= before else 0
        if idle >= ATTEMPTS:
            raise reason


def _receive(address: str, part: Path, start: int, progress: ByteProgress | None) -> bool:
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
