"""labelme's points as landmarks: one JSON per image, a point per landmark.

The label of a point is the landmark's name. Points of one group_id are one person or animal; a rectangle of the same
group_id is its box. The flag `hidden` (or `occluded`) says that something covers a landmark. A `labels.txt` says the
order of the names. Other shapes are left out, and counted.

labelme counts from the corner of the image: the centre of its first pixel is (0.5, 0.5), which is (0, 0) here.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from atrous.annotations.base import last_part, locate, names_alone, size_of
from atrous.annotations.embedded import decode_base64
from atrous.annotations.folders import files_below, split_folder
from atrous.annotations.labelme import LABEL_LIST, same_pixels
from atrous.annotations.landmarks import (
    HIDDEN,
    VISIBLE,
    Individual,
    Landmark,
    LandmarkEntry,
    LandmarkFormat,
    LandmarkTable,
    make_entry,
    mirrored_names,
    not_told_apart,
)
from atrous.annotations.parsing import Gathered, need, need_points, read_json, refuse
from atrous.errors import DataError

__all__ = ["HALF", "HIDDEN_FLAGS", "LABELME_POINTS"]

HALF = 0.5
"""Of a pixel: tools that count from the corner of the image have the centre of the first pixel here."""

HIDDEN_FLAGS = ("hidden", "occluded")
_LOOKS = 64
_POINT, _BOX = "point", "rectangle"


def _fits(path: Path) -> bool:
    """Whether the first files hold points, and nothing that has an area but boxes."""
    kinds: set[str] = set()
    for file in files_below(path, (".json",))[:_LOOKS]:
        if file.suffix.lower() != ".json":
            return False
        try:
            table = read_json(file)
        except DataError:
            continue
        if isinstance(table, dict) and isinstance(table.get("shapes"), list) and "imagePath" in table:
            shapes = (shape for shape in table["shapes"] if isinstance(shape, dict))
            kinds |= {str(shape.get("shape_type", "polygon")) for shape in shapes}
    return _POINT in kinds and kinds <= {_POINT, _BOX, "line", "linestrip"}


def _read(path: Path, images: Path | None, gathered: Gathered) -> Mapping[str, LandmarkTable]:
    base = path if path.is_dir() else path.parent
    tables: dict[Path, dict[str, Any]] = {}
    for file in files_below(path, (".json",)):
        with gathered.going_on():
            table = read_json(file)
            if path.is_dir() and not (isinstance(table, dict) and ("shapes" in table or "imagePath" in table)):
                gathered.note("JSON files are not labelme's")
                continue
            need(table, "shapes", list, file)
            tables[file] = table
    labels = {shape["label"] for table in tables.values() for shape in table["shapes"] if _is_point(shape)}
    names = tuple(dict.fromkeys((*(name for name in _listed(base) if name in labels), *sorted(labels))))
    if not names:
        gathered.raise_all()
        refuse(path, "holds no labelled point", "Set a point for each landmark in labelme.")
    alone = names_alone(f"{file.parent.as_posix()}/{table.get('imagePath')}" for file, table in tables.items())
    found: dict[str, list[LandmarkEntry]] = {}
    for file, table in tables.items():
        with gathered.going_on():
            entries = found.setdefault(split_folder(file, base), [])
            entries += _image(table, file, (names, alone), (images, base / "images"), gathered)
    for entries in found.values():
        gathered.findings |= dict.fromkeys(not_told_apart(entries))
    pairs = mirrored_names(names)
    return {subset: LandmarkTable(names, pairs, tuple(entries)) for subset, entries in found.items()}


def _is_point(shape: Any) -> bool:
    named = isinstance(shape, dict) and isinstance(shape.get("label"), str) and shape["label"].strip()
    return bool(named) and shape.get("shape_type") == _POINT


def _listed(base: Path) -> list[str]:
    file = base / LABEL_LIST
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()] if file.is_file() else []
    except (OSError, UnicodeDecodeError):
        refuse(file, "cannot be read as a list of labels", "Write one label a line, as UTF-8, or take it away.")


def _image(
    table: dict[str, Any],
    file: Path,
    known: tuple[tuple[str, ...], frozenset[str]],
    folders: tuple[Path | None, ...],
    gathered: Gathered,
) -> Iterator[LandmarkEntry]:
    """The persons or animals of one file."""
    shown: dict[int | None, Individual] = {}
    for index, shape in enumerate(table["shapes"]):
        with gathered.going_on():
            _add(shape, f"{file} shapes[{index}]", shown, gathered)
    sides = [need(table, key, int, file, default=None) for key in ("imageHeight", "imageWidth")]
    image = _find_image(table, file, folders, known[1])
    size = size_of(image, None if None in sides else (sides[0], sides[1]), file)
    labelled = {group: one for group, one in shown.items() if one.places}
    gathered.note("images have no labelled point", not labelled)
    gathered.note("rectangles belong to no point", sum(len(one.boxes) for one in shown.values() if not one.places))
    entry = partial(make_entry, image, known[0], size=size)
    for group, one in labelled.items():
        if len(one.boxes) > 1:
            message = f"has {len(one.boxes)} rectangles for the points of " + (
                "no group" if group is None else f"group_id {group}"
            )
            refuse(file, message, "Give each person or animal a group_id, and one rectangle of the same.")
        box = one.boxes[0] if one.boxes else None
        yield entry(one.places, individual="" if group is None else str(group), box=box)


def _add(shape: Any, where: str, shown: dict[int | None, Individual], gathered: Gathered) -> None:
    """Add a shape to the person or animal that it belongs to."""
    kind = need(shape, "shape_type", str, where, default="polygon")
    label = need(shape, "label", str, where).strip()
    group = need(shape, "group_id", int, where, default=None)
    if kind not in (_POINT, _BOX):
        gathered.note(f"{kind} shapes are no landmarks")
        return
    points = need_points(need(shape, "points", list, where), f"{where}, points", least=1)
    one = shown.setdefault(group, Individual({}, []))
    if kind == _BOX:
        if len(points) < 2:
            refuse(f"{where}, points", "has one corner", "Delete the rectangle, or draw it again.")
        (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
        one.boxes.append([x0, y0, x1 - x0, y1 - y0])
        return
    if not label:
        refuse(where, "has a blank label", "Give it the landmark's name.")
    if len(points) != 1:
        refuse(
            f"{where}, points", f"has {len(points)} points, and a landmark is one", "Set one point for each landmark."
        )
    if label in one.places:
        fix = "Delete one; tell several persons or animals apart by group_id."
        refuse(where, f"is a second {label!r} of the same person or animal", fix)
    flags = need(shape, "flags", dict, where, default={})
    hidden = any(flags.get(name) is True for name in HIDDEN_FLAGS)
    x, y = points[0].tolist()
    one.places[label] = Landmark(x - HALF, y - HALF, HIDDEN if hidden else VISIBLE)


def _find_image(table: dict[str, Any], file: Path, folders: tuple[Path | None, ...], alone: frozenset[str]) -> Path:
    """The file of the image that was labelled.

    Raises:
        FindingError: if it is nowhere, or is another one than stands inside the JSON.
    """
    name = need(table, "imagePath", str, file).replace("\\", "/")
    last = last_part(name)
    places = (file.parent, *folders)
    found = locate(name, places, f"{file}, imagePath", others=[last] if last in alone or len(places) == 1 else [])
    data = need(table, "imageData", str, file, default=None)
    if data is not None and not same_pixels(found, decode_base64(data, f"{file}, imageData")):
        fix = "Save the labels again with the right image, or take imageData out of the JSON."
        refuse(f"{file}, imageData", f"holds another image than {found}", fix)
    return found


LABELME_POINTS = LandmarkFormat("labelme points", _fits, _read)
