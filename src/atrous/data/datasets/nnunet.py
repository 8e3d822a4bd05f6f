"""nnU-Net's raw folders: imagesTr/CASE_0000.png, labelsTr/CASE.png and dataset.json.

Isensee et al., nnU-Net, Nature Methods 2021. Channels _0000, _0001, ... become one image. Labels are whole numbers by
name, one of which may be "ignore"; where a label is a list of numbers, classes may overlap, and each is a plane of its
own. A volume, in TIFF or NIfTI, gives one pair per slice, and whole cases are validation. Where there is a
splits_final.json, its first fold is taken.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atrous.annotations.parsing import need, read_json, refuse
from atrous.data.classes import Classes
from atrous.data.datasets.base import (
    Dataset,
    Division,
    Found,
    PageImage,
    PageMask,
    Split,
    absent,
    class_table,
    complete,
    divide,
    files,
    hold_out,
    no_partner,
    pages_or_tell,
)
from atrous.data.splits import Pair
from atrous.errors import DataError
from atrous.findings import Finding, FindingError, error, warning
from atrous.images import nifti
from atrous.images.colors import default_colors
from atrous.images.derived import DerivedImage, DerivedMask, DerivedPlanes
from atrous.images.files import SUFFIXES, ImageFile, MaskFile, read_image, read_info, read_mask
from atrous.images.nifti_space import read_space
from atrous.images.stored import Header, Stored
from atrous.types import IGNORE_INDEX

__all__ = ["NNUNET", "Channels", "Regions"]


@dataclass(frozen=True)
class Channels(DerivedImage):
    """An image whose channels stand in files of their own, in their order."""

    files: tuple[ImageFile, ...]

    @property
    def place(self) -> Path:
        """The file of the first channel."""
        first = self.files[0]
        return first.place if isinstance(first, DerivedImage) else first

    def header(self) -> Header:
        """Size and numbers of the first channel, channels of all."""
        infos = [read_info(file) for file in self.files]
        return Header(
            infos[0].height, infos[0].width, sum(i.channels for i in infos), np.dtype(infos[0].dtype), False, 1
        )

    def decode(self) -> Stored:
        """All channels; a pixel is valid where it is in each."""
        rasters = [read_image(file) for file in self.files]
        first = rasters[0].array
        for file, raster in zip(self.files, rasters, strict=True):
            if raster.array.shape[:2] != first.shape[:2] or raster.array.dtype != first.dtype:
                came, needed = (f"{a.shape[0]} x {a.shape[1]} {a.dtype}" for a in (raster.array, first))
                message = f"is {came}, and the first channel is {needed}"
                raise FindingError(error("size_mismatch", file, message, "Export the channels alike."))
        valid = [raster.valid for raster in rasters if raster.valid is not None]
        array = np.concatenate([raster.array for raster in rasters], axis=2)
        return Stored(array, valid=np.logical_and.reduce(valid) if valid else None)


@dataclass(frozen=True)
class Regions(DerivedPlanes):
    """Classes that are unions of labels, and so may lie within each other."""

    mask: MaskFile
    labels: tuple[tuple[int, ...], ...]
    ignore: int | None = None

    @property
    def place(self) -> Path:
        """The mask."""
        return self.mask.place if isinstance(self.mask, DerivedMask) else self.mask

    def read(self) -> np.ndarray:
        """(K, H, W): 1 where the label is one of the class's, 255 where it is the ignored one."""
        raw = read_mask(self.mask)
        known = {label for labels in self.labels for label in labels}
        unknown = {IGNORE_INDEX} - known if self.ignore is None else {self.ignore}
        if bad := sorted(set(np.unique(raw).tolist()) - known - unknown - {0}):
            message = f"label {bad[0]} is in no region of dataset.json, which have {', '.join(map(str, sorted(known)))}"
            fix = "Correct the mask, or put the label into a region, or name it 'ignore'."
            raise FindingError(error("out_of_range_label", self.mask, message, fix))
        planes = np.stack([np.isin(raw, labels) for labels in self.labels]).astype(np.uint8)
        planes[:, np.isin(raw, list(unknown))] = IGNORE_INDEX
        return planes


def _fits(root: Path) -> bool:
    return all((root / name).is_dir() for name in ("imagesTr", "labelsTr")) and (root / "dataset.json").is_file()


