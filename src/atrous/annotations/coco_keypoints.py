"""COCO's JSON of key points: `person_keypoints_train2017.json`, and the files that others write like it.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014. A category names its key points; an annotation gives
x, y, v of each: v is 0 absent, 1 hidden, 2 visible. Every annotation is a person or animal with its box. Regions of
many (`iscrowd`) and annotations without a labelled point are left out, and counted. Pixel centres are integers; a box
has its corner at 0 where the first pixel begins.
"""

import mmap
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from atrous.annotations.base import last_part, locate, names_alone
from atrous.annotations.coco import any_id
from atrous.annotations.landmarks import (
    LandmarkEntry,
    LandmarkFormat,
    LandmarkTable,
    mirrored_names,
    not_told_apart,
    unite_names,
)
from atrous.annotations.parsing import Gathered, need, read_json, refuse

__all__ = ["COCO_KEYPOINTS", "coco_keypoint_files", "read_coco_keypoints"]

_BESIDE = "_annotations.coco.json"
_OFFICIAL = "person_keypoints_"
_KEYS = (b'"images"', b'"annotations"', b'"categories"')
_NAMED = re.compile(rb'"keypoints"\s*:\s*\[\s*"')
"""The names of a category's key points; annotations have numbers, or nothing, under the same key."""

_SPLITS = ("train", "valid", "val", "test")


class _Image(NamedTuple):
    name: str
    size: tuple[int, int]


def coco_keypoint_files(path: Path) -> list[tuple[str, Path]]:
    """The files of key points of a folder, or the file itself, each with the subset that its name speaks of."""
    if path.is_file():
        return [("", path)] if _looks(path) else []
    beside = [(folder.name, folder / _BESIDE) for folder in (path, *(path / name for name in _SPLITS))]
    if found := [(name if place.parent != path else "", place) for name, place in beside if _looks(place)]:
        return found
    for folder in (path / "annotations", path):
        files = [one for one in sorted(folder.glob("*.json")) if _looks(one)] if folder.is_dir() else []
        official = [one for one in files if one.name.startswith(_OFFICIAL)] or files
        if official:
            return [(one.stem.removeprefix(_OFFICIAL), one) for one in official]
    return []


def _looks(path: Path) -> bool:
    """Whether a JSON file has the keys of COCO's key points, without parsing it."""
    if path.suffix.lower() != ".json" or not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return all(data.find(key) >= 0 for key in _KEYS) and _NAMED.search(data) is not None


def _fits(path: Path) -> bool:
    return bool(coco_keypoint_files(path))


def _read(path: Path, images: Path | None, gathered: Gathered) -> Mapping[str, LandmarkTable]:
    files = coco_keypoint_files(path) or [("", path)]
    root = path if path.is_dir() else path.parent
    root = root.parent if root.name == "annotations" else root
    tables = {}
    for subset, file in files:
        word = file.stem.removeprefix(_OFFICIAL)
        places = [images and images / word, images, root / "images" / word, root / word, root / "images", root]
        tables[subset] = read_coco_keypoints(file, [*places, file.parent, file.parent / "images"], gathered)
    return unite_names(tables, dict(files))


def read_coco_keypoints(path: Path, folders: Sequence[Path | None], gathered: Gathered) -> LandmarkTable:
    """Read one file.

    Args:
        path: of the JSON.
        folders: in which the images are looked for.
        gathered: gets what is wrong with single entries, and what is left out.

    Raises:
        FindingError: if it is no file of key points, or of several kinds of them.
    """
    table = read_json(path)
    if isinstance(table, list):
        refuse(path, "is a list, as a file of predictions is", "Name the file of annotations, with images in it.")
    categories = _categories(need(table, "categories", list, path), path)
    images = _images(need(table, "images", list, path), path, gathered)
    rows = need(table, "annotations", list, path)
    used = [row.get("category_id") for row in rows if isinstance(row, dict)]
    kinds = {found for number, found in categories.items() if number in used} or set(list(categories.values())[:1])
    if len(kinds) != 1:
        fix = "Leave the annotations of one category in the file: one network finds one set of key points."
        refuse(path, f"has categories of {len(kinds)} different sets of key points", fix)
    names = kinds.pop()
    places: dict[str, Path] = {}
    alone = names_alone(image.name for image in images.values())
    entries: list[LandmarkEntry] = []
    for index, row in enumerate(rows):
        with gathered.going_on():
            where = f"{path} annotations[{index}]"
            image, points, box = _annotation(row, images, categories, where, gathered)
            if points is None:
                continue
            last = last_part(image.name)
            if image.name not in places:
                others = (last,) if last in alone else ()
                places[image.name] = locate(image.name, folders, where, others=others)
            who = str(row.get("id", index))
            seen = points[:, 2].astype(np.uint8)
            at = np.where(seen[:, None] > 0, points[:, :2], np.nan)
            entries.append(LandmarkEntry(places[image.name], at, seen, who, None, box, image.size))
    for finding in not_told_apart(entries):
        gathered.findings[finding] = None
    return LandmarkTable(names, mirrored_names(names), tuple(entries))


