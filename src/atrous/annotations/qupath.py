"""QuPath's GeoJSON: the objects of an image as polygons with holes, in pixels of the full resolution.

A file is for the image of its name. An object's class is its classification, or `object` where it has none; `Ignore*`
counts for nothing, as in QuPath. Larger objects are painted first, because an annotation holds its detections.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from atrous.annotations.base import Annotated, Annotations, Format, one_by_one, path_within, size_of
from atrous.annotations.drawn import IGNORE_LABEL, Drawn, largest_first
from atrous.annotations.folders import files_below, image_for, split_folder
from atrous.annotations.parsing import Gathered, need, need_points, read_json, refuse
from atrous.annotations.polygons import Polygon
from atrous.findings import FindingError
from atrous.images.colors import Color

__all__ = ["QUPATH"]

_UNNAMED = "object"
_LOOKS = 16


def _fits(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in (".geojson", ".json") and _is_geojson(path)
    return path.is_dir() and any(_is_geojson(file) for file in files_below(path, (".geojson",))[:_LOOKS])


def _is_geojson(file: Path) -> bool:
    try:
        return any(isinstance(row, dict) and row.get("type") == "Feature" for row in _features(file))
    except FindingError:
        return False


def _features(file: Path) -> list[Any]:
    """The objects of a file: a collection, a list of them, or one."""
    table = read_json(file)
    if isinstance(table, list):
        return table
    if isinstance(table, dict) and table.get("type") == "Feature":
        return [table]
    return need(table, "features", list, file)


def _read(path: Path, images: Path | None, gathered: Gathered) -> Annotations:
    colors: dict[str, Color | None] = {}
    files = files_below(path, (".geojson",))
    good = []
    for file in files:
        with gathered.going_on():
            for index, row in enumerate(_features(file)):
                with gathered.going_on():
                    label, color = _class(row, f"{file} features[{index}]")
                    colors[label] = colors.get(label) or color
            good.append(file)
    root = path if path.is_dir() else path.parent
    found = one_by_one(good, partial(_image, root, images, gathered), gathered)
    labels = tuple(sorted(label for label in colors if label != IGNORE_LABEL))
    return Annotations(labels, found, {name: color for name, color in colors.items() if color is not None})


def _image(root: Path, images: Path | None, gathered: Gathered, file: Path) -> Annotated:
    """One file."""
    image = image_for(file, root, images, [file.name.removesuffix(file.suffix)])
    size = size_of(image, None, file)
    drawings: list[Drawn] = []
    for index, row in enumerate(_features(file)):
        where = f"{file} features[{index}]"
        with gathered.going_on():
            parts = _parts(need(row, "geometry", dict, where), f"{where}, geometry", gathered)
            gathered.note("nuclei of cells are not read, only the cells", "nucleusGeometry" in row)
            drawings += [Drawn(_class(row, where)[0], tuple(parts))] if parts else []
    inner = file.parent.relative_to(root).as_posix() if file.is_relative_to(root) else ""
    name, subset = path_within(f"{inner}/{image.name}"), split_folder(file, root)
    return Annotated(name, str(file), image, size, largest_first(drawings, size), subset)


def _class(row: Any, where: str) -> tuple[str, Color | None]:
    """The class of an object, and its colour."""
    properties = need(row, "properties", dict, where, default={})
    given = need(properties, "classification", dict, f"{where}, properties", default={})
    place = f"{where}, properties.classification"
    names = need(given, "names", list, place, default=[])
    name = need(given, "name", str, place, default=": ".join(map(str, names))) or _UNNAMED
    color = given.get("color")
    if isinstance(color, list) and len(color) == 3 and all(isinstance(c, int) and 0 <= c < 256 for c in color):
        return _plain(name), (color[0], color[1], color[2])
    number = given.get("colorRGB")
    if isinstance(number, int):
        return _plain(name), (number >> 16 & 255, number >> 8 & 255, number & 255)
    return _plain(name), None


def _plain(name: str) -> str:
    return IGNORE_LABEL if name == "Ignore*" else name


def _parts(geometry: dict[str, Any], where: str, gathered: Gathered) -> list[Polygon]:
    """The polygons of a geometry; none where it has no area."""
    kind = need(geometry, "type", str, where)
    if kind == "GeometryCollection":
        inner = need(geometry, "geometries", list, where)
        return [part for i, one in enumerate(inner) for part in _parts(one, f"{where}.geometries[{i}]", gathered)]
    if kind not in ("Polygon", "MultiPolygon"):
        gathered.note(f"{kind} objects have no area")
        return []
    given = need(geometry, "coordinates", list, where)
    polygons = [given] if kind == "Polygon" else given
    parts = []
    for i, rings in enumerate(polygons):
        place = f"{where}.coordinates" if kind == "Polygon" else f"{where}.coordinates[{i}]"
        if not isinstance(rings, list) or not rings:
            refuse(place, "is no list of rings", "Export it again.")
        parts.append(tuple(_ring(ring, f"{place}[{j}]") for j, ring in enumerate(rings)))
    return parts


def _ring(ring: Any, where: str) -> np.ndarray:
    return need_points(ring, where)


QUPATH = Format("QuPath GeoJSON", _fits, _read)
