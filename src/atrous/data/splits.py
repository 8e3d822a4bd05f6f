"""Which images a data folder holds, which mask belongs to which, and which are for training.

Three layouts, tried in this order:

1. **Split files**: `train.txt`, `val.txt`, `test.txt` in the folder, in `splits/` or in `ImageSets/Segmentation/`. A
   line names an image of the image folder (with or without suffix), or an image and a mask, relative to the folder;
   paths with spaces in them are separated by a tab. Empty lines and lines that start with # say nothing.
2. **Split folders**: `train/images` and `train/masks`, or `images/train` and `masks/train`.
3. **Flat**: `images/` and `masks/`.

Without a validation split, a share of the training images is set aside: each name is hashed together with the seed, and
the smallest hashes are validation. Adding files moves almost no image from one side to the other. A share for the test
is set aside alike where it is asked for.

For cross-validation the training and validation images together are cut into folds, see `take_fold`.

A mask has the name of its image, in any format, or that name and an ending such as `_mask`. With a folder `instances/`
and no masks, an object's pixels are foreground.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from atrous.data.listing import IMAGE_FOLDERS, first_folder, image_files
from atrous.data.pairs import Pair, partner, shared_images, shared_masks
from atrous.data.split_names import SPLIT_NAMES
from atrous.errors import DataError, did_you_mean
from atrous.findings import Finding, FindingError, error, warning
from atrous.images.files import SUFFIXES

__all__ = ["Pair", "empty_splits", "find_pairs", "fold_bounds", "set_aside", "take_fold"]

MASK_FOLDERS = ("masks", "mask", "labels", "annotations", "gt", "SegmentationClass")
INSTANCE_FOLDERS = ("instances",)
SPLIT_PLACES = ("", "splits", "ImageSets/Segmentation")


def find_pairs(
    root: Path, *, val_fraction: float = 0.2, seed: int = 0, test_fraction: float = 0.0
) -> tuple[dict[str, tuple[Pair, ...]], tuple[Finding, ...]]:
    """Find images and masks, and divide them.

    Args:
        root: a folder.
        val_fraction: share set aside for validation, where the folder has no such split.
        seed: of the division.
        test_fraction: share set aside for the test before that, where the folder has no such split.

    Returns:
        The splits `train`, `val`, and `test` if there is one; and every problem met. A pair whose mask is missing is
        named in the problems and left out of the splits.

    Raises:
        DataError: if there is no such folder, or nothing in it that looks like a data set.
    """
    _check_root(root)
    finder = _Finder(root)
    named = finder.split_files() or finder.split_folders() or finder.flat()
    splits = {"train": named.get("train", []), "val": named.get("val", [])}
    test = named.get("test", [])
    if "test" not in named and test_fraction > 0:
        splits["train"], test = set_aside(splits["train"], test_fraction, seed, salt="test/")
    if "val" not in named:
        splits["train"], splits["val"] = set_aside(splits["train"], val_fraction, seed)
    if "test" in named or test:
        splits["test"] = test
    if not any(finding.severity == "error" for finding in finder.findings):  # else the cause is already told
        finder.findings.extend(empty_splits(root, splits, val_fraction))
    finder.findings += [*shared_images(splits), *shared_masks(splits, meant=finder.written)]
    return {name: tuple(pairs) for name, pairs in splits.items()}, tuple(finder.findings)


def take_fold(splits: dict[str, tuple[Pair, ...]], fold: tuple[int, int], root: Path) -> dict[str, tuple[Pair, ...]]:
    """Divide training and validation images anew: one of k folds is validation, the others are training.

    The images are put in the order of their names, numbers in names by their value, and cut into k blocks. Neighbouring
    names are often neighbouring frames of a film, slices of a volume or tiles of one picture, which are so alike that
    whoever trains on one has seen the other: in blocks at most the ends of a fold have such neighbours, while dealt out
    by chance every image would. Name images so that like stands beside like.

    Args:
        splits: as found; `test` stays what it is.
        fold: its number from 1 on, and k.
        root: of the data, for messages.

    Raises:
        DataError: if there is no such fold, or fewer images than folds.
    """
    number, count = fold
    pairs = sorted((*splits["train"], *splits["val"]), key=lambda pair: (_natural(pair.name), str(pair.image)))
    if count < 2 or not 1 <= number <= count:
        raise DataError(f"fold {number} of {count}: there are at least 2 folds, and they are counted from 1.")
    images = list(dict.fromkeys(pair.image for pair in pairs))  # one may show several persons
    if len(images) < count:
        raise DataError(
            f"{root}: has {len(images)} labelled images outside test, too few for {count} folds; take at most one fold "
            "per image."
        )
    begin, end = fold_bounds(len(images), count)[number - 1]
    held = set(images[begin:end])
    sides = {"train": [p for p in pairs if p.image not in held], "val": [p for p in pairs if p.image in held]}
    return {**splits, **{split: tuple(side) for split, side in sides.items()}}


def fold_bounds(size: int, count: int) -> list[tuple[int, int]]:
    """Where each of `count` blocks of `size` things begins and ends; their lengths differ by one at most.

    Example:
        >>> fold_bounds(8, 3)
        [(0, 2), (2, 5), (5, 8)]
    """
    cuts = [size * number // count for number in range(count + 1)]
    return list(pairwise(cuts))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key by which frame_9 stands before frame_10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.findall(r"\d+|\D+", name)]


class _Finder:
    """Looks through one data folder, and gathers problems on its way."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.findings: list[Finding] = []
        self.written = False  # a list says which mask belongs to which image

    def split_files(self) -> dict[str, list[Pair]]:
        """Layout 1; empty if there is no split file."""
        for place in SPLIT_PLACES:
            lists = {
                split: file
                for split, names in SPLIT_NAMES.items()
                for name in names
                if (file := self.root / place / f"{name}.txt").is_file()
            }
            if lists:
                return self._read_lists(lists)
        return {}

    def split_folders(self) -> dict[str, list[Pair]]:
        """Layout 2; empty if there is no folder named after a split."""
        found: dict[str, list[Pair]] = {}
        images, masks, instances = (
            first_folder(self.root, names) for names in (IMAGE_FOLDERS, MASK_FOLDERS, INSTANCE_FOLDERS)
        )
        for split, names in SPLIT_NAMES.items():
            outer = first_folder(self.root, names)
            if outer is not None and (inner := first_folder(outer, IMAGE_FOLDERS)):
                sides = [first_folder(outer, names) for names in (MASK_FOLDERS, INSTANCE_FOLDERS)]
                found[split] = self._pairs(inner, sides[0], sides[1], split)
            elif images is not None and (inner := first_folder(images, names)):
                sides = [side and first_folder(side, names) for side in (masks, instances)]
                found[split] = self._pairs(inner, sides[0], sides[1], split)
        if found and "train" not in found:
            message = f"has folders for {' and '.join(found)} and none for train"
            self.findings.append(error("empty_split", self.root, message, "Add train/images and train/masks."))
        return found

    def flat(self) -> dict[str, list[Pair]]:
        """Layout 3.

        Raises:
            FindingError: if there is no image folder, or no mask folder.
        """
        images, masks, instances = (
            first_folder(self.root, names) for names in (IMAGE_FOLDERS, MASK_FOLDERS, INSTANCE_FOLDERS)
        )
        wanted = (
            "Arrange it as images/ and masks/ of equal names, or as train/images and train/masks, or write train.txt."
        )
        if images is None or (masks is None and instances is None):
            holds = sorted(entry.name + "/" * entry.is_dir() for entry in self.root.iterdir() if entry.name[0] != ".")
            missing = "images/" if images is None else "masks/"
            there = f"{', '.join(holds[:6])}{', ...' if len(holds) > 6 else ''}" if holds else "nothing"
            raise FindingError(error("no_layout", self.root, f"has no folder {missing}; it holds {there}", wanted))
        return {"train": self._pairs(images, masks, instances, "train")}

    def _pairs(self, images: Path, masks: Path | None, instances: Path | None, split: str) -> list[Pair]:
        """The pairs of one image folder, and masks that nobody asked for."""
        index, orphans = self._index(images, masks, instances)
        pairs = [pair for pair in index.values() if self._complete(pair, split, pair.image, masks)]
        others = {path.stem: path for path in images.iterdir()} if orphans else {}
        for orphan in orphans:
            message = f"is a mask without an image in {images.name}/"
            fix = "Add the image, or take the mask out."
            if (other := others.get(orphan.stem)) is not None and other.is_file() and other.name[0] != ".":
                message = f"is a mask, and {images.name}/{other.name} beside it is not taken for an image"
                fix = f"Convert it to one of {', '.join(SUFFIXES)}."
            self.findings.append(warning("missing_image", orphan, message, fix))
        return pairs

    def _index(self, images: Path, masks: Path | None, instances: Path | None) -> tuple[dict[str, Pair], list[Path]]:
        """Pairs by name, and masks that belong to none."""
        sides = [image_files(folder, self.findings) if folder else {} for folder in (images, masks, instances)]
        for files in sides:
            for alike in files.values():
                if len(alike) > 1:
                    message = f"has the same name as {alike[0].name}"
                    self.findings.append(error("same_name", alike[1], message, "Rename or remove one of them."))
        used: set[Path] = set()
        index = {}
        for name, group in sides[0].items():
            mask, objects = (partner(name, side, sides[0]) for side in sides[1:])
            used.update(found[0] for found in (mask, objects) if found)
            index[name] = Pair(name, group[0], mask[0] if mask else None, objects[0] if objects else None)
        orphans = [path for files in sides[1:] for group in files.values() for path in group[:1] if path not in used]
        return index, orphans

    def _complete(self, pair: Pair, split: str, where: object, masks: Path | None) -> bool:
        """Whether a pair can be used in its split; if not, it is a finding."""
        if pair.mask or (pair.instances and masks is None) or split == "test":
            return True
        folder = f"{masks.name}/" if masks else "instances/" if first_folder(self.root, INSTANCE_FOLDERS) else "masks/"
        fix = f"Add {folder}{pair.name}.png, or take the image out, or leave such images out with data.unlabelled=skip."
        self.findings.append(error("missing_mask", where, f"has no mask {pair.name}.* in {folder}", fix))
        return False

    def _read_lists(self, lists: dict[str, Path]) -> dict[str, list[Pair]]:
        """The pairs that split files name."""
        images, masks, instances = (
            first_folder(self.root, names) for names in (IMAGE_FOLDERS, MASK_FOLDERS, INSTANCE_FOLDERS)
        )
        index = self._index(images, masks, instances)[0] if images else {}
        if "train" not in lists:
            other = next(iter(lists.values()))
            message = f"there is {other.name} and no train.txt"
            self.findings.append(error("empty_split", other, message, "List the training images in train.txt."))
        found: dict[str, list[Pair]] = {}
        for split, file in lists.items():
            found[split] = pairs = []
            for text, where in self._lines(file):
                pair = self._line(text, where, index)
                if pair is not None and self._complete(pair, split, where, masks):
                    pairs.append(pair)
            found[split] = _short_names(pairs)
        return found

    def _lines(self, file: Path) -> Iterator[tuple[str, str]]:
        """The lines of a split file that say something, and where each stands."""
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as problem:
            why = getattr(problem, "strerror", None) or "it is not UTF-8 text"
            self.findings.append(error("split_line", file, f"cannot be read as a list ({why})", "Save it as UTF-8."))
            return
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.strip().startswith("#"):
                yield line.strip(), f"{file} line {number}"

    def _line(self, text: str, where: str, index: dict[str, Pair]) -> Pair | None:
        """What one line of a split file names; None, and a finding, if it is not there."""
        parts = [part.strip() for part in text.split("\t")] if "\t" in text else text.split()
        if text in index or len(parts) == 1:
            stem = text[: -len(Path(text).suffix)] if Path(text).suffix.lower() in SUFFIXES else text
            pair = index.get(text) or index.get(stem)
            if pair is None and (self.root / text).is_file():
                pair = next((p for p in index.values() if p.image == self.root / text), None)
                pair = pair or Pair(stem, self.root / text, None)
            if pair is None:
                # Spellings are compared for the first few only: it takes a tenth of a second among 10 000 names.
                fix = did_you_mean(stem, index) if len(self.findings) < 5 and index else ""
                fix = fix if fix.startswith("Did") else "Correct the line, or add the image."
                self.findings.append(error("missing_file", where, f"names {text!r}, and there is no such image", fix))
            return pair
        if len(parts) > 2:
            fix = "Write an image and a mask; separate them by a tab if their names hold spaces."
            self.findings.append(error("split_line", where, f"has {len(parts)} words", fix))
            return None
        image, mask = (self.root / part for part in parts)
        for path in (image, mask):
            if not path.is_file():
                fix = f"Correct the line; paths are relative to {self.root}."
                self.findings.append(error("missing_file", where, f"names {path}, and there is no such file", fix))
                return None
        self.written = True
        return Pair(Path(parts[0]).with_suffix("").as_posix(), image, mask)


