"""A folder of images and masks, opened: its splits, its classes, and the data set that reads it pair by pair.

`datasets` holds the named data sets and layouts, `splits.py` says how images and masks stand side by side in any other
folder, `discovery.py` how classes are found. Where there are instance maps and no masks, the pixels of objects are the
value 1 and the others 0.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, Unpack

from atrous.data.absent import fill_absent
from atrous.data.brought import BroughtImages
from atrous.data.class_table import load_classes
from atrous.data.classes import Classes
from atrous.data.contents import Contents, Folder
from atrous.data.dataset import FolderDataset
from atrous.data.datasets import DATASETS, Division, choose_layout
from atrous.data.discovery import discover_classes
from atrous.data.hints import hint_for, with_hint
from atrous.data.landmark_table import choose_landmarks
from atrous.data.listing import entries, is_special, special
from atrous.data.options import FolderOptions, complete_options
from atrous.data.pairs import Pair, shared_images, shared_masks
from atrous.data.reading import read_labels, read_pair, set_elsewhere, wrong_kind
from atrous.data.splits import empty_splits, find_pairs, take_fold
from atrous.data.turned import TurnedImages, as_stored
from atrous.errors import DataError
from atrous.findings import Finding, FindingError, error, raise_first, warning
from atrous.images.channels import GREY, how_brought
from atrous.images.colors import default_colors
from atrous.images.files import ImageFile, ImageInfo, read_image, read_info, wrong_channels

__all__ = [
    "Contents",
    "Folder",
    "FolderDataset",
    "Pair",
    "examine_folder",
    "open_folder",
    "read_labels",
    "read_pair",
    "wrong_kind",
]

SAMPLED = 200
"""Headers, and masks for discovery, that `open_folder` reads: spread evenly over the folder. The doctor reads all."""

_ALPHAS = 8


def open_folder(
    path: str | Path,
    *,
    val_fraction: float = 0.2,
    seed: int = 0,
    classes: str | Path | Classes | None = None,
    fold: tuple[int, int] | None = None,
    layout: str | None = None,
    **more: Unpack[FolderOptions],
) -> Folder:
    """Open a folder of images and masks from its file names and some of its files.

    Args:
        path: the folder; see `datasets` and `splits.py` for its layouts.
        val_fraction: share of the training images set aside where the folder has no validation split; 0 to 1.
        seed: of that division.
        classes: a class table or a file with one; None takes the folder's `classes.yaml`, else those of the data set,
            else discovers the classes in up to 200 masks.
        fold: divide training and validation anew, see `splits.take_fold`.
        layout: a key of `DATASETS`, or "folder"; None looks at the folder.
        more: `test_fraction`, `unlabelled` and `exif`, see `FolderOptions`.

    Raises:
        DataError: the first error found, with the count of the others, and the layout where it is a named one.
    """
    contents = examine_folder(path, val_fraction=val_fraction, seed=seed, classes=classes, layout=layout, **more)
    findings = [*contents.findings, *header_findings(contents, spread(contents.pairs, SAMPLED))]
    raise_first(tuple(_named(f, contents.layout) for f in findings if f.severity == "error"), str(path))
    if contents.classes is None or contents.channels is None or contents.dtype is None:
        raise FindingError(error("empty_folder", path, "holds no image that can be read", "Add images and masks."))
    splits = contents.splits if fold is None else take_fold(contents.splits, fold, contents.root)
    return Folder(
        contents.root, splits, contents.classes, contents.channels, contents.dtype, contents.layout, contents.findings
    )


def examine_folder(
    path: str | Path,
    *,
    val_fraction: float = 0.2,
    seed: int = 0,
    classes: str | Path | Classes | None = None,
    layout: str | None = None,
    **more: Unpack[FolderOptions],
) -> Contents:
    """Open a folder that may have errors; the arguments are those of `open_folder`.

    Raises:
        DataError: if there is no such folder, or nothing in it that looks like a data set.
    """
    root = Path(path)
    rest = complete_options(more)
    for name, share in (("val_fraction", val_fraction), ("test_fraction", rest["test_fraction"])):
        if not 0 <= share < 1:
            raise DataError(f"{name} must be at least 0 and below 1, not {share}. Take 0.2 for one image in five.")
    division = Division(val_fraction, seed, rest["test_fraction"])
    known = choose_layout(root, layout) if root.is_dir() else "folder"
    own: Classes | None = None
    if known == "folder":
        splits, findings = _side_by_side(root, division)
    else:
        splits, findings, own = _find(root, known, division)
    if rest["unlabelled"] == "skip":
        findings = _without_unlabelled(root, splits, findings, division)
    pairs = tuple(chain.from_iterable(splits.values()))
    table: Classes | None = None
    try:
        if own is not None and any(pair.landmarks for pair in pairs):
            table, splits = choose_landmarks(root, classes, splits, own)
        else:
            table = classes if isinstance(classes, Classes) else _classes(root, classes, pairs, own)
    except FindingError as problem:
        findings = (*findings, problem.finding)
    if table is not None:
        absent: list[Finding] = []
        splits = fill_absent(splits, table, absent)
        pairs, findings = tuple(chain.from_iterable(splits.values())), (*findings, *absent)
    channels, kind = _channels_and_kind([pair.image for pair in spread(pairs, SAMPLED)])
    contents = Contents(root, splits, table, channels, kind, findings, known)
    return as_stored(contents) if rest["exif"] == "raw" else contents


def _without_unlabelled(
    root: Path, splits: Mapping[str, Sequence[Pair]], findings: Sequence[Finding], division: Division
) -> tuple[Finding, ...]:
    """The findings, in which one warning stands for all images without a mask: they are in no split already."""
    missing = [finding for finding in findings if finding.code in ("missing_mask", "missing_landmarks")]
    if not missing:
        return tuple(findings)
    many = f", as {len(missing)} images" if len(missing) > 1 else ""
    fix = "Label it to learn from it." if len(missing) == 1 else "Label them to learn from them."
    what = "mask" if missing[0].code == "missing_mask" else "landmarks"
    told = warning("unlabelled", missing[0].file, f"has no {what}{many}, and is left out", fix)
    others = [finding for finding in findings if finding not in missing]
    if not any(finding.severity == "error" for finding in others):
        others += empty_splits(root, splits, division.val_fraction)
    return (*others, told)


def _side_by_side(root: Path, division: Division) -> tuple[dict[str, tuple[Pair, ...]], tuple[Finding, ...]]:
    """Images and masks side by side; of what is something else it is said what that is."""
    try:
        splits, findings = find_pairs(
            root, val_fraction=division.val_fraction, seed=division.seed, test_fraction=division.test_fraction
        )
    except FindingError as problem:
        raise with_hint(problem, root) from None
    if not any(splits.values()) and (hint := hint_for(root)):
        findings = (error("no_layout", root, "holds no image with a mask", hint), *findings)
    return splits, findings


def _find(
    root: Path, layout: str, division: Division
) -> tuple[dict[str, tuple[Pair, ...]], tuple[Finding, ...], Classes | None]:
    """What an adapter finds, and what is wrong with it as a whole."""
    dataset = DATASETS[layout]
    found = dataset.read(root, division)
    findings = [*found.findings, *shared_images(found.splits), *shared_masks(found.splits), *_pipes(found.splits)]
    if not any(found.splits.values()) and not findings:
        fix = f"Its folder holds {dataset.holds}: name that folder, or another layout."
        findings.append(error("empty_folder", root, f"holds no image of {dataset.title}", fix))
    elif not any(finding.severity == "error" for finding in findings):
        if not found.splits["train"]:
            fix = "Copy the training images and masks there."
            findings.append(error("empty_split", root, "has no training pair", fix))
        elif not found.splits["val"] and division.val_fraction > 0:
            fix = "Add a second image with its mask."
            findings.append(error("empty_split", root, "has no validation pair, so nothing can be measured", fix))
    return dict(found.splits), tuple(findings), found.classes


def _pipes(splits: Mapping[str, Sequence[Pair]]) -> Iterator[Finding]:
    """Pipes and devices beside images and masks, which an adapter passes over."""
    sides = (side for pairs in splits.values() for pair in pairs for side in (pair.image, pair.mask))
    for place in dict.fromkeys(side.parent for side in sides if isinstance(side, Path)):
        yield from (special(entry.path) for entry in entries(place) if is_special(entry))


def _named(finding: Finding, layout: str) -> Finding:
    """A finding that tells as what the folder was read, where that is more than images and masks side by side."""
    if layout == "folder":
        return finding
    fix = f"{finding.fix} (Read as layout {layout!r}, {DATASETS[layout].title}.)"
    return Finding(finding.severity, finding.code, finding.file, finding.message, fix)


def spread(pairs: Sequence[Any], count: int) -> list[Any]:
    """At most `count` items, evenly over the sequence, the first one among them."""
    if len(pairs) <= count:
        return list(pairs)
    return [pairs[i * len(pairs) // count] for i in range(count)]


def header_findings(
    contents: Contents | Folder,
    pairs: Iterable[Pair],
    brought: BroughtImages | None = None,
    turned: TurnedImages | None = None,
) -> list[Finding]:
    """Problems that the headers of images show: unreadable, another channel count or another kind of numbers.

    Args:
        contents: of the folder.
        pairs: whose images are looked at.
        brought: counts the grey images among coloured ones.
        turned: counts the images that the camera's orientation turns without their masks.
    """
    findings = []
    for pair in pairs:
        try:
            info = read_info(pair.image)
        except FindingError as problem:
            findings.append(problem.finding)
            continue
        except MemoryError:
            fix = "Look at it; take it out if its size is a mistake."
            findings.append(error("unreadable", pair.image, "has a header that the memory does not hold", fix))
            continue
        if turned is not None:
            turned.add(pair, info.orientation, (info.height, info.width))
        how = how_brought(info.channels, info.alpha, info.dtype, contents.channels)
        if brought is not None and how == GREY:
            brought.add(how, pair.image)
        if how is None and not (info.alpha and contents.channels == info.channels - 1):  # it may be constant
            findings.append(wrong_channels(pair.image, info.channels, contents.channels or 0))
        if contents.dtype is not None and info.dtype != contents.dtype:
            findings.append(wrong_kind(pair.image, info.dtype, contents.dtype))
        findings += set_elsewhere(pair, (info.height, info.width))
    return findings


def _classes(root: Path, file: str | Path | None, pairs: Sequence[Pair], known: Classes | None) -> Classes:
    """The folder's class table: given, its own, that of the data set, or discovered.

    Raises:
        FindingError: if the table is wrong, or cannot be discovered.
    """
    own = next((root / name for name in ("classes.yaml", "classes.yml") if (root / name).is_file()), None)
    if file is not None or own is not None:
        return load_classes(file if file is not None else root / str(own and own.name))
    if known is not None:
        return known
    masks = [pair.mask for pair in pairs if pair.mask is not None]
    if not masks and any(pair.instances for pair in pairs):
        names = ("background", "foreground")
        return Classes(names, default_colors(names), ((0,), (1,)))
    return discover_classes(spread(masks, SAMPLED), file=root)


def _channels_and_kind(images: Sequence[ImageFile]) -> tuple[int | None, str | None]:
    """What the images are read as.

    Three channels where some are grey and some are coloured, else what most have. Alpha counts where all images have
    it, and it varies in one of the first few.
    """
    infos: list[tuple[ImageFile, ImageInfo]] = []
    for image, info in zip(images, _each(read_info, images), strict=True):
        if info is not None:
            infos.append((image, info))
    if not infos:
        return None, None
    kind = Counter(info.dtype for _, info in infos).most_common(1)[0][0]
    votes = Counter(info.channels - info.alpha for _, info in infos)
    if how_brought(1, False, kind, 3) and {1, 3} <= set(votes):
        return 3, kind
    with_alpha = [image for image, info in infos if info.alpha]
    expected = dict(infos)
    varies = len(with_alpha) == len(infos) and any(
        raster is not None and raster.array.shape[2] == expected[image].channels
        for image, raster in zip(with_alpha[:_ALPHAS], _each(read_image, with_alpha[:_ALPHAS]), strict=True)
    )
    return votes.most_common(1)[0][0] + varies, kind


def _each(read: Any, paths: Sequence[ImageFile]) -> list[Any]:
    """Read several files at a time; None for those that cannot be read, which the check names."""

    def one(path: ImageFile) -> Any:
        try:
            return read(path)
        except Exception:  # decoders raise what they like
            return None

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, paths))
