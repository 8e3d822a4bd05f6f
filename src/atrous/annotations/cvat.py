"""CVAT's XML "CVAT for images 1.1": polygons, boxes, ellipses and masks.

Shapes are painted by z_order, and within one in the order of the file. Shapes with one group_id and label are one
object. Lines, points, skeletons and tags have no area.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from atrous.annotations.base import Annotated, Annotations, Format, ellipse, locate, turned
from atrous.annotations.drawn import Drawn
from atrous.annotations.parsing import need_points, refuse
from atrous.annotations.polygons import Patch
from atrous.annotations.rle import rows_to_mask
from atrous.images.colors import Color, from_hex

__all__ = ["CVAT"]

_SHAPES = ("polygon", "box", "ellipse", "mask")


def _find(path: Path) -> Path | None:
    """The XML file, or the one in a folder."""
    if path.is_file():
        return path if path.suffix.lower() == ".xml" else None
    return next((p for p in (path / "annotations.xml", *sorted(path.glob("*.xml"))) if p.is_file()), None)


def _fits(path: Path) -> bool:
    file = _find(path)
    if file is None:
        return False
    with file.open("rb") as stream:
        return b"<annotations" in stream.read(4096)


def _read(path: Path, images: Path | None) -> Annotations:
    file = _find(path)
    if file is None:
        refuse(path, "holds no annotations.xml", 'Export from CVAT as "CVAT for images 1.1", and unpack the archive.')
    try:
        root = ET.parse(file).getroot()
    except ET.ParseError as problem:
        refuse(
            f"{file} line {problem.position[0]}", f"is not XML ({problem.msg})", "Export it again; it may be cut off."
        )
    except OSError as problem:
        refuse(file, f"cannot be read ({problem.strerror})", "Check the name.")
    if root.find("track") is not None:
        refuse(file, "holds the tracks of a video", 'Export the task as "CVAT for images 1.1".')
    if root.tag != "annotations" or root.find("image") is None:
        refuse(file, "holds no image", 'Export from CVAT as "CVAT for images 1.1".')
    labels: dict[str, Color | None] = {}
    for label in root.iterfind("meta//labels/label"):
        name, color = label.findtext("name"), label.findtext("color")
        if name and label.findtext("type") not in ("skeleton", "points", "tag"):
            labels[name.strip()] = _color(color)
    for shape in root.iterfind("image/*"):
        if shape.tag in _SHAPES and shape.get("label"):
            labels.setdefault(str(shape.get("label")), None)
    notes: dict[str, int] = {}
    colors = {name: color for name, color in labels.items() if color is not None}
    return Annotations(tuple(labels), _images(root, file, images, notes), colors, notes)


def _images(root: ET.Element, file: Path, images: Path | None, notes: dict[str, int]) -> Iterator[Annotated]:
    for index, image in enumerate(root.iterfind("image")):
        where = f"{file} image[{index}]"
        name = _text(image, "name", where)
        size = (int(_number(image, "height", where)), int(_number(image, "width", where)))
        subset = image.get("subset") or ""
        folders = (images, file.parent / "images" / subset, file.parent / "images", file.parent)
        path = locate((name, Path(name).name), folders, f"{where}, name")
        found: list[tuple[int, Drawn]] = []
        counts: dict[str, int] = {}
        for shape in image:
            place = f"{where} ({name}) {shape.tag}[{counts.setdefault(shape.tag, 0)}]"
            counts[shape.tag] += 1
            if shape.tag not in _SHAPES:
                notes[f"{shape.tag} shapes have no area"] = notes.get(f"{shape.tag} shapes have no area", 0) + 1
                continue
            found.append((int(_number(shape, "z_order", place, default=0)), _shape(shape, place)))
        drawings = [drawing for _, drawing in sorted(found, key=lambda item: item[0])]
        yield Annotated(name, where, path, size, drawings)


def _shape(shape: ET.Element, where: str) -> Drawn:
    """One shape with an area."""
    label = _text(shape, "label", where)
    group = shape.get("group_id")
    group = None if group in (None, "", "0") else group
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in _text(shape, "points", where).split(";") if pair.strip()]
        return Drawn(label, ((need_points(pairs, f"{where}, points"),),), group=group)
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (_number(shape, key, where) for key in ("cx", "cy", "rx", "ry"))
        ring = ellipse((cx, cy), (rx, ry), _number(shape, "rotation", where, default=0))
        return Drawn(label, ((ring,),), group=group)
    if shape.tag == "box":
        x0, y0, x1, y1 = (_number(shape, key, where) for key in ("xtl", "ytl", "xbr", "ybr"))
        ring = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        ring = turned(ring, ((x0 + x1) / 2, (y0 + y1) / 2), _number(shape, "rotation", where, default=0))
        return Drawn(label, ((ring,),), group=group)
    left, top, width, height = (int(_number(shape, key, where)) for key in ("left", "top", "width", "height"))
    try:
        counts = [int(part) for part in _text(shape, "rle", where).split(",")]
        pixels = rows_to_mask(counts, (height, width))
    except ValueError as problem:
        refuse(f"{where}, rle", f"cannot be decoded: {problem}", "Export it again.")
    return Drawn(label, patch=Patch(top, left, pixels), group=group)


def _text(element: ET.Element, key: str, where: str) -> str:
    value = element.get(key)
    if not value:
        refuse(where, f"has no attribute {key!r}", "Export it again.")
    return value


def _number(element: ET.Element, key: str, where: str, *, default: float | None = None) -> float:
    if element.get(key) is None and default is not None:
        return default
    text = _text(element, key, where)
    try:
        return float(text)
    except ValueError:
        refuse(f"{where}, {key}", f"is {text!r}, and a number is needed", "Correct it.")


def _color(text: str | None) -> Color | None:
    try:
        return from_hex(str(text))
    except ValueError:
        return None


CVAT = Format("CVAT for images 1.1", _fits, _read)
