"""COCO's JSON of polygons and run lengths: its categories, its images, and the objects drawn on each.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014. Where objects overlap, those of more pixels are
painted first, so that what stands before them stays visible; the `area` of a file is not asked, because many have none,
or that of the box. A region of many (`iscrowd`) has its class, and is no object. Annotations without an outline are
left out, and counted.
"""

import marshal
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from atrous.annotations.drawn import BACKGROUND_LABELS, IGNORE_LABEL, Drawn, largest_first
from atrous.annotations.parsing import Gathered, need, need_points, read_json, refuse
from atrous.annotations.polygons import Patch
from atrous.annotations.rle import counts_to_mask, text_to_counts
from atrous.findings import FindingError

__all__ = ["BACKGROUND", "CocoFile", "CocoImage", "any_id", "drawings", "join_names", "read_categories", "read_coco"]

BACKGROUND = "background"
_PLAIN = 2  # the version of marshal without references: equal values give equal bytes
_CORNERS = 6  # numbers of the smallest polygon


class CocoImage(NamedTuple):
    """One image of a COCO file; its annotations packed, because there may be a million of them."""

    name: str
    size: tuple[int, int]
    packed: bytes


class CocoFile(NamedTuple):
    """A COCO file.

    Attributes:
        names: its classes, background first.
        images: with their annotations.
        labelled: it has annotations, if only an empty list of them.
        left_out: what cannot be drawn, and how often.
    """

    names: tuple[str, ...]
    images: tuple[CocoImage, ...]
    labelled: bool
    left_out: dict[str, int]


def read_coco(path: Path, gathered: Gathered | None = None) -> CocoFile:
    """Read a COCO file. Outlines are checked when they are drawn.

    Args:
        path: the file.
        gathered: gets what is wrong with single entries; None raises the first.

    Raises:
        FindingError: if something in it is missing or of the wrong kind.
    """
    told = Gathered() if gathered is None else gathered
    table = read_json(path)
    rows = need(table, "categories", list, path, default=[])
    categories = read_categories(rows, path)
    images, sizes = _images(need(table, "images", list, path), path, told)
    packed: dict[str, list[dict[str, Any]]] = {name: [] for name in sizes}
    used: set[int] = set()
    left_out: dict[str, int] = {}
    for index, row in enumerate(need(table, "annotations", list, path, default=[])):
        where = f"{path} annotations[{index}]"
        try:
            image_id = need(row, "image_id", any_id(row, "image_id"), where)
            category = need(row, "category_id", int, where)
            if image_id not in images:
                refuse(where, f"names image_id {image_id!r}, which is no image of this file", "Delete the annotation.")
            if category not in categories:
                refuse(where, f"names category_id {category}, which is no category of this file", "Correct it.")
        except FindingError as problem:
            told.add(problem)
            continue
        used.add(category)
        outline = row.get("segmentation")
        if (reason := _undrawable(outline)) is not None:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        keep = {"id": row.get("id", index), "label": categories[category], "crowd": bool(row.get("iscrowd"))}
        packed[images[image_id]].append({**keep, "segmentation": outline})
    if gathered is None and told.findings:
        raise FindingError(next(iter(told.findings)))
    spared = _placeholder(rows) - used
    names = [name for key, name in categories.items() if key not in spared]
    names = [BACKGROUND, *(n for n in dict.fromkeys(names) if n not in (*BACKGROUND_LABELS, IGNORE_LABEL))]
    found = (CocoImage(n, size, zlib.compress(marshal.dumps(packed[n], _PLAIN), 1)) for n, size in sizes.items())
    return CocoFile(tuple(names), tuple(found), table.get("annotations") is not None, left_out)


def join_names(files: Iterable[CocoFile]) -> tuple[str, ...]:
    """The classes of several files, in the order in which they come; the files' own numbers do not matter."""
    return tuple(dict.fromkeys(name for file in files for name in file.names)) or (BACKGROUND,)


def drawings(image: CocoImage, where: str) -> list[Drawn]:
    """The objects of an image, those of most pixels first.

    Raises:
        FindingError: if an outline cannot be drawn.
    """
    rows = marshal.loads(zlib.decompress(image.packed))
    found = (_draw(row, image.size, f"{where} annotation {row['id']} of {image.name}") for row in rows)
    return largest_first(found, image.size)


def read_categories(rows: list[Any], path: Path) -> dict[int, str]:
    """Names by id, in the order of the ids. Ids of one name are one class.

    Raises:
        FindingError: if an entry has no id or name, or an id has two names.
    """
    names: dict[int, str] = {}
    for index, row in enumerate(rows):
        where = f"{path} categories[{index}]"
        key, name = need(row, "id", int, where), need(row, "name", str, where).strip()
        if names.setdefault(key, name) != name:
            refuse(where, f"gives the id {key} to {name!r}, and it is {names[key]!r} already", "Correct one of them.")
    return dict(sorted(names.items()))


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
    found = ((part, f"{where}, segmentation[{i}]") for i, part in enumerate(_parts(outline)))
    rings = (need_points(part, place) for part, place in found if not _too_short(part))
    return Drawn(label, tuple((ring,) for ring in rings), single=single)


def _parts(outline: Any) -> list[Any]:
    """The polygons of an object; some tools write a single one without a list around it."""
    if not isinstance(outline, list):
        return [outline]
    return outline if outline and isinstance(outline[0], list) else [outline]


def _too_short(part: Any) -> bool:
    """Whether a polygon has no area: pairs of numbers, and fewer than three."""
    return isinstance(part, list) and len(part) < _CORNERS and len(part) % 2 == 0


def _undrawable(outline: Any) -> str | None:
    """Why an annotation has no area; None where it seems to have one."""
    if outline is None or outline == []:
        return "annotations have a box at most, and no outline"
    if isinstance(outline, list) and all(_too_short(part) for part in _parts(outline)):
        return "annotations have fewer than three points"
    return None


def _images(rows: list[Any], path: Path, told: Gathered) -> tuple[dict[Any, str], dict[str, tuple[int, int]]]:
    """File names by id, and sizes by file name. Two entries of one file are one image."""
    names: dict[Any, str] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for index, row in enumerate(rows):
        where = f"{path} images[{index}]"
        with told.going_on():
            size = (need(row, "height", int, where), need(row, "width", int, where))
            key, name = need(row, "id", any_id(row), where), need(row, "file_name", str, where).replace("\\", "/")
            if min(size) < 1:
                refuse(where, f"has a height of {size[0]} and a width of {size[1]}", "Correct them.")
            if names.get(key, name) != name:
                refuse(where, f"gives the id {key!r} a second time, to {name}", "Give every image an id of its own.")
            if sizes.get(name, size) != size:
                refuse(where, f"names {name} a second time, and with another size", "Delete one of the entries.")
            names[key], sizes[name] = name, size
    return names, sizes


def _placeholder(rows: list[Any]) -> set[int]:
    """Roboflow writes the name of the project as a category 0 that nothing belongs to."""
    return {0 for row in rows if row["id"] == 0 and row.get("supercategory") == "none" and len(rows) > 1}


def any_id(row: Any, key: str = "id") -> type:
    """Ids are numbers, or text in some exports."""
    return str if isinstance(row, dict) and isinstance(row.get(key), str) else int
