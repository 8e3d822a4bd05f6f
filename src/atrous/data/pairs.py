"""An image and what is known of it; whose mask is whose, and what two of them must not share."""

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from atrous.annotations.landmarks import LandmarkEntry
from atrous.findings import Finding, FindingError, error, warning
from atrous.images.derived import DerivedMask, DerivedPlanes
from atrous.images.files import ImageFile, MaskFile, read_mask

__all__ = ["NoObjects", "Pair", "not_numbered", "partner", "shared_images", "shared_masks"]

IMAGE_ENDINGS = ("", "_image", "_img")
MASK_ENDINGS = ("", "_mask", "_masks", "_label", "_labels", "_gt", "_seg", "_instances", "-mask", "_L")

T = TypeVar("T")


class Pair(NamedTuple):
    """An image and what is known of it.

    The name is the image's path within its folder without suffix; the mask may be missing in a test split, and where
    there are instances or landmarks alone. An image whose persons or animals are told apart has a pair for each.
    """

    name: str
    image: ImageFile
    mask: MaskFile | None
    instances: MaskFile | None = None
    landmarks: LandmarkEntry | None = None


@dataclass(frozen=True)
class NoObjects(DerivedMask):
    """The instance map of an image that holds no object, which nobody wrote.

    Attributes:
        mask: of the image.
        classes: those of objects, as numbers of the class table.
    """

    mask: MaskFile
    classes: tuple[int, ...]

    @property
    def place(self) -> Path:
        """That of the mask."""
        return self.mask.place if isinstance(self.mask, DerivedMask) else self.mask

    def read(self) -> np.ndarray:
        """(H, W) zeros."""
        return np.zeros(read_mask(self.mask).shape[:2], np.uint8)

    def check(self, mask: np.ndarray, names: Sequence[str]) -> None:
        """Raise if a mask (H, W) of classes shows objects after all.

        Raises:
            FindingError: naming the class.
        """
        shown = [names[number] for number in self.classes if (mask == number).any()]
        if shown:
            raise FindingError(error("missing_instances", *not_numbered(self.mask, shown[0])))


def not_numbered(mask: object, name: str, count: int = 1) -> tuple[object, str, str]:
    """File, message and fix about an image whose objects of class `name` nobody numbered; one of `count`."""
    more = f", as {count} images" if count > 1 else ""
    message = f"shows {name!r}, whose objects are numbered in other images, and has no instance map{more}"
    return mask, message, "Add the map to instances/, or leave the image out where objects are learnt."


def partner(
    name: str, masks: Mapping[str, T], images: Container[str] = (), endings: Sequence[tuple[str, str]] = ()
) -> T | None:
    """The mask of an image: of its name, or with an ending of images taken off and one of masks put on.

    A mask with the very name of another image is that one's: `knee_L.png`, where there is an image `knee_L.png`.

    Args:
        name: of the image, without suffix.
        masks: by their names without suffix.
        images: the names of all images.
        endings: pairs of endings that a layout adds to the usual ones.

    Example:
        >>> partner("knee", {"knee_L": 1}), partner("knee", {"knee_L": 1}, ["knee", "knee_L"])
        (1, None)
    """
    usual = ((image, mask) for image in IMAGE_ENDINGS for mask in MASK_ENDINGS)
    for image, mask in (*endings, *usual):
        if not name.endswith(image):
            continue
        tried = name.removesuffix(image) + mask
        if tried in masks and (tried == name or tried not in images):
            return masks[tried]
    return None


def shared_images(splits: Mapping[str, Sequence[Pair]]) -> Iterator[Finding]:
    """Images that stand in two splits, or twice in one."""
    seen: dict[ImageFile, str] = {}
    for split, pairs in splits.items():
        for (path, _), count in Counter((pair.image, _individual(pair)) for pair in pairs).items():
            if seen.get(path, split) != split:
                message = f"stands in {seen[path]} and in {split}"
                fix = f"Take it out of {split}: what was trained on measures nothing."
                yield error("duplicate_across_splits", path, message, fix)
            elif count > 1:
                yield warning("duplicate_image", path, f"stands {count} times in {split}", "Keep one of the lines.")
            seen.setdefault(path, split)


def _individual(pair: Pair) -> str:
    """Which person or animal of its image a pair is about."""
    return "" if pair.landmarks is None else pair.landmarks.individual


def shared_masks(splits: Mapping[str, Sequence[Pair]], *, meant: bool = False) -> Iterator[Finding]:
    """Masks and instance maps that two images share.

    Args:
        splits: of a folder.
        meant: somebody wrote down which mask belongs to which image, so that it is a warning.
    """
    tell = warning if meant else error
    seen: dict[Any, ImageFile] = {}
    for pair in (pair for pairs in splits.values() for pair in pairs):
        for mask in {part for side in _sides(pair) for part in _parts(side)}:
            other = seen.setdefault(mask, pair.image)
            if other != pair.image:
                message = f"is the mask of both {other} and {pair.image}"
                yield tell("shared_mask", mask, message, "Give each image a mask of its own name.")


def _sides(pair: Pair) -> Iterator[MaskFile]:
    """What somebody wrote about an image."""
    yield from (side for side in (pair.mask, pair.instances) if side is not None and not isinstance(side, NoObjects))


def _parts(mask: MaskFile) -> Iterator[Any]:
    """The files of a mask of several, else the mask itself."""
    if isinstance(mask, DerivedPlanes) and is_dataclass(mask):
        for field in fields(mask):
            value = getattr(mask, field.name)
            yield from (part for part in (value if isinstance(value, tuple) else (value,)) if isinstance(part, Path))
    else:
        yield mask
