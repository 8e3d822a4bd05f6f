"""Cityscapes: 34 label numbers in the files, 19 classes in training and evaluation.

Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016. Images in
leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png, labels in gtFine (or gtCoarse) as NAME_gtFine_labelIds.png, or as
NAME_gtFine_labelTrainIds.png where somebody has converted them, objects in NAME_gtFine_instanceIds.png (label * 1000 +
number). The labels of the test split are withheld; the files that stand for them hold none, and are not read.
"""

from pathlib import Path

from atrous.data.datasets.base import (
    Cleared,
    Dataset,
    Division,
    Found,
    absent,
    class_table,
    complete,
    files,
    folders,
    no_partner,
)
from atrous.data.splits import Pair
from atrous.findings import Finding

__all__ = ["CITYSCAPES", "CITYSCAPES_LABELS"]

CITYSCAPES_LABELS = {
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
"""The 19 classes in the order of their training numbers: label number, colour. The other labels count for nothing."""

_IMAGE = "_leftImg8bit"


def _labels(root: Path) -> str:
    return "gtFine" if (root / "gtFine").is_dir() or not (root / "gtCoarse").is_dir() else "gtCoarse"


def _fits(root: Path) -> bool:
    return (root / "leftImg8bit").is_dir() and (root / _labels(root)).is_dir()


def _read(root: Path, division: Division) -> Found:
    labels, findings = _labels(root), []
    splits: dict[str, list[Pair]] = {}
    kinds: set[str] = set()
    for split in ("train", "val", "test"):
        if not (root / "leftImg8bit" / split).is_dir():
            continue
        splits[split] = []
        for city in folders(root / "leftImg8bit" / split):
            pairs, problems, kind = _city(city, root / labels / split / city.name, labels, labelled=split != "test")
            splits[split] += pairs
            findings += problems
            kinds |= kind
    names = tuple(CITYSCAPES_LABELS)
    numbers = [number for number, _ in CITYSCAPES_LABELS.values()]
    colors = [color for _, color in CITYSCAPES_LABELS.values()]
    if kinds == {"labelTrainIds"}:
        table = class_table(names, colors)
    else:
        void = [number for number in range(34) if number not in numbers]
        table = class_table(names, colors, numbers, ignore=(*void, 255))
        if len(kinds) > 1:
            findings.append(absent(root / labels, "NAME_labelIds.png for every image: some have labelTrainIds alone"))
    return Found(complete(splits, division), tuple(findings), table)


def _city(images: Path, masks: Path, labels: str, *, labelled: bool) -> tuple[list[Pair], list[Finding], set[str]]:
    """The pairs of one city, what they lack, and in which numbering their labels are."""
    kinds = {kind: files(masks, (".png",), ending=f"_{labels}_{kind}") for kind in ("labelIds", "labelTrainIds")}
    objects = files(masks, (".png",), ending=f"_{labels}_instanceIds")
    pairs, findings, used = [], [], set()
    for name, image in files(images, ending=_IMAGE).items():
        kind = next((kind for kind, index in kinds.items() if name in index), None)
        if kind is None and labelled:
            findings.append(no_partner(image, masks, f"{name}_{labels}_labelIds.png"))
            continue
        mask = kinds[kind][name] if kind is not None and labelled else None
        # Groups and stuff have their label number alone, objects a thousandfold of it and their own.
        instances = Cleared(objects[name], below=1000) if labelled and name in objects else None
        pairs.append(Pair(name, image, mask, instances))
        used |= {kind} if kind is not None and labelled else set()
    return pairs, findings, used


CITYSCAPES = Dataset("Cityscapes", "leftImg8bit/train/CITY/ and gtFine/train/CITY/", _fits, _read)
