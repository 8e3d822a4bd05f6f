"""Supervisely's projects: meta.json with the classes, and DATASET/ann/NAME.json beside DATASET/img/NAME.

Bitmaps are PNG files, packed, with the place of their corner; polygons may have holes. Points of polygons and
rectangles are pixels, so that those on the line belong to the object, as the tool itself draws them. Later objects are
painted over earlier ones. A dataset, or a tag of an image, that is called train, val or test names its split.
"""

import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from atrous.annotations.base import Annotated, Annotations, Format, locate, one_by_one, size_of
from atrous.annotations.drawn import Drawn
from atrous.annotations.embedded import decode_base64, opaque_pixels
from atrous.annotations.parsing import Gathered, need, need_points, read_json, refuse
from atrous.annotations.polygons import Patch
from atrous.findings import FindingError
from atrous.images.colors import Color, from_hex

__all__ = ["SUPERVISELY"]

_SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")
_LARGEST = 1 << 28
"""Bytes that a bitmap may have once unpacked."""


def _fits(path: Path) -> bool:
    if not path.is_dir() or not (path / "meta.json").is_file() or next(_folders(path), None) is None:
        return False
    try:
        table = read_json(path / "meta.json")
    except FindingError:
        return False
    return isinstance(table, dict) and isinstance(table.get("classes"), list)


def _folders(path: Path) -> Iterator[Path]:
    """The folders of annotations."""
    return (folder for folder in sorted(path.rglob("ann")) if folder.is_dir())


def _read(path: Path, images: Path | None, gathered: Gathered) -> Annotations:
    file = path / "meta.json"
    colors: dict[str, Color | None] = {}
    for index, row in enumerate(need(read_json(file), "classes", list, file)):
        with gathered.going_on():
            name = need(row, "title", str, f"{file} classes[{index}]")
            colors[name] = _color(row.get("color"))
    files = [file for folder in _folders(path) for file in sorted(folder.glob("*.json"))]
    found = one_by_one(files, partial(_image, path, images, colors, gathered), gathered)
    return Annotations(tuple(colors), found, {name: color for name, color in colors.items() if color is not None})


def _color(text: Any) -> Color | None:
    try:
        return from_hex(str(text))
    except ValueError:
        return None


def _image(root: Path, images: Path | None, classes: dict[str, Any], gathered: Gathered, file: Path) -> Annotated:
    """One file."""
    table = read_json(file)
    dataset = file.parent.parent.relative_to(root)
    folders = (file.parent.parent / "img", images and images / dataset, images)
    name = file.name.removesuffix(".json")
    image = locate(name, folders, file)
    sizes = need(table, "size", dict, file)
    size = size_of(image, (need(sizes, "height", int, file), need(sizes, "width", int, file)), file)
    drawings: list[Drawn] = []
    for index, row in enumerate(need(table, "objects", list, file)):
        where = f"{file} objects[{index}]"
        with gathered.going_on():
            label = need(row, "classTitle", str, where)
            if label not in classes:
                refuse(f"{where}, classTitle", f"is {label!r}, which is no class of meta.json", "Correct one of them.")
            drawing = _shape(row, label, size, where, gathered)
            drawings += [] if drawing is None else [drawing]
    tags = [str(tag.get("name")) for tag in need(table, "tags", list, file, default=[]) if isinstance(tag, dict)]
    subset = next((tag for tag in tags if tag.lower() in _SPLITS), dataset.as_posix())
    return Annotated(name, str(file), image, size, drawings, subset)


def _shape(row: dict[str, Any], label: str, size: tuple[int, int], where: str, gathered: Gathered) -> Drawn | None:
    """One object; None where it has no area."""
    kind = need(row, "geometryType", str, where, default="bitmap" if "bitmap" in row else "polygon")
    if kind in ("bitmap", "alpha_mask"):
        bitmap = need(row, "bitmap", dict, where)
        corner = need_points(need(bitmap, "origin", list, f"{where}, bitmap"), f"{where}, bitmap.origin", least=1)[0]
        data = _unpack(decode_base64(need(bitmap, "data", str, f"{where}, bitmap"), f"{where}, bitmap.data"), where)
        pixels = opaque_pixels(data, f"{where}, bitmap.data", size)
        return Drawn(label, patch=Patch(int(corner[1]), int(corner[0]), pixels))
    if kind not in ("polygon", "rectangle"):
        gathered.note(f"{kind} objects have no area")
        return None
    points = need(row, "points", dict, where)
    outer = need(points, "exterior", list, f"{where}, points")
    ring = need_points(outer, f"{where}, points.exterior", least=2 if kind == "rectangle" else 3)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = np.rint(ring.min(0)), np.rint(ring.max(0)) + 1
        return Drawn(label, ((np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]),),))
    holes = [need_points(hole, f"{where}, points.interior[{i}]")
             for i, hole in enumerate(need(points, "interior", list, f"{where}, points", default=[]))]  # fmt: skip
    return Drawn(label, patch=_fill(ring, holes, size))


def _fill(ring: np.ndarray, holes: list[np.ndarray], size: tuple[int, int]) -> Patch:
    """The pixels on and within an outline, without those on and within its holes."""
    corner = np.clip(np.rint(ring.min(0)), 0, np.array(size[::-1])).astype(int)
    end = np.clip(np.rint(ring.max(0)) + 1, 0, np.array(size[::-1])).astype(int)
    pixels = np.zeros((max(end[1] - corner[1], 0), max(end[0] - corner[0], 0)), np.uint8)
    if pixels.size:
        for points, value in ((ring, 1), *((hole, 0) for hole in holes)):
            shifted = np.clip(np.rint(points) - corner, -(1 << 14), 1 << 14).astype(np.int32)
            cv2.fillPoly(pixels, [shifted], value)
    return Patch(int(corner[1]), int(corner[0]), pixels > 0)


def _unpack(data: bytes, where: str) -> bytes:
    """A file that is packed with zlib; older exports are not."""
    packed = zlib.decompressobj()
    try:
        found = packed.decompress(data, _LARGEST)
    except zlib.error:
        return data
    if packed.unconsumed_tail or not packed.eof:
        refuse(f"{where}, bitmap.data", "is cut off, or too large", "Export it again.")
    return found


SUPERVISELY = Format("a Supervisely project", _fits, _read)