def _check_root(root: Path) -> None:
    """Raise unless `root` is a folder."""
    if root.is_dir():
        return
    near = [entry.name for entry in root.parent.iterdir() if entry.is_dir()] if root.parent.is_dir() else []
    hint = did_you_mean(root.name, near) if near else ""
    fix = hint if hint.startswith("Did") else "Name the folder that holds images/ and masks/."
    message = "is a file, and a data folder is needed" if root.exists() else "there is no such folder"
    raise FindingError(error("missing_folder", root, message, fix))


def set_aside(
    pairs: Sequence[Pair], val_fraction: float, seed: int, *, salt: str = ""
) -> tuple[list[Pair], list[Pair]]:
    """Set a share aside by the hashes of names; at least one of two or more, unless the share is 0.

    Args:
        pairs: of whom.
        val_fraction: the share.
        seed: another one sets others aside.
        salt: so does another text.
    """
    count = round(val_fraction * len(pairs))
    if val_fraction > 0 and len(pairs) >= 2:
        count = min(max(count, 1), len(pairs) - 1)
    ordered = sorted(pairs, key=lambda pair: _hash(f"{salt}{seed}/{pair.name}"))
    chosen = {pair.name for pair in ordered[:count]}
    return [p for p in pairs if p.name not in chosen], [p for p in pairs if p.name in chosen]


def _hash(text: str) -> bytes:
    """Of a name, which on some disks is no UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def empty_splits(root: Path, splits: Mapping[str, Sequence[Pair]], val_fraction: float) -> Iterator[Finding]:
    """A split without pairs, which training or measuring cannot do without."""
    if not any(splits.values()):
        fix = f"Put files there that end in {', '.join(SUFFIXES)}."
        yield error("empty_folder", root, "holds no image in its image folder", fix)
    elif not splits["train"]:
        yield error("empty_split", root, "has no training pair", "Add images with masks to train.")
    elif not splits["val"] and val_fraction > 0:
        message = "has no validation pair, so nothing can be measured"
        yield error("empty_split", root, message, "Add a second image with its mask, or fill val.")


def _short_names(pairs: list[Pair]) -> list[Pair]:
    """Name pairs by their last part where that still tells them apart."""
    short = [pair.name.rsplit("/", 1)[-1] for pair in pairs]
    if len(set(short)) < len(short):
        return pairs
    return [pair._replace(name=name) for pair, name in zip(pairs, short, strict=True)]
