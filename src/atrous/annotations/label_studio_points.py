"""Label Studio's key points as landmarks, from its JSON.

The label of a key point is the landmark's name. Key points whose parent is one rectangle are one person or animal, and
the rectangle is its box. A choice `hidden` or `occluded` of a key point says that something covers it (its switch
"hidden" does not: that hides a region in the tool). Other regions are left out, and counted. Which annotation of a task
is taken `label_studio.py` says.

Places are per cent of the image, from its corner: the centre of the first of 100 pixels is 0.5, which is 0 here.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from atrous.annotations.base import locate, size_of
from atrous.annotations.label_studio import chosen_regions, find_json
from atrous.annotations.label_studio_images import TaskImage, task_images
from atrous.annotations.label_studio_shapes import shape_of
from atrous.annotations.labelme_points import HALF, HIDDEN_FLAGS
from atrous.annotations.landmarks import (
    HIDDEN,
    VISIBLE,
    Landmark,
    LandmarkEntry,
    LandmarkFormat,
    LandmarkTable,
    make_entry,
    mirrored_names,
    not_told_apart,
)
from atrous.annotations.parsing import Gathered, need, read_json, refuse
from atrous.errors import DataError

__all__ = ["LABEL_STUDIO_POINTS"]

_LABELS = "keypointlabels"


class _Point(NamedTuple):
    """A key point: its label, whose it is, and where it stands in the file."""

    label: str
    parent: str
    region: dict[str, Any]
    where: str


def _is_point(region: Any) -> bool:
    """Whether a region is a labelled key point."""
    value = region.get("value") if isinstance(region, dict) else None
    if not isinstance(value, dict):
        return False
    kind = str(region.get("type", "")).lower()
    lone = kind == "labels" and "x" in value and not {"height", "radiusX", "points", "rle", "vertices"} & value.keys()
    return kind == _LABELS or _LABELS in value or lone


def _counts(region: Any) -> bool:
    return _is_point(region) or shape_of(region) == "rectangle"


def _tasks(file: Path) -> list[Any]:
    table = read_json(file)
    return table if isinstance(table, list) else [table]


def _fits(path: Path) -> bool:
    """Whether the file holds key points, and nothing that has an area but rectangles."""
    file = find_json(path)
    if file is None:
        return False
    try:
        found = [chosen_regions(task, str(file), Gathered()) for task in _tasks(file)[:64]]
    except DataError:
        return False
    regions = [region for task in found for region, _ in task or ()]
    areas = {shape_of(region) for region in regions if not _is_point(region)} - {None, "rectangle"}
    return any(map(_is_point, regions)) and not areas


def _read(path: Path, images: Path | None, gathered: Gathered) -> Mapping[str, LandmarkTable]:
    file = find_json(path)
    if file is None:
        refuse(path, "holds no JSON file, or several", "Name the file that Label Studio exported.")
    parts: list[tuple[TaskImage, str]] = []
    for index, task in enumerate(_tasks(file)):
        where = f"{file} [{index}]"
        with gathered.going_on():
            regions = chosen_regions(task, where, gathered)
            if regions is not None:
                found = task_images(task, regions, where, gathered, counts=_counts)
                parts += [(part, where) for part in found]
    points: list[list[_Point]] = []
    for part, _ in parts:
        points.append([])
        for region, where in part.regions:
            with gathered.going_on():
                points[-1] += _points(region, where, gathered)
    names = tuple(sorted({point.label for group in points for point in group}))
    if not names:
        gathered.raise_all()
        refuse(file, "holds no labelled key point", "Set key points in Label Studio, and export them as JSON.")
    shared = _shared(part for part, _ in parts)
    entries: list[LandmarkEntry] = []
    for (part, where), group in zip(parts, points, strict=True):
        with gathered.going_on():
            others = [name for name in part.names[1:] if name not in shared]
            image = locate(
                part.names[0], (images, file.parent / "images", file.parent), f"{where}, data", others=others
            )
            gathered.note("images have no labelled key point", not group)
            entries += _entries(part, group, image, names)
    gathered.findings |= dict.fromkeys(not_told_apart(entries))
    return {"": LandmarkTable(names, mirrored_names(names), tuple(entries))}


def _shared(parts: Iterator[TaskImage]) -> set[str]:
    """Short names that images of different paths share."""
    paths: dict[str, set[str]] = {}
    for part in parts:
        for name in part.names[1:]:
            paths.setdefault(name, set()).add(part.names[0])
    return {name for name, found in paths.items() if len(found) > 1}


def _points(region: Any, where: str, gathered: Gathered) -> Iterator[_Point]:
    """The key point that a region is, under its one label; what is none is counted."""
    if not _is_point(region):
        kind = str(region.get("type", "other")) if isinstance(region, dict) else "other"
        gathered.note(f"{kind} regions are no landmarks", shape_of(region) != "rectangle" and kind.lower() != "choices")
        return
    value = need(region, "value", dict, where)
    labels = need(value, _LABELS if _LABELS in value else "labels", list, f"{where}.value")
    if len(labels) != 1 or not str(labels[0]).strip():
        refuse(f"{where}.value", f"has {len(labels)} labels, and a landmark has one name", "Give it one label.")
    parent = need(region, "parentID", str, where, default="")
    yield _Point(str(labels[0]).strip(), parent, region, where)


def _entries(part: TaskImage, group: list[_Point], image: Path, names: tuple[str, ...]) -> Iterator[LandmarkEntry]:
    """The persons or animals of one image."""
    size = size_of(image, None, image)
    hidden = {str(r.get("id")) for r, _ in part.regions if isinstance(r, dict) and _says_hidden(r)}
    shown: dict[str, dict[str, Landmark]] = {}
    for point in group:
        one = shown.setdefault(point.parent, {})
        if point.label in one:
            fix = "Delete one; tell several persons or animals apart by a rectangle that is the parent of its points."
            refuse(point.where, f"is a second {point.label!r} of the same person or animal", fix)
        one[point.label] = _place(point, size, hidden, image)
    boxes = {str(r.get("id")): r for r, _ in part.regions if isinstance(r, dict) and shape_of(r) == "rectangle"}
    for parent, places in shown.items():
        box = _box(boxes[parent], size, f"{group[0].where}, parent") if parent in boxes else None
        yield make_entry(image, names, places, individual=parent, box=box, size=size)


def _place(point: _Point, size: tuple[int, int], hidden: set[str], image: Path) -> Landmark:
    if angle := need(point.region, "image_rotation", float, point.where, default=0.0) % 360:
        reason = f"was set while Label Studio showed the image turned by {angle:g} degrees"
        refuse(point.where, reason, "Turn the image back there and export again.")
    keys = ("original_height", "original_width")
    sides = tuple(need(point.region, key, int, point.where, default=None) for key in keys)
    if None not in sides:
        size_of(image, (sides[0], sides[1]), point.where)
    value, where = need(point.region, "value", dict, point.where), f"{point.where}.value"
    x, y = (need(value, key, float, where) / 100 * side for key, side in (("x", size[1]), ("y", size[0])))
    covered = str(point.region.get("id")) in hidden
    return Landmark(x - HALF, y - HALF, HIDDEN if covered else VISIBLE)


def _says_hidden(region: dict[str, Any]) -> bool:
    value = region.get("value")
    chosen = value.get("choices") if isinstance(value, dict) else None
    return isinstance(chosen, list) and any(str(one).lower() in HIDDEN_FLAGS for one in chosen)


def _box(region: dict[str, Any], size: tuple[int, int], where: str) -> list[float]:
    value = need(region, "value", dict, where)
    if need(value, "rotation", float, where, default=0.0) % 360:
        refuse(where, "is a turned rectangle, and a box is upright", "Turn it back, or draw it again.")
    sides = {"x": size[1], "y": size[0], "width": size[1], "height": size[0]}
    return [need(value, key, float, where) / 100 * side for key, side in sides.items()]


LABEL_STUDIO_POINTS = LandmarkFormat("Label Studio key points", _fits, _read)
