"""CVAT's XML "CVAT for images 1.1": polygons, boxes, ellipses and masks.

Shapes are painted by z_order, and within one in the order of the file. Shapes with one group_id and label are one
object. Lines, points, skeletons and tags have no area.
"""

import math
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

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
    turned,
)
from atrous.annotations.drawn import Drawn
from atrous.annotations.parsing import Gathered, need_points, refuse
from atrous.annotations.polygons import Patch
from atrous.annotations.rle import rows_to_mask
from atrous.images.colors import Color, from_hex

__all__ = ["CVAT", "find_xml", "need_number", "need_text", "read_images"]

_SHAPES = ("polygon", "box", "ellipse", "mask")


def find_xml(path: Path) -> Path | None:
    """The XML file, or the one in a folder."""
    if path.is_file():
        return path if path.suffix.lower() == ".xml" else None
    return next((p for p in (path / "annotations.xml", *sorted(path.glob("*.xml"))) if p.is_file()), None)


def _fits(path: Path) -> bool:
    file = find_xml(path)
    if file is None:
        return False
    with file.open("rb") as stream:
        return b"<annotations" in stream.read(4096)


def _read(path: Path, images: Path | None, gathered: Gathered) -> Annotations:
    file = find_xml(path)
    if file is None:
        refuse(path, "holds no annotations.xml", 'Export from CVAT as "CVAT for images 1.1", and unpack the archive.')
    root = read_images(file)
    labels: dict[str, Color | None] = {}
    for label in root.iterfind("meta//labels/label"):
        name, color = label.findtext("name"), label.findtext("color")
        if name and label.findtext("type") not in ("skeleton", "points", "tag"):
            labels[name.strip()] = _color(color)
    for shape in root.iterfind("image/*"):
        if shape.tag in _SHAPES and shape.get("label"):
            labels.setdefault(str(shape.get("label")), None)
    colors = {name: color for name, color in labels.items() if color is not None}
    return Annotations(tuple(labels), _images(root, file, images, gathered), colors)


def read_images(file: Path) -> ET.Element:
    """The root of an XML file with images in it.

    Raises:
        FindingError: if it is none, or of a video.
    """
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
    return root


def _images(root: ET.Element, file: Path, images: Path | None, gathered: Gathered) -> Iterator[Annotated]:
    elements = list(root.iterfind("image"))
    names = [str(image.get("name")) for image in elements]
    alone = names_alone(f"{image.get('subset')}/{name}" for image, name in zip(elements, names, strict=True))
    twice = {name for name, count in Counter(names).items() if count > 1}
    read = partial(_image, elements, file, images, (alone, twice), gathered)
    return one_by_one(range(len(elements)), read, gathered)


def _image(
    elements: list[ET.Element],
    file: Path,
    images: Path | None,
    names: tuple[frozenset[str], set[str]],
    gathered: Gathered,
    index: int,
) -> Annotated:
    """One image and its shapes."""
    image, where = elements[index], f"{file} image[{index}]"
    name, subset = need_text(image, "name", where), image.get("subset") or ""
    wanted = (int(need_number(image, "height", where)), int(need_number(image, "width", where)))
    alone, twice = names
    places = [file.parent / "images", file.parent] if images is None else [images, file.parent / "images", file.parent]
    folders = [place / subset for place in places]
    if name not in twice or not subset:  # else the file beside the folders of the subsets may be another's
        folders += places
    last = last_part(name)
    path = locate(name, folders, f"{where}, name", others=[last] if last in alone else [])
    size = size_of(path, wanted, where)
    found: list[tuple[int, Drawn]] = []
    counts: dict[str, int] = {}
    for shape in image:
        place = f"{where} ({name}) {shape.tag}[{counts.setdefault(shape.tag, 0)}]"
        counts[shape.tag] += 1
        if shape.tag not in _SHAPES:
            gathered.note(f"{shape.tag} shapes have no area")
            continue
        with gathered.going_on():
            found.append((int(need_number(shape, "z_order", place, default=0)), _shape(shape, place)))
    drawings = [drawing for _, drawing in sorted(found, key=lambda item: item[0])]
    return Annotated(name, where, path, size, drawings, subset)


def _shape(shape: ET.Element, where: str) -> Drawn:
    """One shape with an area."""
    label = need_text(shape, "label", where)
    group = shape.get("group_id")
    group = None if group in (None, "", "0") else group
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in need_text(shape, "points", where).split(";") if pair.strip()]
        return Drawn(label, ((need_points(pairs, f"{where}, points"),),), group=group)
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (need_number(shape, key, where) for key in ("cx", "cy", "rx", "ry"))
        ring = ellipse((cx, cy), (rx, ry), need_number(shape, "rotation", where, default=0))
        return Drawn(label, ((ring,),), group=group)
    if shape.tag == "box":
        x0, y0, x1, y1 = (need_number(shape, key, where) for key in ("xtl", "ytl", "xbr", "ybr"))
        ring = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        ring = turned(ring, ((x0 + x1) / 2, (y0 + y1) / 2), need_number(shape, "rotation", where, default=0))
        return Drawn(label, ((ring,),), group=group)
    left, top, width, height = (int(need_number(shape, key, where)) for key in ("left", "top", "width", "height"))
    try:
        counts = [int(part) for part in need_text(shape, "rle", where).split(",")]
        pixels = rows_to_mask(counts, (height, width))
    except ValueError as problem:
        refuse(f"{where}, rle", f"cannot be decoded: {problem}", "Export it again.")
    return Drawn(label, patch=Patch(top, left, pixels), group=group)


def need_text(element: ET.Element, key: str, where: str) -> str:
    """An attribute.

    Raises:
        FindingError: if there is none.
    """
    value = element.get(key)
    if not value:
        refuse(where, f"has no attribute {key!r}", "Export it again.")
    return value


def need_number(element: ET.Element, key: str, where: str, *, default: float | None = None) -> float:
    """An attribute as a number, or the default.

    Raises:
        FindingError: if it is no finite number.
    """
    if element.get(key) is None and default is not None:
        return default
    text = need_text(element, key, where)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        refuse(f"{where}, {key}", f"is {text!r}, and a number is needed", "Correct it.")
    return number


def _color(text: str | None) -> Color | None:
    try:
        return from_hex(str(text))
    except ValueError:
        return None


CVAT = Format("CVAT for images 1.1", _fits, _read)
