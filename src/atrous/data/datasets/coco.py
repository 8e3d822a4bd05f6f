"""COCO's JSON of polygons and run lengths: one class per category, and the objects.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014. annotations/instances_train2017.json with train2017/
(or images/train2017/), one JSON beside the images of each split (`_annotations.coco.json`), or one JSON for all.

Where objects overlap, larger ones are painted first, so that what stands before them stays visible. A region of many
(`iscrowd`) has its class, and is no object. Pixels that no object covers are the class "background"; those of a
category `__ignore__` count for nothing. Annotations of a box or of two points are left out, and told.

Where there are instances_*.json, the captions, key points and stuff beside them are not read. Files of different
categories have the classes of all.
"""

import mmap
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from atrous.annotations.base import image_stem, is_there, last_part, names_alone
from atrous.annotations.coco import CocoFile, CocoImage, drawings, join_names, read_coco
from atrous.annotations.drawn import number_labels, paint
from atrous.annotations.parsing import refuse
from atrous.data.classes import Classes
from atrous.data.datasets.base import Dataset, Division, Found, absent, class_table, complete, files, first_folder
from atrous.data.split_names import SPLIT_NAMES, split_of
from atrous.data.splits import MASK_FOLDERS, Pair
from atrous.errors import DataError
from atrous.findings import Finding, warning
from atrous.images.colors import default_colors
from atrous.images.derived import DerivedMask

__all__ = ["COCO", "coco_files", "find_image", "find_images", "table_of"]

_BESIDE = "_annotations.coco.json"
_OFFICIAL = ("instances_", "image_info_test")


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
        return self.file.parent / f"{self.file.name} {self.image.name}"  # the name may hold folders

    def read(self) -> np.ndarray:
        """Class numbers, or numbers of objects."""
        found = drawings(self.image, str(self.file))
        painted = paint(found, self.image.size, number_labels(self.names))
        return painted.mask if self.what == "mask" else painted.instances


def coco_files(root: Path) -> Iterator[tuple[str, Path]]:
    """The COCO files of a folder, each with its split."""
    for folder in (root, *(root / name for names in SPLIT_NAMES.values() for name in names)):
        if (folder / _BESIDE).is_file():
            yield _split(folder.name if folder != root else ""), folder / _BESIDE
    plain = not any((root / name).is_dir() for name in MASK_FOLDERS if name != "annotations")
    for folder in (root / "annotations", root):
        found = files(folder, (".json",))
        official = [name for name in found if name.startswith(_OFFICIAL)]
        for name in official or (name for name, path in found.items() if plain and _other(path)):
            yield _split(name), found[name]


def _other(path: Path) -> bool:
    """Whether a JSON file of any name is COCO's."""
    return path.name != _BESIDE and _looks(path)


def _split(name: str) -> str:
    """The split that a name speaks of; training where it speaks of none."""
    return split_of(name) or "train"


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
    found = [(split, path, read_coco(path)) for split, path in coco_files(root)]
    names = join_names(coco for _, _, coco in found)
    for split, path, coco in found:
        if split == "test" and not coco.labelled and not coco.images:
            continue
        for what, count in coco.left_out.items():
            fix = "They are left out, so their pixels count as background. Export outlines to learn them."
            findings.append(warning("annotation", path, f"{count} {what}", fix))
        splits.setdefault(split, []).extend(_pairs(root, path, coco, names, findings))
    return Found(complete(splits, division), tuple(findings), table_of(names, root))


def _pairs(root: Path, path: Path, coco: CocoFile, names: tuple[str, ...], findings: list[Finding]) -> list[Pair]:
    """The images of one COCO file."""
    base = find_images(root, path, coco)
    there = {entry.name for entry in base.iterdir()} if base.is_dir() else set()
    alone = names_alone(image.name for image in coco.images)
    pairs = []
    for number, image in enumerate(coco.images):
        file = base / image.name if image.name in there else find_image(base, image.name, alone)
        if file is None:
            findings.append(absent(f"{path} images[{number}]", base / image.name))
            continue
        sides = (_CocoMask(path, image, names, "mask"), _CocoMask(path, image, names, "instances"))
        pairs.append(Pair(image_stem(image.name), file, *(sides if coco.labelled else (None, None))))
    return pairs


def find_image(base: Path, name: str, alone: Collection[str]) -> Path | None:
    """The file of an image in a folder: by its path, or by its last part where that is one of those `alone`."""
    if is_there(base / name):
        return base / name
    last = last_part(name)
    return base / last if last in alone and is_there(base / last) else None


def find_images(root: Path, path: Path, coco: CocoFile) -> Path:
    """The folder in which the images of a COCO file stand."""
    word = path.stem.removeprefix("instances_").removeprefix("image_info_")
    places = [path.parent, *(root / place for place in (f"images/{word}", word, "images", "data", "."))]
    alone = names_alone(image.name for image in coco.images)
    found = next((p for p in places if any((p / image.name).is_file() for image in coco.images[:3])), None)
    found = found or next((p for p in places if any(find_image(p, i.name, alone) for i in coco.images[:3])), None)
    return found or first_folder(root, f"images/{word}", word, "images") or root


def table_of(names: tuple[str, ...], root: Path) -> Classes:
    """Classes of these names, in default colours.

    Args:
        names: of the categories.
        root: the folder that a refusal names.
    """
    try:
        return class_table(names, default_colors(names))
    except DataError as problem:
        message, _, fix = str(problem).partition(". ")
        refuse(root, message, fix)


COCO = Dataset("COCO instances", "annotations/instances_train2017.json and train2017/", _fits, _read)
