"""Where converted networks are kept: beside their bundle, or in the user's cache, each in a folder of its own.

A folder is named by what went into it: the weights and arguments of the network, the code and the versions that
converted it, and the machine. It is written beside its place and renamed, and read only where all hashes are right.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from atrous._version import __version__
from atrous.bundle.base import WEIGHTS
from atrous.fetch import cache_folder
from atrous.inference.engines.base import EngineError
from atrous.models import DenseModel
from atrous.processes import machine

__all__ = ["MADE", "Made", "NetworkOrigin", "entry_of", "find", "int8_entry", "places", "prune", "seal", "writable"]

MADE = "made.json"
"""What a folder says of itself; written last."""
KEPT = 4
"""Converted networks in one place; the oldest go."""
_SOURCES = ("models", "layers", "encoders", "crf", "inference/engines")


@dataclass(frozen=True)
class NetworkOrigin:
    """The bundle that a network was read from.

    Attributes:
        folder: of the bundle.
        spec: the network's name and arguments, as text.
        stamp: of the file of its weights when it was read: size and times.
    """

    folder: Path
    spec: str
    stamp: tuple[int, ...]

    @classmethod
    def of(cls, folder: Path, model: DenseModel) -> "NetworkOrigin | None":
        """The origin of a model that has just been read; None where the file is gone."""
        try:
            stamp = _stamp(folder / WEIGHTS)
        except OSError:
            return None
        spec = json.dumps([model.spec.name, model.spec.arguments, model.in_channels], sort_keys=True, default=str)
        return cls(folder, spec, stamp)

    def digest(self) -> str:
        """A hash of the weights and arguments.

        Raises:
            EngineError: if the file is another by now, as in the folder of a run that goes on.
        """
        try:
            with (self.folder / WEIGHTS).open("rb") as file:
                weights = hashlib.file_digest(file, "sha256").hexdigest()
            if _stamp(self.folder / WEIGHTS) == self.stamp:
                return hashlib.sha256(f"{weights} {self.spec}".encode()).hexdigest()
        except OSError:
            pass
        raise EngineError(f"{self.folder / WEIGHTS} was exchanged since it was read")


@dataclass(frozen=True)
class Made:
    """A folder that holds a converted network, or why there is none.

    Attributes:
        folder: where it is.
        outputs: names of the network's maps, in their order.
        remembering: whether it uses the places of its poolings' largest values.
        proofs: how far it agrees with the network, by precision.
        fault: why the network cannot be converted; "" where it was.
    """

    folder: Path
    outputs: tuple[str, ...] = ()
    remembering: bool = False
    proofs: Mapping[str, Any] | None = None
    fault: str = ""


def entry_of(origin: NetworkOrigin, engine: str) -> str:
    """The name of the folder for the network of a bundle, as this machine and these versions convert it.

    Raises:
        EngineError: if the bundle is another by now.
    """
    parts = [origin.digest(), engine, version(engine), __version__, torch.__version__, machine(), _code()]
    return f"{engine}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:24]}"


def int8_entry(origin: NetworkOrigin) -> str:
    """The name of the folder for the quantised network of a bundle: it serves other versions and machines too.

    Raises:
        EngineError: if the bundle is another by now.
    """
    return f"int8-{origin.digest()[:24]}"


@cache
def _code() -> str:
    """A hash of the files that networks and their conversion are written in."""
    root, digest = Path(__file__).parents[2], hashlib.sha256()
    for room in _SOURCES:
        for file in sorted((root / room).rglob("*.py")):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def places(bundle: Path) -> Iterator[Path]:
    """Folders for the converted networks of a bundle, the best first: beside it, then in the user's cache."""
    whole = bundle.resolve()
    if whole.parent.name != "snapshots":  # of the Hub's cache, where every folder is a version of a model
        yield whole.with_name(f".{whole.name}.engines")
    yield cache_folder() / "engines"


def writable(folder: Path) -> bool:
    """Whether files can be kept in a folder, which is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def find(where: Iterable[Path], entry: str) -> Made | None:
    """What is kept under a name and whole, or the fault that is; what is damaged is removed.

    Args:
        where: places, as `places` gives them.
        entry: the name.
    """
    for place in where:
        folder = place / entry
        if folder.is_dir():
            if found := _read(folder):
                with suppress(OSError):
                    folder.touch()  # the oldest go first
                return found
            shutil.rmtree(folder, ignore_errors=True)
    return None


def seal(folder: Path, words: Mapping[str, Any]) -> None:
    """Write what a folder says of itself, with the hashes of all files in it."""
    hashes = {file.name: _hash(file) for file in sorted(folder.iterdir())}
    (folder / MADE).write_text(json.dumps({**words, "files": hashes}, indent=1) + "\n", encoding="utf-8")


def _read(folder: Path) -> Made | None:
    try:
        words = json.loads((folder / MADE).read_text(encoding="utf-8"))
        if any(_hash(folder / name) != wanted for name, wanted in words["files"].items()):
            return None
        return Made(folder, tuple(words["outputs"]), bool(words["remembering"]), words["proofs"], words["fault"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def prune(place: Path, keep: str) -> None:
    """Remove all but the newest folders of a place; what was quantised stays, because images of a user went into it.

    Args:
        place: holds the folders.
        keep: the name of one that stays.
    """
    with suppress(OSError):
        others = [
            path
            for path in place.iterdir()
            if path.name != keep and not path.name.startswith("int8") and (path / MADE).is_file()
        ]
        for old in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT - 1 :]:
            shutil.rmtree(old, ignore_errors=True)


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _stamp(file: Path) -> tuple[int, ...]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino
