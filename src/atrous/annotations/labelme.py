"""labelme: one JSON per image, beside it or with the image inside.

Polygons, rectangles, circles and masks are read; shapes with one group_id and label are one object. Shapes are painted
in the order of the file; `_background_` takes from what is below, `__ignore__` counts for nothing. A `labels.txt` says
the order of the labels. As in labelme itself, an image inside the JSON is the one that was labelled; the file of its
name is taken where it holds the same pixels. JSON files of other tools are left out.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from atrous.annotations.base import (
    Annotated,
    Annotations,
    Format,
    ellipse,
    last_part,
    locate,
    names_alone,
    one_by_one,
    size_of,
)
from atrous.annotations.drawn import Drawn
from atrous.annotations.embedded import decode_base64
from atrous.annotations.folders import files_below
from atrous.annotations.parsing import Gathered, need, need_points, read_json, refuse
from atrous.annotations.polygons import Patch
from atrous.errors import DataError
from atrous.findings import FindingError
from atrous.images.files import read_image

__all__ = ["LABELME", "LABEL_LIST", "same_pixels"]

LABEL_LIST = "labels.txt"
"""The file of a folder that names the labels, one a line."""

_LINES = ("line", "linestrip", "point", "points")
_SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")
_LOOKS = 64


def _files(path: Path) -> list[Path]:
    """The JSON files of a folder and its folders, or the file itself."""
    return files_below(path, (".json",))


def _fits(path: Path) -> bool:
    return any(_is_labelme(file) for file in _files(path)[:_LOOKS])


def _is_labelme(file: Path) -> bool:
    """Whether a file is labelme's; False where it cannot be read."""
    try:
        table = read_json(file) if file.suffix.lower() == ".json" else None
    except FindingError:
        return False
    return isinstance(table, dict) and "shapes" in table and "imagePath" in table


def _is_foreign(table: Any) -> bool:
    """Whether JSON is of another tool."""
    return not isinstance(table, dict) or not ("shapes" in table or "imagePath" in table)


def _read(path: Path, images: Path | None, gathered: Gathered) -> Annotations:
    labels: set[str] = set()
    tables: list[Path] = []
    names: dict[Path, str] = {}
    for file in _files(path):
        with gathered.going_on():
            table = read_json(file)
            if path.is_dir() and _is_foreign(table):
                gathered.note("JSON files are not labelme's")
                continue
            tables.append(file)
            names[file] = str(table.get("imagePath")) if isinstance(table, dict) else ""
            for index, shape in enumerate(need(table, "shapes", list, file)):
                with gathered.going_on():
                    labels.add(need(shape, "label", str, f"{file} shapes[{index}]"))
    listed = [label for label in _listed(path) if label not in ("__ignore__", "_background_", "background")]
    order = tuple(dict.fromkeys((*listed, *sorted(labels))))
    return Annotations(order, _images(path, tables, names, images, gathered))


def _listed(path: Path) -> list[str]:
    """The labels of labels.txt, if there is one."""
    file = (path if path.is_dir() else path.parent) / LABEL_LIST
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines() if file.is_file() else []
    except (OSError, UnicodeDecodeError):
        refuse(file, "cannot be read as a list of labels", "Write one label a line, as UTF-8, or take it away.")
    return [line.strip() for line in lines if line.strip()]


def _images(
    path: Path, tables: list[Path], names: dict[Path, str], images: Path | None, gathered: Gathered
) -> Iterator[Annotated]:
    base = path if path.is_dir() else path.parent
    alone = names_alone(f"{file.parent.as_posix()}/{name}" for file, name in names.items())
    return one_by_one(tables, partial(_image, base, images, alone, gathered), gathered)


def _image(base: Path, images: Path | None, alone: frozenset[str], gathered: Gathered, file: Path) -> Annotated:
    """One file."""
    table = read_json(file)
    name = need(table, "imagePath", str, file).replace("\\", "/")
    image = _find_image(table, name, file, (images, base / "images"), alone)
    sides = [need(table, key, int, file, default=None) for key in ("imageHeight", "imageWidth")]
    size = size_of(image, None if None in sides else (sides[0], sides[1]), file)
    drawings = []
    for index, shape in enumerate(need(table, "shapes", list, file)):
        with gathered.going_on():
            drawing = _shape(shape, f"{file} shapes[{index}]", gathered)
            drawings += [drawing] if drawing is not None else []
    inner = file.parent.relative_to(base)
    subset = inner.parts[0] if inner.parts and inner.parts[0].lower() in _SPLITS else ""
    suffix = Path(name).suffix
    return Annotated((inner / f"{file.stem}{suffix}").as_posix(), str(file), image, size, drawings, subset)


def _find_image(
    table: Any, name: str, file: Path, folders: tuple[Path | None, ...], alone: frozenset[str]
) -> Path | bytes:
    """The image that was labelled: a file, or what stands inside."""
    data = need(table, "imageData", str, file, default=None)
    inside = None if data is None else decode_base64(data, f"{file}, imageData")
    last = last_part(name)
    try:
        # Beside its own JSON, a name means one file; in a folder of all images it may mean another folder's.
        beside = locate(name, (file.parent,), f"{file}, imagePath", others=[last])
    except FindingError:
        try:
            beside = locate(name, folders, f"{file}, imagePath", others=[last] if last in alone else [])
        except FindingError:
            if inside is None:
                raise
            return inside
    return beside if inside is None or same_pixels(beside, inside) else inside


def same_pixels(beside: Path, inside: bytes) -> bool:
    """Whether a file holds what an image inside a JSON does; what cannot be read does not."""
    if beside.read_bytes() == inside:
        return True
    try:
        return bool(np.array_equal(read_image(beside).array, read_image(inside).array))
    except DataError:
        return False


def _shape(shape: Any, where: str, gathered: Gathered) -> Drawn | None:
    """One shape, or None where it has no area."""
    kind = need(shape, "shape_type", str, where, default="polygon")
    label, group = need(shape, "label", str, where), need(shape, "group_id", int, where, default=None)
    if kind in _LINES:
        gathered.note(f"{kind} shapes have no area")
        return None
    given = need(shape, "points", list, where)
    if kind in ("polygon", "oriented_rectangle", "quadrilateral"):
        return Drawn(label, ((need_points(given, f"{where}, points"),),), group=group)
    points = need_points(given, f"{where}, points", least=2)
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    if kind == "rectangle":
        return Drawn(label, ((np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]),),), group=group)
    if kind == "circle":
        radius = float(np.hypot(*(points[1] - points[0])))
        return Drawn(label, ((ellipse((points[0, 0], points[0, 1]), (radius, radius)),),), group=group)
    if kind != "mask":
        wanted = "Use polygons, rectangles, circles or masks."
        refuse(f"{where}, shape_type", f"is {kind!r}, which is not read", wanted)
    data = decode_base64(need(shape, "mask", str, where), f"{where}, mask")
    try:
        there = np.asarray((read_image(data).array > 0).any(axis=2))
    except DataError:
        refuse(f"{where}, mask", "is no image", "Export it again.")
    return Drawn(label, patch=Patch(round(y0), round(x0), there), group=group)


LABELME = Format("labelme JSON", _fits, _read)
