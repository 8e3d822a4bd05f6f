"""COCO-Stuff: 80 things and 91 kinds of stuff in every pixel of COCO's images.

Caesar, Uijlings, Ferrari, COCO-Stuff: Thing and Stuff Classes in Context, CVPR 2018. stuffthingmaps/train2017/NAME.png:
values 0 to 90 are things and 91 to 181 are stuff (the category's number less one), 255 is unlabelled. Eleven of the 91
numbers of things were never drawn, so that 171 classes are left. Maps that were renumbered to 0..170 are known by their
ending _labelTrainIds.
"""

from pathlib import Path

from atrous.data.datasets.base import (
    Dataset,
    Division,
    Found,
    class_table,
    complete,
    files,
    first_folder,
    pair_folders,
)
from atrous.data.splits import Pair
from atrous.findings import Finding
from atrous.images.colors import default_colors

__all__ = ["COCO_STUFF", "STUFF", "THINGS"]

THINGS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "", "backpack", "umbrella", "", "", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "",
    "dining table", "", "", "toilet", "", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave",
    "oven", "toaster", "sink", "refrigerator", "", "book", "clock", "vase", "scissors", "teddy bear", "hair drier",
    "toothbrush", "",
)  # fmt: skip
"""Categories 1 to 91; empty where a number was never drawn."""

STUFF = (
    "banner", "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage", "cardboard", "carpet",
    "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds", "counter", "cupboard", "curtain", "desk-stuff",
    "dirt", "door-stuff", "fence", "floor-marble", "floor-other", "floor-stone", "floor-tile", "floor-wood", "flower",
    "fog", "food-other", "fruit", "furniture-other", "grass", "gravel", "ground-other", "hill", "house", "leaves",
    "light", "mat", "metal", "mirror-stuff", "moss", "mountain", "mud", "napkin", "net", "paper", "pavement", "pillow",
    "plant-other", "plastic", "platform", "playingfield", "railing", "railroad", "river", "road", "rock", "roof", "rug",
    "salad", "sand", "sea", "shelf", "sky-other", "skyscraper", "snow", "solid-other", "stairs", "stone", "straw",
    "structural-other", "table", "tent", "textile-other", "towel", "tree", "vegetable", "wall-brick", "wall-concrete",
    "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood", "water-other", "waterdrops", "window-blind",
    "window-other", "wood",
)  # fmt: skip
"""Categories 92 to 182."""

_TRAIN_IDS = "_labelTrainIds"


def _sides(root: Path, word: str) -> tuple[Path, Path] | None:
    """The folders of images and of maps of train2017 or val2017."""
    images = first_folder(root, f"images/{word}", word)
    masks = first_folder(
        root, f"stuffthingmaps/{word}", f"stuffthingmaps_trainval2017/{word}", f"annotations/{word}", f"masks/{word}"
    )
    return (images, masks) if images and masks else None


def _fits(root: Path) -> bool:
    sides = _sides(root, "train2017") or _sides(root, "val2017")
    return sides is not None and bool(files(sides[1], (".png",)))


def _read(root: Path, division: Division) -> Found:
    findings: list[Finding] = []
    splits: dict[str, list[Pair]] = {}
    renumbered = False
    for split in ("train", "val"):
        sides = _sides(root, f"{split}2017")
        if sides is None:
            continue
        renumbered |= bool(files(sides[1], (".png",), ending=_TRAIN_IDS))
        splits[split], problems = pair_folders(*sides, endings=(("", _TRAIN_IDS),))
        findings += problems
    numbers = [number for number, name in enumerate((*THINGS, *STUFF)) if name]
    names = [(*THINGS, *STUFF)[number] for number in numbers]
    table = class_table(names, default_colors(names), None if renumbered else numbers)
    return Found(complete(splits, division), tuple(findings), table)


COCO_STUFF = Dataset("COCO-Stuff, 171 classes", "train2017/ and stuffthingmaps/train2017/", _fits, _read)