def _read(root: Path, division: Division) -> Found:
    findings: list[Finding] = []
    table = read_json(root / "dataset.json")
    channels = need(table, "channel_names", dict, root / "dataset.json", default=None)
    channels = channels or need(table, "modality", dict, root / "dataset.json")
    ending = need(table, "file_ending", str, root / "dataset.json", default=".nii.gz")
    if ending.lower() not in (*SUFFIXES, *nifti.SUFFIXES):
        fix = f"Write the data as files that end in {', '.join((*SUFFIXES, *nifti.SUFFIXES))}."
        refuse(f"{root / 'dataset.json'}, file_ending", f"is {ending!r}, which is not read", fix)
    classes, regions = _labels(table, root / "dataset.json")
    train = _pairs(root, "Tr", ending, len(channels), findings)
    test = _pairs(root, "Ts", ending, len(channels), findings) if (root / "imagesTs").is_dir() else []
    if regions is not None:
        train, test = ([_with_regions(pair, regions, table) for pair in pairs] for pairs in (train, test))
    volumes = any(_is_slice(pair) for pair in train)
    splits = _final(root, train, findings) or {"train": train}
    splits = {**splits, "test": test} if test else splits
    return Found(complete(splits, division, by=_by_case if volumes else divide), tuple(findings), classes)


def _by_case(pairs: Sequence[Pair], division: Division) -> dict[str, Split]:
    """Set whole volumes aside, the last ones; of a single one, its end."""
    cases = list(dict.fromkeys(_case_of(pair) for pair in pairs))
    if len(cases) < 2:
        return hold_out(pairs, division)
    chosen = {pair.name for pair in hold_out([Pair(case, Path(case), None) for case in cases], division)["val"]}
    return {
        "train": tuple(pair for pair in pairs if _case_of(pair) not in chosen),
        "val": tuple(pair for pair in pairs if _case_of(pair) in chosen),
    }


def _case_of(pair: Pair) -> str:
    """The case of a slice."""
    return pair.name.rsplit("_", 1)[0]


def _is_slice(pair: Pair) -> bool:
    """Whether a pair is one of several of its case."""
    image = pair.image.files[0] if isinstance(pair.image, Channels) else pair.image
    return isinstance(image, PageImage)


def _labels(table: Any, path: Path) -> tuple[Classes, tuple[tuple[int, ...], ...] | None]:
    """The classes, and their labels if they may overlap."""
    given = need(table, "labels", dict, path)
    names: dict[str, tuple[int, ...]] = {}
    for key, value in given.items():
        name, number = (
            (str(value), key) if str(key).isdecimal() else (key, value)
        )  # version 1 wrote {"0": "background"}
        numbers = number if isinstance(number, list) else [number]
        try:
            names[name] = tuple(int(one) for one in numbers)
        except (TypeError, ValueError):
            refuse(
                f"{path}, labels.{key}", f"is {value!r}, and a whole number or a list of them is needed", "Correct it."
            )
    ignored = names.pop("ignore", ())
    overlap = any(len(numbers) > 1 for numbers in names.values())
    if overlap:
        names.pop("background", None)
    rows = tuple(names) or ("background",)
    values = [(k,) for k in range(len(rows))] if overlap else [names[name] for name in rows]
    try:
        ignore = {*ignored} if not overlap else set()
        taken = {number for numbers in values for number in numbers}
        classes = class_table(rows, default_colors(rows), values, ignore=sorted(ignore | ({255} - taken)))
    except DataError as problem:
        message, _, fix = str(problem).partition(". ")
        refuse(f"{path}, labels", message, fix)
    return classes, tuple(names.values()) if overlap else None


def _with_regions(pair: Pair, regions: tuple[tuple[int, ...], ...], table: Any) -> Pair:
    if pair.mask is None:
        return pair
    ignore = table["labels"].get("ignore")
    return pair._replace(mask=Regions(pair.mask, regions, ignore if isinstance(ignore, int) else None))


