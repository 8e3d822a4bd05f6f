"""Landmarks of a volume: plain CSV, and what 3D Slicer writes.

A CSV has the columns name, x, y, z, in millimetres with DICOM's axes (x to the left, y to the back, z to the head).
Slicer's files say which axes they have; where these go to the right and to the front, two change their sign.

Reference:
    https://slicer.readthedocs.io/en/latest/developer_guide/modules/markups.html.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from atrous.errors import DataError
from atrous.xray.tables import read_places

__all__ = ["read_markups"]

Marks = Iterator[tuple[str, tuple[object, ...]]]

AXES = {"LPS": (1, 1, 1), "1": (1, 1, 1), "RAS": (-1, -1, 1), "0": (-1, -1, 1)}


def read_markups(path: str | Path) -> dict[str, Float[np.ndarray, "3"]]:
    """The places of landmarks by name, in millimetres with DICOM's axes.

    Args:
        path: a table (.csv), or Slicer's .fcsv, .mrk.json or .json.

    Raises:
        DataError: if the file cannot be read, or names no or two places for one landmark.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}). Check the name.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text. Export it again.") from None
    if path.suffix.lower() == ".csv":
        bodies = read_places(path)
        if len(bodies) > 1:
            raise DataError(f"{path}: has places of {len(bodies)} bodies. Give one of them a file of its own.")
        return next(iter(bodies.values()), {})
    marks = _fcsv(path, text) if path.suffix.lower() == ".fcsv" else _json(path, text)
    found: dict[str, np.ndarray] = {}
    for name, place in marks:
        try:
            numbers = np.array([float(str(part)) for part in place])
        except ValueError:
            numbers = np.array([np.nan])
        if numbers.shape != (3,) or not np.isfinite(numbers).all():
            raise DataError(f"{path}: the place of {name!r} is {list(place)}, and three numbers are needed.")
        if name in found:
            raise DataError(f"{path}: {name!r} has two places. Rename or remove one.")
        found[name] = numbers
    if not found:
        raise DataError(f"{path}: holds no landmark.")
    return found


def _signs(path: Path, told: str) -> np.ndarray:
    if told.upper() not in AXES:
        raise DataError(
            f"{path}: its coordinate system is {told!r}, and LPS or RAS is needed. Export it as one of these."
        )
    return np.array(AXES[told.upper()])


def _fcsv(path: Path, text: str) -> Marks:
    """Comments tell axes and columns; each other line is a point."""
    told, columns = "RAS", ["id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label"]
    for row in csv.reader(text.splitlines()):
        line = ",".join(row)
        if line.startswith("#"):
            key, _, value = line.lstrip("# ").partition("=")
            if key.strip() == "CoordinateSystem":
                told = value.strip()
            elif key.strip() == "columns":
                columns = [part.strip() for part in value.split(",")]
        elif row:
            cells = dict(zip(columns, row, strict=False))
            if not {"x", "y", "z", "label"} <= cells.keys():
                raise DataError(f"{path}: the line {line[:60]!r} has not the cells x, y, z and label.")
            yield cells["label"], _turned(path, (cells["x"], cells["y"], cells["z"]), told)


def _json(path: Path, text: str) -> Marks:
    try:
        whole = json.loads(text)
        lists = [
            (each.get("coordinateSystem", "LPS"), point)
            for each in whole["markups"]
            if each.get("type", "Fiducial") == "Fiducial"
            for point in each.get("controlPoints", ())
        ]
        points = [(str(point["label"]), tuple(point["position"]), told) for told, point in lists if _defined(point)]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: is no list of points of 3D Slicer. Save the markups as .mrk.json.") from None
    for name, place, told in points:
        yield name, _turned(path, place, str(told))


def _defined(point: dict[str, object]) -> bool:
    return point.get("positionStatus", "defined") == "defined"


def _turned(path: Path, place: tuple[object, ...], told: str) -> tuple[object, ...]:
    signs = _signs(path, told)
    try:
        return tuple(float(str(part)) * sign for part, sign in zip(place, signs, strict=True))
    except ValueError:
        return place
