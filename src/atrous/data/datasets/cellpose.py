"""Cellpose's layout: NAME.tif with NAME_masks.tif in one folder, or in train/ and test/, of any image format.

The masks number the objects. The program's own results, NAME_cp_masks.png, are taken where there are no others; its
flows and outlines are passed over. Of stacks, every page is an image.
"""

from collections.abc import Iterator
from pathlib import Path

from atrous.data.datasets.base import (
    Dataset,
    Division,
    Found,
    PageMask,
    complete,
    divide,
    files,
    first_folder,
    hold_out,
    no_partner,
    pages_or_tell,
)
from atrous.data.datasets.hyperstacks import describe_stack, images_of_stack
from atrous.data.listing import IMAGE_FOLDERS
from atrous.data.pairs import Pair
from atrous.data.split_names import SPLIT_NAMES
from atrous.data.splits import MASK_FOLDERS
from atrous.findings import Finding, error

__all__ = ["CELLPOSE"]

_MASKS = ("_masks", "_cp_masks")
_OTHERS = ("_flows", "_cp_flows", "_outlines", "_cp_outlines", "_cp_output", "_seg")
_IMAGE = "_img"
_STACKS = (".tif", ".tiff")


def _folders(root: Path) -> Iterator[tuple[str, Path]]:
    """The folder of each split, or the one of all."""
    found = [(split, folder) for split, names in SPLIT_NAMES.items() if (folder := first_folder(root, *names))]
    yield from found or [("train", root)]


def _couples(folder: Path) -> tuple[dict[str, tuple[Path, Path]], list[Path]]:
    """Images with their masks by name, and images without."""
    there = files(folder)
    masks = {ending: {n.removesuffix(ending) for n in there if n.endswith(ending)} for ending in _MASKS}
    masks["_masks"] -= {f"{name}_cp" for name in masks["_cp_masks"]}
    couples, alone = {}, []
    for name, image in there.items():
        if name.endswith((*_MASKS, *_OTHERS)):
            continue
        short = name.removesuffix(_IMAGE)
        found = next((f"{n}{e}" for e in _MASKS for n in (short, name) if n in masks[e]), None)
        if found is None:
            alone.append(image)
        else:
            couples[short] = (image, there[found])
    return couples, alone


def _fits(root: Path) -> bool:
    if first_folder(root, *IMAGE_FOLDERS, *MASK_FOLDERS):
        return False
    return any(_couples(folder)[0] for _, folder in _folders(root))


def _read(root: Path, division: Division) -> Found:
    findings: list[Finding] = []
    splits: dict[str, list[Pair]] = {}
    for split, folder in _folders(root):
        couples, alone = _couples(folder)
        pairs = splits.setdefault(split, [])
        for name, (image, mask) in couples.items():
            pairs += _pages(name, image, mask, findings)
        for image in alone:
            if split == "test":
                pairs.append(Pair(image.stem.removesuffix(_IMAGE), image, None))
            else:
                findings.append(no_partner(image, folder, f"{image.stem}_masks.*"))
    stacked = any(isinstance(pair.instances, PageMask) for pairs in splits.values() for pair in pairs)
    return Found(complete(splits, division, by=hold_out if stacked else divide), tuple(findings))


def _pages(name: str, image: Path, mask: Path, findings: list[Finding]) -> list[Pair]:
    """One pair, or one for each page of a stack."""
    count = pages_or_tell(mask, findings) if mask.suffix.lower() in _STACKS else 1
    if count <= 1 or image.suffix.lower() not in _STACKS:
        return [Pair(name, image, None, mask)] if count else []
    images = images_of_stack(image, count)
    if images is None:
        message = f"holds {count} pages, and its image {image.name} holds {describe_stack(image)}"
        fix = "Export a page of the masks for every slice and time of the image."
        findings.append(error("size_mismatch", mask, message, fix))
        return []
    return [Pair(f"{name}_{page:04}", one, None, PageMask(mask, page)) for page, one in enumerate(images)]


CELLPOSE = Dataset("cellpose", "NAME.tif with NAME_masks.tif in one folder", _fits, _read)
