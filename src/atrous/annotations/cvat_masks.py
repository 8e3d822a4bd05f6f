"""CVAT's "Segmentation mask 1.1": coloured masks, and a list of the labels' colours.

labelmap.txt (`name:red,green,blue:parts:actions`), SegmentationClass/NAME.png, SegmentationObject/NAME.png with a
colour for each object, ImageSets/Segmentation/SUBSET.txt, and JPEGImages/ where images were exported too. A mask of one
channel holds the places of labels in the list. Black is background where no label has it.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from atrous.annotations.base import Annotated, Annotations, Format, find_image, one_by_one, size_of
from atrous.annotations.drawn import BACKGROUND_LABELS, Drawn
from atrous.annotations.parsing import Gathered, read_lines, refuse
from atrous.annotations.regions import color_codes, patches_of_any
from atrous.images.colors import Color
from atrous.images.files import read_mask, read_palette

__all__ = ["CVAT_MASKS"]

_LIST = "labelmap.txt"
_CLASSES, _OBJECTS, _SETS = "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"


class _Listed(NamedTuple):
    """An image as a list names it."""

    name: str
    subset: str
    where: str


def _fits(path: Path) -> bool:
    return path.is_dir() and (path / _LIST).is_file() and (path / _CLASSES).is_dir()


def _read(path: Path, images: Path | None, gathered: Gathered) -> Annotations:
    if not _fits(path):
        refuse(path, f"holds no {_LIST} and {_CLASSES}/", "Unpack the archive that CVAT wrote, and name its folder.")
    colors = _colors(path / _LIST)
    labels = tuple(name for name in colors if name not in BACKGROUND_LABELS)
    found = one_by_one(_names(path), partial(_image, path, images, colors), gathered)
    return Annotations(labels, found, {name: colors[name] for name in labels})


def _colors(file: Path) -> dict[str, Color]:
    """The colour of each label."""
    colors: dict[str, Color] = {}
    for number, line in read_lines(file):
        if line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        parts = rest.partition(":")[0].split(",")
        if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) < 256 for part in parts):
            refuse(f"{file} line {number}", "is no label with its colour", "Write: name:255,0,0:: .")
        color = (int(parts[0]), int(parts[1]), int(parts[2]))
        if color in colors.values():
            other = next(label for label, taken in colors.items() if taken == color)
            refuse(f"{file} line {number}", f"gives {name!r} the colour of {other!r}", "Give each a colour of its own.")
        colors[name.strip()] = color
    return colors


def _names(path: Path) -> Iterator[_Listed]:
    """The images of the lists, or those that have a mask where there are none."""
    lists = sorted((path / _SETS).glob("*.txt")) if (path / _SETS).is_dir() else []
    for file in lists:
        for number, line in read_lines(file):
            yield _Listed(line.strip('"'), file.stem, f"{file} line {number}")
    if not lists:
        for file in sorted((path / _CLASSES).rglob("*.png")):
            yield _Listed(file.relative_to(path / _CLASSES).with_suffix("").as_posix(), "", str(file))


def _image(root: Path, images: Path | None, colors: Mapping[str, Color], one: _Listed) -> Annotated:
    """One image: what has one label and one colour of object is one drawing."""
    image = find_image(one.name, (images, root / "JPEGImages", root / "images", root), one.where)
    file = root / _CLASSES / f"{one.name}.png"
    if not file.is_file():
        refuse(one.where, f"names {one.name}, and there is no {_CLASSES}/{one.name}.png", "Export it again.")
    places, labels = _places(file, colors)
    size = size_of(image, (places.shape[0], places.shape[1]), file)
    objects = root / _OBJECTS / f"{one.name}.png"
    numbers = places
    if objects.is_file():
        numbers = places << 24 | _codes(objects)
        if numbers.shape != places.shape:
            refuse(objects, f"differs in size from {_CLASSES}/{one.name}.png", "Export both again.")
    drawings = []
    for number, patch in patches_of_any(numbers):
        inside = (slice(patch.top, patch.top + patch.pixels.shape[0]), slice(patch.left, None))
        place = int(places[inside][:, : patch.pixels.shape[1]][patch.pixels][0])
        if labels[place] not in BACKGROUND_LABELS:
            drawings.append(Drawn(labels[place], patch=patch, single=objects.is_file() and number & 0xFFFFFF > 0))
    return Annotated(f"{one.name}{image.suffix}", one.where, image, size, drawings, one.subset)


def _codes(file: Path) -> np.ndarray:
    """(H, W) int64: a number for each colour, or the values of a mask without colours."""
    raw = read_mask(file)
    if raw.ndim == 3:
        return color_codes(raw)
    palette = read_palette(file)
    if palette is None:
        return raw.astype(np.int64)
    table = np.zeros(max(256, len(palette)), np.int64)
    table[: len(palette)] = color_codes(np.asarray(palette, np.uint8)[None])[0]
    return table[raw]


def _places(file: Path, colors: Mapping[str, Color]) -> tuple[np.ndarray, list[str]]:
    """(H, W) int64 places in a list of labels, and that list."""
    labels = list(colors)
    codes = _codes(file)
    if read_mask(file).ndim == 2 and read_palette(file) is None:
        if int(codes.max(initial=0)) >= len(labels):
            message = f"holds the value {int(codes.max())}, and {_LIST} has {len(labels)} labels"
            refuse(file, message, "Export it again with its labelmap.txt.")
        return codes, labels
    table = {code: place for place, code in enumerate(_code(colors[label]) for label in labels)}
    if 0 not in table:
        table[0] = len(labels)
        labels.append(BACKGROUND_LABELS[0])
    values, index = np.unique(codes, return_inverse=True)
    for value in values.tolist():
        if value not in table:
            text = f"({value >> 16}, {value >> 8 & 255}, {value & 255})"
            refuse(file, f"holds the colour {text}, which is no label in {_LIST}", "Add it, or export again.")
    return np.array([table[value] for value in values.tolist()], np.int64)[index.reshape(codes.shape)], labels


def _code(color: Color) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


CVAT_MASKS = Format("CVAT's Segmentation mask 1.1", _fits, _read)
