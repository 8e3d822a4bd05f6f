"""Decoded samples kept for the next epoch, in memory that loader workers share or in a file.

All samples lie one after the other in one array of bytes, at places that their headers tell beforehand, each with a
byte that says whether it is there. Whoever meets an empty one decodes it and puts it there; two workers that do so at
once write the same bytes. Which pixels are valid is kept beside the image, one bit each, so that what invalid ones hold
is up to the reader.
"""

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from atrous.data.contents import Folder
from atrous.data.splits import Pair
from atrous.disk import write_errors, writing
from atrous.errors import DataError
from atrous.findings import readable
from atrous.images.derived import Derived, DerivedPlanes
from atrous.images.files import read_info
from atrous.images.raster import Raster
from atrous.memory import free_memory

__all__ = ["Cached", "SampleCache", "cache_file"]

_VERSION = 3
_SHARED = Path("/dev/shm")
_COMPLETE, _WITH_INVALID = 1, 2  # a sample that is there, without and with invalid pixels


class Cached(NamedTuple):
    """A decoded sample: the image; mask (H, W) or (K, H, W) uint8 and objects (H, W) int32, where there are such.

    They are views of the cache: do not write to them.
    """

    raster: Raster
    mask: np.ndarray | None
    instances: np.ndarray | None


class _Slot(NamedTuple):
    """Where a sample lies, and the shapes of its parts."""

    start: int
    shapes: tuple[tuple[int, ...] | None, ...]


