"""A folder of images and masks, opened: its splits, its classes, and the data set that reads it pair by pair.

`splits.py` says which folders are understood, `classes.py` how classes are found. Where there are instance maps and no
masks, the pixels of objects are the value 1 and the others 0.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from atrous.data.class_table import load_classes
from atrous.data.classes import Classes, default_colors, discover_classes
from atrous.data.findings import Finding, FindingError, error, raise_first
from atrous.data.io import ImageInfo, Raster, read_image, read_info, read_mask, wrong_channels
from atrous.data.splits import Pair, find_pairs
from atrous.errors import DataError
from atrous.types import IGNORE_INDEX, Sample

__all__ = ["Contents", "Folder", "FolderDataset", "Pair", "examine_folder", "open_folder", "read_labels", "read_pair"]

SAMPLED = 200
"""Headers, and masks for discovery, that `open_folder` reads: spread evenly over the folder. The doctor reads all."""

_ALPHAS = 8


@dataclass(frozen=True)
class Folder:
    """A data folder that can be used.

    Attributes:
        root: the folder.
        splits: pairs of `train`, `val`, and `test` if there is one.
        classes: what the masks' values mean.
        channels: of every image.
        kind: of every image's numbers, one of `types.KINDS`.
    """

    root: Path
    splits: dict[str, tuple[Pair, ...]]
    classes: Classes
    channels: int
    kind: str

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs, split after split."""
        return tuple(chain.from_iterable(self.splits.values()))


class Contents(NamedTuple):
    """A data folder as far as it could be understood: what is not known is None, and the findings say why."""

    root: Path
    splits: dict[str, tuple[Pair, ...]]
    classes: Classes | None
    channels: int | None
    kind: str | None
    findings: tuple[Finding, ...]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs, split after split."""
        return tuple(chain.from_iterable(self.splits.values()))


def open_folder(
    path: str | Path, *, val_fraction: float = 0.2, seed: int = 0, classes: str | Path | Classes | None = None
) -> Folder:
    """Open a folder of images and masks from its file names and some of its files.

    Args:
        path: the folder; see `splits.py` for its layouts.
        val_fraction: share of the training images set aside where the folder has no validation split; 0 to 1.
        seed: of that division.
        classes: a class table or a file with one; None takes the folder's `classes.yaml`, or discovers the classes in
            up to 200 masks.

    Raises:
        DataError: the first error found, with the count of the others.
    """
    contents = examine_folder(path, val_fraction=val_fraction, seed=seed, classes=classes)
    findings = [*contents.findings, *header_findings(contents, spread(contents.pairs, SAMPLED))]
    raise_first(tuple(finding for finding in findings if finding.severity == "error"), str(path))
    if contents.classes is None or contents.channels is None or contents.kind is None:
        raise FindingError(error("empty_folder", path, "holds no image that can be read", "Add images and masks."))
    return Folder(contents.root, contents.splits, contents.classes, contents.channels, contents.kind)


def examine_folder(
    path: str | Path, *, val_fraction: float = 0.2, seed: int = 0, classes: str | Path | Classes | None = None
) -> Contents:
    """Open a folder that may have errors; the arguments are those of `open_folder`.

    Raises:
        DataError: if there is no such folder, or nothing in it that looks like a data set.
    """
    root = Path(path)
    if not 0 <= val_fraction < 1:
        raise DataError(
            f"val_fraction must be at least 0 and below 1, not {val_fraction}. Take 0.2 for one image in five."
        )
    splits, findings = find_pairs(root, val_fraction=val_fraction, seed=seed)
    pairs = tuple(chain.from_iterable(splits.values()))
    table: Classes | None = None
    try:
        table = classes if isinstance(classes, Classes) else _classes(root, classes, pairs)
    except FindingError as problem:
        findings = (*findings, problem.finding)
    channels, kind = _channels_and_kind([pair.image for pair in spread(pairs, SAMPLED)])
    return Contents(root, splits, table, channels, kind, findings)


def spread(pairs: Sequence[Any], count: int) -> list[Any]:
    """At most `count` items, evenly over the sequence, the first one among them."""
    if len(pairs) <= count:
        return list(pairs)
    return [pairs[i * len(pairs) // count] for i in range(count)]


def header_findings(contents: Contents | Folder, pairs: Iterable[Pair]) -> list[Finding]:
    """Problems that the headers of images show: unreadable, another channel count or another kind of numbers."""
    findings = []
    for pair in pairs:
        try:
            info = read_info(pair.image)
        except FindingError as problem:
            findings.append(problem.finding)
            continue
        if contents.channels is not None and contents.channels not in _possible_channels(info):
            findings.append(wrong_channels(pair.image, info.channels, contents.channels))
        if contents.kind is not None and info.kind != contents.kind:
            findings.append(wrong_kind(pair.image, info.kind, contents.kind))
    return findings


def read_pair(pair: Pair, folder: Folder) -> tuple[Raster, np.ndarray | None, np.ndarray | None]:
    """Read an image and what is known of it.

    Returns:
        The image; classes (H, W) uint8, 255 where ignored or where the image has no valid number, None if there is no
        mask; object numbers (H, W) or None.

    Raises:
        DataError: if a file cannot be read, sizes differ, or the image or mask is not of the folder's kind.
    """
    raster = read_image(pair.image, channels=folder.channels)
    if raster.array.dtype.name != folder.kind:
        raise FindingError(wrong_kind(pair.image, raster.array.dtype.name, folder.kind))
    mask, instances = read_labels(pair, folder.classes, raster.array.shape[:2])
    if mask is not None and raster.valid is not None:
        mask[~raster.valid] = IGNORE_INDEX
    return raster, mask, instances


def read_labels(
    pair: Pair, classes: Classes, size: tuple[int, int] | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Read the mask and the instance map of an image of this (height, width), if it is known; see `read_pair`."""
    instances = None if pair.instances is None else read_mask(pair.instances)
    if pair.instances is not None and instances is not None:
        if instances.ndim == 3:
            message = "is no instance map: it has 3 channels"
            raise FindingError(error("mask_type", pair.instances, message, "Store one object number per pixel."))
        _same_size(pair.image, size, pair.instances, instances)
    if pair.mask is not None:
        raw = read_mask(pair.mask)
        _same_size(pair.image, size, pair.mask, raw)
        return classes.encode(raw, file=pair.mask), instances
    if instances is not None:
        return classes.encode((instances > 0).astype(np.uint8), file=str(pair.instances)), instances
    return None, None


