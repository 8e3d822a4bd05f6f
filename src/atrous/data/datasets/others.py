"""Smaller benchmarks: Stanford background, Oxford pets, DRIVE."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atrous.data.datasets.base import (
    Dataset,
    Division,
    Found,
    absent,
    class_table,
    complete,
    files,
    no_partner,
    read_lines,
)
from atrous.data.splits import Pair
from atrous.findings import Finding, FindingError, error
from atrous.images.colors import default_colors
from atrous.images.derived import DerivedMask
from atrous.images.files import read_mask
from atrous.types import IGNORE_INDEX

__all__ = ["DRIVE", "PETS", "STANFORD", "STANFORD_NAMES"]

STANFORD_NAMES = ("sky", "tree", "road", "grass", "water", "building", "mountain", "foreground object")
_STANFORD_COLORS = ((68, 1, 84), (34, 139, 34), (128, 64, 128), (124, 200, 60), (30, 144, 255), (139, 69, 19),
                    (160, 160, 160), (220, 20, 60))  # fmt: skip
_PETS_COLORS = default_colors(("background", "pet"))
_VESSEL_COLORS = default_colors(("background", "vessel"))


@dataclass(frozen=True)
class _TextMask(DerivedMask):
    """Rows of whole numbers in a text file; those below 0 are unknown."""

    file: Path

    @property
    def place(self) -> Path:
        """The file."""
        return self.file

    def read(self) -> np.ndarray:
        """The numbers, 255 where unknown."""
        try:
            rows = [np.array(line.split(), dtype=np.int64) for line, _ in read_lines(self.file)]
            values = np.stack(rows)
        except ValueError:
            message = "is no table of whole numbers with as many in every row"
            raise FindingError(error("unreadable", self.file, message, "Copy it again from the data set.")) from None
        return np.where(values < 0, IGNORE_INDEX, values)


def _fits_stanford(root: Path) -> bool:
    return (root / "images").is_dir() and bool(files(root / "labels", (".txt",), ending=".regions"))


def _read_stanford(root: Path, division: Division) -> Found:
    """Gould, Fulton, Koller, Decomposing a Scene into Geometric and Semantically Consistent Regions, ICCV 2009."""
    labels = files(root / "labels", (".txt",), ending=".regions")
    pairs, findings = [], []
    for name, image in files(root / "images").items():
        if name in labels:
            pairs.append(Pair(name, image, _TextMask(labels[name])))
        else:
            findings.append(no_partner(image, root / "labels", f"{name}.regions.txt"))
    table = class_table(STANFORD_NAMES, _STANFORD_COLORS)
    return Found(complete({"train": pairs}, division), tuple(findings), table)


def _fits_pets(root: Path) -> bool:
    return (root / "images").is_dir() and (root / "annotations" / "trimaps").is_dir()


def _read_pets(root: Path, division: Division) -> Found:
    """Parkhi, Vedaldi, Zisserman, Jawahar, Cats and Dogs, CVPR 2012: the value 1 is the pet, 2 is not, 3 is unclear."""
    images, masks = files(root / "images"), files(root / "annotations" / "trimaps", (".png",))
    findings: list[Finding] = []
    splits: dict[str, list[Pair]] = {}
    for split, file in (("train", "trainval.txt"), ("test", "test.txt")):
        if not (root / "annotations" / file).is_file():
            continue
        splits[split] = []
        for line, where in read_lines(root / "annotations" / file):
            name = line.split()[0]
            if name.startswith("#"):
                continue
            if name not in images or name not in masks:
                lacking = root / "images" / f"{name}.jpg" if name in masks else root / "annotations/trimaps" / name
                findings.append(absent(where, lacking))
                continue
            splits[split].append(Pair(name, images[name], masks[name]))
    if not splits:
        splits["train"] = [Pair(name, image, masks[name]) for name, image in images.items() if name in masks]
    table = class_table(("background", "pet"), _PETS_COLORS, (2, 1), ignore=(3, 255))
    return Found(complete(splits, division), tuple(findings), table)


@dataclass(frozen=True)
class _InField(DerivedMask):
    """Vessels within the field of view of the camera; outside of it nothing is known."""

    manual: Path
    field: Path

    @property
    def place(self) -> Path:
        """The file of vessels."""
        return self.manual

    def read(self) -> np.ndarray:
        """0 background, 1 vessel, 255 outside."""
        vessels, field = _one_channel(read_mask(self.manual)), _one_channel(read_mask(self.field))
        if vessels.shape != field.shape:
            came = f"{field.shape[0]} x {field.shape[1]}"
            message = f"has {came} pixels, and {self.manual.name} has {vessels.shape[0]} x {vessels.shape[1]}"
            raise FindingError(error("size_mismatch", self.field, message, "Copy both again from the data set."))
        return np.where(field > 0, vessels > 0, IGNORE_INDEX).astype(np.uint8)


def _one_channel(raw: np.ndarray) -> np.ndarray:
    return raw if raw.ndim == 2 else raw.max(axis=2)


def _fits_drive(root: Path) -> bool:
    places = ("images", "1st_manual", "mask")
    return all((root / "training" / place).is_dir() for place in places)


def _read_drive(root: Path, division: Division) -> Found:
    """Staal et al., Ridge-Based Vessel Segmentation in Color Images of the Retina, IEEE TMI 2004."""
    findings: list[Finding] = []
    splits: dict[str, list[Pair]] = {}
    for split, name in (("train", "training"), ("test", "test")):
        base = root / name
        if not (base / "images").is_dir():
            continue
        manual, fields = (_by_number(base / side) for side in ("1st_manual", "mask"))
        splits[split] = []
        for number, image in _by_number(base / "images").items():
            if number in manual and number in fields:
                splits[split].append(Pair(image.stem, image, _InField(manual[number], fields[number])))
            elif split == "test":
                splits[split].append(Pair(image.stem, image, None))
            else:
                lacking = "1st_manual" if number not in manual else "mask"
                findings.append(no_partner(image, base / lacking, f"{number}_*"))
    return Found(complete(splits, division), tuple(findings), class_table(("background", "vessel"), _VESSEL_COLORS))


def _by_number(folder: Path) -> dict[str, Path]:
    """Files by what stands before the first underscore: 21_training.tif, 21_manual1.gif, 21_training_mask.gif."""
    return {name.split("_")[0]: path for name, path in files(folder).items()}


STANFORD = Dataset("Stanford background", "images/ and labels/NAME.regions.txt", _fits_stanford, _read_stanford)
PETS = Dataset("Oxford-IIIT pets", "images/ and annotations/trimaps/", _fits_pets, _read_pets)
DRIVE = Dataset("DRIVE", "training/images/, training/1st_manual/ and training/mask/", _fits_drive, _read_drive)