class SampleCache:
    """Room for the decoded samples of some pairs.

    Args:
        folder: tells channels, kind and classes.
        pairs: of one split.
        file: where it is kept on the disk; None keeps it in shared memory.

    Raises:
        DataError: if an image's header cannot be read, or there is not enough room; the text says how much it takes.
    """

    def __init__(self, folder: Folder, pairs: tuple[Pair, ...], file: Path | None) -> None:
        self.types: tuple[np.dtype, ...] = (
            np.dtype(folder.dtype), np.dtype(np.uint8), np.dtype(np.int32), np.dtype(np.uint8)
        )  # fmt: skip
        with ThreadPoolExecutor(2) as pool:
            infos = list(pool.map(lambda pair: read_info(pair.image), pairs))
        self.places: list[_Slot] = []
        start = _aligned(len(pairs))  # a byte for each sample stands before them all
        for pair, info in zip(pairs, infos, strict=True):
            size = (info.height, info.width)
            planes = isinstance(pair.mask, DerivedPlanes)
            mask = (len(folder.classes), *size) if planes else size
            labelled = pair.mask is not None or pair.instances is not None
            bits = (-(-info.height * info.width // 8),)
            shapes = ((*size, folder.channels), mask if labelled else None, size if pair.instances else None, bits)
            self.places.append(_Slot(start, shapes))
            start += sum(_bytes(shape, kind) for shape, kind in zip(shapes, self.types, strict=True))
        self.total, self.file = start, file
        self.shared: torch.Tensor | None = None
        self._mapped: np.ndarray | None = None
        if file is None:
            _check_memory(self.total)
            self.shared = torch.zeros(self.total, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
        else:
            _reserve(file, self.total)

    @property
    def array(self) -> np.ndarray:
        """All bytes; a file is mapped when it is first asked for, in every process for itself."""
        if self.shared is not None:
            return self.shared.numpy()
        if self._mapped is None:
            assert self.file is not None
            self._mapped = np.memmap(self.file, np.uint8, "r+", shape=(self.total,))
        return self._mapped

    def get(self, index: int) -> Cached | None:
        """A sample, or None if nobody has put it there."""
        state = self.array[index]
        if not state:
            return None
        image, mask, instances, bits = self._parts(index)
        assert image is not None
        assert bits is not None
        valid = None
        if state == _WITH_INVALID:
            height, width = image.shape[:2]
            valid = np.unpackbits(bits, count=height * width).view(bool).reshape(height, width)
        return Cached(Raster(image, valid), mask, instances)

    def put(self, index: int, raster: Raster, mask: np.ndarray | None, instances: np.ndarray | None) -> None:
        """Keep a sample. One whose shapes are not those of the headers is left out."""
        *parts, bits = self._parts(index)
        assert bits is not None
        given = (raster.array, mask, instances)
        if any((p is None) != (g is None) or (p is not None and g is not None and p.shape != g.shape)
               for p, g in zip(parts, given, strict=True)):  # fmt: skip
            return
        for part, array in zip(parts, given, strict=True):
            if part is not None and array is not None:
                part[...] = array
        if raster.valid is not None:
            bits[...] = np.packbits(raster.valid)
        self.array[index] = _COMPLETE if raster.valid is None else _WITH_INVALID

    def _parts(self, index: int) -> list[np.ndarray | None]:
        start, shapes = self.places[index]
        parts: list[np.ndarray | None] = []
        for shape, kind in zip(shapes, self.types, strict=True):
            length = _bytes(shape, kind)
            whole = self.array[start : start + length].view(kind)
            parts.append(None if shape is None else whole[: int(np.prod(shape))].reshape(shape))
            start += length
        return parts

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": None}


def cache_file(folder: Folder, pairs: tuple[Pair, ...], where: Path) -> Path:
    """The file of some pairs: its name changes when a file or the classes do."""
    digest = hashlib.sha256(f"{_VERSION} {folder.dtype} {folder.channels} {folder.classes}".encode())
    for pair in pairs:
        for file in (pair.image, pair.mask, pair.instances):
            digest.update(f"{type(file).__name__} {file} {_stamp(file)}\n".encode("utf-8", "surrogateescape"))
    return where / f"{readable(folder.root.name)}-{digest.hexdigest()[:16]}.samples"


def _stamp(file: Any) -> str:
    """Sizes and times of a file, of all in a folder, or of those that a derived image or mask is made of."""
    if isinstance(file, Derived):
        return " ".join(_stamp(value) for value in vars(file).values())
    if isinstance(file, tuple):
        return " ".join(map(_stamp, file))
    if not isinstance(file, Path):
        return ""
    if file.is_dir():  # a Zarr array: its chunks lie in folders of folders
        inside = [os.stat(os.path.join(place, name)) for place, _, names in os.walk(file) for name in names]  # noqa: PTH116, PTH118  (thousands of chunks)
        newest = max((state.st_mtime_ns for state in inside), default=0)
        return f"{len(inside)} {sum(state.st_size for state in inside)} {newest}"
    beside = file.with_name(f"{file.name}.msk")  # says which pixels are valid
    states = [path.stat() for path in (file, beside) if path.exists()]
    return " ".join(f"{state.st_size} {state.st_mtime_ns}" for state in states)


def _bytes(shape: tuple[int, ...] | None, kind: np.dtype) -> int:
    return 0 if shape is None else _aligned(int(np.prod(shape)) * kind.itemsize)


def _aligned(count: int) -> int:
    """Bytes up to where a number of any type may begin."""
    return -(-count // 8) * 8


def _check_memory(total: int) -> None:
    """Raise unless the machine has the room: a shared page that cannot be had kills the process without a word."""
    free = [shutil.disk_usage(_SHARED).free] if _SHARED.is_dir() else []
    if (available := free_memory()) is not None:
        free.append(available)
    if free and total > 0.9 * min(free):
        raise DataError(
            f"data.cache: the decoded images take {total / 1e9:.2f} GB of shared memory, and {min(free) / 1e9:.2f} GB "
            "are free; set data.cache=disk, or leave it out."
        )


def _reserve(file: Path, total: int) -> None:
    """A file of this length, its bytes 0 where it is new."""
    instead = "set ATROUS_CACHE to a folder that can be written"
    with write_errors(file, error=DataError, instead=instead):
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_file() and file.stat().st_size == total:
            _allocate(file, total)  # an older version may have left holes
            return
        if total > shutil.disk_usage(file.parent).free:
            free = shutil.disk_usage(file.parent).free / 1e9
            raise DataError(
                f"data.cache: the decoded images take {total / 1e9:.2f} GB, and {free:.2f} GB are free at "
                f"{file.parent}; set ATROUS_CACHE to a folder on a larger disk, or leave data.cache out."
            )
        with writing(file, error=DataError, instead=instead) as beside:
            _allocate(beside, total)


def _allocate(file: Path, total: int) -> None:
    """Have the system put all bytes of a file on the disk: a hole that finds no room later ends the process."""
    with file.open("r+b") as opened:
        opened.truncate(total)
        if total and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(opened.fileno(), 0, total)