def wrong_kind(path: Path, came: str, needed: str) -> Finding:
    """The finding about an image whose numbers are not of the others' kind."""
    message = f"holds {came} numbers, and the others hold {needed}"
    return error("mixed_kinds", path, message, f"Convert it to {needed}, or take it out.")


class FolderDataset(Dataset[Sample]):
    """The pairs of one split, read when asked for. It may be pickled, and shared between threads.

    An item holds `image` (C, H, W), the image's own numbers; `mask` (H, W), 255 where ignored, unless a test image has
    none; `instances` (H, W), where there is such a map; and `index`, its position in `names`.
    """

    def __init__(self, folder: Folder, split: str) -> None:
        if split not in folder.splits:
            have = ", ".join(folder.splits)
            raise DataError(f"{folder.root}: there is no split {split!r}. Choose from: {have}.")
        self.folder = folder
        self.split = split
        self.pairs = folder.splits[split]

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each item."""
        return tuple(pair.name for pair in self.pairs)

    def __getitem__(self, index: int) -> Sample:
        raster, mask, instances = read_pair(self.pairs[index], self.folder)
        # (H, W, C) -> (C, H, W)
        image = torch.from_numpy(raster.array).permute(2, 0, 1).to(torch.float32).contiguous()
        sample: Sample = {"image": image, "index": torch.tensor(index)}
        if mask is not None:
            sample["mask"] = torch.from_numpy(mask).long()
        if instances is not None:
            sample["instances"] = torch.from_numpy(instances.astype(np.int64))
        return sample


def _classes(root: Path, file: str | Path | None, pairs: Sequence[Pair]) -> Classes:
    """The folder's class table: given, its own, or discovered.

    Raises:
        FindingError: if the table is wrong, or cannot be discovered.
    """
    own = next((root / name for name in ("classes.yaml", "classes.yml") if (root / name).is_file()), None)
    if file is not None or own is not None:
        return load_classes(file if file is not None else root / str(own and own.name))
    masks = [pair.mask for pair in pairs if pair.mask is not None]
    if not masks and any(pair.instances for pair in pairs):
        names = ("background", "foreground")
        return Classes(names, default_colors(names), ((0,), (1,)))
    return discover_classes(spread(masks, SAMPLED), file=root)


def _channels_and_kind(images: Sequence[Path]) -> tuple[int | None, str | None]:
    """What most images have; alpha counts where it varies in one of the first few that have it."""
    infos: list[tuple[Path, ImageInfo]] = []
    for image, info in zip(images, _each(read_info, images), strict=True):
        if info is not None:
            infos.append((image, info))
    if not infos:
        return None, None
    with_alpha = [image for image, info in infos if info.alpha][:_ALPHAS]
    expected = dict(infos)
    varies = any(
        raster is not None and raster.array.shape[2] == expected[image].channels
        for image, raster in zip(with_alpha, _each(read_image, with_alpha), strict=True)
    )
    votes = Counter(info.channels - (info.alpha and not varies) for _, info in infos)
    return votes.most_common(1)[0][0], Counter(info.kind for _, info in infos).most_common(1)[0][0]


def _each(read: Any, paths: Sequence[Path]) -> list[Any]:
    """Read several files at a time; None for those that cannot be read, which the check names."""

    def one(path: Path) -> Any:
        try:
            return read(path)
        except DataError:
            return None

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, paths))


def _possible_channels(info: ImageInfo) -> tuple[int, ...]:
    """The channel counts as which an image may be read."""
    return (info.channels, info.channels - 1) if info.alpha else (info.channels,)


def _same_size(image: Path, size: tuple[int, int] | None, mask: Path, raw: np.ndarray) -> None:
    """Raise a finding unless image and mask have one size."""
    if size is None or raw.shape[:2] == size:
        return
    came, needed = f"{raw.shape[0]} x {raw.shape[1]}", f"{size[0]} x {size[1]}"
    message = f"has {came} pixels (height x width), and its image {image} has {needed}"
    fix = "Export the mask at the size of its image."
    if raw.shape[:2] == size[::-1]:
        fix = "The camera's orientation (EXIF) turns the image: draw the mask on the turned image, or remove the tag."
    raise FindingError(error("size_mismatch", mask, message, fix))
