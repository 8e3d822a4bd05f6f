"""COCO's JSON of polygons and run lengths: its categories, its images, and the objects drawn on each.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014. Where objects overlap, larger ones are painted first,
so that what stands before them stays visible. A region of many (`iscrowd`) has its class, and is no object.
"""

import marshal
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from atrous.annotations.drawn import BACKGROUND_LABELS, IGNORE_LABEL, Drawn
from atrous.annotations.parsing import need, need_points, read_json, refuse
from atrous.annotations.polygons import Patch
from atrous.annotations.rle import counts_to_mask, text_to_counts

__all__ = ["BACKGROUND", "CocoFile", "CocoImage", "drawings", "read_coco"]

BACKGROUND = "background"
_PLAIN = 2  # the version of marshal without references: equal values give equal bytes


class CocoImage(NamedTuple):
    """One image of a COCO file; its annotations packed, because there may be a million of them."""

    name: str
    size: tuple[int, int]
    packed: bytes


class CocoFile(NamedTuple):
    """A COCO file: its classes, background first, and its images."""

    names: tuple[str, ...]
    images: tuple[CocoImage, ...]
    labelled: bool


def read_coco(path: Path) -> CocoFile:
    """Read a COCO file. Outlines are checked when they are drawn.

    Raises:
        FindingError: if something in it is missing or of the wrong kind.
    """
    table = read_json(path)
    categories = _categories(need(table, "categories", list, path, default=[]), path)
    sizes: dict[Any, tuple[str, tuple[int, int]]] = {}
    for index, image in enumerate(need(table, "images", list, path)):
        where = f"{path} images[{index}]"
        size = (need(image, "height", int, where), need(image, "width", int, where))
        sizes[need(image, "id", _any_id(image), where)] = (need(image, "file_name", str, where), size)
    rows: dict[Any, list[dict[str, Any]]] = {key: [] for key in sizes}
    used = set()
    annotations = need(table, "annotations", list, path, default=[])
    for index, row in enumerate(annotations):
        where = f"{path} annotations[{index}]"
        image_id = need(row, "image_id", _any_id(row, "image_id"), where)
        category = need(row, "category_id", int, where)
        if image_id not in sizes:
            refuse(where, f"names image_id {image_id!r}, which is no image of this file", "Delete the annotation.")
        if category not in categories:
            refuse(where, f"names category_id {category}, which is no category of this file", "Correct it.")
        used.add(category)
        keep = {"id": row.get("id", index), "label": categories[category], "crowd": bool(row.get("iscrowd"))}
        rows[image_id].append({**keep, "segmentation": row.get("segmentation"), "area": row.get("area") or 0})
    names = [name for key, name in categories.items() if key in used or not _placeholder(key, table)]
    names = [BACKGROUND, *(name for name in names if name not in (*BACKGROUND_LABELS, IGNORE_LABEL))]
    packed = {key: zlib.compress(marshal.dumps(found, _PLAIN), 1) for key, found in rows.items()}
    images = tuple(CocoImage(name, size, packed[key]) for key, (name, size) in sizes.items())
    return CocoFile(tuple(names), images, bool(annotations))


def drawings(image: CocoImage, where: str) -> list[Drawn]:
    """The objects of an image, the largest first.

    Raises:
        FindingError: if an outline is missing or cannot be drawn.
    """
    rows = marshal.loads(zlib.decompress(image.packed))
    found = [(row["area"], _draw(row, image.size, f"{where} annotation {row['id']} of {image.name}")) for row in rows]
    return [drawing for _, drawing in sorted(found, key=lambda item: -item[0])]


def _draw(row: dict[str, Any], size: tuple[int, int], where: str) -> Drawn:
    """One object from its polygons or run lengths."""
    outline, label, single = row["segmentation"], row["label"], not row["crowd"]
    if isinstance(outline, dict):
        counts = outline.get("counts")
        if outline.get("size") != list(size):
            message = f"has run lengths for a size of {outline.get('size')}, and its image has {list(size)}"
            refuse(f"{where}, segmentation", message, "Sizes are [height, width]; correct one of them.")
        try:
            runs = text_to_counts(counts) if isinstance(counts, str) else counts
            if not isinstance(runs, list):
                refuse(f"{where}, segmentation", "has no run lengths", "Export it again.")
            return Drawn(label, patch=Patch(0, 0, counts_to_mask(runs, size)), single=single)
        except (ValueError, TypeError) as problem:
            refuse(f"{where}, segmentation", f"cannot be decoded: {problem}", "Export it again.")
    if not isinstance(outline, list) or not outline:
        refuse(where, "has no outline, only a box at most", "Export polygons or masks, or delete the annotation.")
    parts = outline if isinstance(outline[0], list) else [outline]
    rings = (need_points(part, f"{where}, segmentation[{i}]") for i, part in enumerate(parts))
    return Drawn(label, tuple((ring,) for ring in rings), single=single)


def _categories(rows: list[Any], path: Path) -> dict[int, str]:
    """Names by id, in the order of the ids."""
    names: dict[int, str] = {}
    for index, row in enumerate(rows):
        where = f"{path} categories[{index}]"
        key, name = need(row, "id", int, where), need(row, "name", str, where).strip()
        if key in names or name in names.values():
            refuse(where, f"gives id {key} or name {name!r} a second time", "Rename or remove one of them.")
        names[key] = name
    return dict(sorted(names.items()))


def _placeholder(key: int, table: dict[str, Any]) -> bool:
    """Roboflow writes the name of the project as a category 0 that nothing belongs to."""
    row = next(row for row in table["categories"] if row["id"] == key)
    return key == 0 and row.get("supercategory") == "none" and len(table["categories"]) > 1


def _any_id(row: Any, key: str = "id") -> type:
    """Ids are numbers, or text in some exports."""
    return str if isinstance(row, dict) and isinstance(row.get(key), str) else int
