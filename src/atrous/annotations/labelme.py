"""labelme: one JSON per image, beside it or with the image inside.

Polygons, rectangles, circles and masks are read; shapes with one group_id and label are one object. Shapes are painted
in the order of the file; `_background_` takes from what is below, `__ignore__` counts for nothing.
"""

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from atrous.annotations.base import Annotated, Annotations, Format, ellipse, locate
from atrous.annotations.drawn import Drawn
from atrous.annotations.parsing import need, need_points, read_json, refuse
from atrous.annotations.polygons import Patch
from atrous.errors import DataError
from atrous.findings import FindingError
from atrous.images.files import read_image

__all__ = ["LABELME"]

_LINES = ("line", "linestrip", "point", "points")


def _files(path: Path) -> list[Path]:
    """The JSON files of a folder and its folders, or the file itself."""
    return [path] if path.is_file() else sorted(p for p in path.rglob("*.json") if not p.name.startswith("."))


def _fits(path: Path) -> bool:
    for file in _files(path)[:1]:
        try:
            table = read_json(file) if file.suffix.lower() == ".json" else None
        except FindingError:
            return False
        return isinstance(table, dict) and "shapes" in table and "imagePath" in table
    return False


def _read(path: Path, images: Path | None) -> Annotations:
    tables = _files(path)
    labels: set[str] = set()
    for file in tables:
        for index, shape in enumerate(need(read_json(file), "shapes", list, file)):
            labels.add(need(shape, "label", str, f"{file} shapes[{index}]"))
    notes: dict[str, int] = {}
    return Annotations(tuple(sorted(labels)), _images(path, tables, images, notes), notes=notes)


def _images(path: Path, tables: list[Path], images: Path | None, notes: dict[str, int]) -> Iterator[Annotated]:
    base = path if path.is_dir() else path.parent
    for file in tables:
        table = read_json(file)
        name = need(table, "imagePath", str, file).replace("\\", "/")
        size = (need(table, "imageHeight", int, file), need(table, "imageWidth", int, file))
        data = need(table, "imageData", str, file, default=None)
        image: Path | bytes
        try:
            image = locate((name, Path(name).name), (file.parent, images, base / "images"), f"{file}, imagePath")
        except FindingError:
            if data is None:
                raise
            image = _decode(data, f"{file}, imageData")
        drawings = []
        for index, shape in enumerate(need(table, "shapes", list, file)):
            drawing = _shape(shape, f"{file} shapes[{index}]", notes)
            drawings += [drawing] if drawing is not None else []
        inner = file.parent.relative_to(base) / f"{file.stem}{Path(name).suffix}"
        yield Annotated(inner.as_posix(), str(file), image, size, drawings)


def _shape(shape: Any, where: str, notes: dict[str, int]) -> Drawn | None:
    """One shape, or None where it has no area."""
    kind = need(shape, "shape_type", str, where, default="polygon")
    label, group = need(shape, "label", str, where), need(shape, "group_id", int, where, default=None)
    if kind in _LINES:
        notes[f"{kind} shapes have no area"] = notes.get(f"{kind} shapes have no area", 0) + 1
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
    data = _decode(need(shape, "mask", str, where), f"{where}, mask")
    try:
        there = np.asarray((read_image(data).array > 0).any(axis=2))
    except DataError:
        refuse(f"{where}, mask", "is no image", "Export it again.")
    return Drawn(label, patch=Patch(round(y0), round(x0), there), group=group)


def _decode(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        refuse(where, "is not Base64", "Save the file again with labelme.")


LABELME = Format("labelme JSON", _fits, _read)
