"""Data sets divided into folds: some to choose rules by, and one of each that is kept for the tables.

A rule that is chosen by a validation set has seen it, and its score there flatters it. So each set is cut into five
parts: of the images in their order, in blocks where neighbours are alike (frames of a film, slices of a volume), every
fifth one elsewhere. Part 0 is sealed: it is neither trained on nor looked at while rules are chosen, and the published
tables are measured on it. The others are for choosing: fold `k` (1 to 4) validates on part k.
"""

import itertools
import json
import os
import random
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

__all__ = ["SEALED", "SETS", "make_fold", "parts"]

CACHE = Path(__file__).parent / ".cache" / "folds"
PARTS = 5
SEALED = 0
CAMVID = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist")


def parts(names: Sequence[str], *, blocks: bool) -> list[list[str]]:
    """Five parts of a list.

    Example:
        >>> parts("abcdefg", blocks=True)
        [['a'], ['b'], ['c', 'd'], ['e'], ['f', 'g']]
        >>> parts("abcdefg", blocks=False)
        [['a', 'f'], ['b', 'g'], ['c'], ['d'], ['e']]
    """
    if not blocks:
        return [list(names[part::PARTS]) for part in range(PARTS)]
    cuts = [len(names) * part // PARTS for part in range(PARTS + 1)]
    return [list(names[low:high]) for low, high in itertools.pairwise(cuts)]


def make_fold(name: str, fold: int, source: Path) -> Path:
    """A data folder of links to the files of a set, divided as a fold says.

    Args:
        name: in `SETS`; or NAME:COUNT:DRAW, with only so many training images, drawn at random, each draw others.
        fold: 1 to 4 for choosing; 0 validates on the sealed part and trains on all others.
        source: the folder of the data sets.
    """
    whole, *few = name.split(":")
    place = CACHE / f"{name.replace(':', '_')}_{fold}"
    if place.exists():
        return place
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    beside.mkdir(parents=True)
    build, blocks = SETS[whole]
    names, lists = build(beside, source, SEALED if fold == SEALED else 1)
    cut = parts(names, blocks=blocks)
    train = [word for at, part in enumerate(cut) if at not in (fold, SEALED) for word in part]
    if few:
        count, draw = map(int, few)
        train = sorted(random.Random(draw).sample(train, count))
    lists.mkdir(parents=True, exist_ok=True)
    for split, chosen in (("train", train), ("val", cut[fold])):
        (lists / f"{split}.txt").write_text("\n".join(chosen) + "\n")
    beside.rename(place)
    return place


def _link(beside: Path, source: Path, names: Iterable[str]) -> None:
    for name in names:
        (beside / name).symlink_to((source / name).resolve())


def _classes(beside: Path, classes: Sequence[tuple[str, int]], ignore: Sequence[int] = ()) -> None:
    table = {"classes": [{"name": name, "value": value} for name, value in classes], "ignore": list(ignore)}
    (beside / "classes.yaml").write_text(json.dumps(table) + "\n")


def _camvid(beside: Path, source: Path, _: int) -> tuple[list[str], Path]:
    _link(beside, source / "camvid", ("train", "trainannot"))
    _classes(beside, [(name, value) for value, name in enumerate(CAMVID)], [11])
    return (source / "camvid" / "train.txt").read_text().splitlines(), beside


def _pairs(
    folder: str, classes: Sequence[tuple[str, int]], masks: str = "masks"
) -> Callable[[Path, Path, int], tuple[list[str], Path]]:
    def build(beside: Path, source: Path, _: int) -> tuple[list[str], Path]:
        _link(beside, source / folder, ("images", masks))
        _classes(beside, classes)
        return sorted(path.stem for path in (beside / "images").iterdir()), beside

    return build


def _voc(beside: Path, source: Path, _: int) -> tuple[list[str], Path]:
    _link(beside, source / "voc2012", ("JPEGImages", "SegmentationClass"))
    lists = Path("ImageSets") / "Segmentation"
    found = next((source / "voc2012" / "ImageSets").rglob("train.txt")).parent
    names = [word for part in ("train", "val") for word in (found / f"{part}.txt").read_text().split()]
    return sorted(names), beside / lists


def _made(kind: str, size: int) -> Callable[[Path, Path, int], tuple[list[str], Path]]:
    def build(beside: Path, _: Path, seed: int) -> tuple[list[str], Path]:
        from atrous.made import make_cells, make_scenes

        made = {"cells": make_cells, "scenes": make_scenes}[kind](beside / "made", count=60, size=size, seed=seed)
        for entry in made.iterdir():
            if entry.suffix != ".txt":
                shutil.move(entry, beside / entry.name)
        shutil.rmtree(made)
        return sorted(path.stem for path in (beside / "images").iterdir()), beside

    return build


SETS: dict[str, tuple[Callable[[Path, Path, int], tuple[list[str], Path]], bool]] = {
    "camvid": (_camvid, True),
    "isbi": (_pairs("isbi2012_em", [("membrane", 0), ("cell", 255)]), True),
    "cwfid": (_pairs("cwfid", [("soil", 0), ("crop", 1), ("weed", 2)]), False),
    "dsb": (_pairs("dsb2018_nuclei", [("background", 0), ("nucleus", 1)], "instances"), False),
    "voc": (_voc, False),
    "cells": (_made("cells", 256), False),
    "scenes": (_made("scenes", 256), False),
}
"""How each folder is built, and whether its parts are blocks."""
