"""What is odd about the landmarks of an image, and of a whole folder: what the doctor tells of them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atrous.annotations.landmarks import HIDDEN, VISIBLE
from atrous.data.contents import Contents
from atrous.data.landmark_sides import swapped_sides
from atrous.data.pairs import Pair
from atrous.findings import Finding, error, warning
from atrous.images.files import ImageFile

__all__ = ["landmark_findings", "landmark_rows", "look_at_landmarks"]

_MANY = 0.5
"""Share of the images with a point outside from which on the points belong to images of another size."""

_FEW = 0.2
"""The same share, from which on x and y are exchanged if that brings all points inside."""

_COPIED = 3
"""Points that agree by chance in two images are fewer."""

_SHOWN = 4

Sizes = Mapping[ImageFile, tuple[int, int]]


def look_at_landmarks(pair: Pair, names: Sequence[str], pairs: Sequence[tuple[int, int]],
                      size: tuple[int, int]) -> Iterator[Finding]:  # fmt: skip
    """What is odd about the landmarks of one image of this (height, width)."""
    entry = pair.landmarks
    if entry is None:
        return
    outside = _outside(entry.points, size)
    if outside.any():
        told = [
            f"{names[k]} ({entry.points[k, 0]:g}, {entry.points[k, 1]:g})" for k in np.flatnonzero(outside).tolist()
        ]
        area = f"{size[1]} x {size[0]} pixels (width x height)"
        if outside.sum() == entry.visibility.astype(bool).sum():
            message = f"has {area}, and none of its landmarks lies in it: {_some(told)}"
            yield error("outside_image", pair.image, message, "Correct the file: they may be those of another image.")
        else:
            message = f"has {area}, and landmarks outside: {_some(told)}"
            fix = "Correct them if that is a slip; else they count as every other."
            yield warning("outside_image", pair.image, message, fix)
    for left, right in pairs:
        both = entry.points[[left, right]]
        if np.isfinite(both).all() and (both[0] == both[1]).all():
            message = f"has {names[left]!r} and {names[right]!r} at one place, ({both[0, 0]:g}, {both[0, 1]:g})"
            yield warning("same_place", pair.image, message, "Move one of them, or take it out.")


def _outside(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which points lie beyond the outermost pixels; absent ones do not."""
    known = np.isfinite(points).all(axis=1)
    inside = (points >= -0.5) & (points <= np.array([size[1], size[0]]) - 0.5)
    return known & ~inside.all(axis=1)


def _some(told: Sequence[str]) -> str:
    more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return f"{', '.join(told[:_SHOWN])}{more}"


def landmark_rows(contents: Contents) -> list[dict[str, Any]]:
    """How often each landmark was labelled in the training images: visible, hidden, absent."""
    if contents.classes is None or not contents.landmarks:
        return []
    seen = [pair.landmarks.visibility for pair in contents.splits["train"] if pair.landmarks is not None]
    states = np.stack(seen) if seen else np.zeros((0, len(contents.classes)), np.uint8)
    mirrors = {one: other for pair in contents.classes.flip_pairs for one, other in (pair, pair[::-1])}
    return [
        {
            "name": name,
            "visible": int((states[:, k] == VISIBLE).sum()),
            "hidden": int((states[:, k] == HIDDEN).sum()),
            "absent": int((states[:, k] == 0).sum()),
            "mirror": contents.classes.names[mirrors[k]] if k in mirrors else "",
        }
        for k, name in enumerate(contents.classes.names)
    ]


def landmark_findings(contents: Contents, sizes: Sizes) -> Iterator[Finding]:
    """What is wrong with the landmarks of a folder as a whole.

    Args:
        contents: of the folder.
        sizes: (height, width) of the images that were read.
    """
    if contents.classes is None or not contents.landmarks:
        return
    pairs = [pair for pair in contents.pairs if pair.landmarks is not None]
    points = np.stack([pair.landmarks.points for pair in pairs if pair.landmarks is not None])
    yield from _units(contents.root, pairs, points, sizes)
    yield from _placeholders(contents, points)
    yield from _copies(pairs, points)
    yield from _never(contents)
    yield from _no_sides(contents)
    names, sides = contents.classes.names, contents.classes.flip_pairs
    for number, wrong in swapped_sides(points, sides).items():
        both = [f"{names[sides[k][0]]!r} and {names[sides[k][1]]!r}" for k in wrong]
        message = f"has {_some(both)} the other way round than nearly all other images"
        fix = "Look at it; exchange left and right if they are swapped."
        yield warning("swapped_sides", _who(pairs[number]), message, fix)


