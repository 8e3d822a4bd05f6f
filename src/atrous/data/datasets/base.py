"""What every adapter of a data set gives, and the small tools that several of them use."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from atrous.data.classes import Classes
from atrous.data.listing import entries, is_special
from atrous.data.pairs import Pair, partner
from atrous.data.splits import set_aside
from atrous.findings import Finding, FindingError, error
from atrous.images.colors import Color
from atrous.images.derived import DerivedImage, DerivedMask
from atrous.images.files import SUFFIXES, read_mask
from atrous.images.opening import file_palette
from atrous.images.pages import count_pages, decode_page, page_header
from atrous.images.stored import Header, Stored
from atrous.types import IGNORE_INDEX

__all__ = [
    "Cleared",
    "Dataset",
    "Division",
    "Found",
    "Names",
    "PageImage",
    "PageMask",
    "Split",
    "absent",
    "class_table",
    "complete",
    "divide",
    "files",
    "first_folder",
    "folders",
    "has_files",
    "hold_out",
    "no_partner",
    "pages_or_tell",
    "pair_folders",
    "read_lines",
    "voc_colors",
]

Split = tuple[Pair, ...]


class Division(NamedTuple):
    """How training images are set aside for validation where a data set has no split of its own."""

    val_fraction: float
    seed: int
    test_fraction: float = 0.0
    salt: str = ""  # two divisions of one folder take other images


@dataclass(frozen=True)
class Found:
    """What an adapter found in a folder.

    Attributes:
        splits: `train`, `val`, and `test` if there is one.
        findings: every problem met; pairs that cannot be used are left out of the splits.
        classes: of the data set; None where the masks tell them.
    """

    splits: Mapping[str, Split]
    findings: tuple[Finding, ...] = ()
    classes: Classes | None = None


class Dataset(NamedTuple):
    """A named data set, or a way in which people lay out folders.

    Attributes:
        title: its name in prose.
        holds: what its folder holds, for the message where a layout was asked for that is not there.
        fits: a quick look whether a folder is one; False where it may be something else.
        read: its pairs, without reading pixels.
    """

    title: str
    holds: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, Division], Found]


@dataclass(frozen=True)
class PageImage(DerivedImage):
    """One page of a stack or slice of a volume."""

    file: Path
    page: int

    @property
    def place(self) -> Path:
        """The file and its page, counted from 0."""
        return self.file.with_name(f"{self.file.name} page {self.page}")

    def header(self) -> Header:
        """From the stack's first page: all have one size."""
        return page_header(self.file, self.page)

    def decode(self) -> Stored:
        """The pixels of the page."""
        return decode_page(self.file, self.page, indices=False)


@dataclass(frozen=True)
class PageMask(DerivedMask):
    """One page of a stack of masks, or slice of a volume of them."""

    file: Path
    page: int

    @property
    def place(self) -> Path:
        """The file and its page, counted from 0."""
        return self.file.with_name(f"{self.file.name} page {self.page}")

    def read(self) -> np.ndarray:
        """The values of the page."""
        stored = decode_page(self.file, self.page, indices=True)
        raw = stored.array
        whole = raw.dtype.kind in "ui" or bool((raw == np.rint(raw)).all())
        if raw.shape[2] != 1 or not whole:
            message = f"is no mask: it has {raw.shape[2]} channels of {raw.dtype}"
            raise FindingError(error("mask_type", self.place, message, "Store one integer per pixel."))
        return (raw if raw.dtype.kind in "ui" else raw.astype(np.int64))[..., 0] // stored.step

    def palette(self) -> list[tuple[int, int, int]] | None:
        """The colours of which its values are indices: those of the stack."""
        return file_palette(self.file)


@dataclass(frozen=True)
class Cleared(DerivedMask):
    """An instance map in a file, some of whose values are no objects.

    Attributes:
        file: the map.
        below: values below this are none.
        void: these are none either.
    """

    file: Path
    below: int = 1
    void: tuple[int, ...] = (IGNORE_INDEX,)

    @property
    def place(self) -> Path:
        """The file."""
        return self.file

    def read(self) -> np.ndarray:
        """The numbers of objects, 0 where there is none."""
        raw = read_mask(self.file)
        return np.where((raw < self.below) | np.isin(raw, self.void), 0, raw)


def files(folder: Path, suffixes: Iterable[str] = SUFFIXES, *, ending: str = "") -> dict[str, Path]:
    """The files of a folder that end in `ending` and a suffix, by their name without both, in order.

    Hidden files, pipes and devices are passed over; a folder that is not there has none.

    Raises:
        FindingError: if the folder cannot be opened.
    """
    allowed, found = tuple(suffixes), {}
    if not folder.is_dir():
        return {}
    for entry in entries(folder):
        stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122  (a Path per file is slow for 100 000 files)
        fits = suffix.lower() in allowed and stem.endswith(ending) and not entry.name.startswith(".")
        if fits and not is_special(entry):  # `folder.py` tells those that it finds beside images and masks
            found[stem.removesuffix(ending)] = Path(folder, entry.name)
    return {name: found[name] for name in sorted(found)}


