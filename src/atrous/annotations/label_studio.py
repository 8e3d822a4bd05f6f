"""Label Studio's JSON: polygons, rectangles, ellipses and the brush, in per cent of the image.

Of several annotations of one task the one marked as ground truth is taken, else the last that was not cancelled. Tasks
without any are left out. Files of "JSON-MIN" are read too.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from atrous.annotations.base import Annotated, Annotations, Format, ellipse, locate, turned
from atrous.annotations.drawn import Drawn
from atrous.annotations.parsing import need, need_points, read_json, refuse
from atrous.annotations.polygons import Patch, Polygon
from atrous.annotations.rle import brush_to_values
from atrous.findings import FindingError
from atrous.images.files import SUFFIXES, read_info

__all__ = ["LABEL_STUDIO"]

_SHAPES = ("polygon", "rectangle", "ellipse", "brush")
_LabelStudioTask = tuple[dict[str, Any], str, list[tuple[Any, str]]]
"""A task, its place, and its regions with theirs."""

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")


def _find(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix.lower() == ".json" else None
    found = sorted(path.glob("*.json"))
    return found[0] if len(found) == 1 else None


def _fits(path: Path) -> bool:
    file = _find(path)
    if file is None:
        return False
    try:
        table = read_json(file)
    except FindingError:
        return False
    first = table[0] if isinstance(table, list) and table else table
    return isinstance(first, dict) and (("annotations" in first and "data" in first) or bool(_regions_of_min(first)))


def _read(path: Path, images: Path | None) -> Annotations:
    file = _find(path)
    if file is None:
        refuse(path, "holds no JSON file, or several", "Name the file that Label Studio exported.")
    table = read_json(file)
    tasks = table if isinstance(table, list) else [table]
    notes: dict[str, int] = {}
    labels: set[str] = set()
    chosen: list[_LabelStudioTask] = []
    for index, task in enumerate(tasks):
        where = f"{file} [{index}]"
        regions = _regions(task, where, notes)
        if regions is not None:
            labels.update(label for region, place in regions for label in _labels(region, place))
            chosen.append((task, where, regions))
    return Annotations(tuple(sorted(labels)), _images(file, images, chosen, notes), notes=notes)


def _regions(task: Any, where: str, notes: dict[str, int]) -> list[tuple[Any, str]] | None:
    """The regions of one task and their places; None where nobody has annotated it."""
    if not isinstance(task, dict):
        refuse(where, "is no task", "Export from Label Studio as JSON.")
    if "annotations" not in task:
        found = [(region, f"{where}.{key}[{i}]") for key, i, region in _regions_of_min(task)]
        _note(notes, "tasks have no annotation", found)
        return found or None
    annotations = need(task, "annotations", list, where)
    good = [(a, i) for i, a in enumerate(annotations) if isinstance(a, dict) and not a.get("was_cancelled")]
    _note(notes, "tasks have no annotation", good)
    if not good:
        return None
    _note(notes, "tasks have several annotations, of which one is taken", len(good) < 2)
    annotation, number = next((pair for pair in good if pair[0].get("ground_truth")), good[-1])
    place = f"{where}.annotations[{number}]"
    return [(r, f"{place}.result[{i}]") for i, r in enumerate(need(annotation, "result", list, place))]


def _note(notes: dict[str, int], word: str, fine: object) -> None:
    """Count what was left out."""
    if not fine:
        notes[word] = notes.get(word, 0) + 1


def _regions_of_min(task: dict[str, Any]) -> list[tuple[str, int, dict[str, Any]]]:
    """JSON-MIN: the regions stand in the task, under the name of the control; type and value are one."""
    found = []
    for key, rows in task.items():
        for index, row in enumerate(rows if isinstance(rows, list) else ()):
            if isinstance(row, dict) and "original_width" in row:
                kind = next((f"{s}labels" for s in _SHAPES if f"{s}labels" in row), "other")
                found.append((key, index, {**row, "type": kind, "value": row}))
    return found


def _shape(region: Any) -> str | None:
    """polygon, rectangle, ellipse or brush; None for what has no area."""
    kind = str(region.get("type", "")).lower() if isinstance(region, dict) else ""
    shape = kind.removesuffix("labels")
    if shape in _SHAPES and kind != shape:
        return shape
    value = region.get("value") if isinstance(region, dict) else None
    if kind == "labels" and isinstance(value, dict):  # shape and label come from two controls
        keys = {"points": "polygon", "rle": "brush", "radiusX": "ellipse", "width": "rectangle"}
        return next((name for key, name in keys.items() if key in value), None)
    return None


def _labels(region: Any, where: str) -> list[str]:
    """The labels of a region; none for what has no area."""
    shape = _shape(region)
    if shape is None:
        return []
    value = need(region, "value", dict, where)
    key = f"{shape}labels" if f"{shape}labels" in value else "labels"
    given = need(value, key, list, f"{where}.value")
    return [str(label) for label in given]


def _images(
    file: Path,
    images: Path | None,
    chosen: list[_LabelStudioTask],
    notes: dict[str, int],
) -> Iterator[Annotated]:
    for task, where, regions in chosen:
        names = _names(task, where)
        path = locate(names, (images, file.parent / "images", file.parent), f"{where}, data")
        size: tuple[int, int] | None = None
        drawings = []
        for region, place in regions:
            shape = _shape(region)
            if shape is None:
                kind = region.get("type", "other") if isinstance(region, dict) else "other"
                _note(notes, f"{kind} regions have no area", fine=False)
                continue
            size = (need(region, "original_height", int, place), need(region, "original_width", int, place))
            drawings += _draw(region, shape, size, place)
        if size is None:
            info = read_info(path)
            size = (info.height, info.width)
        yield Annotated(path.name, where, path, size, drawings)


def _names(task: dict[str, Any], where: str) -> list[str]:
    """What the image of a task may be called: its path, its name, its name before it was uploaded."""
    data = need(task, "data", dict, where, default=task)
    texts = [str(v) for k, v in sorted(data.items(), key=lambda item: item[0] != "image") if isinstance(v, str)]
    found = []
    for text in texts:
        parts = urlsplit(text)
        local = parse_qs(parts.query).get("d", [""])[0]
        name = unquote(local if local.lower().endswith(SUFFIXES) else parts.path)
        if name.lower().endswith(SUFFIXES):
            base = Path(name).name
            found += [name.lstrip("/"), base, _UPLOADED.sub("", base)]
    if not found:
        refuse(f"{where}, data", "names no image", f"It needs a path that ends in {', '.join(SUFFIXES)}.")
    return found


def _draw(region: Any, shape: str, size: tuple[int, int], where: str) -> list[Drawn]:
    """A region, once for each of its labels."""
    value, place = need(region, "value", dict, where), f"{where}.value"
    scale = np.array([size[1], size[0]]) / 100
    patch: Patch | None = None
    parts: tuple[Polygon, ...] = ()
    if shape == "polygon":
        parts = ((need_points(need(value, "points", list, place), f"{place}.points") * scale,),)
    elif shape == "brush":
        try:
            values = brush_to_values(need(value, "rle", list, place))
            patch = Patch(0, 0, values.reshape(*size, 4)[..., 3] > 0)
        except (ValueError, TypeError, OverflowError) as problem:
            refuse(f"{place}.rle", f"cannot be decoded: {problem}", "Export it again.")
    else:
        x, y, angle = (need(value, key, float, place, default=0.0 if key == "rotation" else ...) for key in
                       ("x", "y", "rotation"))  # fmt: skip
        corner = (x * scale[0], y * scale[1])
        if shape == "ellipse":
            radii = [need(value, key, float, place) for key in ("radiusX", "radiusY")]
            parts = ((ellipse(corner, (radii[0] * scale[0], radii[1] * scale[1]), angle),),)
        else:
            w, h = (need(value, key, float, place) * s for key, s in zip(("width", "height"), scale, strict=True))
            ring = np.array([[0, 0], [w, 0], [w, h], [0, h]]) + np.asarray(corner)
            parts = ((turned(ring, corner, angle),),)
    return [Drawn(label, parts, patch) for label in _labels(region, where)]


LABEL_STUDIO = Format("Label Studio JSON", _fits, _read)
