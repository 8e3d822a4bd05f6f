"""YOLO's segmentation labels: a line for each object, its class and its polygon as shares of width and height.

data.yaml has the names, and the images of each split: a folder, a list of files, or several of them; classes.txt has
names alone. The labels of images/A.jpg stand in labels/A.txt. Larger objects are painted first. A line of four numbers
is a box, which has no outline. As where such data are trained, an image without a label file shows no object; how many
there are is told.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from atrous.annotations.base import Annotated, Annotations, Format, one_by_one, size_of
from atrous.annotations.drawn import Drawn, largest_first
from atrous.annotations.folders import files_below
from atrous.annotations.parsing import Gathered, read_lines, refuse
from atrous.findings import FindingError
from atrous.images.files import SUFFIXES

__all__ = ["YOLO"]

_NAMES = ("data.yaml", "dataset.yaml", "data.yml")
_LIST = "classes.txt"
"""What Label Studio and older tools write instead: a name in each line."""

_SPLITS = ("train", "val", "valid", "test")
_BEYOND = 0.5
"""How far outside the image a share may be: drawn over the edge, but not in pixels."""


class _Member(NamedTuple):
    """An image, its name within the split, and its split."""

    image: Path
    name: str
    split: str


def _find(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix.lower() in (".yaml", ".yml") or path.name == _LIST else None
    found = next((path / name for name in _NAMES if (path / name).is_file()), None)
    return found or (path / _LIST if (path / _LIST).is_file() and (path / "labels").is_dir() else None)


def _fits(path: Path) -> bool:
    file = _find(path)
    if file is None or file.name == _LIST:
        return file is not None
    try:
        return any(line.startswith("names:") for _, line in read_lines(file))
    except FindingError:
        return False


def _read(path: Path, images: Path | None, gathered: Gathered) -> Annotations:
    file = _find(path)
    if file is None:
        refuse(path, "holds no data.yaml", "Name the YAML file that has the names of the classes.")
    table = _table(file)
    names = _class_names(table.get("names"), file)
    members: list[_Member] = []
    for split in _SPLITS:
        with gathered.going_on():
            members += _members(table, split, file, images)
    if not members and not any(table.get(split) for split in _SPLITS):
        root = images or file.parent / "images"
        members = [_Member(image, image.relative_to(root).as_posix(), "") for image in _listed(root)]
    labels = tuple(dict.fromkeys(names.values()))
    labelled = frozenset(one.split for one in members if _labels_of(one.image) is not None)
    return Annotations(labels, one_by_one(members, partial(_image, names, labelled, gathered), gathered))


def _table(file: Path) -> dict[str, Any]:
    if file.name == _LIST:
        return {"names": [line for _, line in read_lines(file)]}
    try:
        table = yaml.safe_load("\n".join(file.read_text(encoding="utf-8-sig").splitlines()))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        refuse(f"{file}{line}", "is no YAML that can be read", "Correct the line.")
    if not isinstance(table, dict):
        refuse(file, "holds no entries", "Write names: [...], and train: and val: with the folders of images.")
    return table


def _class_names(given: Any, file: Path) -> dict[int, str]:
    """Names by number: a list, or a mapping."""
    rows = dict(enumerate(given)) if isinstance(given, list) else given
    if not isinstance(rows, dict) or not rows or not all(str(key).isdecimal() for key in rows):
        refuse(
            f"{file}, names", "is no list of names, nor a mapping from numbers to names", "Write names: [cell, ...]."
        )
    return {int(key): str(name) for key, name in rows.items()}


def _members(table: dict[str, Any], split: str, file: Path, images: Path | None) -> list[_Member]:
    """The images of a split: of a folder, of a list, or of several of them."""
    given = table.get(split)
    found: list[_Member] = []
    for entry in given if isinstance(given, list) else [given] if given else []:
        where = f"{file}, {split}"
        place = _place(str(entry), str(table.get("path") or "."), file, images)
        if place is None:
            fix = "Correct the entry, or name the folder of images with --images."
            refuse(where, f"names {entry}, and there is no such folder or list", fix)
        if place.is_dir():
            found += [_Member(image, image.relative_to(place).as_posix(), split) for image in _listed(place)]
            continue
        for number, line in read_lines(place):
            image = _place(line, str(table.get("path") or "."), file, images)
            if image is None:
                refuse(f"{place} line {number}", f"names {line}, and there is no such image", "Correct the line.")
            found.append(_Member(image, image.name, split))
    return found


def _place(text: str, base: str, file: Path, images: Path | None) -> Path | None:
    """What an entry names: from the base, from the file, or within it where exports lead too far up."""
    text = text.replace("\\", "/")
    while text.startswith("./"):
        text = text[2:]
    inner = text
    while inner.startswith("../"):
        inner = inner[3:]
    tried = [file.parent / base / text, file.parent / text, file.parent / inner]
    tried.append(file.parent / inner.partition("/")[2] if inner.startswith("data/") else file.parent / inner)
    if images is not None:
        tried += [images / inner, images / Path(inner).name]
    return next((path for path in tried if path.exists()), None)


def _listed(folder: Path) -> Iterator[Path]:
    """The images of a folder and its folders."""
    return iter(files_below(folder, SUFFIXES) if folder.is_dir() else [])


def _labels_of(image: Path) -> Path | None:
    """The label file of an image: under labels/ in the place of images/, or beside it."""
    parts = list(image.parts)
    place = max((i for i, part in enumerate(parts[:-1]) if part == "images"), default=None)
    beside = image.with_suffix(".txt")
    if place is not None:
        parts[place] = "labels"
        other = Path(*parts).with_suffix(".txt")
        return other if other.is_file() else beside if beside.is_file() else None
    return beside if beside.is_file() else None


def _image(names: dict[int, str], labelled: frozenset[str], gathered: Gathered, one: _Member) -> Annotated:
    """One image and its objects; in a split without any label file, nobody has labelled it."""
    size = size_of(one.image, None, one.image)
    file = _labels_of(one.image)
    if one.split not in labelled:
        return Annotated(one.name, str(one.image), one.image, size, None, one.split)
    gathered.note("images have no label file, and show no object then", file is None)
    drawings: list[Drawn] = []
    for number, line in read_lines(file) if file else []:
        with gathered.going_on():
            drawing = _shape(line, names, size, f"{file} line {number}", gathered)
            drawings += [] if drawing is None else [drawing]
    return Annotated(one.name, str(file or one.image), one.image, size, largest_first(drawings, size), one.split)


def _shape(line: str, names: dict[int, str], size: tuple[int, int], where: str, gathered: Gathered) -> Drawn | None:
    """One line; None where it has no outline."""
    words = line.split()
    try:
        key, shares = float(words[0]), np.array([float(word) for word in words[1:]])
    except ValueError:
        refuse(where, "holds something else than numbers", "Write the class and the polygon: 0 0.1 0.2 0.3 ...")
    if key not in names:
        refuse(where, f"has the class {words[0]}, which is none of the names in data.yaml", "Correct one of them.")
    if len(shares) == 4:
        gathered.note("lines are boxes, and have no outline")
        return None
    if len(shares) % 2 or len(shares) < 6:
        refuse(where, f"has {len(shares)} numbers after the class, and pairs of x and y are needed", "Correct it.")
    if not np.isfinite(shares).all() or shares.min() < -_BEYOND or shares.max() > 1 + _BEYOND:
        refuse(where, "has points that are no shares of width and height, 0 to 1", "Divide them by the image's size.")
    return Drawn(names[int(key)], ((shares.reshape(-1, 2) * np.array(size[::-1]),),))


YOLO = Format("YOLO segmentation labels", _fits, _read)