def has_files(folder: Path | None, suffixes: Iterable[str] = SUFFIXES) -> bool:
    """Whether a folder holds anything, file or folder, that ends in a suffix."""
    allowed = tuple(suffixes)
    if folder is None or not folder.is_dir():
        return False
    return any(entry.name.lower().endswith(allowed) and not entry.name.startswith(".") for entry in entries(folder))


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, in order, hidden ones left out."""
    if not folder.is_dir():
        return []
    return sorted(Path(entry.path) for entry in entries(folder) if entry.is_dir() and not entry.name.startswith("."))


def first_folder(root: Path, *names: str) -> Path | None:
    """The first of several folders that exists."""
    return next((root / name for name in names if (root / name).is_dir()), None)


def read_lines(file: Path) -> Iterator[tuple[str, str]]:
    """The lines of a list and where each stands; empty lines are passed over.

    Raises:
        FindingError: if the file cannot be read as text.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        message = f"cannot be read as a list ({getattr(problem, 'strerror', None) or 'it is not UTF-8 text'})"
        raise FindingError(error("split_line", file, message, "Copy it again from the data set.")) from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield line.strip(), f"{file} line {number}"


def pair_folders(
    images: Path, masks: Path | None, *, endings: Sequence[tuple[str, str]] = (), required: bool = True
) -> tuple[list[Pair], list[Finding]]:
    """The images of one folder with the masks of another, and those that lack one.

    Args:
        images: the folder of images.
        masks: the folder of masks, None where there is none.
        endings: as in `partner`.
        required: an image without a mask is a problem and left out; else it is taken without.
    """
    index = files(masks) if masks is not None else {}
    pairs, findings, there = [], [], files(images)
    for name, image in there.items():
        mask = partner(name, index, there, endings)
        if mask is None and required:
            findings.append(no_partner(image, masks or images, f"{name}.*"))
            continue
        pairs.append(Pair(name, image, mask))
    return pairs, findings


def pages_or_tell(path: Path, findings: list[Finding]) -> int:
    """The pages of a stack or slices of a volume; 0, and a finding, if it cannot be read."""
    try:
        return count_pages(path)
    except Exception as problem:  # decoders raise what they like
        text = " ".join(str(problem).split()) or type(problem).__name__
        findings.append(error("unreadable", path, f"cannot be read as a stack: {text}", "Copy it again."))
        return 0


def no_partner(image: object, masks: Path, name: str) -> Finding:
    """The finding about an image without a mask."""
    fix = "Copy the masks again from the data set, or leave such images out with data.unlabelled=skip."
    return error("missing_mask", image, f"has no mask {name} in {masks}", fix)


def absent(where: object, name: object) -> Finding:
    """The finding about a file that a list or table names."""
    fix = "Copy it again from the data set, or take the entry out."
    return error("missing_file", where, f"names {name}, and there is no such file", fix)


def divide(pairs: Sequence[Pair], division: Division) -> dict[str, Split]:
    """Set a share aside by the hashes of names; at least one of two or more, unless the share is 0."""
    train, val = set_aside(pairs, division.val_fraction, division.seed, salt=division.salt)
    return {"train": tuple(train), "val": tuple(val)}


def hold_out(pairs: Sequence[Pair], division: Division) -> dict[str, Split]:
    """Set the end of a sequence aside.

    Neighbouring slices and frames are alike: validation on a random choice would measure what was learnt by heart.
    """
    count = _share(len(pairs), division)
    return {"train": tuple(pairs[: len(pairs) - count]), "val": tuple(pairs[len(pairs) - count :])}


def complete(
    splits: Mapping[str, Sequence[Pair]],
    division: Division,
    *,
    by: Callable[[Sequence[Pair], Division], dict[str, Split]] = divide,
) -> dict[str, Split]:
    """The splits in their order; where none is for test or validation, shares of the training pairs are."""
    train, test = tuple(splits.get("train", ())), tuple(splits.get("test", ()))
    if "test" not in splits and division.test_fraction > 0:
        parts = by(train, Division(division.test_fraction, division.seed, salt="test/"))
        train, test = parts["train"], parts["val"]
    parts = {"train": train, "val": tuple(splits["val"])} if "val" in splits else by(train, division)
    return {**parts, "test": test} if "test" in splits or test else parts


def class_table(
    names: Sequence[str],
    colors: Sequence[Color],
    values: Iterable[int | tuple[int, ...]] | None = None,
    *,
    ignore: Iterable[int] = (IGNORE_INDEX,),
) -> Classes:
    """A table of classes: one value each, 0, 1, ... unless told otherwise."""
    given = range(len(names)) if values is None else values
    rows = tuple(value if isinstance(value, tuple) else (value,) for value in given)
    return Classes(tuple(names), tuple(colors), rows, tuple(ignore))


def voc_colors(count: int) -> tuple[Color, ...]:
    """The colours of Pascal VOC: the bits of a class number, spread over the high bits of red, green and blue.

    Example:
        >>> voc_colors(3)
        ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    """
    colors = []
    for number in range(count):
        color = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                color[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
        colors.append((color[0], color[1], color[2]))
    return tuple(colors)


class Names:
    """A pattern for file names, which tells a data set from a folder that only looks like it."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def fits(self, names: Iterable[str]) -> bool:
        """Whether the first few names are all of this form, and there is at least one."""
        some = [name for _, name in zip(range(5), names, strict=False)]
        return bool(some) and all(self._compiled.fullmatch(name) for name in some)


def _share(count: int, division: Division) -> int:
    """How many of some pairs are for validation."""
    share = round(division.val_fraction * count)
    return min(max(share, 1), count - 1) if division.val_fraction > 0 and count >= 2 else share
