"""Masks of one plane per class: a file per class, or all planes in one file.

A file per class says where its class is: everywhere but at 0. A file of planes holds 0 and 1, and 255 or NaN where that
is not known; or 0 and 255 throughout the data set, where 255 is the class. Which of the two it is, all files say
together: what could be either is refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from atrous.findings import Finding, FindingError, error
from atrous.images.derived import DerivedPlanes
from atrous.images.files import read_mask
from atrous.images.planes import planes_shape, read_planes
from atrous.types import IGNORE_INDEX

__all__ = ["ClassFiles", "PlaneFile", "coded_alike", "where_present"]

_LOOKED_AT = 1 << 28
"""Numbers of plane files that are read to find out what 255 means; the others are compared when they are read."""


def where_present(raw: np.ndarray, file: Path) -> np.ndarray:
    """(H, W) bool: where a mask of one thing is not 0.

    Raises:
        FindingError: if it holds 255 beside other values, so that it may be smoothed, or 255 be unknown.
    """
    plane = raw if raw.ndim == 2 else raw.max(axis=2)
    values = np.unique(plane)
    if len(values) > 2 and values[-1] == IGNORE_INDEX and values[0] >= 0:
        others = values[(values > 0) & (values < IGNORE_INDEX)].tolist()
        if others == [1]:
            message = "holds 0, 1 and 255: 255 may be the class, or unknown, which a file per class cannot say"
            fix = "Write 0 and 1; unknown pixels need planes in one file (.npy of (K, H, W)) with 0, 1 and 255."
            raise FindingError(error("ambiguous_255", file, message, fix))
        if others:
            message = f"holds 0, 255 and {len(others)} values between: it was smoothed, or is more than one class"
            fix = "Resize masks with nearest neighbour and write 0 and 255."
            raise FindingError(error("smoothed_mask", file, message, fix))
    return plane > 0


@dataclass(frozen=True)
class ClassFiles(DerivedPlanes):
    """One mask file per class; None where an image shows none of it."""

    files: tuple[Path | None, ...]

    @property
    def place(self) -> Path:
        """The first file there is."""
        return next(file for file in self.files if file is not None)

    def read(self) -> np.ndarray:
        """(K, H, W): 1 where the file is not 0."""
        planes = [None if file is None else where_present(read_mask(file), file).view(np.uint8) for file in self.files]
        sizes = {plane.shape for plane in planes if plane is not None}
        if len(sizes) > 1:
            message = "differs in size from the files of other classes"
            raise FindingError(error("size_mismatch", self.place, message, "Export them at the size of the image."))
        (size,) = sizes
        return np.stack([np.zeros(size, np.uint8) if plane is None else plane for plane in planes])


@dataclass(frozen=True)
class PlaneFile(DerivedPlanes):
    """A file of (K, H, W): one plane per class.

    Attributes:
        file: the file.
        present: the value of "here".
        unknown: 255 is known to mean "unknown".
    """

    file: Path
    present: int = 1
    unknown: bool = False

    @property
    def place(self) -> Path:
        """The file."""
        return self.file

    def shape(self) -> tuple[int, ...]:
        """Of the array, without reading it; of a TIFF with colours, only height and width."""
        return planes_shape(self.file)

    def stored(self) -> np.ndarray:
        """(K, H, W) uint8 of 0, 1 and 255 as stored, 254 where it is NaN.

        Raises:
            FindingError: if it holds anything else.
        """
        raw = read_planes(self.file)
        if raw.ndim != 3:
            message = f"has {raw.ndim} dimensions, and (classes, height, width) are needed"
            raise FindingError(error("mask_type", self.file, message, "Write one plane per class."))
        known = ~np.isnan(raw) if raw.dtype.kind == "f" else np.ones((), bool)
        if raw.dtype.kind not in "buif" or not np.isin(raw[known] if known.ndim else raw, (0, 1, IGNORE_INDEX)).all():
            message = f"holds {raw.dtype} values that are not 0, 1 or 255"
            fix = "Write the planes as 0 and 1, and 255 where a class is unknown."
            raise FindingError(error("mask_type", self.file, message, fix))
        return np.where(known, raw, _NAN).astype(np.uint8)

    def read(self) -> np.ndarray:
        """(K, H, W): 1, 0, or 255."""
        planes = self.stored()
        values = set(np.unique(planes).tolist())
        if self.present == IGNORE_INDEX:
            if 1 in values:
                raise FindingError(_riddle(self.file, "holds 1 as the class, and the other masks hold 0 and 255"))
            planes = np.where(planes == IGNORE_INDEX, np.uint8(1), planes)
        elif IGNORE_INDEX in values and 1 not in values and not self.unknown:
            raise FindingError(_riddle(self.file, "holds 255 and no 1, and the other masks hold 0 and 1"))
        planes[planes == _NAN] = IGNORE_INDEX
        return planes


_NAN = 254
"""What stands for NaN until 255 is understood."""


def coded_alike(masks: Sequence[PlaneFile], findings: list[Finding]) -> Iterator[PlaneFile]:
    """The same files, told what 255 means in them: the values of all together say it.

    Args:
        masks: of a data set.
        findings: gets an error if they do not say it.
    """
    both = one = alone = False
    first: dict[str, Path] = {}
    for mask, values in _values(masks):
        both |= {1, IGNORE_INDEX} <= values
        if 1 in values:
            one, _ = True, first.setdefault("one", mask.file)
        elif IGNORE_INDEX in values:
            alone, _ = True, first.setdefault("alone", mask.file)
    if one and alone and not both:
        findings.append(_riddle(first["alone"], f"holds 255 and no 1, and {first['one']} holds 1 and no 255"))
    present, unknown = (IGNORE_INDEX if alone and not one else 1), both or (one and alone)
    return (replace(mask, present=present, unknown=unknown) for mask in masks)


def _values(masks: Iterable[PlaneFile]) -> Iterator[tuple[PlaneFile, set[int]]]:
    """The values of each file, as far as so much is to be read."""
    numbers = 0
    for mask in masks:
        if numbers > _LOOKED_AT:
            return
        try:
            planes = mask.stored()
        except Exception:  # decoders raise what they like; reading tells
            continue
        numbers += planes.size
        yield mask, set(np.unique(planes).tolist())


def _riddle(file: Path, what: str) -> Finding:
    """The error about a file in which 255 may mean two things."""
    message = f"{what}: 255 may be the class, or unknown"
    fix = "Write the class as 1 in all masks, and keep 255 (or NaN) for unknown pixels; or write all as 0 and 255."
    return error("ambiguous_255", file, message, fix)
