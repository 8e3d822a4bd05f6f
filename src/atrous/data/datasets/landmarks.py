"""Data folders of landmarks: a CSV table, a project of DeepLabCut, COCO's key points.

Lists (`train.txt`, `val.txt`, `test.txt`, in the folder or in `splits/`) name the images of each split by their paths
or by their names; without them the splits are those that the files of landmarks name, and else a share of the images is
set aside. All persons or animals of an image go to one split. Images on which nobody set a landmark are left out, and
told; in the test split they stay.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from atrous.annotations.coco_keypoints import COCO_KEYPOINTS
from atrous.annotations.deeplabcut import DEEPLABCUT
from atrous.annotations.landmark_csv import LANDMARK_CSV
from atrous.annotations.landmarks import LandmarkEntry, LandmarkFormat, LandmarkTable
from atrous.annotations.parsing import Gathered
from atrous.data.classes import Classes
from atrous.data.datasets.base import Dataset, Division, Found, complete, divide, hold_out, read_lines
from atrous.data.listing import IMAGE_FOLDERS, first_folder, image_files
from atrous.data.pairs import Pair
from atrous.data.split_names import SPLIT_NAMES, split_of
from atrous.data.splits import INSTANCE_FOLDERS, MASK_FOLDERS, SPLIT_PLACES
from atrous.errors import DataError, did_you_mean
from atrous.findings import Finding, FindingError, error, warning
from atrous.images.colors import default_colors

__all__ = ["COCO_KEYPOINTS_LAYOUT", "DEEPLABCUT_LAYOUT", "LANDMARKS_LAYOUT", "landmark_classes"]

By = Callable[[Sequence[Pair], Division], dict[str, tuple[Pair, ...]]]


def landmark_classes(table: LandmarkTable, where: object) -> Classes:
    """The names of landmarks as those of classes, which no mask value means.

    Raises:
        FindingError: if there are more than a table holds.
    """
    try:
        return Classes(table.names, default_colors(table.names), ((),) * len(table.names), flip_pairs=table.pairs)
    except DataError as problem:
        message, _, fix = str(problem).partition(". ")
        raise FindingError(error("landmark_names", where, message, fix)) from None


def _reader(format: LandmarkFormat, by: By = divide) -> Callable[[Path, Division], Found]:
    """How a folder with landmarks of a format is read."""

    def read(root: Path, division: Division) -> Found:
        gathered = Gathered()
        tables = format.read(root, None, gathered)
        findings = [*gathered.findings, *(_left_out(root, what, many) for what, many in gathered.left_out.items())]
        splits: dict[str, list[Pair]] = {}
        images, bare = _image_folder(root), set[Path]()
        for subset, table in tables.items():
            split = split_of(subset) or "train"
            splits.setdefault(split, []).extend(_pairs(table.entries, images, split, bare))
        first = next(iter(tables.values()))
        listed = _listed(root, images, splits, (findings, bare))
        findings += _unlabelled(sorted(bare))
        found = _completed(listed or splits, division, by)
        return Found(found, tuple(findings), landmark_classes(first, root))

    return read


def _left_out(root: Path, what: str, many: int) -> Finding:
    return warning("left_out", root, f"{many} {what}", "Nothing to do if that is meant.")


def _image_folder(root: Path) -> Path:
    return first_folder(root, IMAGE_FOLDERS) or root


def _pairs(entries: Iterable[LandmarkEntry], images: Path, split: str, bare: set[Path]) -> list[Pair]:
    """A pair for each person or animal; images on which nobody set a landmark are in the test split, or `bare`."""
    entries = tuple(entries)
    counts = Counter(entry.file for entry in entries)
    pairs = []
    for entry in entries:
        base = images if entry.file.is_relative_to(images) else entry.file.parent
        name = entry.file.relative_to(base).with_suffix("").as_posix()
        name = f"{name}#{entry.individual}" if counts[entry.file] > 1 else name
        if entry.visibility.any():
            pairs.append(Pair(name, entry.file, None, None, entry))
        elif split == "test":
            pairs.append(Pair(name, entry.file, None))
        else:
            bare.add(entry.file)
    return pairs


def _unlabelled(files: Sequence[Path]) -> list[Finding]:
    """One warning for all images on which nobody set a landmark."""
    if not files:
        return []
    many = f", as {len(files)} images" if len(files) > 1 else ""
    fix = "Set its landmarks to learn from it, or take it out."
    return [warning("unlabelled", files[0], f"has no labelled landmark{many}, and is left out", fix)]


def _listed(
    root: Path, images: Path, splits: Mapping[str, Sequence[Pair]], told: tuple[list[Finding], set[Path]]
) -> dict[str, list[Pair]]:
    """The splits that lists name; none where there is no list, or the files of landmarks name splits of their own."""
    findings, bare = told
    if set(splits) - {"train"}:
        return {}
    pairs = splits.get("train", ())
    by_name: dict[str, list[Pair]] = {}
    for pair in pairs:
        for name in _called(pair.image, (root, images)):
            by_name.setdefault(name, []).append(pair)
    others = _others(images, {pair.image for pair in pairs}, findings)
    lists = _lists(root)
    found: dict[str, list[Pair]] = {}
    used: set[object] = set()
    for split, file in lists.items():
        found[split] = []
        for line, where in read_lines(file):
            if line.startswith("#"):
                continue
            if line in by_name and len({pair.image for pair in by_name[line]}) == 1:
                found[split] += by_name[line]
                used.add(by_name[line][0].image)
            elif split == "test" and line in others:
                found[split].append(Pair(others[line].stem, others[line], None))
            else:
                findings.append(_not_there(line, where, by_name, others))
    if lists and "train" not in lists:
        left = [pair for pair in pairs if pair.image not in used]
        found = {"train": left, **found}
    bare |= set(others.values())
    bare -= {pair.image for some in found.values() for pair in some if isinstance(pair.image, Path)}
    if lists and (left := [pair for pair in pairs if pair.image not in used and "train" in lists]):
        message = f"is in no list, as {len(left)} images" if len(left) > 1 else "is in no list"
        findings.append(warning("left_out", left[0].image, message, "Write its name into one of the lists to use it."))
    return found


def _called(image: object, folders: Iterable[Path]) -> set[str]:
    """What a list may call an image: its path or name, with or without suffix."""
    path = Path(str(image))
    paths = [path.relative_to(folder) for folder in folders if path.is_relative_to(folder)]
    return {name for one in (*paths, Path(path.name)) for name in (one.as_posix(), one.with_suffix("").as_posix())}


def _others(images: Path, labelled: set[object], findings: list[Finding]) -> dict[str, Path]:
    """Images that no table names, by what a list may call them."""
    if images.name not in IMAGE_FOLDERS:
        return {}
    found = [one for group in image_files(images, findings).values() for one in group if one not in labelled]
    return {name: one for one in found for name in _called(one, (images,))}


def _lists(root: Path) -> dict[str, Path]:
    """The lists of a folder by their splits."""
    for place in SPLIT_PLACES:
        lists = {
            split: file
            for split, names in SPLIT_NAMES.items()
            for name in names
            if (file := root / place / f"{name}.txt").is_file()
        }
        if lists:
            return lists
    return {}


def _not_there(line: str, where: str, names: Mapping[str, list[Pair]], others: Mapping[str, Path]) -> Finding:
    """The finding about a line of a list that names no image with landmarks."""
    if line in others:
        fix = "Set them, or take the line out, or leave such images out with data.unlabelled=skip."
        return error("missing_landmarks", where, f"names {line!r}, which has no landmarks", fix)
    if line in names:
        message = f"names {line!r}, and {len({pair.image for pair in names[line]})} images are called so"
        return error("missing_file", where, message, "Write the folder before it, as in day1/img03.png.")
    near = did_you_mean(line, names)
    fix = near if near.startswith("Did") else "Correct the line, or add the image and its landmarks."
    return error("missing_file", where, f"names {line!r}, and there is no such image with landmarks", fix)


def _completed(splits: Mapping[str, Sequence[Pair]], division: Division, by: By) -> dict[str, tuple[Pair, ...]]:
    """The splits, shares set aside by images: all that are shown in one stay together."""
    groups: dict[object, list[Pair]] = {}
    for pair in splits.get("train", ()):
        groups.setdefault(pair.image, []).append(pair)
    firsts = [group[0] for group in groups.values()]
    whole = {pair: groups[pair.image] for pair in firsts}
    done = complete({**splits, "train": firsts}, division, by=by)
    return {split: tuple(one for pair in pairs for one in whole.get(pair, [pair])) for split, pairs in done.items()}


def _fits_table(root: Path) -> bool:
    """A table of landmarks, and no masks beside it, whatever other tables tell of these; landmarks.csv comes first."""
    named = any((root / f"landmarks{suffix}").is_file() for suffix in (".csv", ".tsv"))
    places = [root, *(root / name for names in SPLIT_NAMES.values() for name in names)]
    masks = any(first_folder(place, (*MASK_FOLDERS, *INSTANCE_FOLDERS)) for place in places)
    return (named or not masks) and LANDMARK_CSV.fits(root)


LANDMARKS_LAYOUT = Dataset(
    "a table of landmarks",
    "landmarks.csv, or train.csv and val.csv, and images/",
    _fits_table,
    _reader(LANDMARK_CSV),
)
DEEPLABCUT_LAYOUT = Dataset(
    "a project of DeepLabCut",
    "labeled-data/VIDEO/CollectedData_SCORER.csv",
    DEEPLABCUT.fits,
    _reader(DEEPLABCUT, hold_out),
)
COCO_KEYPOINTS_LAYOUT = Dataset(
    "COCO key points",
    "annotations/person_keypoints_train2017.json and train2017/",
    lambda root: COCO_KEYPOINTS.fits(root) and not any((root / "annotations").glob("instances_*.json")),
    _reader(COCO_KEYPOINTS),
)
