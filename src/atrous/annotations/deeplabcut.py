"""DeepLabCut's tables of labelled frames: `CollectedData_SCORER.csv`, or `.h5`, in `labeled-data/VIDEO/`.

Mathis et al., DeepLabCut: markerless pose estimation of user-defined body parts, Nature Neuroscience 2018. Three header
rows (scorer, body parts, coordinates), or four where there are several animals (individuals second). The image stands
in one index column as a path, or in three as folder, video and file. An empty cell is a body part that nobody labelled;
whether one is hidden the table does not say. Body parts of the individual `single` belong to the scene, and to every
animal in it. Pixel centres are integers.

A project is read video by video. Where a table is there as CSV and as H5, the CSV is read.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from atrous.annotations.base import locate, names_alone
from atrous.annotations.deeplabcut_h5 import read_frame
from atrous.annotations.landmark_csv import cell_number, read_rows
from atrous.annotations.landmarks import (
    Landmark,
    LandmarkEntry,
    LandmarkFormat,
    LandmarkTable,
    make_entry,
    mirrored_names,
    not_told_apart,
)
from atrous.annotations.parsing import Gathered, refuse

__all__ = ["DEEPLABCUT", "read_deeplabcut"]

_LABELLED = "labeled-data"
_SINGLE = "single"
_HEADER = ("scorer", "individuals", "bodyparts", "coords")


class _Frames(NamedTuple):
    """A table: its columns (individual, body part, axis), and a row for each image with where it stands."""

    columns: list[tuple[str, str, str]]
    rows: list[tuple[str, str, list[float | None]]]


def _tables(path: Path) -> list[Path]:
    """The tables of a file, a folder, or a project; one of each video."""
    if path.is_file():
        return [path] if _named(path) else []
    places = [path, *(sorted(p for p in (path / _LABELLED).iterdir()) if (path / _LABELLED).is_dir() else ())]
    found: list[Path] = []
    for place in places:
        if place.is_dir() and not place.name.endswith("_labeled"):
            here = sorted(one for one in place.iterdir() if _named(one) and one.is_file())
            csv = {one.stem for one in here if one.suffix == ".csv"}
            found += [one for one in here if one.suffix == ".csv" or one.stem not in csv]
    return found


def _named(path: Path) -> bool:
    """Whether a file is called as DeepLabCut calls its tables."""
    return path.name.startswith("CollectedData") and path.suffix in (".csv", ".h5")


def _fits(path: Path) -> bool:
    return bool(_tables(path))


def _read(path: Path, images: Path | None, gathered: Gathered) -> Mapping[str, LandmarkTable]:
    root = path if path.is_dir() else path.parent
    return {"": read_deeplabcut(_tables(path) or [path], root, images, gathered)}


def read_deeplabcut(files: Sequence[Path], root: Path, images: Path | None, gathered: Gathered) -> LandmarkTable:
    """Read one table or several, each of its own images.

    Args:
        files: CSV or H5.
        root: the folder that paths in the tables begin in, or end below.
        images: another folder with the images, or None.
        gathered: gets what is wrong with single rows, and what is left out.

    Raises:
        FindingError: if a table is none of DeepLabCut's.
    """
    names: dict[str, None] = {}
    tables: list[tuple[Path, _Frames]] = []
    for file in files:
        frames = _from_h5(file) if file.suffix == ".h5" else _from_csv(file, gathered)
        tables.append((file, frames))
        ordered = sorted(frames.columns, key=lambda column: column[0] == _SINGLE)
        names |= dict.fromkeys(part for _, part, _ in ordered)
    alone = names_alone(name for _, frames in tables for name, _, _ in frames.rows)
    entries: list[LandmarkEntry] = []
    for file, frames in tables:
        places = [place for folder in (images, root, file.parent) if folder for place in (folder, folder / "images")]
        for row in frames.rows:
            with gathered.going_on():
                parts = _animals(frames, row)
                gathered.note("frames have no labelled body part", not parts)
                file_of = _find(row[0], places, alone, row[1]) if parts else root
                entries += [make_entry(file_of, tuple(names), one, individual=who) for who, one in parts.items()]
    gathered.findings |= dict.fromkeys(not_told_apart(entries))
    return LandmarkTable(tuple(names), mirrored_names(tuple(names)), tuple(entries))


def _from_csv(file: Path, gathered: Gathered) -> _Frames:
    """A table as text.

    Raises:
        FindingError: if its header is not DeepLabCut's.
    """
    table = read_rows(file)
    head = {row[0].lower(): row for _, row in table.rows[:4] if row[0].lower() in _HEADER}
    if not {"scorer", "bodyparts", "coords"} <= set(head):
        fix = "Export it again from DeepLabCut: rows scorer, bodyparts and coords, for several animals individuals too."
        refuse(f"{file} line 1", f"begins with {table.rows[0][1][0]!r}, and no header of DeepLabCut", fix)
    first = next((i for i, cell in enumerate(head["coords"]) if i and cell), len(head["coords"]))
    lengths = {len(row) for row in head.values()}
    if len(lengths) > 1:
        refuse(f"{file} line 1", "has header rows of different lengths", "Export it again from DeepLabCut.")
    individuals = head.get("individuals", [""] * len(head["coords"]))
    columns = list(zip(individuals[first:], head["bodyparts"][first:], head["coords"][first:], strict=True))
    _check_columns(columns, file)
    rows = []
    for line, row in table.rows[len(head) :]:
        with gathered.going_on():
            where = f"{file} line {line}"
            if len(row) != len(head["coords"]):
                refuse(where, f"has {len(row)} cells, and the header {len(head['coords'])}", "Correct the line.")
            values = [cell_number(cell, f"{where}, {part}", table.delimiter)
                      for (_, part, _), cell in zip(columns, row[first:], strict=True)]  # fmt: skip
            rows.append(("/".join(cell for cell in row[:first] if cell), where, values))
    return _Frames(columns, rows)


def _from_h5(file: Path) -> _Frames:
    """A table of pandas.

    Raises:
        FindingError: if it has other columns than DeepLabCut's.
    """
    frame = read_frame(file)
    wide = [column if len(column) == 4 else (column[0], "", *column[1:]) for column in frame.columns]
    if any(len(column) != 4 for column in wide):
        refuse(file, "has other columns than scorer, bodyparts and coords", "Export it again from DeepLabCut.")
    columns = [(column[1], column[2], column[3]) for column in wide]
    _check_columns(columns, file)
    rows = [
        ("/".join(part for part in index if part), f"{file} row {number}", [None if np.isnan(v) else v for v in values])
        for number, (index, values) in enumerate(zip(frame.rows, frame.values.tolist(), strict=True))
    ]
    return _Frames(columns, rows)


def _check_columns(columns: Sequence[tuple[str, str, str]], file: Path) -> None:
    """Raise unless every body part has an x and a y, once."""
    if any(axis == "likelihood" for _, _, axis in columns):
        refuse(file, "holds predictions: it has a column 'likelihood'", "Name the table of the labelled frames.")
    if not columns:
        refuse(file, "names no body part", "Export it again from DeepLabCut.")
    for column in columns:
        individual, part, axis = column
        of = f" of {individual!r}" if individual else ""
        if axis not in ("x", "y"):
            refuse(file, f"has a column {axis!r} of {part!r}", "A table of labelled frames has x and y.")
        if columns.count(column) > 1:
            refuse(file, f"has two columns {axis!r} of {part!r}{of}", "Give every body part a name of its own.")
        if (individual, part, "y" if axis == "x" else "x") not in columns:
            refuse(file, f"has one coordinate of {part!r}{of} alone", "Export it again from DeepLabCut.")


def _animals(frames: _Frames, row: tuple[str, str, list[float | None]]) -> dict[str, dict[str, Landmark]]:
    """The animals of one image that have a labelled body part; none where nothing is labelled."""
    _, where, values = row
    animals: dict[str, dict[str, dict[str, float]]] = {}
    for (individual, part, axis), value in zip(frames.columns, values, strict=True):
        if value is not None:
            animals.setdefault(individual, {}).setdefault(part, {})[axis] = value
    for parts in animals.values():
        if half := next((part for part, axes in parts.items() if len(axes) < 2), None):
            refuse(f"{where}, {half}", "has one coordinate and not the other", "Write both, or leave both empty.")
    scene = animals.pop(_SINGLE, {})
    if scene and not animals:
        animals = {"": {}}
    return {
        individual: {part: Landmark(axes["x"], axes["y"]) for part, axes in {**scene, **parts}.items()}
        for individual, parts in animals.items()
    }


def _find(name: str, places: Sequence[Path], alone: frozenset[str], where: str) -> Path:
    """The image of a row: by its path, by video and file, or by its file's name where no other is called so."""
    parts = [part for part in re.split(r"[\\/]+", name) if part]
    if not parts:
        refuse(where, "names no image", "Write its path into the first column.")
    others = ("/".join(parts[-2:]), *(parts[-1:] if parts[-1] in alone else ()))
    return locate("/".join(parts), places, where, others=others)


DEEPLABCUT = LandmarkFormat("DeepLabCut", _fits, _read)
