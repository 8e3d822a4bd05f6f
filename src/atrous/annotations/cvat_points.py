"""CVAT's points and skeletons as landmarks, from the XML "CVAT for images 1.1".

A skeleton is a person or animal, and each of its points a landmark by its label; `outside` is absent, `occluded`
hidden. Single `<points>` are landmarks by their labels too; those of one group_id are one person or animal. A `<box>`
of the same group_id is its box. Other shapes are left out, and counted.

CVAT counts from the corner of the image: the centre of its first pixel is (0.5, 0.5), which is (0, 0) here.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path

from atrous.annotations.base import last_part, locate, names_alone, size_of
from atrous.annotations.cvat import find_xml, need_number, need_text, read_images
from atrous.annotations.labelme_points import HALF
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
from atrous.annotations.parsing import Gathered, need_points, refuse
from atrous.errors import DataError

__all__ = ["CVAT_POINTS"]

_AREAS = ("polygon", "ellipse", "mask")


def _fits(path: Path) -> bool:
    """Whether the file holds points or skeletons, and nothing that has an area but boxes."""
    file = find_xml(path)
    if file is None:
        return False
    try:
        root = read_images(file)
    except DataError:
        return False
    kinds = {shape.tag for shape in root.iterfind("image/*")}
    return bool(kinds & {"points", "skeleton"}) and not kinds & set(_AREAS)


def _read(path: Path, images: Path | None, gathered: Gathered) -> Mapping[str, LandmarkTable]:
    file = find_xml(path)
    if file is None:
        refuse(path, "holds no annotations.xml", 'Export from CVAT as "CVAT for images 1.1", and unpack the archive.')
    root = read_images(file)
    set_points = [shape.get("label", "").strip() for shape in root.iterfind("image//points")]
    listed = [(label.findtext("name") or "").strip() for label in root.iterfind("meta//labels/label")]
    names = tuple(dict.fromkeys(name for name in (*listed, *set_points) if name in set(set_points) and name))
    if not names:
        gathered.raise_all()
        refuse(file, "holds no labelled point", "Set points or skeletons in CVAT.")
    elements = list(root.iterfind("image"))
    alone = names_alone(f"{image.get('subset')}/{image.get('name')}" for image in elements)
    found: dict[str, list[LandmarkEntry]] = {}
    for index, image in enumerate(elements):
        with gathered.going_on():
            entries = list(_image(image, f"{file} image[{index}]", (file, images), (names, alone), gathered))
            found.setdefault(image.get("subset") or "", []).extend(entries)
    for entries in found.values():
        gathered.findings |= dict.fromkeys(not_told_apart(entries))
    pairs = mirrored_names(names)
    return {subset: LandmarkTable(names, pairs, tuple(entries)) for subset, entries in found.items()}


def _image(
    image: ET.Element,
    where: str,
    places: tuple[Path, Path | None],
    known: tuple[tuple[str, ...], frozenset[str]],
    gathered: Gathered,
) -> Iterator[LandmarkEntry]:
    """The persons or animals of one image."""
    file, images = places
    name, subset = need_text(image, "name", where), image.get("subset") or ""
    wanted = (int(need_number(image, "height", where)), int(need_number(image, "width", where)))
    folders = [place for place in (images, file.parent / "images", file.parent) if place is not None]
    last = last_part(name)
    around = [folder / subset for folder in folders] + folders
    path = locate(name, around, f"{where}, name", others=[last] if last in known[1] else [])
    size = size_of(path, wanted, where)
    shown: dict[str, Individual] = {}
    counts: dict[str, int] = {}
    for shape in image:
        number = counts[shape.tag] = counts.get(shape.tag, -1) + 1
        with gathered.going_on():
            _add(shape, f"{where} ({name}) {shape.tag}[{number}]", shown, gathered)
    labelled = {key: one for key, one in shown.items() if one.places}
    gathered.note("images have no labelled point", not labelled)
    gathered.note("boxes belong to no point", sum(len(one.boxes) for one in shown.values() if not one.places))
    for key, one in labelled.items():
        if len(one.boxes) > 1:
            fix = "Give each person or animal, and its box, a group_id."
            refuse(where, f"has {len(one.boxes)} boxes for the points of one person or animal", fix)
        box = one.boxes[0] if one.boxes else None
        yield make_entry(path, known[0], one.places, individual=key, box=box, size=size)


def _add(shape: ET.Element, where: str, shown: dict[str, Individual], gathered: Gathered) -> None:
    """Add a shape to the person or animal that it belongs to."""
    group = shape.get("group_id")
    key = "" if group in (None, "", "0") else str(group)
    if shape.tag == "skeleton":
        key = key or f"skeleton {sum(name.startswith('skeleton') for name in shown) + 1}"
        one = shown.setdefault(key, Individual({}, []))
        for point in shape.iterfind("points"):
            _place(point, where, one)
    elif shape.tag == "points":
        _place(shape, where, shown.setdefault(key, Individual({}, [])))
    elif shape.tag == "box":
        x0, y0, x1, y1 = (need_number(shape, name, where) for name in ("xtl", "ytl", "xbr", "ybr"))
        shown.setdefault(key, Individual({}, [])).boxes.append([x0, y0, x1 - x0, y1 - y0])
    else:
        gathered.note(f"{shape.tag} shapes are no landmarks")


def _place(point: ET.Element, where: str, one: Individual) -> None:
    """One landmark; one that is outside is absent."""
    label = need_text(point, "label", where).strip()
    if point.get("outside") == "1":
        return
    place = f"{where}, {label}"
    pairs = [pair.split(",") for pair in need_text(point, "points", place).split(";") if pair.strip()]
    points = need_points(pairs, f"{place}, points", least=1)
    if len(points) != 1:
        refuse(
            f"{place}, points", f"has {len(points)} points, and a landmark is one", "Set one point for each landmark."
        )
    if label in one.places:
        fix = "Delete one; tell several persons or animals apart by group_id, or by skeletons."
        refuse(place, f"is a second {label!r} of the same person or animal", fix)
    x, y = points[0].tolist()
    one.places[label] = Landmark(x - HALF, y - HALF, HIDDEN if point.get("occluded") == "1" else VISIBLE)


CVAT_POINTS = LandmarkFormat("CVAT points and skeletons", _fits, _read)
