"""COCO's JSON of polygons and run lengths: one class per category, and the objects.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014. annotations/instances_train2017.json with train2017/
(or images/train2017/), one JSON beside the images of each split (`_annotations.coco.json`), or one JSON for all.

Where objects overlap, larger ones are painted first, so that what stands before them stays visible. A region of many
(`iscrowd`) has its class, and is no object. Pixels that no object covers are the class "background"; those of a
category `__ignore__` count for nothing.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from atrous.annotations.coco import BACKGROUND, CocoFile, CocoImage, drawings, read_coco
from atrous.annotations.drawn import number_labels, paint
from atrous.annotations.parsing import refuse
from atrous.data.classes import Classes
from atrous.data.datasets.base import Dataset, Division, Found, absent, class_table, complete, files, first_folder
from atrous.data.splits import MASK_FOLDERS, SPLIT_NAMES, Pair
from atrous.errors import DataError
from atrous.findings import Finding
from atrous.images.colors import default_colors
from atrous.images.derived import DerivedMask

__all__ = ["COCO", "coco_files", "find_images"]

_BESIDE = "_annotations.coco.json"


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
