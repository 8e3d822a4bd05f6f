"""CamVid street scenes: the 11 classes of the SegNet tutorial, and the 32 colours of the original.

Brostow, Fauqueur, Cipolla, Semantic Object Classes in Video, Pattern Recognition Letters 2009. The tutorial of SegNet
(Badrinarayanan et al., 2015) stores 367, 101 and 233 frames of 360 x 480 as train/ and trainannot/ and so on, with the
value 11 for void. The original is 701_StillsRaw_full/ and LabeledApproved_full/ of NAME_L.png in colours, divided by
many into train/ and train_labels/.
"""

from collections.abc import Mapping
from pathlib import Path

from atrous.data.classes import Classes
from atrous.data.datasets.base import (
    Dataset,
    Division,
    Found,
    Names,
    absent,
    class_table,
    complete,
    files,
    first_folder,
    hold_out,
    pair_folders,
    read_lines,
)
from atrous.data.splits import Pair
from atrous.findings import Finding

__all__ = ["CAMVID", "CAMVID32", "CAMVID32_COLORS", "CAMVID_COLORS"]

CAMVID_COLORS = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "cyclist": (0, 128, 192),
}
"""The 11 classes in the order of their values, with the tutorial's colours."""

CAMVID32_COLORS = {
    "Animal": (64, 128, 64),
    "Archway": (192, 0, 128),
    "Bicyclist": (0, 128, 192),
    "Bridge": (0, 128, 64),
    "Building": (128, 0, 0),
    "Car": (64, 0, 128),
    "CartLuggagePram": (64, 0, 192),
    "Child": (192, 128, 64),
    "Column_Pole": (192, 192, 128),
    "Fence": (64, 64, 128),
    "LaneMkgsDriv": (128, 0, 192),
    "LaneMkgsNonDriv": (192, 0, 64),
    "Misc_Text": (128, 128, 64),
    "MotorcycleScooter": (192, 0, 192),
    "OtherMoving": (128, 64, 64),
    "ParkingBlock": (64, 192, 128),
    "Pedestrian": (64, 64, 0),
    "Road": (128, 64, 128),
    "RoadShoulder": (128, 128, 192),
    "Sidewalk": (0, 0, 192),
    "SignSymbol": (192, 128, 128),
    "Sky": (128, 128, 128),
    "SUVPickupTruck": (64, 128, 192),
    "TrafficCone": (0, 0, 64),
    "TrafficLight": (0, 64, 64),
    "Train": (192, 64, 128),
    "Tree": (128, 128, 0),
    "Truck_Bus": (192, 128, 192),
    "Tunnel": (64, 0, 64),
    "VegetationMisc": (192, 192, 0),
    "Wall": (64, 192, 0),
}
"""The 31 classes of the original; its 32nd colour, black, is void."""

_VOID = 11
_SPLITS = ("train", "val", "test")
_OWN = Names(r"(0001TP|0006R0|0016E5|Seq05VD)_f?\d+")


def _fits_11(root: Path) -> bool:
    folders = [root / "train", root / "trainannot"]
    return all(folder.is_dir() for folder in folders) and _OWN.fits(files(folders[0]))


def _read_11(root: Path, division: Division) -> Found:
    """What stands in a folder is of its split, unless a list divides the images anew: it may name those of any."""
    splits: dict[str, list[Pair]] = {}
    problems: dict[str, list[Finding]] = {}
    for split in _SPLITS:
        if (root / split).is_dir():
            splits[split], problems[split] = pair_folders(
                root / split, root / f"{split}annot", required=split != "test"
            )
    everywhere = {pair.name: pair for pairs in splits.values() for pair in pairs}
    lacking = {Path(problem.file).stem: problem for found in problems.values() for problem in found}
    lists = {split: root / f"{split}.txt" for split in _SPLITS if (root / f"{split}.txt").is_file()}
    for split, file in lists.items():
        splits[split], problems[split] = _listed(file, everywhere, lacking)
    named = {pair.name for split in lists for pair in splits[split]}
    for split in splits.keys() - lists.keys():
        splits[split] = [pair for pair in splits[split] if pair.name not in named]
    findings = [problem for found in problems.values() for problem in found]
    table = class_table(tuple(CAMVID_COLORS), tuple(CAMVID_COLORS.values()), ignore=(_VOID, 255))
    return Found(complete(splits, division, by=hold_out), tuple(findings), table)


def _listed(file: Path, pairs: Mapping[str, Pair], lacking: Mapping[str, Finding]) -> tuple[list[Pair], list[Finding]]:
    """The pairs that a list names; the tutorial's own lines hold paths of its authors' machine, so names count."""
    chosen, findings = [], []
    for line, where in read_lines(file):
        image = Path(line.split()[0])
        if image.stem in pairs:
            chosen.append(pairs[image.stem])
        else:
            findings.append(lacking.get(image.stem) or absent(where, image.name))
    return chosen, findings


def _stills(root: Path) -> tuple[Path, Path] | None:
    images = first_folder(root, "701_StillsRaw_full", "images")
    masks = first_folder(root, "LabeledApproved_full", "LabeledApproved", "labels")
    return (images, masks) if images and masks else None


def _fits_32(root: Path) -> bool:
    sides = _stills(root)
    if (root / "train").is_dir() and (root / "train_labels").is_dir():
        sides = (root / "train", root / "train_labels")
    return sides is not None and _OWN.fits(files(sides[0])) and _OWN.fits(files(sides[1], ending="_L"))


def _read_32(root: Path, division: Division) -> Found:
    findings: list[Finding] = []
    splits: dict[str, list[Pair]] = {}
    sides = _stills(root)
    divided = [s for s in _SPLITS if (root / s).is_dir() and (root / f"{s}_labels").is_dir()]
    for split in divided:
        splits[split], problems = pair_folders(root / split, root / f"{split}_labels", required=split != "test")
        findings += problems
    if not divided and sides is not None:
        splits["train"], findings = pair_folders(*sides)
    colors = tuple(CAMVID32_COLORS.values())
    table = Classes(
        tuple(CAMVID32_COLORS), colors, ((),) * len(colors), ignore_colors=((0, 0, 0),), color_coded=True
    )  # fmt: skip
    return Found(complete(splits, division, by=hold_out), tuple(findings), table)


CAMVID = Dataset("CamVid, 11 classes", "train/, trainannot/, val/ and valannot/", _fits_11, _read_11)
CAMVID32 = Dataset(
    "CamVid, 32 colours",
    "701_StillsRaw_full/ and LabeledApproved_full/, or train/ and train_labels/",
    _fits_32,
    _read_32,
)
