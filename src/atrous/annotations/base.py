"""What every reader of annotations gives, and what several of them use."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from atrous.annotations.drawn import Drawn
from atrous.findings import FindingError, error
from atrous.images.colors import Color
from atrous.images.files import SUFFIXES

__all__ = ["Annotated", "Annotations", "Format", "ellipse", "image_stem", "locate", "turned"]

_CORNERS = 128
"""Corners of the polygon that stands for an ellipse."""


class Annotated(NamedTuple):
    """One image and what was drawn on it.

    Attributes:
        name: of the image, as its file names it.
        where: the place in the annotation file, for messages.
        image: the file, or its bytes where the annotations hold them.
        size: (height, width) that the annotations were drawn on.
        drawings: in the order in which they are painted.
    """

    name: str
    where: str
    image: Path | bytes
    size: tuple[int, int]
    drawings: Sequence[Drawn]


@dataclass(frozen=True)
class Annotations:
    """Everything an annotation file, or a folder of them, holds.

    Attributes:
        labels: names in their order, "background" not among them.
        images: read one by one, because drawings may be large.
        colors: of labels, where the file has them.
        notes: what was left out, and how often; complete once all images were read.
    """

    labels: tuple[str, ...]
    images: Iterable[Annotated]
    colors: Mapping[str, Color] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)


class Format(NamedTuple):
    """A format of annotations.

    Attributes:
        title: its name in prose.
        fits: a quick look whether a file or folder is of it.
        read: takes the file or folder, and the folder of images if one was named.
    """

    title: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, Path | None], Annotations]


def image_stem(name: str) -> str:
    r"""The name of an image without suffix, as a path that stays within a folder.

    Example:
        >>> image_stem("../day 1/a..b.png"), image_stem("C:\\scans\\a.tif")
        ('day 1/a..b', 'scans/a')
    """
    parts = [part for part in re.split(r"[\\/]+", name) if part not in ("", ".", "..") and not part.endswith(":")]
    if not parts:
        return "image"
    stem, dot, suffix = parts[-1].rpartition(".")
    return "/".join([*parts[:-1], stem if dot and stem and f".{suffix.lower()}" in SUFFIXES else parts[-1]])


def locate(names: Iterable[str], folders: Iterable[Path | None], where: object) -> Path:
    """The first file of one of these names in one of these folders.

    Raises:
        FindingError: if there is none.
    """
    tried = list(dict.fromkeys(names))
    for folder in folders:
        for name in tried if folder is not None else ():
            if folder is not None and name and (folder / name).is_file():
                return folder / name
    fix = "Put it beside the annotations, or name its folder with --images."
    raise FindingError(error("missing_image", where, f"names the image {tried[0]}, and there is no such file", fix))


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
