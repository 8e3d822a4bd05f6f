"""COCO's JSON of polygons and run lengths: one class per category, and the objects.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014. annotations/instances_train2017.json with train2017/
(or images/train2017/), one JSON beside the images of each split (`_annotations.coco.json`), or one JSON for all.

Where objects overlap, larger ones are painted first, so that what stands before them stays visible. A region of many
(`iscrowd`) has its class, and is no object. Pixels that no object covers are the class "background"; those of a
category `__ignore__` count for nothing.
"""

import marshal
import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from atrous.data.classes import Classes, default_colors
from atrous.data.datasets.base import Dataset, Division, Found, absent, class_table, complete, files, first_folder
from atrous.data.derived import DerivedMask
from atrous.data.drawn import BACKGROUND_LABELS, IGNORE_LABEL, Drawn, number_labels, paint
from atrous.data.findings import Finding
from atrous.data.parsing import need, need_points, read_json, refuse
from atrous.data.polygons import Patch
from atrous.data.rle import counts_to_mask, text_to_counts
from atrous.data.splits import MASK_FOLDERS, SPLIT_NAMES, Pair
from atrous.errors import DataError

__all__ = ["COCO", "CocoFile", "CocoImage", "coco_files", "drawings", "find_images", "read_coco"]

BACKGROUND = "background"
_BESIDE = "_annotations.coco.json"
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


@dataclass(frozen=True)
class _CocoMask(DerivedMask):
    """What the annotations of one image make of it."""

    file: Path
    image: CocoImage
    names: tuple[str, ...]
    what: Literal["mask", "instances"]

    @property
    def place(self) -> Path:
        """The file and the image."""
        return self.file.with_name(f"{self.file.name} {self.image.name}")

    def read(self) -> np.ndarray:
        """Class numbers, or numbers of objects."""
        found = drawings(self.image, str(self.file))
        painted = paint(found, self.image.size, number_labels(self.names))
        return painted.mask if self.what == "mask" else painted.instances


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


def coco_files(root: Path) -> Iterator[tuple[str, Path]]:
    """The COCO files of a folder, each with its split."""
    for folder in (root, *(root / name for names in SPLIT_NAMES.values() for name in names)):
        if (folder / _BESIDE).is_file():
            yield _split(folder.name if folder != root else ""), folder / _BESIDE
    plain = not any((root / name).is_dir() for name in MASK_FOLDERS if name != "annotations")
    for folder in (root / "annotations", root):
        for name, path in files(folder, (".json",)).items():
            if name.startswith(("instances_", "image_info_test")) or (plain and path.name != _BESIDE and _looks(path)):
                yield _split(name), path


def _split(name: str) -> str:
    """The split that a name speaks of; training where it speaks of none."""
    return next((s for s, words in SPLIT_NAMES.items() for word in words[::-1] if word in name.lower()), "train")


def _looks(path: Path) -> bool:
    """Whether a JSON file has the keys of COCO, without parsing it."""
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return all(data.find(key) >= 0 for key in (b'"images"', b'"categories"', b'"segmentation"', b'"category_id"'))


def _fits(root: Path) -> bool:
    return next(coco_files(root), None) is not None


def _read(root: Path, division: Division) -> Found:
    findings: list[Finding] = []
    splits: dict[str, list[Pair]] = {}
    names: tuple[str, ...] | None = None
    for split, path in coco_files(root):
        coco = read_coco(path)
        if names is not None and coco.labelled and coco.names != names:
            message = f"has the categories {', '.join(coco.names[1:])}, and the other file has {', '.join(names[1:])}"
            refuse(path, message, "Give all files the same categories.")
        if coco.labelled or names is None:
            names = coco.names
        if split == "test" and not coco.labelled and not coco.images:
            continue
        pairs = _pairs(root, path, coco, findings)
        splits.setdefault(split, []).extend(pairs)
    return Found(complete(splits, division), tuple(findings), _table(names or (BACKGROUND,), root))


def _pairs(root: Path, path: Path, coco: CocoFile, findings: list[Finding]) -> list[Pair]:
    """The images of one COCO file."""
    base = find_images(root, path, coco)
    there = {entry.name for entry in base.iterdir()} if base.is_dir() else set()
    pairs = []
    for number, image in enumerate(coco.images):
        if image.name not in there and not (base / image.name).is_file():
            findings.append(absent(f"{path} images[{number}]", base / image.name))
            continue
        name = Path(image.name).with_suffix("").as_posix()
        sides = (_CocoMask(path, image, coco.names, "mask"), _CocoMask(path, image, coco.names, "instances"))
        pairs.append(Pair(name, base / image.name, *(sides if coco.labelled else (None, None))))
    return pairs


def find_images(root: Path, path: Path, coco: CocoFile) -> Path:
    """The folder in which the images of a COCO file stand."""
    word = path.stem.removeprefix("instances_").removeprefix("image_info_")
    places = [path.parent, *(root / place for place in (f"images/{word}", word, "images", "data", "."))]
    found = next((p for p in places if any((p / image.name).is_file() for image in coco.images[:3])), None)
    return found or first_folder(root, f"images/{word}", word, "images") or root


def _table(names: tuple[str, ...], root: Path) -> Classes:
    try:
        return class_table(names, default_colors(names))
    except DataError as problem:
        message, _, fix = str(problem).partition(". ")
        refuse(root, message, fix)


COCO = Dataset("COCO instances", "annotations/instances_train2017.json and train2017/", _fits, _read)
