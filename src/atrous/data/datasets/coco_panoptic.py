"""COCO's panoptic segmentation: a class for every pixel, and the objects among them.

Kirillov et al., Panoptic Segmentation, CVPR 2019. annotations/panoptic_train2017.json, which says what each segment is,
with a PNG for each image in annotations/panoptic_train2017/, and the images in train2017/ (or images/train2017/).

Pixels of no segment are ignored. Segments of things are objects; those of stuff, and regions of many (`iscrowd`), are
not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from atrous.annotations.base import image_stem
from atrous.annotations.coco import read_categories
from atrous.annotations.panoptic import read_segments
from atrous.annotations.parsing import need, read_json, refuse
from atrous.data.datasets.base import Dataset, Division, Found, absent, complete, files, first_folder
from atrous.data.datasets.coco import table_of
from atrous.data.pairs import Pair
from atrous.data.split_names import split_of
from atrous.findings import Finding
from atrous.images.derived import DerivedMask
from atrous.types import IGNORE_INDEX

__all__ = ["COCO_PANOPTIC"]

_PREFIX = "panoptic_"


@dataclass(frozen=True)
class _PanopticMask(DerivedMask):
    """The classes, or the objects, of one image.

    Attributes:
        file: a PNG whose colours are segments.
        size: (height, width) of the image.
        segments: the id of each, its class, and whether it is an object.
        what: which of the two.
    """

    file: Path
    size: tuple[int, int]
    segments: tuple[tuple[int, int, bool], ...]
    what: Literal["mask", "instances"]

    @property
    def place(self) -> Path:
        """The PNG."""
        return self.file.with_name(f"{self.file.name} {self.what}")

    def read(self) -> np.ndarray:
        """Class numbers, 255 where there is no segment; or numbers of objects."""
        ids, codes = np.unique(read_segments(self.file, self.size), return_inverse=True)
        known = {code: (number, single) for code, number, single in self.segments}
        if unknown := [code for code in ids.tolist() if code and code not in known]:
            fix = "Copy both again from the data set."
            refuse(self.file, f"holds the segment {unknown[0]}, which its segments_info does not have", fix)
        if self.what == "mask":
            table = np.array([known.get(code, (IGNORE_INDEX, False))[0] for code in ids.tolist()], np.uint8)
        else:
            single = np.array([known.get(code, (0, False))[1] for code in ids.tolist()], bool)
            table = np.where(single, single.cumsum(), 0).astype(np.int32)
        return table[codes].reshape(self.size)


def _jsons(root: Path) -> list[Path]:
    found = {**files(root, (".json",)), **files(root / "annotations", (".json",))}
    return [path for name, path in found.items() if name.startswith(_PREFIX)]


def _fits(root: Path) -> bool:
    return any(path.with_suffix("").is_dir() for path in _jsons(root))


def _read(root: Path, division: Division) -> Found:
    findings: list[Finding] = []
    splits: dict[str, list[Pair]] = {}
    tables = [(path, read_json(path)) for path in _jsons(root)]
    categories = [read_categories(need(table, "categories", list, path), path) for path, table in tables]
    names = tuple(dict.fromkeys(name for rows in categories for name in rows.values()))
    for (path, table), rows in zip(tables, categories, strict=True):
        numbers = {key: names.index(name) for key, name in rows.items()}
        pairs = splits.setdefault(split_of(path.stem) or "train", [])
        pairs.extend(_pairs(root, path, table, numbers, findings))
    return Found(complete(splits, division), tuple(findings), table_of(names, root))


def _pairs(root: Path, path: Path, table: Any, numbers: dict[int, int], findings: list[Finding]) -> Iterator[Pair]:
    """The images of one JSON."""
    things = {row["id"] for row in table["categories"] if row.get("isthing", 1)}
    images = {need(image, "id", type(image.get("id", 0)), path): image for image in need(table, "images", list, path)}
    word = path.stem.removeprefix(_PREFIX)
    base = first_folder(root, f"images/{word}", word, "images") or root
    for index, row in enumerate(need(table, "annotations", list, path)):
        where = f"{path} annotations[{index}]"
        image = images.get(need(row, "image_id", type(row.get("image_id", 0)), where))
        if image is None:
            refuse(
                where, f"names image_id {row['image_id']!r}, which is no image of this file", "Delete the annotation."
            )
        size = need(image, "height", int, where), need(image, "width", int, where)
        file = base / need(image, "file_name", str, where)
        mask = path.with_suffix("") / need(row, "file_name", str, where)
        if lacking := next((one for one in (file, mask) if not one.is_file()), None):
            findings.append(absent(where, lacking))
            continue
        segments = tuple(_segment(one, numbers, things, where) for one in need(row, "segments_info", list, where))
        sides = (_PanopticMask(mask, size, segments, "mask"), _PanopticMask(mask, size, segments, "instances"))
        yield Pair(image_stem(image["file_name"]), file, *sides)


def _segment(row: Any, numbers: dict[int, int], things: set[int], where: str) -> tuple[int, int, bool]:
    """The id of a segment, its class, and whether it is an object."""
    category = need(row, "category_id", int, where)
    if category not in numbers:
        refuse(where, f"names category_id {category}, which is no category of this file", "Correct it.")
    return need(row, "id", int, where), numbers[category], category in things and not row.get("iscrowd")


COCO_PANOPTIC = Dataset(
    "COCO panoptic", "annotations/panoptic_train2017.json, a folder of that name and train2017/", _fits, _read
)
