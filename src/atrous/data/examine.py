"""What one pair of a data folder says: its size and numbers, its class counts, and what is wrong with it."""

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np

from atrous.data.brought import by_channels
from atrous.data.classes import Classes
from atrous.data.folder import Contents, read_labels, wrong_kind
from atrous.data.instance_maps import INVENTED, MapFacts, invented_values, look_at_map
from atrous.data.landmark_check import look_at_landmarks
from atrous.data.pairs import NoObjects, Pair
from atrous.data.places import other_place
from atrous.data.reading import set_elsewhere
from atrous.findings import Finding, FindingError, error, warning
from atrous.images.colors import Color
from atrous.images.files import read_image, read_palette, wrong_channels
from atrous.images.raster import Raster
from atrous.images.source import odd_file
from atrous.types import IGNORE_INDEX

__all__ = ["Moments", "PairFacts", "examine", "used_values"]

_BLOCK = 1 << 22
"""Pixels counted at a time: cv2.calcHist counts in float32, exact to 2^24."""


class Moments(NamedTuple):
    """Number of values, mean and sum of squared deviations of each channel."""

    number: int
    mean: np.ndarray
    squares: np.ndarray

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both sets together (Chan, Golub, LeVeque 1979), which lose no digits to large means."""
        number = self.number + other.number
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.number / number)
        squares = self.squares + other.squares + delta**2 * (self.number * other.number / number)
        return Moments(number, mean, squares)


@dataclass
class PairFacts:
    """What one pair says."""

    split: str
    pair: Pair
    findings: list[Finding] = field(default_factory=list)
    size: tuple[int, int] | None = None
    channels: int = 0
    orientation: int = 1  # of the camera (EXIF), from which the image was turned
    brought: str = ""  # how it got the folder's channels, see `BroughtImages`
    dtype: str = ""
    digest: bytes = b""
    moments: Moments | None = None
    counts: np.ndarray | None = None  # pixels of each class, and of the ignored ones at the end
    invalid: int = 0  # pixels ignored because the image has no number there, not by the mask
    objects: MapFacts | None = None  # of the instance map
    palette: list[Color] | None = None  # of a mask that was read by index


def examine(split: str, pair: Pair, contents: Contents) -> PairFacts:
    """Read one pair and count. Whatever a file does to its decoder becomes a finding, and the others are read."""
    facts = PairFacts(split, pair)
    try:
        _examine(pair, contents, facts)
    except FindingError as problem:
        facts.findings.append(problem.finding)
    except Exception as problem:  # decoders raise what they like, MemoryError too
        text = " ".join(str(problem).split()).rstrip(".") or type(problem).__name__
        fix = "Open it and its mask in an image viewer; copy or export them again, or take the pair out."
        facts.findings.append(error("unreadable", pair.image, f"it or its mask cannot be read: {text}", fix))
    return facts


def _examine(pair: Pair, contents: Contents, facts: PairFacts) -> None:
    try:
        raster = read_image(pair.image)
    except FindingError as problem:
        facts.findings.append(problem.finding)
        if contents.classes is not None:
            _count(None, contents.classes, facts)
        return
    facts.size, facts.orientation = (raster.array.shape[0], raster.array.shape[1]), raster.orientation
    if raster.odd:
        facts.findings.append(odd_file(pair.image, raster))
    facts.channels, facts.dtype = raster.array.shape[2], raster.array.dtype.name
    if facts.channels != contents.channels:
        raster = _with_channels(pair, contents, facts) or raster
    if contents.dtype is not None and facts.dtype != contents.dtype:
        facts.findings.append(wrong_kind(pair.image, facts.dtype, contents.dtype))
    _look(raster, facts)
    facts.findings.extend(other_place(pair))
    facts.findings.extend(set_elsewhere(pair, facts.size))
    if pair.landmarks is not None and contents.classes is not None:
        classes = contents.classes
        facts.findings.extend(look_at_landmarks(pair, classes.names, classes.flip_pairs, facts.size))
        return
    if contents.classes is not None:
        _count(raster, contents.classes, facts)


def _with_channels(pair: Pair, contents: Contents, facts: PairFacts) -> Raster | None:
    """The image as the folder needs it: with a constant alpha, without one that varies, its grey repeated."""
    try:
        raster = read_image(pair.image, channels=contents.channels)
    except FindingError:
        facts.findings.append(wrong_channels(pair.image, facts.channels, contents.channels or 0))
        return None
    facts.brought = by_channels(facts.channels, contents.channels)
    facts.channels = raster.array.shape[2]
    return raster


def _look(raster: Raster, facts: PairFacts) -> None:
    """Moments, digest, and what is odd about the numbers of an image."""
    array, valid, file = raster.array, raster.valid, facts.pair.image
    if valid is not None:
        share = 100 * (1 - valid.mean())
        message = f"{share:.3g} % of its pixels are nodata, NaN or infinite, and are ignored"
        fix = "Nothing to do if that is meant."
        facts.findings.append(warning("invalid_pixels", file, message, fix))
        if not valid.any():
            return
    known = array if valid is None else array[valid][None]
    first = known[0, 0]
    if (known[0] == first).all() and (known == first).all():  # the first row tells for almost all images
        message = f"is one colour all over ({', '.join(f'{number:g}' for number in first)})"
        facts.findings.append(
            warning("constant_image", file, message, "Look at it; take it out if it is a failed export.")
        )
    else:
        facts.digest = hashlib.blake2b(array.data, digest_size=16, key=repr(array.shape).encode()).digest()
    mean, std = cv2.meanStdDev(array, mask=None if valid is None else valid.astype(np.uint8))
    count = array.shape[0] * array.shape[1] if valid is None else int(valid.sum())
    facts.moments = Moments(count, mean.ravel(), std.ravel() ** 2 * count)


def _count(raster: Raster | None, classes: Classes, facts: PairFacts) -> None:
    """Pixels of each class, or what is wrong with the mask; without an image nothing is counted."""
    try:
        mask, instances = read_labels(facts.pair, classes, facts.size)
    except FindingError as problem:
        facts.findings.append(problem.finding)
        return
    if mask is None or raster is None:
        return
    _look_at_labels(facts, mask, instances)
    if raster.valid is not None:
        facts.invalid = int(np.count_nonzero(~raster.valid & (mask != IGNORE_INDEX)))
        mask[..., ~raster.valid] = IGNORE_INDEX
    if mask.ndim == 3:  # classes that may overlap: each plane counts for itself
        ignored = int((mask == IGNORE_INDEX).any(axis=0).sum())
        facts.counts = np.array([*(int(np.count_nonzero(plane == 1)) for plane in mask), ignored], np.int64)
        known = not (mask == IGNORE_INDEX).all()
    else:
        facts.counts = _histogram(mask, len(classes))
        facts.palette = _palette(facts, classes)
        known = bool(facts.counts[:-1].any())
    if not known:
        file = facts.pair.mask or facts.pair.instances
        fix = "Label something in it, or take the pair out."
        facts.findings.append(warning("all_ignored", file, "has no labelled pixel: all are ignored", fix))


def _look_at_labels(facts: PairFacts, mask: np.ndarray, instances: np.ndarray | None) -> None:
    """What is odd about the values of a mask and of an instance map."""
    plain = mask.ndim == 2 and facts.pair.mask is not None
    if instances is not None and not isinstance(facts.pair.instances, NoObjects):
        facts.objects = look_at_map(instances, mask if plain else None, facts.pair.instances, facts.findings)
    invented = invented_values(mask) if plain else set()
    if len(invented) >= INVENTED:
        message = (
            f"shows {len(invented)} classes in thin pieces between others alone, as if it was resized by interpolation"
        )
        fix = "Look at it; resize masks with nearest neighbour."
        facts.findings.append(warning("resampled_mask", facts.pair.mask, message, fix))


def _palette(facts: PairFacts, classes: Classes) -> list[Color] | None:
    """The palette of a mask whose indices were taken for its values."""
    if facts.pair.mask is None or facts.counts is None:
        return None
    palette = read_palette(facts.pair.mask)
    if palette is None:
        return None
    return palette if classes.palette_classes(palette, used_values(facts.counts, classes)) is None else None


def used_values(counts: np.ndarray, classes: Classes) -> list[int]:
    """The mask values of the classes that occur, of those that have one value only."""
    return [values[0] for values, count in zip(classes.values, counts, strict=False) if count and len(values) == 1]


def _histogram(mask: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of each class, and of the ignored ones at the end."""
    rows = max(_BLOCK // mask.shape[1], 1)
    counts = np.zeros(256, np.int64)
    for top in range(0, len(mask), rows):
        block = cv2.calcHist([mask[top : top + rows]], [0], None, [256], [0, 256])
        counts += block.ravel().astype(np.int64)
    return np.append(counts[:classes], counts[IGNORE_INDEX])
