"""Landmarks between a data folder, COCO's key points and labelme's points, written.

labelme counts from the corner of the image, so that half a pixel is added to its points; COCO counts as we do. Two
things are lost: labelme has no centre and no size without a box, and COCO's file needs a box, which is drawn round the
landmarks where the data has none.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from atrous.annotations.base import image_stem
from atrous.annotations.labelme import LABEL_LIST
from atrous.annotations.labelme_points import HALF, HIDDEN_FLAGS
from atrous.annotations.landmark_csv import write_landmark_csv
from atrous.annotations.landmarks import (
    HIDDEN,
    LandmarkEntry,
    LandmarkTable,
    mirrored_names,
)
from atrous.annotations.parsing import Gathered
from atrous.data.contents import Folder
from atrous.data.convert.folder import place_image
from atrous.data.pairs import Pair
from atrous.data.split_names import split_of
from atrous.images.files import read_info

__all__ = ["write_coco_keypoints", "write_labelme_points", "write_landmark_folder"]


def write_landmark_folder(
    tables: Mapping[str, LandmarkTable], out: Path, gathered: Gathered, *, progress: Callable[[int], None] | None = None
) -> tuple[int, tuple[str, ...]]:
    """Write images/ and landmarks.csv, or a table for each split, and landmarks.yaml where names tell no sides.

    Args:
        tables: by subset of the data; a subset whose name speaks of no split is training.
        out: an empty folder that exists.
        gathered: gets what is wrong with single images.
        progress: called with the number of images done.

    Returns:
        The images written, and the names of the landmarks.
    """
    splits: dict[str, list[LandmarkEntry]] = {}
    for subset, table in tables.items():
        splits.setdefault(split_of(subset) or "train", []).extend(table.entries)
    splits = {split: entries for split, entries in splits.items() if entries}
    first = next(iter(tables.values()))
    files: dict[Path, str] = {}
    for split, entries in splits.items():
        below, used = out / "images" / split if len(splits) > 1 else out / "images", set[str]()
        for file in dict.fromkeys(entry.file for entry in entries):
            with gathered.going_on():
                files[file] = _placed(file, below, used).relative_to(out / "images").as_posix()
            if progress is not None:
                progress(len(files))
        whole = LandmarkTable(first.names, first.pairs, tuple(entry for entry in entries if entry.file in files))
        write_landmark_csv(out / (f"{split}.csv" if len(splits) > 1 else "landmarks.csv"), whole, files)
    if first.pairs != mirrored_names(first.names):
        sides = [[first.names[number] for number in pair] for pair in first.pairs]
        (out / "landmarks.yaml").write_text(yaml.safe_dump({"flip_pairs": sides}, default_flow_style=None), "utf-8")
    return len(files), first.names


def _placed(file: Path, folder: Path, used: set[str]) -> Path:
    """An image copied under its own name, or with that of its folder before it where another has it."""
    own = image_stem(file.name)
    stem = next((name for name in (own, f"{file.parent.name}_{own}") if name.casefold() not in used), own)
    used.add(stem.casefold())
    return place_image(file, folder, stem)


def _known(pairs: Iterable[Pair]) -> dict[Any, list[LandmarkEntry]]:
    """The entries of each image, in their order; none where nobody set a landmark."""
    found: dict[Any, list[LandmarkEntry]] = {}
    for pair in pairs:
        found.setdefault(pair.image, []).extend([pair.landmarks] if pair.landmarks is not None else [])
    return found


def _stem(pair: Pair) -> str:
    return pair.name.rpartition("#")[0] if pair.landmarks is not None and "#" in pair.name else pair.name


def write_coco_keypoints(
    folder: Folder,
    out: Path,
    gathered: Gathered,
    *,
    tolerance: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write annotations/person_keypoints_SPLIT.json and images/SPLIT/.

    Args:
        folder: of landmarks.
        out: an empty folder that exists.
        gathered: gets what is wrong with single images, and what COCO does not hold.
        tolerance: of no meaning for points.
        progress: called with the number of images done.

    Returns:
        The images written.
    """
    _note_sides(folder, gathered)
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(folder.classes.names)}
    (out / "annotations").mkdir()
    done = 0
    for split, pairs in ((split, pairs) for split, pairs in folder.splits.items() if pairs):
        stems = {pair.image: _stem(pair) for pair in pairs}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image, entries in _known(pairs).items():
            with gathered.going_on():
                info = read_info(image)
                file = place_image(image, out / "images" / split, stems[image])
                done += 1
                name = file.relative_to(out / "images" / split).as_posix()
                images.append({"id": done, "file_name": name, "height": info.height, "width": info.width})
                for entry in entries:
                    gathered.note("centres, which COCO does not hold", entry.center is not None)
                    row = {"id": len(annotations) + 1, "image_id": done, "category_id": 1}
                    annotations.append({**row, **_coco(entry)})
            if progress is not None:
                progress(done)
        table = {"images": images, "annotations": annotations, "categories": [category]}
        (out / "annotations" / f"person_keypoints_{split}.json").write_text(json.dumps(table), encoding="utf-8")
    return done


