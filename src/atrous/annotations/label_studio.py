"""Label Studio's JSON: polygons, closed vectors, rectangles, ellipses, the brush and bitmasks.

Of several annotations of one task the one marked as ground truth is taken, else the last that was not cancelled. Tasks
without any are left out. A task of several images gives each its own regions. Files of "JSON-MIN" are read too.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from atrous.annotations.base import Annotated, Annotations, Format, last_part, locate, one_by_one, size_of
from atrous.annotations.label_studio_images import TaskImage, task_images
from atrous.annotations.label_studio_shapes import draw, labels_of, regions_of_min, shape_of
from atrous.annotations.parsing import Gathered, need, read_json, refuse
from atrous.findings import FindingError

__all__ = ["LABEL_STUDIO", "chosen_regions", "find_json"]


class _LabelledTask(NamedTuple):
    """A task, its place, and its regions with theirs."""

    task: dict[str, Any]
    where: str
    regions: list[tuple[Any, str]]


def find_json(path: Path) -> Path | None:
    """The JSON file, or the only one in a folder."""
    if path.is_file():
        return path if path.suffix.lower() == ".json" else None
    found = sorted(path.glob("*.json"))
    return found[0] if len(found) == 1 else None


def _fits(path: Path) -> bool:
    file = find_json(path)
    if file is None:
        return False
    try:
        table = read_json(file)
    except FindingError:
        return False
    first = table[0] if isinstance(table, list) and table else table
    return isinstance(first, dict) and (("annotations" in first and "data" in first) or bool(regions_of_min(first)))


def _read(path: Path, images: Path | None, gathered: Gathered) -> Annotations:
    file = find_json(path)
    if file is None:
        refuse(path, "holds no JSON file, or several", "Name the file that Label Studio exported.")
    table = read_json(file)
    labels: set[str] = set()
    chosen: list[_LabelledTask] = []
    for index, task in enumerate(table if isinstance(table, list) else [table]):
        where = f"{file} [{index}]"
        with gathered.going_on():
            regions = chosen_regions(task, where, gathered)
            if regions is None:
                continue
            chosen.append(_LabelledTask(task, where, regions))
            for region, place in regions:
                with gathered.going_on():
                    labels.update(labels_of(region, place))
    return Annotations(tuple(sorted(labels)), _images(file, images, chosen, gathered))


def chosen_regions(task: Any, where: str, gathered: Gathered) -> list[tuple[Any, str]] | None:
    """The regions of one task and their places; None where nobody has annotated it.

    Raises:
        FindingError: if it is no task.
    """
    if not isinstance(task, dict):
        refuse(where, "is no task", "Export from Label Studio as JSON.")
    if "annotations" not in task:
        found = [(region, f"{where}.{key}[{i}]") for key, i, region in regions_of_min(task)]
        gathered.note("tasks have no annotation", not found)
        return found or None
    annotations = need(task, "annotations", list, where)
    good = [(a, i) for i, a in enumerate(annotations) if isinstance(a, dict) and not a.get("was_cancelled")]
    gathered.note("tasks have no annotation", not good)
    if not good:
        return None
    gathered.note("tasks have several annotations, of which one is taken", len(good) > 1)
    annotation, number = next((pair for pair in good if pair[0].get("ground_truth")), good[-1])
    place = f"{where}.annotations[{number}]"
    return [(r, f"{place}.result[{i}]") for i, r in enumerate(need(annotation, "result", list, place))]


def _images(file: Path, images: Path | None, chosen: list[_LabelledTask], gathered: Gathered) -> Iterator[Annotated]:
    parts: list[tuple[TaskImage, str]] = []
    for one in chosen:
        with gathered.going_on():
            parts += [(part, one.where) for part in task_images(one.task, one.regions, one.where, gathered)]
    # Uploads of one name are different images; only their whole paths tell them apart.
    paths: dict[str, set[str]] = {}
    for part, _ in parts:
        for name in part.names[1:]:
            paths.setdefault(name, set()).add(part.names[0])
    shared = frozenset(name for name, found in paths.items() if len(found) > 1)
    return one_by_one(parts, partial(_image, file, images, shared, gathered), gathered)


def _image(
    file: Path, images: Path | None, shared: frozenset[str], gathered: Gathered, item: tuple[TaskImage, str]
) -> Annotated:
    """One image of a task."""
    part, where = item
    others = [name for name in part.names[1:] if name not in shared]
    path = locate(part.names[0], (images, file.parent / "images", file.parent), f"{where}, data", others=others)
    has = size_of(path, None, where)
    drawings = []
    for region, place in part.regions:
        if shape_of(region) is None:
            kind = region.get("type", "other") if isinstance(region, dict) else "other"
            gathered.note(f"{kind} regions have no area")
            continue
        with gathered.going_on():
            if angle := need(region, "image_rotation", float, place, default=0.0) % 360:
                reason = f"was drawn while Label Studio showed the image turned by {angle:g} degrees"
                refuse(place, reason, "Turn the image back there and export again.")
            sides = tuple(need(region, key, int, place, default=None) for key in ("original_height", "original_width"))
            size = has if sides == (None, None) else size_of(path, sides, place)
            drawings += draw(region, size, place, gathered)
    name = path.name if last_part(part.names[0]) not in shared else part.names[0]
    return Annotated(name, where, path, has, drawings)


LABEL_STUDIO = Format("Label Studio JSON", _fits, _read)
