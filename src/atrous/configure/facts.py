"""What a data folder shows that a recipe depends on, measured on some of its training images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from atrous.data.contents import Folder
from atrous.data.folder import read_pair, spread
from atrous.types import IGNORE_INDEX

__all__ = ["ClassFacts", "Facts", "look", "object_width", "vertical_asymmetry"]

SAMPLED = 40
"""Training images that are looked at, evenly spread over the folder."""

WIDE = 1000
"""Objects are measured on masks whose longer side is at most so long; larger ones are thinned out for the counts."""

UPRIGHT_FROM = 0.25
"""From this difference between top and bottom on, images count as upright: photographs from the ground."""
TOUCHING = 0.1
"""From this share of touching objects on, they are told apart by a border."""


@dataclass(frozen=True)
class ClassFacts:
    """One class in the training images.

    Attributes:
        name: of the class.
        share: of the labelled pixels.
        width: how wide its parts typically are, in pixels, see `object_width`; 0 where it does not occur.
    """

    name: str
    share: float
    width: float


@dataclass(frozen=True)
class Facts:
    """What a recipe depends on.

    Attributes:
        train: training images.
        val: validation images.
        size: median height and width.
        sizes: how many different sizes.
        channels: of the images.
        kind: of their numbers: uint8, uint16 or float32.
        classes: in their order.
        overlapping: whether a pixel may belong to several classes.
        instances: whether objects are numbered.
        touching: share of the objects that touch another one; 0 where they are not numbered.
        vertical_asymmetry: how different the upper and the lower third of images are made up, 0 to 1: see the function
            of this name.
        looked: images that were looked at.
        landmarks: whether images have landmarks, and no masks.
        task: the section of a recipe that names the task, where somebody has chosen it; else None.
    """

    train: int
    val: int
    size: tuple[int, int]
    sizes: int
    channels: int
    dtype: str
    classes: tuple[ClassFacts, ...]
    overlapping: bool
    instances: bool
    touching: float
    vertical_asymmetry: float
    looked: int
    landmarks: bool = False
    task: Mapping[str, Any] | None = None

    @property
    def thinnest(self) -> ClassFacts:
        """The class whose parts are narrowest."""
        return min((each for each in self.classes if each.width), key=lambda each: each.width, default=self.classes[0])

    @property
    def upright(self) -> bool:
        """Whether the images are photographs with a sky and a ground, or the like."""
        return self.vertical_asymmetry >= UPRIGHT_FROM

    @property
    def apart(self) -> bool:
        """Whether objects have to be told apart: they are numbered, and enough of them touch."""
        return self.instances and self.touching > TOUCHING and self.classes[0].name == "background"

    @property
    def rarest(self) -> ClassFacts:
        """The class with the smallest share, of those that occur."""
        return min((each for each in self.classes if each.share), key=lambda each: each.share, default=self.classes[0])

    @property
    def imbalance(self) -> float:
        """How many times as common the commonest class is as the rarest that occurs."""
        return max(each.share for each in self.classes) / max(self.rarest.share, 1e-9)

    def rare(self, times: float) -> tuple[ClassFacts, ...]:
        """The classes that occur, and are more than so many times rarer than the commonest."""
        most = max(each.share for each in self.classes)
        return tuple(each for each in self.classes if 0 < each.share < most / times)


def look(folder: Folder, *, count: int = SAMPLED) -> Facts:
    """Look at some training images of an open folder.

    Args:
        folder: open.
        count: how many images, at most.

    Raises:
        DataError: if one of them cannot be read.
    """
    train = folder.splits["train"]
    known = [pair for pair in train if pair.mask or pair.instances or pair.landmarks]
    tally = _MaskTotals(len(folder.classes.names))
    for pair in spread(known, count):
        raster, mask, instances = read_pair(pair, folder)
        tally.add(raster.array, mask, instances)
    return tally.facts(folder)


def object_width(mask: np.ndarray) -> float:
    """How wide the parts of a mask typically are: twice their area over the length of their outline.

    That is the width of a line, half the diameter of a disc, and half the side of a square.

    Args:
        mask: (H, W) bool.

    Example:
        >>> line = np.zeros((64, 64), bool)
        >>> line[20:24] = True
        >>> object_width(line)
        4.0
    """
    area = int(np.count_nonzero(mask))
    if not area:
        return 0.0
    # The image's own border is no outline: what is cut there goes on outside.
    edges = np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    return float(2 * area / edges) if edges else float(min(mask.shape))


def vertical_asymmetry(masks: Sequence[np.ndarray], classes: int) -> float:
    """How different the upper and the lower third of masks are made up: half the sum of differences of the shares.

    Photographs from the ground are upright (the sky is above the road); images through a microscope or from a drone are
    not.

    Args:
        masks: (H, W) classes, 255 where ignored.
        classes: how many there are.

    Returns:
        0, alike, to 1, nothing in common.

    Example:
        >>> vertical_asymmetry([np.repeat([0, 0, 1], 10)[:, None].repeat(30, 1)], 2)
        1.0
    """
    counts = np.zeros((2, classes))
    for mask in masks:
        third = max(mask.shape[0] // 3, 1)
        for part, rows in enumerate((mask[:third], mask[-third:])):
            found = np.bincount(rows.ravel(), minlength=IGNORE_INDEX + 1)[:classes]
            counts[part] += found / max(found.sum(), 1)
    totals = counts.sum(1, keepdims=True)
    if not totals.all():
        return 0.0
    shares = counts / totals
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


class _MaskTotals:
    """Adds up what images show."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.pixels = np.zeros(classes)
        self.widths: list[list[float]] = [[] for _ in range(classes)]
        self.masks: list[np.ndarray] = []
        self.sizes: list[tuple[int, int]] = []
        self.touching: list[tuple[int, int]] = []

    def add(self, image: np.ndarray, mask: np.ndarray | None, instances: np.ndarray | None) -> None:
        """Add one image."""
        self.sizes.append((image.shape[0], image.shape[1]))
        if instances is not None:
            self.touching.append(_touching(instances))
        if mask is None:
            return
        step = max(-(-max(mask.shape[-2:]) // WIDE), 1)
        thin = mask[..., ::step, ::step]
        for k in range(self.classes):
            own = thin[k] == 1 if thin.ndim == 3 else thin == k
            count = int(np.count_nonzero(own))
            self.pixels[k] += count * step**2
            if count:
                self.widths[k].append(step * object_width(own))
        if thin.ndim == 2:
            self.masks.append(thin)

    def facts(self, folder: Folder) -> Facts:
        """What was seen."""
        total = max(self.pixels.sum(), 1.0)
        if folder.multilabel:
            total = float(sum(height * width for height, width in self.sizes))
        ordered = sorted(self.sizes, key=lambda size: size[0] * size[1]) or [(0, 0)]
        objects, touching = (sum(column) for column in zip(*self.touching, strict=True)) if self.touching else (0, 0)
        return Facts(
            train=len(folder.splits["train"]),
            val=len(folder.splits.get("val", ())),
            size=ordered[len(ordered) // 2],
            sizes=len(set(ordered)),
            channels=folder.channels,
            dtype=folder.dtype,
            classes=tuple(
                ClassFacts(
                    name,
                    float(self.pixels[k] / total),
                    float(np.median(self.widths[k])) if self.widths[k] else 0.0,
                )
                for k, name in enumerate(folder.classes.names)
            ),
            overlapping=folder.multilabel,
            instances=bool(self.touching),
            touching=touching / max(objects, 1),
            vertical_asymmetry=vertical_asymmetry(self.masks, self.classes),
            looked=len(self.sizes),
            landmarks=folder.landmarks,
        )


def _touching(instances: np.ndarray) -> tuple[int, int]:
    """How many objects a map has, and how many of them touch another one, corners included."""
    numbers = np.unique(instances)
    kernel = np.ones((3, 3), np.uint8)
    # Where the largest number around a pixel of an object is not its own, another object is near.
    values = instances.astype(np.float32)
    largest = cv2.dilate(values, kernel)
    met = np.unique(instances[(instances > 0) & (largest > values)])
    behind = np.where(instances > 0, values, np.float32(np.inf))
    smallest = cv2.erode(behind, kernel)
    met = np.union1d(met, np.unique(instances[(instances > 0) & (smallest < values)]))
    return int((numbers > 0).sum()), len(met)