def _categories(rows: list[Any], path: Path) -> dict[int, tuple[str, ...]]:
    """The names of the key points of every category that has some."""
    found = {}
    for index, row in enumerate(rows):
        where = f"{path} categories[{index}]"
        number, names = need(row, "id", int, where), need(row, "keypoints", list, where, default=[])
        if not all(isinstance(name, str) and name.strip() for name in names):
            refuse(f"{where}, keypoints", "is no list of names", "Name every key point.")
        names = [name.strip() for name in names]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            refuse(f"{where}, keypoints", f"names {twice!r} twice", "Give every key point a name of its own.")
        if names:
            found[number] = tuple(names)
    if not found:
        refuse(f"{path} categories", "names no key points", "Export it with the key points of its categories.")
    return found


def _images(rows: list[Any], path: Path, gathered: Gathered) -> dict[Any, _Image]:
    """The images by their ids."""
    found: dict[Any, _Image] = {}
    for index, row in enumerate(rows):
        where = f"{path} images[{index}]"
        with gathered.going_on():
            key, name = need(row, "id", any_id(row), where), need(row, "file_name", str, where).replace("\\", "/")
            size = (need(row, "height", int, where), need(row, "width", int, where))
            if key in found:
                refuse(where, f"gives the id {key!r} a second time, to {name}", "Give every image an id of its own.")
            found[key] = _Image(name, size)
    return found


def _annotation(
    row: Any,
    images: Mapping[Any, _Image],
    categories: Mapping[int, tuple[str, ...]],
    where: str,
    gathered: Gathered,
) -> tuple[_Image, np.ndarray | None, np.ndarray | None]:
    """The image, (P, 3) x, y, v, and the box of one annotation; None for the points where it has none."""
    image_id = need(row, "image_id", any_id(row, "image_id"), where)
    if image_id not in images:
        refuse(where, f"names image_id {image_id!r}, which is no image of this file", "Delete the annotation.")
    image = images[image_id]
    if need(row, "category_id", int, where) not in categories:
        gathered.note("annotations are of a category without key points")
        return image, None, None
    given = need(row, "keypoints", list, where, default=[])
    if row.get("iscrowd") or not given:
        gathered.note(
            "regions of many have no key points of one" if row.get("iscrowd") else "annotations have no key point"
        )
        return image, None, None
    points = _points(given, len(categories[row["category_id"]]), f"{where}, keypoints")
    if not points[:, 2].any():
        gathered.note("annotations have no labelled key point")
        return image, None, None
    box = need(row, "bbox", list, where, default=None)
    if box is not None and (len(box) != 4 or not all(isinstance(v, int | float) and abs(v) < 1e9 for v in box)):
        refuse(f"{where}, bbox", f"is {box}, and x, y, width, height are needed", "Correct it.")
    return image, points, np.array(box, np.float64) if box and min(box[2:]) > 0 else None


def _points(given: list[Any], count: int, where: str) -> np.ndarray:
    """(P, 3) numbers from a flat list."""
    if len(given) != 3 * count:
        fix = "Give x, y, v of every key point of the category; 0, 0, 0 where it is absent."
        refuse(where, f"has {len(given)} numbers, and {count} key points need {3 * count}", fix)
    try:
        points = np.asarray(given, np.float64).reshape(count, 3)
    except (TypeError, ValueError, OverflowError):
        points = np.full((count, 3), np.nan)
    if not (np.abs(points) < 1e9).all():
        refuse(where, "holds something that is no number", "Correct it.")
    if not np.isin(points[:, 2], (0, 1, 2)).all():
        number = int(np.flatnonzero(~np.isin(points[:, 2], (0, 1, 2)))[0])
        fix = "v is 0 where a key point is absent, 1 where it is hidden, 2 where it is visible."
        refuse(where, f"has v = {points[number, 2]:g} for key point {number}", fix)
    placed = (points[:, 2] == 0) & (points[:, :2] != 0).any(axis=1)
    if placed.any():
        number = int(np.flatnonzero(placed)[0])
        fix = "v is 0 absent, 1 hidden, 2 visible: write v = 1 where it is hidden, and 0, 0, 0 where it is absent."
        refuse(where, f"has a place and v = 0 for key point {number}", fix)
    return points


COCO_KEYPOINTS = LandmarkFormat("COCO key points", _fits, _read)