def _who(pair: Pair) -> str:
    several = pair.landmarks is not None and pair.landmarks.individual
    return f"{pair.image} ({several})" if several and "#" in pair.name else str(pair.image)


def _units(root: Path, pairs: Sequence[Pair], points: np.ndarray, sizes: Sizes) -> Iterator[Finding]:
    """Places that are no pixels of these images: shares of their sides, x for y, pixels of larger images."""
    known = points[np.isfinite(points)]
    if len(known) >= 4 and known.min() >= 0 and known.max() <= 1:
        message = "has all landmarks between 0 and 1, as if they were shares of the image's sides"
        yield error("landmark_units", root, message, "Write x and y in pixels: multiply them by width and height.")
        return
    read = [(points[n], sizes[pair.image]) for n, pair in enumerate(pairs) if pair.image in sizes]
    beyond = sum(bool(_outside(some, size).any()) for some, size in read)
    if not read or beyond < 2:
        return
    if beyond > _FEW * len(read) and not any(_outside(some[:, ::-1], size).any() for some, size in read):
        message = f"has landmarks outside of {beyond} of {len(read)} images, and none if x and y change places"
        yield error("landmark_units", root, message, "Write x, the column, before y, the row.")
    elif beyond > _MANY * len(read):
        message = f"has landmarks outside of {beyond} of {len(read)} images"
        fix = "They may have been set on larger images: use those, or scale the landmarks."
        yield error("landmark_units", root, message, fix)


def _placeholders(contents: Contents, points: np.ndarray) -> Iterator[Finding]:
    """A place that stands for "absent" in many tables."""
    names = contents.classes.names if contents.classes else ()
    for value, tell in ((-1, error), (0, warning)):
        there = (points == value).all(axis=2)
        for number in np.flatnonzero(there.sum(axis=0) > 1):
            message = f"has {names[number]!r} at exactly ({value}, {value}) in {there[:, number].sum()} images"
            fix = "If that stands for a landmark that is absent, leave its cells empty."
            yield tell("placeholder", contents.root, message, fix)


def _copies(pairs: Sequence[Pair], points: np.ndarray) -> Iterator[Finding]:
    """Images whose landmarks are those of another image, to the last digit."""
    first: dict[bytes, Pair] = {}
    for pair, some in zip(pairs, points, strict=True):
        if np.isfinite(some).all(axis=1).sum() < _COPIED:
            continue
        other = first.setdefault(some.tobytes(), pair)
        if other.image != pair.image:
            message = f"has exactly the landmarks of {other.image}"
            fix = "Set them anew in one of the two, unless the images are alike."
            yield warning("copied_landmarks", pair.image, message, fix)


def _never(contents: Contents) -> Iterator[Finding]:
    """Landmarks that no training image has, or one alone."""
    names = contents.classes.names if contents.classes else ()
    counts: dict[str, Counter[int]] = {}
    for split, pairs in contents.splits.items():
        seen = [np.flatnonzero(pair.landmarks.visibility).tolist() for pair in pairs if pair.landmarks is not None]
        counts[split] = Counter(number for some in seen for number in some)
    for number, name in enumerate(names):
        if counts["train"][number]:
            continue
        splits = [split for split, found in counts.items() if found[number]]
        if splits:
            message = (
                f"landmark {name!r} occurs in {' and '.join(splits)} and in no training image: it cannot be learnt"
            )
            fix = "Label it in training images, or leave it out of landmarks.yaml: landmarks: [...]."
        else:
            message, fix = f"landmark {name!r} occurs nowhere", "Label it, or leave it out of landmarks.yaml."
        yield warning("landmark_never_seen", contents.root, message, fix)


def _no_sides(contents: Contents) -> Iterator[Finding]:
    """Nothing says which landmarks a mirror exchanges."""
    told = any((contents.root / f"landmarks.{suffix}").is_file() for suffix in ("yaml", "yml"))
    if contents.classes is None or contents.classes.flip_pairs or len(contents.classes) < 2 or told:
        return
    message = "has landmarks whose names tell no left and right, so a mirrored image exchanges none"
    fix = "If some are each other's mirror image, write landmarks.yaml: flip_pairs: [[NAME, NAME], ...]; else []."
    yield warning("unpaired_sides", contents.root, message, fix)
