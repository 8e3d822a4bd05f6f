"""A data folder as annotations: COCO's JSON, or labelme's.

Where there are instance maps, each object is an annotation; elsewhere each connected region of a class is one. The
class "background" is what is left over, and is not written; where no class is called so, all are. Ignored pixels are
the label `__ignore__`, so that reading gives the masks again.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from atrous.annotations.drawn import BACKGROUND_LABELS, IGNORE_LABEL
from atrous.annotations.labelme import LABEL_LIST
from atrous.annotations.parsing import Gathered
from atrous.annotations.polygons import Polygon, bridge, simplify, trace
from atrous.annotations.regions import patches
from atrous.annotations.rle import counts_to_text, mask_to_counts
from atrous.class_names import is_plain
from atrous.data.contents import Folder
from atrous.data.convert.folder import place_image
from atrous.data.reading import read_labels
from atrous.data.splits import Pair
from atrous.errors import DataError
from atrous.findings import FindingError, error
from atrous.images.files import read_info
from atrous.types import IGNORE_INDEX

__all__ = ["check_names", "write_coco", "write_labelme"]

ImageProgress = Callable[[int], None]


class _Object(NamedTuple):
    """One object: its label, its pixels within a box, and where the box begins."""

    label: str
    top: int
    left: int
    pixels: np.ndarray

    def parts(self, tolerance: float) -> list[Polygon]:
        """Its outlines on the plane of the image."""
        offset = np.array([self.left, self.top])
        return [simplify(tuple(ring + offset for ring in part), tolerance) for part in trace(self.pixels)]


def write_coco(
    folder: Folder, out: Path, gathered: Gathered, *, tolerance: float = 0.0, progress: ImageProgress | None = None
) -> int:
    """Write annotations/instances_SPLIT.json and images/SPLIT/; image_info_SPLIT.json names images without masks.

    An object with holes is written as run lengths, because COCO's polygons have none; any other as polygons.

    Args:
        folder: masks of classes that do not overlap.
        out: an empty folder that exists.
        gathered: gets what is wrong with single images.
        tolerance: how far a simplified outline may be from the true one, in pixels; 0 keeps every corner.
        progress: called with the number of images done.

    Returns:
        The images written.

    Raises:
        DataError: if two classes have names that the format cannot tell apart.
    """
    check_names(folder, gathered)
    names = [name for name in folder.classes.names if name not in BACKGROUND_LABELS]
    ids = {name: number for number, name in enumerate((*names, IGNORE_LABEL), start=1)}
    done = 0
    (out / "annotations").mkdir()
    for split, pairs in ((split, pairs) for split, pairs in folder.splits.items() if pairs):
        labelled: list[dict[str, Any]] = []
        others: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for pair in pairs:
            with gathered.going_on():
                found, size = _objects(pair, folder)
                file = place_image(pair.image, out / "images" / split, pair.name)
                done += 1
                row = {"id": done, "file_name": file.relative_to(out / "images" / split).as_posix()}
                (others if found is None else labelled).append({**row, "height": size[0], "width": size[1]})
                for one in found or ():
                    number = len(annotations) + 1
                    annotations.append({"id": number, "image_id": done, "category_id": ids[one.label],
                                        **_coco(one, size, tolerance)})  # fmt: skip
            if progress is not None:
                progress(done)
        used = {row["category_id"] for row in annotations}
        rows = [{"id": n, "name": name} for name, n in ids.items() if name != IGNORE_LABEL or n in used]
        table: dict[str, Any] = {"images": labelled, "annotations": annotations, "categories": rows}
        if labelled:
            _write_json(out / "annotations" / f"instances_{split}.json", table)
        if others:
            _write_json(out / "annotations" / f"image_info_{split}.json", {"images": others, "categories": rows})
    return done


def write_labelme(
    folder: Folder, out: Path, gathered: Gathered, *, tolerance: float = 0.0, progress: ImageProgress | None = None
) -> int:
    """Write every image with a JSON of its polygons beside it, and labels.txt; the arguments are those of `write_coco`.

    A hole is joined to its outline by a line walked there and back, and the parts of an object share a group_id. Where
    there are several splits, each has a folder. An image without a mask is written without a JSON.
    """
    check_names(folder, gathered)
    several = sum(bool(pairs) for pairs in folder.splits.values()) > 1
    done = 0
    for split, pair in ((split, pair) for split, pairs in folder.splits.items() for pair in pairs):
        with gathered.going_on():
            found, size = _objects(pair, folder)
            file = place_image(pair.image, out / split if several else out, pair.name)
            done += 1
            if found is not None:
                _write_json(file.with_suffix(".json"), _labelme(found, file, size, tolerance))
        if progress is not None:
            progress(done)
    names = (IGNORE_LABEL, *folder.classes.names)
    (out / LABEL_LIST).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return done


def _write_json(path: Path, table: dict[str, Any]) -> None:
    path.write_text(json.dumps(table), encoding="utf-8")


def check_names(folder: Folder, gathered: Gathered) -> None:
    """Raise where class names would not come back as they are, and note what no format of annotations holds.

    Raises:
        DataError: if a name is blank or holds control characters, or two differ by blanks around them alone.
    """
    gathered.note("flip_pairs of classes.yaml, which annotations do not hold", len(folder.classes.flip_pairs))
    names = [name.strip() for name in folder.classes.names]
    for name in folder.classes.names:
        if not is_plain(name):
            raise DataError(f"{folder.root}: the class name {name!r} is blank or holds control characters. {_RENAME}")
        if names.count(name.strip()) > 1:
            raise DataError(f"{folder.root}: two classes are called {name.strip()!r}, but for blanks. {_RENAME}")


_RENAME = "Rename it in classes.yaml."


def _labelme(found: list[_Object], file: Path, size: tuple[int, int], tolerance: float) -> dict[str, Any]:
    """The content of one JSON."""
    shapes = []
    for number, one in enumerate(found, start=1):
        for part in one.parts(tolerance):
            points = [[float(x), float(y)] for x, y in bridge(part)]
            shapes.append({"label": one.label, "points": points, "group_id": number, "shape_type": "polygon",
                           "flags": {}})  # fmt: skip
    return {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": file.name, "imageData": None,
            "imageHeight": size[0], "imageWidth": size[1]}  # fmt: skip


def _coco(one: _Object, size: tuple[int, int], tolerance: float) -> dict[str, Any]:
    """Outline, area and box of one object."""
    parts = one.parts(tolerance)
    rows, columns = np.flatnonzero(one.pixels.any(1)), np.flatnonzero(one.pixels.any(0))
    box = [one.left + int(columns[0]), one.top + int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
    outline: Any = [np.asarray(part[0], float).ravel().tolist() for part in parts]
    if any(len(part) > 1 for part in parts):
        whole = np.zeros(size, bool)
        whole[one.top : one.top + one.pixels.shape[0], one.left : one.left + one.pixels.shape[1]] = one.pixels
        outline = {"size": list(size), "counts": counts_to_text(mask_to_counts(whole))}
    return {"segmentation": outline, "area": int(one.pixels.sum()), "bbox": box, "iscrowd": 0}


def _objects(pair: Pair, folder: Folder) -> tuple[list[_Object] | None, tuple[int, int]]:
    """The objects of an image, None where nobody has labelled it, and its size."""
    info = read_info(pair.image)
    mask, instances = read_labels(pair, folder.classes, (info.height, info.width))
    if mask is None:
        return None, (info.height, info.width)
    if mask.ndim == 3:
        message = "has classes that overlap, which one label per pixel cannot hold"
        raise FindingError(error("mask_type", pair.mask, message, "Write one class at a time."))
    return list(_regions(mask, instances, folder.classes.names)), (mask.shape[0], mask.shape[1])


def _regions(mask: np.ndarray, instances: np.ndarray | None, names: tuple[str, ...]) -> Iterator[_Object]:
    """Objects from the instance map, and what it leaves of the mask by connected regions."""
    taken = np.zeros(mask.shape, bool)
    if instances is not None:
        numbers, index = np.unique(instances, return_inverse=True)
        compact = index.reshape(instances.shape).astype(np.int32)
        for _, (top, start, pixels) in patches(compact, first=int((numbers == 0).sum())):
            area = (slice(top, top + pixels.shape[0]), slice(start, start + pixels.shape[1]))
            number = int(np.bincount(mask[area][pixels]).argmax())  # its class, where most of it lies
            if number < len(names) and names[number] not in BACKGROUND_LABELS:
                inside = pixels & (mask[area] == number)
                taken[area] |= inside
                yield _Object(names[number], top, start, inside)
    for number in np.unique(mask).tolist():
        label = IGNORE_LABEL if number == IGNORE_INDEX else names[number]
        if label in BACKGROUND_LABELS:
            continue
        rest = ((mask == number) & ~taken).astype(np.uint8)
        _, regions = cv2.connectedComponents(rest, connectivity=8, ltype=cv2.CV_32S)
        for _, (top, start, pixels) in patches(regions, first=1):
            yield _Object(label, top, start, pixels)
