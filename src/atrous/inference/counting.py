"""How much of every class the predicted masks show: pixels, their share, and objects; as a table and as a file.

Objects are those that the task tells apart; of other tasks the connected regions of each class, corners included, as in
an evaluation: of every class but the first, which is the background or the like, unless classes may overlap.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from atrous.findings import readable
from atrous.inference.row_files import RowFile, read_rows
from atrous.types import Prediction

__all__ = ["ClassCount", "CountsFile", "count_classes", "count_regions", "count_table"]

NAME = "counts.csv"
BAND = 1 << 22
"""Pixels that are looked at together, so that a large image takes no more memory."""
NO_DATA = "(no data)"


class ClassCount(NamedTuple):
    """A line of the file.

    Attributes:
        mask: the name of the mask's file.
        page: of a stack or volume, from 0; "" in other images.
        name: of the class; "(no data)" for pixels without.
        value: of the class in the mask.
        pixels: how many.
        share: of the pixels with data, 0..1; of all pixels for those without.
        objects: how many, or "" where they are not counted.
    """

    mask: str
    page: str
    name: str
    value: int
    pixels: int
    share: float
    objects: str


HEAD = ("mask", "page", "class", "value", "pixels", "share", "objects")


def count_classes(
    prediction: Prediction, class_names: Sequence[str], values: Sequence[int], *, mask: str, page: str = ""
) -> list[ClassCount]:
    """The lines of one image or page.

    Args:
        prediction: of it.
        class_names: one per class.
        values: of each class in the mask; one more, the last, of pixels without data.
        mask: the name of the mask's file.
        page: its number, or "".
    """
    valid = prediction.valid
    missing = 0 if valid is None else int(valid.size - np.count_nonzero(valid))
    known = prediction.classes.size - missing
    rows = []
    for number, name in enumerate(class_names):
        pixels = sum(int(np.count_nonzero(part)) for part in _bands(prediction, number))
        objects = _objects(prediction, number, pixels)
        share = pixels / max(known, 1)
        rows.append(ClassCount(mask, page, name, values[number], pixels, share, objects))
    if missing:
        rows.append(ClassCount(mask, page, NO_DATA, values[-1], missing, missing / prediction.classes.size, ""))
    return rows


def _bands(prediction: Prediction, number: int) -> Iterator[np.ndarray]:
    """Where a class is, some rows at a time, as bool."""
    height, width = prediction.classes.shape
    step = max(BAND // max(width, 1), 1)
    for top in range(0, height, step):
        rows = slice(top, top + step)
        labels = prediction.labels
        here = prediction.classes[rows] == number if labels is None else labels[number, rows]
        yield here if prediction.valid is None else here & prediction.valid[rows]


def _objects(prediction: Prediction, number: int, pixels: int) -> str:
    if number == 0 and prediction.labels is None:
        return ""
    if not pixels:
        return "0"
    if prediction.instances is None:
        return str(count_regions(_bands(prediction, number)))
    step = max(BAND // max(prediction.classes.shape[1], 1), 1)
    seen: set[int] = set()
    for top, part in zip(range(0, len(prediction.classes), step), _bands(prediction, number), strict=True):
        seen.update(np.unique(prediction.instances[top : top + step][part]).tolist())
    return str(len(seen - {0}))


def count_regions(bands: Iterator[np.ndarray]) -> int:
    """Connected regions, corners included, of a mask that comes as bands of rows from top to bottom.

    Example:
        >>> rows = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1]], bool)
        >>> count_regions(iter([rows[:1], rows[1:]])), count_regions(iter([rows]))
        (2, 2)
    """
    total, last = 0, None
    joints: list[np.ndarray] = []
    for band in bands:
        count, labels = cv2.connectedComponents(band.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
        numbers = np.where(labels > 0, labels + (total - 1), -1)  # from `total` on
        if last is not None:
            joints += _touching(last, numbers[0])
        last, total = numbers[-1].copy(), total + count - 1
    if not joints or not total:
        return total
    one, other = np.concatenate(joints, axis=1)
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(total, total))
    return int(connected_components(graph, directed=False)[0])


def _touching(above: np.ndarray, below: np.ndarray) -> list[np.ndarray]:
    """(2, N) numbers of regions that meet between two rows."""
    width, found = len(above), []
    for shift in (-1, 0, 1):
        pair = np.stack([above[max(shift, 0) : width + min(shift, 0)], below[max(-shift, 0) : width - max(shift, 0)]])
        found.append(np.unique(pair[:, (pair >= 0).all(axis=0)], axis=1))
    return found


ABOUT = "the counts of the masks go"


class CountsFile(RowFile):
    """The counts of all masks of a folder.

    Args:
        path: the file.

    Raises:
        UsageError: if a file of that name is none of these.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, HEAD, ABOUT)

    def add(self, rows: Sequence[ClassCount]) -> None:
        """Write the lines of an image that is done."""
        self.write([(readable(row.mask), *row[1:5], f"{row.share:.9g}", row.objects) for row in rows])


def count_table(path: Path, masks: Collection[str]) -> str:
    """The counts of some masks together, for people; "" where the file has none of them.

    Args:
        path: of the file.
        masks: the names of the masks' files.
    """
    totals: dict[str, _Total] = {}
    sizes: dict[tuple[str, str], int] = {}
    masks = {readable(mask) for mask in masks}
    for mask, page, name, _, pixels, share, objects in read_rows(path, HEAD, ABOUT):
        if mask not in masks:
            continue
        total = totals.setdefault(name, _Total())
        total.pixels += int(pixels)
        total.objects += int(objects or 0)
        total.counted |= bool(objects)
        if name != NO_DATA and int(pixels):  # what the share is of
            sizes[mask, page] = max(sizes.get((mask, page), 0), round(int(pixels) / float(share)))
    if not totals:
        return ""
    known = sum(sizes.values())
    everything = known + totals.get(NO_DATA, _Total()).pixels
    width = max(len("class"), *map(len, totals))
    lines = [f"{'class':<{width}}    share  objects"]
    for name, total in totals.items():
        part = total.pixels / max(everything if name == NO_DATA else known, 1)
        lines.append(f"{name:<{width}}  {part:7.2%}  {total.objects if total.counted else '':>7}".rstrip())
    return "\n".join(lines)


@dataclass
class _Total:
    """Of one class over several masks."""

    pixels: int = 0
    objects: int = 0
    counted: bool = False