def _pairs(root: Path, side: str, ending: str, channels: int, findings: list[Finding]) -> list[Pair]:
    """The cases of training (Tr) or test (Ts), every slice of a volume for itself."""
    inner, _, suffix = ending.lower().rpartition(".")  # ".nii.gz" has two endings, of which a file has one suffix
    images, masks = (files(root / f"{what}{side}", (f".{suffix}",), ending=inner) for what in ("images", "labels"))
    cases: dict[str, dict[int, Path]] = {}
    for name, path in images.items():
        found = re.fullmatch(r"(.+)_(\d{4})", name)
        if found is None:
            message = "does not end in the number of its channel, such as _0000"
            findings.append(error("missing_image", path, message, "Rename it."))
            continue
        cases.setdefault(found[1], {})[int(found[2])] = path
    pairs: list[Pair] = []
    for case, parts in cases.items():
        first = parts[min(parts)]
        whole = len(parts) == 1 and read_info_channels(first) == channels  # colours of one file count as channels too
        if not whole and sorted(parts) != list(range(channels)):
            name = f"{case}_{min(set(range(channels)) - set(parts), default=channels):04}{ending}"
            findings.append(absent(root / "dataset.json", root / f"images{side}" / name))
        elif case not in masks and side == "Tr":
            findings.append(no_partner(first, root / "labelsTr", f"{case}{ending}"))
        else:
            pairs += _case(case, [parts[k] for k in sorted(parts)], masks.get(case), findings)
    return pairs


def read_info_channels(path: Path) -> int | None:
    """The channels of a file, or None where its header cannot be read or is that of a stack."""
    try:
        return read_info(path).channels
    except DataError:
        return None


def _case(case: str, parts: list[Path], mask: Path | None, findings: list[Finding]) -> list[Pair]:
    """One pair, or one for each slice."""
    volume = parts[0].name.lower().endswith(nifti.SUFFIXES)
    count = pages_or_tell(parts[0], findings) if volume or parts[0].suffix.lower() in (".tif", ".tiff") else 1
    if count == 1 and not volume:
        return [Pair(case, parts[0] if len(parts) == 1 else Channels(tuple(parts)), mask)]
    for other in (*parts[1:], *((mask,) if mask is not None else ())):
        if count and (found := pages_or_tell(other, findings)) != count:
            if found:
                message = f"holds {found} slices, and {parts[0].name} holds {count}"
                findings.append(error("size_mismatch", other, message, "Export both again."))
            return []
        if volume and count and not _same_space(other, parts[0], findings):
            return []
    pairs = []
    for page in range(count):
        pages = tuple(PageImage(part, page) for part in parts)
        image = pages[0] if len(pages) == 1 else Channels(pages)
        pairs.append(Pair(f"{case}_{page:04}", image, None if mask is None else PageMask(mask, page)))
    return pairs


def _same_space(other: Path, image: Path, findings: list[Finding]) -> bool:
    """Whether the voxels of two files lie along the same axes; a finding if not, or if they begin elsewhere."""
    one, two = read_space(other), read_space(image)
    if one is None or two is None:
        return True
    message = f"lies in the patient as {one} (axes, voxel size, first voxel), and {image.name} as {two}"
    if not one.same_steps(two):
        fix = "Resample one onto the other; or, if they fit voxel by voxel, copy the header of the image."
        findings.append(error("other_space", other, message, fix))
        return False
    if not one.same_origin(two):
        fix = "They are read voxel by voxel: look at one pair, and copy the header of the image if they fit."
        findings.append(warning("other_space", other, message, fix))
    return True


def _final(root: Path, pairs: list[Pair], findings: list[Finding]) -> Mapping[str, list[Pair]]:
    """The first fold of splits_final.json, if there is one."""
    file = root / "splits_final.json"
    if not file.is_file():
        return {}
    folds = read_json(file)
    if not isinstance(folds, list) or not folds:
        refuse(file, "holds no list of folds", "Copy it again.")
    index: dict[str, list[Pair]] = {}
    for pair in pairs:
        index.setdefault(_case_of(pair) if _is_slice(pair) else pair.name, []).append(pair)
    splits = {}
    for split in ("train", "val"):
        cases = need(folds[0], split, list, f"{file} [0]")
        findings += [absent(f"{file} [0].{split}", case) for case in cases if case not in index]
        splits[split] = [pair for case in cases for pair in index.get(case, [])]
    return splits


NNUNET = Dataset("nnU-Net raw data", "imagesTr/CASE_0000.png, labelsTr/CASE.png and dataset.json", _fits, _read)
