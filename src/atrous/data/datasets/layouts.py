"""Layouts without a name of their own data: mmsegmentation's, stacks, one mask per class, arrays.

- mmsegmentation: img_dir/{train,val}/ and ann_dir/{train,val}/; a mask may end in _labelTrainIds or the like.
- stacks: images/NAME.tif of several pages with masks/NAME.tif or instances/NAME.tif of as many; the images may also
  stand beside these folders. Every page is an image, and where the pages are channels of slices and times, every slice
  and time is; the end of each stack is validation.
- class_folders: masks/CLASS/NAME.png, 0 where the class is not; classes may overlap. An image that a class has no file
  for shows none of it.
- arrays: NumPy files and Zarr arrays as images, masks or instance maps, and masks of (K, H, W) as `.npy`, Zarr or TIFF,
  one plane per class, which may overlap.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from atrous.data.classes import Classes
from atrous.data.datasets.base import (
    Dataset,
    Division,
    Found,
    PageMask,
    class_table,
    complete,
    divide,
    files,
    first_folder,
    folders,
    has_files,
    hold_out,
    no_partner,
    pair_folders,
)
from atrous.data.datasets.hyperstacks import describe_stack, images_of_stack
from atrous.data.datasets.plane_files import ClassFiles, PlaneFile, coded_alike
from atrous.data.listing import IMAGE_FOLDERS
from atrous.data.pairs import Pair, partner
from atrous.data.split_names import SPLIT_NAMES
from atrous.data.splits import INSTANCE_FOLDERS, MASK_FOLDERS
from atrous.findings import Finding, error
from atrous.images.colors import default_colors
from atrous.images.files import ARRAY_SUFFIXES as _ARRAYS
from atrous.images.files import SUFFIXES, MaskFile
from atrous.images.tiff import count_pages

__all__ = ["ARRAYS", "CLASS_FOLDERS", "MMSEG", "STACKS"]

_TIFF = (".tif", ".tiff")
_MMSEG_ENDINGS = (("_leftImg8bit", "_gtFine_labelTrainIds"), ("", "_labelTrainIds"), ("", "_manual1"), ("", "_sem"))
_LOOKS = 8


class _SplitFolders(NamedTuple):
    """The folders of one split."""

    split: str
    images: Path
    masks: Path | None
    instances: Path | None


def _sides(root: Path) -> Iterator[_SplitFolders]:
    """train/images, images/train, or images for all."""
    images, masks, instances = (first_folder(root, *names) for names in (IMAGE_FOLDERS, MASK_FOLDERS, INSTANCE_FOLDERS))
    divided = False
    for split, names in SPLIT_NAMES.items():
        outer = first_folder(root, *names)
        if outer is not None and (inner := first_folder(outer, *IMAGE_FOLDERS)):
            yield _SplitFolders(
                split, inner, first_folder(outer, *MASK_FOLDERS), first_folder(outer, *INSTANCE_FOLDERS)
            )
        elif images is not None and (inner := first_folder(images, *names)):
            sides = [side and first_folder(side, *names) for side in (masks, instances)]
            yield _SplitFolders(split, inner, sides[0], sides[1])
        else:
            continue
        divided = True
    if not divided and (masks or instances):
        yield _SplitFolders("train", images or root, masks, instances)


def _fits_mmseg(root: Path) -> bool:
    return (root / "img_dir" / "train").is_dir() and (root / "ann_dir" / "train").is_dir()


def _read_mmseg(root: Path, division: Division) -> Found:
    findings: list[Finding] = []
    splits: dict[str, list[Pair]] = {}
    for split in ("train", "val", "test"):
        images, masks = root / "img_dir" / split, root / "ann_dir" / split
        if images.is_dir():
            splits[split], problems = pair_folders(images, masks, endings=_MMSEG_ENDINGS, required=split != "test")
            findings += problems
    return Found(complete(splits, division), tuple(findings))


def _fits_stacks(root: Path) -> bool:
    for side in _sides(root):
        if not has_files(side.images, _TIFF):
            continue
        for name, path in list(files(side.images, _TIFF).items())[:_LOOKS]:
            labels = [partner(name, files(folder, _TIFF)) for folder in side[2:] if folder]
            if any(label and _pages(label) > 1 for label in labels) and _pages(path) > 1:
                return True
    return False


def _pages(path: Path) -> int:
    """The pages of a TIFF; 0 if it cannot be read."""
    try:
        return count_pages(path)
    except Exception:  # the decoder raises what it likes; reading will tell
        return 0


def _read_stacks(root: Path, division: Division) -> Found:
    findings: list[Finding] = []
    splits: dict[str, list[Pair]] = {}
    sides = list(_sides(root))
    for side in sides:
        labels = [files(folder) if folder else {} for folder in side[2:]]
        train, val = splits.setdefault(side.split, []), splits.setdefault("val", [])
        single: list[Pair] = []
        there = files(side.images)
        for name, path in there.items():
            mask, objects = (partner(name, index, there) for index in labels)
            if mask is None and (objects is None or side.masks is not None) and side.split != "test":
                findings.append(no_partner(path, side.masks or side.instances or root, f"{name}.*"))
                continue
            pages = _stack(name, path, mask, objects, findings)
            if len(pages) == 1:
                single += pages
            elif len(sides) > 1:
                train += pages
            else:
                parts = hold_out(pages, division)
                train += parts["train"]
                val += parts["val"]
        parts = divide(single, division) if len(sides) == 1 else {"train": tuple(single), "val": ()}
        train += parts["train"]
        val += parts["val"]
    if not splits.get("val"):
        splits.pop("val", None)
    return Found(complete(splits, division, by=hold_out), tuple(findings))


def _stack(name: str, path: Path, mask: Path | None, objects: Path | None, findings: list[Finding]) -> list[Pair]:
    """One pair per page."""
    count = _pages(path) if path.suffix.lower() in _TIFF else 1
    if count <= 1:
        return [Pair(name, path, mask, objects)]
    labels = {label: _pages(label) for label in (mask, objects) if label is not None}
    images = images_of_stack(path, next(iter(labels.values()), count))
    for label, pages in labels.items():
        if images is None or pages != len(images):
            message = f"holds {pages} pages, and its image {path.name} holds {describe_stack(path)}"
            fix = "Export a page of the mask for every page of the image, or for every slice and time of its channels."
            findings.append(error("size_mismatch", label, message, fix))
            return []
    return [
        Pair(
            f"{name}_{page:04}",
            image,
            None if mask is None else PageMask(mask, page),
            None if objects is None else PageMask(objects, page),
        )
        for page, image in enumerate(images or ())
    ]


def _class_names(masks: Path | None, images: Path) -> list[str]:
    """The classes that a folder of masks has folders for; none if it is laid out otherwise."""
    if masks is None or has_files(masks) or folders(images):
        return []
    stems = set(files(images))
    inner = {one.name: files(one) for one in folders(masks)}
    fits = bool(stems) and all(any(partner(name, index) for name in stems) for index in inner.values())
    return list(inner) if fits else []


def _fits_class_folders(root: Path) -> bool:
    # One folder alone may as well be where somebody keeps the masks: it is a class only where the layout is named.
    return any(len(_class_names(side.masks, side.images)) > 1 for side in _sides(root))


def _read_class_folders(root: Path, division: Division) -> Found:
    findings: list[Finding] = []
    splits: dict[str, list[Pair]] = {}
    sides = [side for side in _sides(root) if side.masks is not None]
    names = sorted({name for side in sides for name in _class_names(side.masks, side.images)})
    for side in sides:
        assert side.masks is not None
        indices = [files(side.masks / name) for name in names]
        splits[side.split] = []
        there = files(side.images)
        for name, image in there.items():
            parts = tuple(partner(name, index, there) for index in indices)
            if any(parts):
                findings += [_lossy(part) for part in parts if part and part.suffix.lower() in (".jpg", ".jpeg")]
                splits[side.split].append(Pair(name, image, ClassFiles(parts)))
            elif side.split == "test":
                splits[side.split].append(Pair(name, image, None))
            else:
                findings.append(no_partner(image, side.masks, f"CLASS/{name}.png"))
    return Found(complete(splits, division), tuple(findings), _overlapping(names))


def _lossy(file: Path) -> Finding:
    message = "is a JPEG, which changes values near every edge, and a class is wherever its file is not 0"
    return error("lossy_mask", file, message, "Export it again as PNG.")


def _overlapping(names: list[str]) -> Classes:
    return class_table(names, default_colors(names))


def _entries(folder: Path | None) -> dict[str, Path]:
    """Images, NumPy files and Zarr folders by name."""
    if folder is None:
        return {}
    zarrs = {path.stem: path for path in folders(folder) if path.suffix.lower() == ".zarr"}
    found = {**files(folder, (*SUFFIXES, ".npy")), **zarrs}
    return {name: found[name] for name in sorted(found)}


def _is_planes(image: Path, mask: Path) -> bool:
    """Whether a mask holds one plane per class; the image tells a plane from a page."""
    if mask.suffix.lower() in _TIFF:
        return len(PlaneFile(mask).shape()) == 3 and not (image.suffix.lower() in _TIFF and _pages(image) > 1)
    return mask.suffix.lower() in _ARRAYS and len(PlaneFile(mask).shape()) == 3


def _has_planes(image: Path, mask: Path) -> bool:
    """As `_is_planes`, and False where the file cannot be read."""
    try:
        return _is_planes(image, mask)
    except Exception:  # the decoder raises what it likes; reading will tell
        return False


def _fits_arrays(root: Path) -> bool:
    for side in _sides(root):
        suffixes = [(side.images if side.images != root else None, _ARRAYS), (side.masks, (*_ARRAYS, *_TIFF))]
        if not any(has_files(*pair) for pair in (*suffixes, (side.instances, _ARRAYS))):
            continue
        images, masks = _entries(side.images if side.images != root else None), _entries(side.masks)
        for name, image in list(images.items())[:_LOOKS]:
            mask = partner(name, masks)
            objects = partner(name, _entries(side.instances))
            if any(path is not None and path.suffix.lower() in _ARRAYS for path in (image, mask, objects)):
                return True
            if mask is not None and mask.suffix.lower() in _TIFF and _has_planes(image, mask):
                return True
    return False


def _read_arrays(root: Path, division: Division) -> Found:
    findings: list[Finding] = []
    splits: dict[str, list[Pair]] = {}
    planes: set[int] = set()
    for side in _sides(root):
        masks, objects = _entries(side.masks), _entries(side.instances)
        splits[side.split] = []
        there = _entries(side.images)
        for name, image in there.items():
            file, instances = partner(name, masks, there), partner(name, objects, there)
            if file is None and (instances is None or side.masks is not None) and side.split != "test":
                findings.append(no_partner(image, side.masks or side.instances or root, f"{name}.*"))
                continue
            mask: MaskFile | None = file
            try:
                if file is not None and _is_planes(image, file):
                    mask = PlaneFile(file)
                    planes.add(mask.shape()[0])
            except Exception as problem:  # the decoders raise what they like
                text = " ".join(str(problem).split()) or type(problem).__name__
                findings.append(error("unreadable", file, f"cannot be read as a mask: {text}", "Write it again."))
                continue
            splits[side.split].append(Pair(name, image, mask, instances))
    if len(planes) > 1:
        counts = " and ".join(map(str, sorted(planes)))
        fix = "Give every mask one plane per class, empty ones too."
        findings.append(error("mask_type", root, f"has masks of {counts} planes", fix))
    names = [f"class {number}" for number in range(min(planes, default=0))]
    splits = _told(splits, findings)
    return Found(complete(splits, division), tuple(findings), _overlapping(names) if names else None)


def _told(splits: dict[str, list[Pair]], findings: list[Finding]) -> dict[str, list[Pair]]:
    """The pairs, whose files of planes are told what 255 means in them."""
    masks = [pair.mask for pairs in splits.values() for pair in pairs if isinstance(pair.mask, PlaneFile)]
    told = dict(zip(masks, coded_alike(masks, findings), strict=True))
    return {
        split: [pair._replace(mask=told[pair.mask]) if isinstance(pair.mask, PlaneFile) else pair for pair in pairs]
        for split, pairs in splits.items()
    }


MMSEG = Dataset("mmsegmentation's layout", "img_dir/train/ and ann_dir/train/", _fits_mmseg, _read_mmseg)
STACKS = Dataset("stacks of images", "images/NAME.tif and masks/NAME.tif of as many pages", _fits_stacks, _read_stacks)
CLASS_FOLDERS = Dataset(
    "one mask per class", "images/NAME.png and masks/CLASS/NAME.png", _fits_class_folders, _read_class_folders
)
ARRAYS = Dataset("arrays", "images/NAME.zarr or .npy, and masks/ of (H, W) or (K, H, W)", _fits_arrays, _read_arrays)
