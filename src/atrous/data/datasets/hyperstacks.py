"""Stacks whose pages are channels, slices and times, beside masks with a page for each slice and time."""

import math
from pathlib import Path

import numpy as np

from atrous.data.datasets.base import PageImage
from atrous.data.datasets.nnunet import Channels
from atrous.images.derived import DerivedImage
from atrous.images.tiff import stack_axes

__all__ = ["describe_stack", "images_of_stack"]

_WORDS = {"T": "times", "Z": "slices", "C": "channels"}


def images_of_stack(file: Path, count: int) -> list[DerivedImage] | None:
    """The images of a TIFF, one for each of `count` pages of its mask: pages, or pages that are channels of one.

    None where the file has another number of slices and times. A mask's pages follow the file's own order of them.
    """
    axes, pages = stack_axes(file)
    if pages.size == count:
        return [PageImage(file, page) for page in range(count)]
    if "C" not in axes or pages.size != count * pages.shape[axes.index("C")]:
        return None
    rows = np.moveaxis(pages, axes.index("C"), -1).reshape(count, -1)
    return [Channels(tuple(PageImage(file, int(page)) for page in row)) for row in rows]


def describe_stack(file: Path) -> str:
    """What a stack holds, in words: 3 channels of 5 slices."""
    axes, pages = stack_axes(file)
    known = [f"{size} {_WORDS[axis]}" for axis, size in zip(axes, pages.shape, strict=True) if axis in _WORDS]
    return " of ".join(sorted(known, key=lambda text: text.split()[1])) or f"{math.prod(pages.shape)} pages"
