"""What every reader of annotations gives, and what several of them use."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from atrous.annotations.drawn import Drawn
from atrous.annotations.parsing import Gathered
from atrous.errors import DataError
from atrous.findings import FindingError, error
from atrous.images.colors import Color
from atrous.images.files import SUFFIXES, read_info

__all__ = [
    "Annotated",
    "Annotations",
    "Format",
    "ellipse",
    "find_image",
    "image_stem",
    "is_there",
    "last_part",
    "locate",
    "names_alone",
    "one_by_one",
    "path_within",
    "size_of",
    "turned",
]

_CORNERS = 128
"""Corners of the polygon that stands for an ellipse."""


class Annotated(NamedTuple):
    """One image and what was drawn on it.

    Attributes:
        name: of the image, as its file names it.
        where: the place in the annotation file, for messages.
        image: the file, or its bytes where the annotations hold them.
        size: (height, width) that the annotations were drawn on.
        drawings: in the order in which they are painted; None where nobody has labelled the image.
        subset: the part of the data that it belongs to, as the file or folder names it: "train", "Test", "batch 3".
    """

    name: str
    where: str
    image: Path | bytes
    size: tuple[int, int]
    drawings: Sequence[Drawn] | None
    subset: str = ""


@dataclass(frozen=True)
class Annotations:
    """Everything an annotation file, or a folder of them, holds.

    Attributes:
        labels: names in their order, "background" not among them.
        images: read one by one, because drawings may be large.
        colors: of labels, where the file has them.
        background: pixels where nothing is drawn are a class; else they are not known, and count for nothing.
    """

    labels: tuple[str, ...]
    images: Iterable[Annotated]
    colors: Mapping[str, Color] = field(default_factory=dict)
    background: bool = True


class Format(NamedTuple):
    """A format of annotations.

    Attributes:
        title: its name in prose.
        fits: a quick look whether a file or folder is of it.
        read: takes the file or folder, the folder of images if one was named, and what keeps the errors of single
            entries, and what is left out, until all images were read.
    """

    title: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, Path | None, Gathered], Annotations]


Item = TypeVar("Item")


def one_by_one(
    items: Iterable[Item], read: Callable[[Item], Annotated | None], gathered: Gathered
) -> Iterator[Annotated]:
    """The images that `read` makes of items; an error is kept, and the next item read."""
    for item in items:
        with gathered.going_on():
            one = read(item)
            if one is not None:
                yield one


def size_of(image: Path | bytes, wanted: tuple[int, int] | None, where: object) -> tuple[int, int]:
    """(height, width) of an image.

    Args:
        image: a file or its bytes.
        wanted: the size that annotations were drawn on; None where they do not say.
        where: the place of the annotations, for the message.

    Raises:
        DataError: if the image cannot be read, or has another size.
    """
    try:
        info = read_info(image)
    except DataError as problem:
        if isinstance(image, Path):
            raise
        message = f"holds an image that {str(problem).removeprefix('the bytes: ')}"
        raise FindingError(error("unreadable", where, message.partition(". ")[0], "Export it again.")) from None
    has = (info.height, info.width)
    if wanted is not None and wanted != has:
        sizes = [f"{height} x {width}" for height, width in (wanted, has)]
        message = f"was drawn on {sizes[0]} pixels (height x width), and the image has {sizes[1]}"
        fix = "Use the images that the annotations were drawn on, not resized or turned ones."
        raise FindingError(error("size_mismatch", where, message, fix))
    return has


def names_alone(names: Iterable[str]) -> frozenset[str]:
    """The last parts of paths that no other path ends in."""
    counts = Counter(last_part(name) for name in set(names))
    return frozenset(name for name, count in counts.items() if count == 1)


def last_part(name: str) -> str:
    """The name of a file without its folders, however they are separated."""
    return re.split(r"[\\/]", name)[-1]


def path_within(name: str) -> str:
    r"""A path that stays within a folder, whatever a file calls its image.

    Example:
        >>> path_within("../day 1/a..b.png"), path_within("C:\\scans\\a.tif")
        ('day 1/a..b.png', 'scans/a.tif')
    """
    parts = [part for part in re.split(r"[\\/]+", name) if part not in ("", ".", "..") and not part.endswith(":")]
    return "/".join(parts) or "image"


def image_stem(name: str) -> str:
    """The name of an image without suffix, as a path that stays within a folder.

    Example:
        >>> image_stem("../day 1/a..b.png")
        'day 1/a..b'
    """
    path = path_within(name)
    stem, dot, suffix = path.rpartition(".")
    return stem if dot and stem and f".{suffix.lower()}" in SUFFIXES and not stem.endswith("/") else path


def locate(name: str, folders: Iterable[Path | None], where: object, *, others: Iterable[str] = ()) -> Path:
    """The first file of a name in one of several folders.

    Args:
        name: as the annotations have it, with the folders in it.
        folders: to look into; None is passed over.
        where: the place of the annotations, for the message.
        others: what else the file may be called.

    Raises:
        FindingError: if there is none.
    """
    name = name.replace("\\", "/")
    tried = [one for one in dict.fromkeys((name, *others)) if one]
    for folder in folders:
        found = next((folder / one for one in tried if folder is not None and is_there(folder / one)), None)
        if found is not None:
            return found
    fix = "Put it beside the annotations, or name its folder with --images."
    raise FindingError(error("missing_image", where, f"names the image {name}, and there is no such file", fix))


def find_image(name: str, folders: Iterable[Path | None], where: object) -> Path:
    """The image of a name in one of several folders: of that name, or of that name with a suffix of images.

    Raises:
        FindingError: if there is none.
    """
    return locate(name, folders, where, others=[f"{name}{suffix}" for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES))])


def is_there(path: Path) -> bool:
    """Whether there is such a file; False for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def ellipse(center: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0) -> np.ndarray:
    """(N, 2) corners of a polygon that follows an ellipse, turned clockwise; of the same area."""
    angles = np.arange(_CORNERS) * (2 * np.pi / _CORNERS)
    # A polygon within the circle would be too small.
    grow = np.sqrt(2 * np.pi / (_CORNERS * np.sin(2 * np.pi / _CORNERS)))
    points = np.stack([np.cos(angles) * radii[0], np.sin(angles) * radii[1]], axis=1) * grow
    return turned(points + np.asarray(center), center, degrees)


def turned(points: np.ndarray, center: tuple[float, float], degrees: float) -> np.ndarray:
    """Points turned clockwise, as the image is seen, around a centre."""
    if not degrees:
        return points
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return (points - np.asarray(center)) @ np.array([[cos, sin], [-sin, cos]]) + np.asarray(center)