def _coco(entry: LandmarkEntry) -> dict[str, Any]:
    """Key points, box and area of one person or animal."""
    known = entry.visibility > 0
    points = np.where(known[:, None], entry.points, 0.0)
    rows = np.column_stack([points, entry.visibility.astype(float)]).ravel().tolist()
    numbers = [int(value) if value.is_integer() else value for value in rows]
    box = entry.box
    if box is None:
        low, high = entry.points[known].min(0), entry.points[known].max(0)
        box = np.append(low, high - low + 1)  # of the pixels that the landmarks stand on
    return {"keypoints": numbers, "num_keypoints": int(known.sum()), "bbox": box.tolist(),
            "area": float(box[2] * box[3]), "iscrowd": 0}  # fmt: skip


def write_labelme_points(
    folder: Folder,
    out: Path,
    gathered: Gathered,
    *,
    tolerance: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write every image with a JSON of its points beside it, and labels.txt; the arguments are those for COCO.

    Hidden landmarks have the flag `hidden`. Where an image shows several persons or animals, or they have boxes, points
    and rectangle of each share a group_id. Where there are several splits, each has a folder.
    """
    _note_sides(folder, gathered)
    several = sum(bool(pairs) for pairs in folder.splits.values()) > 1
    done = 0
    for split, pairs in folder.splits.items():
        stems = {pair.image: _stem(pair) for pair in pairs}
        for image, entries in _known(pairs).items():
            with gathered.going_on():
                info = read_info(image)
                file = place_image(image, out / split if several else out, stems[image])
                done += 1
                if entries:
                    gathered.note("centres, which labelme does not hold", sum(e.center is not None for e in entries))
                    table = _labelme(entries, folder.classes.names, file, (info.height, info.width))
                    file.with_suffix(".json").write_text(json.dumps(table), encoding="utf-8")
            if progress is not None:
                progress(done)
    (out / LABEL_LIST).write_text("".join(f"{name}\n" for name in folder.classes.names), encoding="utf-8")
    return done


def _labelme(entries: list[LandmarkEntry], names: tuple[str, ...], file: Path, size: tuple[int, int]) -> dict[str, Any]:
    """The content of one JSON."""
    grouped = len(entries) > 1 or entries[0].box is not None
    shapes: list[dict[str, Any]] = []
    for number, entry in enumerate(entries, start=1):
        group = {"group_id": number if grouped else None}
        for name, (x, y), seen in zip(names, entry.points.tolist(), entry.visibility.tolist(), strict=True):
            if seen:
                flags = {HIDDEN_FLAGS[0]: True} if seen == HIDDEN else {}
                place = {"points": [[x + HALF, y + HALF]], "shape_type": "point", "flags": flags}
                shapes.append({"label": name, **place, **group})
        if entry.box is not None:
            x, y, width, height = entry.box.tolist()
            corners = [[x, y], [x + width, y + height]]
            shapes.append({"label": "box", "points": corners, "shape_type": "rectangle", "flags": {}, **group})
    return {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": file.name, "imageData": None,
            "imageHeight": size[0], "imageWidth": size[1]}  # fmt: skip


def _note_sides(folder: Folder, gathered: Gathered) -> None:
    """Note pairs that names do not tell, which no format of annotations holds."""
    untold = set(folder.classes.flip_pairs) - set(mirrored_names(folder.classes.names))
    gathered.note("flip_pairs of landmarks.yaml, which annotations do not hold", len(untold))
