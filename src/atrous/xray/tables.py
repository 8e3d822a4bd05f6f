"""Tables of geometry: the view of each picture, and places of landmarks in three dimensions.

`views.csv` has a row for each picture: file, body, lao, cranial (degrees); height, width; K as focal_x, focal_y, skew,
centre_x, centre_y (pixels); R as r11 to r33; t as t1 to t3 (millimetres). `landmarks_3d.csv` has a row for each place:
body, name, x, y, z, in millimetres with DICOM's axes: x to the left, y to the back, z to the head.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from atrous.errors import AtrousError, DataError
from atrous.xray.camera import ConeBeam

__all__ = ["KnownView", "read_places", "read_views", "write_places", "write_views"]

NUMBERS = (
    "lao", "cranial", "height", "width", "focal_x", "focal_y", "skew", "centre_x", "centre_y",
    *(f"r{row}{column}" for row in (1, 2, 3) for column in (1, 2, 3)), "t1", "t2", "t3",
)  # fmt: skip


class KnownView(NamedTuple):
    """A row of views.csv.

    Attributes:
        file: the picture, as the table calls it.
        body: whose it is.
        angles: LAO and cranial, in degrees.
        beam: the geometry.
    """

    file: str
    body: str
    angles: tuple[float, float]
    beam: ConeBeam


def write_views(path: Path, views: Iterable[tuple[str, str, tuple[float, float], ConeBeam]]) -> None:
    """Write a table of views: for each its file, body, angles and geometry."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "body", *NUMBERS])
        for file, body, angles, beam in views:
            k = beam.intrinsics
            lens = (k[0, 0], k[1, 1], k[0, 1], k[0, 2], k[1, 2])
            numbers = (*lens, *beam.rotation.ravel(), *beam.translation)
            writer.writerow(
                [file, body, *map(repr, angles), beam.height, beam.width, *(repr(float(n)) for n in numbers)]
            )


def read_views(path: Path) -> dict[str, KnownView]:
    """The views of a table, by file.

    Raises:
        DataError: if it cannot be read, lacks a column or has a cell that is no number.
    """
    found: dict[str, KnownView] = {}
    for line, row in _rows(path, ("file", "body", *NUMBERS)):
        where = f"{path} line {line}"
        n = {name: _number(row[name], f"{where}, {name}") for name in NUMBERS}
        lens = np.array([[n["focal_x"], n["skew"], n["centre_x"]], [0, n["focal_y"], n["centre_y"]], [0, 0, 1]])
        rotation = np.array([[n[f"r{i}{j}"] for j in (1, 2, 3)] for i in (1, 2, 3)])
        try:
            beam = ConeBeam(lens, rotation, np.array([n["t1"], n["t2"], n["t3"]]), int(n["height"]), int(n["width"]))
        except AtrousError as problem:
            raise DataError(f"{where}: {problem}") from None
        if row["file"] in found:
            raise DataError(f"{where}: {row['file']} has a row already. Keep one.")
        found[row["file"]] = KnownView(row["file"], row["body"], (n["lao"], n["cranial"]), beam)
    return found


def write_places(path: Path, bodies: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    """Write places of landmarks: for each body (P, 3) in millimetres, in the order of the names."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["body", "name", "x", "y", "z"])
        for body, places in bodies.items():
            for name, place in zip(names, places.tolist(), strict=True):
                writer.writerow([body, name, *(f"{part:.4f}" for part in place)])


def read_places(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Places of landmarks, (3,) in millimetres, by body and name; a table without the column `body` has the body "".

    Raises:
        DataError: if it cannot be read, lacks a column or has a cell that is no number.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for line, row in _rows(path, ("name", "x", "y", "z")):
        where = f"{path} line {line}"
        body = found.setdefault(row.get("body") or "", {})
        if row["name"] in body:
            raise DataError(f"{where}: {row['name']} has a place already. Keep one.")
        body[row["name"]] = np.array([_number(row[axis], f"{where}, {axis}") for axis in "xyz"])
    return found


def _rows(path: Path, needed: Sequence[str]) -> Iterable[tuple[int, dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}). Check the name.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text. Save it as CSV, encoded as UTF-8.") from None
    lines = text.splitlines()
    reader = csv.DictReader(lines)
    if missing := [name for name in needed if name not in (reader.fieldnames or ())]:
        raise DataError(f"{path}: has no column {missing[0]!r}. It needs: {', '.join(needed)}.")
    for row in reader:
        if None in row or None in row.values():
            raise DataError(
                f"{path} line {reader.line_num}: has not as many cells as the first line. Correct the line."
            )
        yield reader.line_num, row


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: is {text!r}, and a number is needed.")
    return number
