"""The names of splits, and how they are found in names of files, folders and subsets."""

import re

__all__ = ["SPLIT_NAMES", "split_of"]

SPLIT_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
"""Splits, and what a folder or list of each may be called."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_AFTER = ("set", "data", "split", "images", "dev")
"""What may follow the name of a split within one word: `testset`."""


def split_of(name: str) -> str | None:
    """The split that the name of a file, a folder or a subset speaks of; None where it speaks of none.

    Splits are whole words, so that `latest_labels.json` is no test split, and `trainval` neither of its parts.

    Example:
        >>> split_of("instances_val2017.json"), split_of("ValidationSet"), split_of("latest_labels.json")
        ('val', 'val', None)
    """
    words = {word.lower() for word in _WORD.findall(name)}
    words |= {word.removesuffix(after) for word in words for after in _AFTER}
    words |= {"val"} & {word.removeprefix("mini") for word in words}  # COCO's minival
    return next((split for split, names in SPLIT_NAMES.items() if words & set(names)), None)
