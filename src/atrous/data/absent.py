"""Images without an instance map where others have one: either they hold no object, or nobody numbered theirs.

An exporter that writes a file per image with objects leaves the others out. The masks tell: where none of them shows a
class that objects have elsewhere, absent means none. Where one does, the missing maps stay unknown: a task that learns
from objects refuses such data before its first step, and other tasks need no maps.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from atrous.data.classes import Classes
from atrous.data.pairs import NoObjects, Pair, not_numbered
from atrous.data.reading import read_labels
from atrous.errors import DataError
from atrous.findings import Finding, warning
from atrous.images.derived import DerivedPlanes
from atrous.types import IGNORE_INDEX

__all__ = ["fill_absent"]

_LOOKS = 16
"""Images with a map that are read, to know the classes of objects."""
_SAMPLED = 200
"""Masks of images without a map that are read beforehand; all are when they are used."""
_SHARE = 0.02
"""Of the pixels of objects, from which on a class counts as one of objects: drawn edges are never exact."""


def fill_absent(
    splits: Mapping[str, Sequence[Pair]], classes: Classes, findings: list[Finding]
) -> dict[str, tuple[Pair, ...]]:
    """The splits, in which images without objects have an empty map where others have one.

    Args:
        splits: of a folder.
        classes: of its masks.
        findings: gets a warning, whichever it is.
    """
    pairs = [pair for split in splits.values() for pair in split if pair.mask is not None]
    some = [pair for pair in pairs if pair.instances is not None]
    absent = [pair for pair in pairs if pair.instances is None]
    same = {split: tuple(inside) for split, inside in splits.items()}
    if not some or not absent or any(isinstance(pair.mask, DerivedPlanes) for pair in pairs):
        return same
    objects = _classes_of_objects(some, classes)
    tried = absent[:: max(len(absent) // _SAMPLED, 1)]
    shown = {}
    for pair in tried:
        if (name := _shown(pair, classes, objects)) is not None:
            shown[pair] = name
            if len(tried) < len(absent):  # one is enough to know nothing of the others
                break
    if shown:
        first, name = next(iter(shown.items()))
        count = len(shown) if len(tried) == len(absent) else len(absent)
        findings.append(warning("missing_instances", *not_numbered(first.mask, name, count)))
        if len(tried) < len(absent):
            return same
    empty = set(absent) - set(shown)
    if empty:
        first = next(pair for pair in absent if pair in empty)
        message = f"has no instance map, as {len(empty)} of {len(pairs)} images, and its mask shows no object: "
        fix = "Nothing to do if they hold no objects; else number them in instances/."
        findings.append(warning("absent_instances", first.image, f"{message}read as without objects", fix))
    return {
        split: tuple(
            pair._replace(instances=NoObjects(pair.mask, objects)) if pair.mask is not None and pair in empty else pair
            for pair in inside
        )
        for split, inside in splits.items()
    }


def _classes_of_objects(pairs: Sequence[Pair], classes: Classes) -> tuple[int, ...]:
    """The classes that objects have, background aside."""
    counts = np.zeros(IGNORE_INDEX + 1, np.int64)
    for pair in pairs[:: max(len(pairs) // _LOOKS, 1)]:
        try:
            mask, instances = read_labels(pair, classes, None)
        except (DataError, MemoryError):
            continue  # the check names it when it comes to it
        if mask is not None and instances is not None and mask.shape == instances.shape:
            counts += np.bincount(mask[instances > 0], minlength=len(counts))
    counts[[0, IGNORE_INDEX]] = 0
    return tuple(np.flatnonzero(counts > _SHARE * counts.sum()).tolist())


def _shown(pair: Pair, classes: Classes, objects: tuple[int, ...]) -> str | None:
    """The first class of objects that a mask shows."""
    try:
        mask, _ = read_labels(pair, classes, None)
    except (DataError, MemoryError):
        return None
    seen = [] if mask is None else [number for number in objects if (mask == number).any()]
    return classes.names[seen[0]] if seen else None
