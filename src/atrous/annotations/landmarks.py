"""Landmarks as plain data: what every reader of them returns, and every writer takes.

Points are (x, y) in pixels, with pixel centres at integers: the centre of the first pixel is (0, 0), and an image of
H x W pixels covers -0.5 to W - 0.5 and -0.5 to H - 0.5. Visibility is COCO's: 0 absent, 1 hidden, 2 visible.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from atrous.annotations.parsing import Gathered
from atrous.class_names import is_plain
from atrous.errors import DataError
from atrous.findings import Finding, FindingError, error

__all__ = [
    "ABSENT",
    "HIDDEN",
    "VISIBLE",
    "Individual",
    "Landmark",
    "LandmarkEntry",
    "LandmarkFormat",
    "LandmarkTable",
    "make_entry",
    "mirrored_names",
    "not_told_apart",
    "select_landmarks",
    "unite_names",
]

ABSENT, HIDDEN, VISIBLE = 0, 1, 2
"""Nobody has labelled the point, which is NaN; it was labelled where something covers it; it can be seen."""


@dataclass(frozen=True, eq=False)
class LandmarkEntry:
    """The landmarks of one image, or of one person or animal in it. Two are equal where all that they hold is.

    Attributes:
        file: the image.
        points: (P, 2) float64 x and y in pixels, NaN where absent; they may lie outside the image.
        visibility: (P,) uint8: 0 absent, 1 hidden, 2 visible.
        individual: which person or animal it is, where an image may show several.
        center: (2,) float64 x and y of the person or animal, or None.
        box: (4,) float64 x, y, width, height of its box, or None: COCO's, whose x and y are those of the corner, so
            that 0, 0, W, H is the whole image.
        size: (height, width) of the image that the points were set on, where the file says it.
    """

    file: Path
    points: np.ndarray
    visibility: np.ndarray
    individual: str = ""
    center: np.ndarray | None = None
    box: np.ndarray | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        points = _numbers(self.points, np.float64)
        visibility = _numbers(self.visibility, np.uint8)
        if points.ndim != 2 or points.shape[1] != 2 or visibility.shape != points.shape[:1]:
            shapes = f"points {points.shape} and visibility {visibility.shape}"
            raise DataError(f"{self.file}: {shapes} do not go together. Give (P, 2) and (P,).")
        if visibility.max(initial=0) > VISIBLE:
            raise DataError(f"{self.file}: visibility {visibility.max()} is none of 0, 1, 2. Give absent points a 0.")
        known = np.isfinite(points).all(axis=1)
        if (known != (visibility != ABSENT)).any():
            number = int(np.flatnonzero(known != (visibility != ABSENT))[0])
            what = "has a place and visibility 0" if known[number] else "is NaN and has a visibility above 0"
            raise DataError(f"{self.file}: landmark {number} {what}. Absent landmarks are NaN and 0, others neither.")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "visibility", visibility)
        for name, length in (("center", 2), ("box", 4)):
            given = getattr(self, name)
            if given is None:
                continue
            value = _numbers(given, np.float64)
            if value.shape != (length,) or not np.isfinite(value).all():
                raise DataError(f"{self.file}: {name} must be {length} finite numbers, not {given!r}.")
            object.__setattr__(self, name, value)

    def _key(self) -> tuple[Any, ...]:
        arrays = (self.points, self.visibility, self.center, self.box)
        return (self.file, self.individual, self.size, *(None if each is None else each.tobytes() for each in arrays))

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, LandmarkEntry) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    @property
    def middle(self) -> np.ndarray | None:
        """(2,) x and y of the person or animal: its centre, else that of its box; None where it has neither."""
        return self.center if self.box is None or self.center is not None else self.box[:2] + (self.box[2:] - 1) / 2


@dataclass(frozen=True)
class LandmarkTable:
    """Named landmarks of many images.

    Attributes:
        names: of the landmarks, in the order of every entry's points.
        pairs: landmarks that are each other's mirror image, by number: (left eye, right eye).
        entries: in the order of the file they come from; an image may have several, and stands in each.
    """

    names: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    entries: tuple[LandmarkEntry, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError("a table of landmarks has at least one name. Name the landmarks.")
        if odd := [name for name in self.names if not is_plain(name)]:
            raise DataError(f"the landmark name {odd[0]!r} is blank or holds control characters. Rename it.")
        if len(set(self.names)) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise DataError(f"the landmark {twice!r} stands twice in the list of names. Rename one of them.")
        paired = [number for pair in self.pairs for number in pair]
        if any(not 0 <= number < len(self.names) for number in paired) or len(set(paired)) != len(paired):
            raise DataError(f"the pairs {self.pairs} of {len(self.names)} landmarks must be different numbers of them.")
        for entry in self.entries:
            if len(entry.points) != len(self.names):
                have, need = len(entry.points), len(self.names)
                raise DataError(f"{entry.file}: has {have} landmarks, and the table names {need}. Leave none out.")


class Landmark(NamedTuple):
    """Where one landmark is: x, y in pixels, and 1 hidden or 2 visible."""

    x: float
    y: float
    visibility: int = VISIBLE


class Individual(NamedTuple):
    """What was drawn of one person or animal: its landmarks by name, and its boxes, of which there should be one."""

    places: dict[str, Landmark]
    boxes: list[list[float]]


class LandmarkFormat(NamedTuple):
    """A format of landmarks.

    Attributes:
        title: its name in prose.
        fits: a quick look whether a file or folder is of it.
        read: takes the file or folder, the folder of images if one was named, and what keeps the errors of single
            entries, and what is left out. Gives a table for each subset of the data under the name that the file has
            for it, "" where it names none; all have the same names in the same order.
    """

    title: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, Path | None, Gathered], Mapping[str, LandmarkTable]]


def make_entry(file: Path, names: Sequence[str], places: Mapping[str, Landmark], **more: Any) -> LandmarkEntry:
    """An entry from the places of some landmarks by their names; the others are absent.

    Args:
        file: the image.
        names: of all landmarks, in their order.
        places: of those that are labelled.
        more: the other arguments of `LandmarkEntry`.
    """
    found = [places.get(name) for name in names]
    points = [(np.nan, np.nan) if place is None else place[:2] for place in found]
    return LandmarkEntry(file, points, [0 if place is None else place.visibility for place in found], **more)  # type: ignore[arg-type]


def not_told_apart(entries: Iterable[LandmarkEntry]) -> Iterator[Finding]:
    """An error for each image that shows several persons or animals, and not of each where it is."""
    images: dict[Path, list[LandmarkEntry]] = {}
    for entry in entries:
        images.setdefault(entry.file, []).append(entry)
    for file, shown in images.items():
        unknown = sum(entry.middle is None for entry in shown)
        if len(shown) > 1 and unknown:
            message = f"shows {len(shown)} persons or animals, and nothing says where {unknown} of them are"
            fix = "Give each a centre or a box, or cut the image so that it shows one."
            yield error("several_individuals", file, message, fix)


def select_landmarks(table: LandmarkTable, names: Sequence[str]) -> LandmarkTable:
    """The same images with some of the landmarks, in the order of `names`.

    Raises:
        DataError: if the table has no landmark of a name.
    """
    if missing := [name for name in names if name not in table.names]:
        raise DataError(f"there is no landmark {missing[0]!r}. Choose from: {', '.join(table.names)}.")
    order = [table.names.index(name) for name in names]
    entries = (replace(e, points=e.points[order], visibility=e.visibility[order]) for e in table.entries)
    new = {old: number for number, old in enumerate(order)}
    pairs = tuple((new[one], new[other]) for one, other in table.pairs if one in new and other in new)
    return LandmarkTable(tuple(names), pairs, tuple(entries))


def unite_names(tables: Mapping[str, LandmarkTable], places: Mapping[str, object]) -> dict[str, LandmarkTable]:
    """Tables of the same landmarks, all in the order of the first.

    Args:
        tables: by subset.
        places: the file of each, for messages.

    Raises:
        FindingError: if two name different landmarks.
    """
    united: dict[str, LandmarkTable] = {}
    first = next(iter(tables), "")
    for key, table in tables.items():
        names = tables[first].names
        if set(table.names) != set(names):
            lacking = [name for name in names if name not in table.names]
            more = [name for name in table.names if name not in names]
            parts = [
                f"{word} {', '.join(map(repr, some[:5]))}"
                for word, some in (("lacks", lacking), ("adds", more))
                if some
            ]
            message = f"names other landmarks than {places[first]}: it {' and '.join(parts)}"
            fix = "Give a landmark the same name everywhere, and an empty column where nobody labelled it."
            raise FindingError(error("landmark_names", places[key], message, fix))
        united[key] = select_landmarks(table, names)
    return united


def mirrored_names(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Landmarks that are each other's mirror image by their names: left and right, or L and R, and the rest alike.

    A name has a mirror image only where the other name is there. "left" may stand anywhere in it; a letter L stands at
    its beginning, or apart from the other letters: by a sign, a digit or a capital.

    Returns:
        pairs of numbers, the left one first, in the order of the left ones.

    Example:
        >>> mirrored_names(["nose", "left_eye", "right_eye", "earR", "earL", "l_hip", "r_hip", "lower lip"])
        ((1, 2), (4, 3), (5, 6))
    """
    numbers = {name: number for number, name in enumerate(names)}
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for number, name in enumerate(names):
        other = next((numbers[each] for each in _mirrored(name) if each in numbers), None)
        if other is not None and not {number, other} & taken:
            pairs.append((number, other))
            taken |= {number, other}
    return tuple(pairs)


_SIDES = {"left": "right", "Left": "Right", "LEFT": "RIGHT", "l": "r", "L": "R"}

_LETTER = re.compile(r"^[lL]|(?<![A-Za-z])[lL](?![a-z])|(?<=[a-z0-9])L(?![a-z])")


def _mirrored(name: str) -> Iterator[str]:
    """What the mirror image of a left landmark may be called."""
    for found in (*re.finditer(r"left|Left|LEFT", name), *_LETTER.finditer(name)):
        yield name[: found.start()] + _SIDES[found[0]] + name[found.end() :]


def _numbers(values: Any, kind: type) -> np.ndarray:
    """A copy that nobody can write to, because entries are compared and hashed."""
    array: np.ndarray = np.array(values, kind)
    array.flags.writeable = False
    return array
