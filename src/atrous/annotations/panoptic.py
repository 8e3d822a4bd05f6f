"""COCO's panoptic format: a PNG of coloured segments for every image, and a JSON that says what each colour is.

Kirillov et al., Panoptic Segmentation, CVPR 2019. The id of a segment is red + 256 green + 65536 blue; the pixels of 0
are labelled by nobody, and count for nothing. Segments of things are objects, those of stuff and of crowds are not.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from atrous.annotations.base import Annotated, Annotations, Format, last_part, locate, names_alone, one_by_one, size_of
from atrous.annotations.coco import any_id, read_categories
from atrous.annotations.drawn import Drawn
from atrous.annotations.parsing import Gathered, need, read_json, refuse
from atrous.annotations.regions import patches_of_any
from atrous.images.colors import Color
from atrous.images.files import read_mask

__all__ = ["PANOPTIC", "read_segments"]

_KEYS = (b'"images"', b'"annotations"', b'"categories"', b'"segments_info"')


class _PanopticFile(NamedTuple):
    """One JSON: its rows by image, its categories, and which of them are things."""

    file: Path
    images: dict[Any, dict[str, Any]]
    rows: list[Any]
    names: dict[int, str]
    things: frozenset[int]
    alone: frozenset[str]


def _files(path: Path) -> Iterator[Path]:
    """The JSON files of a folder or its annotations/, or the file itself."""
    found = [path] if path.is_file() else [*sorted(path.glob("*.json")), *sorted(path.glob("annotations/*.json"))]
    return (file for file in found if file.suffix.lower() == ".json" and _looks(file))


def _looks(file: Path) -> bool:
    data = file.read_bytes()
    return all(key in data for key in _KEYS)


def _fits(path: Path) -> bool:
    if path.is_dir() and not any(path.glob("panoptic*")) and not any(path.glob("annotations/panoptic*")):
        return False
    return next(_files(path), None) is not None


def _read(path: Path, images: Path | None, gathered: Gathered) -> Annotations:
    files = list(_files(path))
    if not files:
        refuse(path, "holds no panoptic JSON", "Name the JSON file that has segments_info.")
    names: dict[str, Color | None] = {}
    found: list[_PanopticFile] = []
    for file in files:
        with gathered.going_on():
            table = read_json(file)
            rows = need(table, "categories", list, file)
            categories = read_categories(rows, file)
            for key, name in categories.items():
                names[name] = names.get(name) or next((_color(row) for row in rows if row["id"] == key), None)
            things = frozenset(row["id"] for row in rows if row.get("isthing", 1))
            shown = {}
            for index, image in enumerate(need(table, "images", list, file)):
                with gathered.going_on():
                    shown[need(image, "id", any_id(image), f"{file} images[{index}]")] = image
            alone = names_alone(str(image.get("file_name")) for image in shown.values())
            rows = need(table, "annotations", list, file)
            found.append(_PanopticFile(file, shown, rows, categories, things, alone))
    colors = {name: color for name, color in names.items() if color is not None}
    return Annotations(tuple(names), _images(path, found, images, gathered), colors, background=False)


def _color(row: dict[str, Any]) -> Color | None:
    color = row.get("color")
    if isinstance(color, list) and len(color) == 3 and all(isinstance(c, int) and 0 <= c < 256 for c in color):
        return (color[0], color[1], color[2])
    return None


def _images(path: Path, found: list[_PanopticFile], images: Path | None, gathered: Gathered) -> Iterator[Annotated]:
    root = path if path.is_dir() else path.parent
    for one in found:
        yield from one_by_one(range(len(one.rows)), partial(_image, root, one, images, gathered), gathered)


def _image(root: Path, one: _PanopticFile, images: Path | None, gathered: Gathered, number: int) -> Annotated:
    """One image and its segments."""
    row, where = one.rows[number], f"{one.file} annotations[{number}]"
    image = one.images.get(need(row, "image_id", any_id(row, "image_id"), where))
    if image is None:
        refuse(where, f"names image_id {row['image_id']!r}, which is no image of this file", "Delete the annotation.")
    name = need(image, "file_name", str, where)
    split = one.file.stem.removeprefix("panoptic_")
    above = root.parent if root.name == "annotations" else root
    folders = (images, *(above / place for place in (f"images/{split}", split, "images", ".")))
    others = [last_part(name)] if last_part(name) in one.alone else []
    source = locate(name, folders, f"{where}, image_id", others=others)
    size = size_of(source, (need(image, "height", int, where), need(image, "width", int, where)), where)
    place = locate(need(row, "file_name", str, where), (one.file.with_suffix(""), one.file.parent, root), where)
    codes = read_segments(place, size)
    segments = {}
    for index, segment in enumerate(need(row, "segments_info", list, where)):
        spot = f"{where}.segments_info[{index}]"
        with gathered.going_on():
            segments[need(segment, "id", int, spot)] = (_known(segment, one, spot), bool(segment.get("iscrowd")))
    drawings = []
    for code, patch in patches_of_any(codes):
        if code and code not in segments:
            refuse(place, f"holds the segment {code}, which its segments_info does not have", "Export both again.")
        if code:
            category, crowd = segments[code]
            single = category in one.things and not crowd
            drawings.append(Drawn(one.names[category], patch=patch, single=single))
    return Annotated(name, where, source, size, drawings, one.file.stem)


def _known(segment: dict[str, Any], one: _PanopticFile, where: str) -> int:
    category = need(segment, "category_id", int, where)
    if category not in one.names:
        refuse(where, f"names category_id {category}, which is no category of this file", "Correct it.")
    return category


def read_segments(file: Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) int64 ids of segments.

    Args:
        file: a PNG of colours.
        size: (height, width) of the image.

    Raises:
        FindingError: if it is of another size, or holds no colours.
    """
    raw = read_mask(file)
    if raw.ndim != 3 or raw.shape[:2] != size:
        shape = " x ".join(map(str, raw.shape))
        refuse(file, f"is {shape}, and a colour for each of {size[0]} x {size[1]} pixels is needed", "Export it again.")
    wide = raw.astype(np.int64)
    return wide[..., 0] + (wide[..., 1] << 8) + (wide[..., 2] << 16)


PANOPTIC = Format("COCO panoptic", _fits, _read)
