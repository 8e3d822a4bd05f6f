"""Pascal VOC 2012 segmentation, and the masks of SBD that add to it.

Everingham et al., The PASCAL Visual Object Classes Challenge 2012. JPEGImages/, SegmentationClass/ (index PNG, 255 =
the void border), SegmentationObject/ (the objects) and ImageSets/Segmentation/{train,val}.txt.

Hariharan et al., Semantic Contours from Inverse Detectors, ICCV 2011 (SBD, 11,355 images): img/, cls/NAME.mat
(`GTcls.Segmentation`), inst/NAME.mat and lists of names.

"voc_aug" trains as the papers since DeepLab do: on `trainaug.txt` (or `train_aug.txt`) with the masks of
SegmentationClassAug/, validated on VOC's own.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atrous.data.datasets.base import (
    Cleared,
    Dataset,
    Division,
    Found,
    Names,
    absent,
    class_table,
    complete,
    files,
    no_partner,
    read_lines,
    voc_colors,
)
from atrous.data.splits import Pair
from atrous.findings import Finding, FindingError, error
from atrous.images.derived import DerivedMask

__all__ = ["SBD", "VOC", "VOC_AUG", "VOC_NAMES"]

VOC_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_PLACES = ("", "VOC2012", "VOCdevkit/VOC2012")
_OWN = Names(r"\d{4}_\d{6}")
_AUGMENTED = ("trainaug", "train_aug")


@dataclass(frozen=True)
class _MatMask(DerivedMask):
    """The segmentation inside a MATLAB file of SBD."""

    file: Path
    key: str

    @property
    def place(self) -> Path:
        """The file."""
        return self.file

    def read(self) -> np.ndarray:
        """Classes, or objects numbered from 1."""
        from scipy.io import loadmat  # a slow import, for this layout alone

        content = loadmat(self.file, simplify_cells=True)
        if not isinstance(content.get(self.key), dict) or "Segmentation" not in content[self.key]:
            keys = ", ".join(key for key in content if not key.startswith("__")) or "nothing"
            message = f"has no {self.key}.Segmentation; it holds {keys}"
            raise FindingError(error("unreadable", self.file, message, "Copy it again from SBD."))
        return np.asarray(content[self.key]["Segmentation"]).astype(np.int32)


def _base(root: Path) -> Path | None:
    """The folder that holds JPEGImages, which the archive puts two levels down."""
    lists = "ImageSets/Segmentation"
    return next((root / p for p in _PLACES if (root / p / "JPEGImages").is_dir() and (root / p / lists).is_dir()), None)


def _fits_voc(root: Path) -> bool:
    base = _base(root)
    lists = files(base / "ImageSets/Segmentation", (".txt",)) if base else {}
    file = next((lists[name] for name in ("train", "trainval", "val") if name in lists), None)
    return file is not None and _OWN.fits(line for line, _ in read_lines(file))


def _read_voc(root: Path, division: Division, *, augmented: bool = False) -> Found:
    base = _base(root) or root
    lists = files(base / "ImageSets/Segmentation", (".txt",))
    images = files(base / "JPEGImages")
    findings: list[Finding] = []

    def pairs(file: Path, masks: str, *, test: bool = False) -> list[Pair]:
        index, objects = files(base / masks, (".png",)), files(base / "SegmentationObject", (".png",))
        found = []
        for name, where in read_lines(file):
            if name not in images:
                findings.append(absent(where, base / "JPEGImages" / f"{name}.jpg"))
            elif name not in index and not test:
                findings.append(no_partner(images[name], base / masks, f"{name}.png"))
            else:
                instances = Cleared(objects[name]) if name in objects else None
                found.append(Pair(name, images[name], index.get(name), instances))
        return found

    splits: dict[str, list[Pair]] = {}
    added = next((lists[name] for name in _AUGMENTED if name in lists), None)
    if augmented and added is not None:
        splits["train"] = pairs(added, "SegmentationClassAug")
    elif augmented:
        fix = "Copy trainaug.txt there, and the masks to SegmentationClassAug/."
        findings.append(error("missing_file", base / "ImageSets/Segmentation", "has no trainaug.txt", fix))
    for split in ("train", "val", "test"):
        if split in lists and split not in splits:
            splits[split] = pairs(lists[split], "SegmentationClass", test=split == "test")
    if "train" not in splits and "trainval" in lists:
        splits["train"] = pairs(lists["trainval"], "SegmentationClass")
    return _finish(splits, findings, division)


def _read_augmented(root: Path, division: Division) -> Found:
    return _read_voc(root, division, augmented=True)


def _never(root: Path) -> bool:
    """Only by name: the folder itself is that of VOC."""
    return False


def _sbd_base(root: Path) -> Path | None:
    places = (root, root / "dataset", root / "benchmark_RELEASE/dataset")
    return next((place for place in places if (place / "img").is_dir() and (place / "cls").is_dir()), None)


def _fits_sbd(root: Path) -> bool:
    base = _sbd_base(root)
    return base is not None and bool(files(base / "cls", (".mat",)))


def _read_sbd(root: Path, division: Division) -> Found:
    base = _sbd_base(root) or root
    images, masks = files(base / "img"), files(base / "cls", (".mat",))
    objects = files(base / "inst", (".mat",))
    findings: list[Finding] = []
    splits: dict[str, list[Pair]] = {}
    for split, file in files(base, (".txt",)).items():
        if split not in ("train", "val"):
            continue
        splits[split] = []
        for name, where in read_lines(file):
            if name not in images or name not in masks:
                lacking = base / "cls" / f"{name}.mat" if name in images else base / "img" / f"{name}.jpg"
                findings.append(absent(where, lacking))
                continue
            instances = _MatMask(objects[name], "GTinst") if name in objects else None
            splits[split].append(Pair(name, images[name], _MatMask(masks[name], "GTcls"), instances))
    if not splits:
        splits["train"] = [Pair(n, images[n], _MatMask(masks[n], "GTcls")) for n in images if n in masks]
    return _finish(splits, findings, division)


def _finish(splits: dict[str, list[Pair]], findings: list[Finding], division: Division) -> Found:
    """The classes are those of VOC; without a list for validation, training is divided."""
    table = class_table(VOC_NAMES, voc_colors(len(VOC_NAMES)))
    return Found(complete(splits, division), tuple(findings), table)


VOC = Dataset(
    "Pascal VOC 2012", "JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/train.txt", _fits_voc, _read_voc
)
VOC_AUG = Dataset(
    "Pascal VOC 2012 with the masks of SBD",
    "JPEGImages/, SegmentationClass/, SegmentationClassAug/ and ImageSets/Segmentation/trainaug.txt",
    _never,
    _read_augmented,
)
SBD = Dataset("SBD", "img/, cls/*.mat, train.txt and val.txt", _fits_sbd, _read_sbd)
