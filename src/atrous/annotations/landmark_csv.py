"""Landmarks as a plain CSV table: a row for each image, or a row for each landmark.

A row for each image: the file, then x and y of every landmark (`nose_x, nose_y`, also `x0, y0`), and whether it is
visible (`nose_visible`), if that is known. A row for each landmark: columns `file`, `name`, `x`, `y`, and `visible`.
`individual` says which person or animal of an image a row is for; `box_x, box_y, box_width, box_height` is its box, and
beside `individual`, `center_x, center_y` its centre.

An empty cell, or NaN, is a landmark that nobody labelled. `visible` is 0 absent, 1 hidden, 2 visible; or true and
false. Cells are separated by commas, semicolons or tabs. Pixel centres are integers.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from atrous.annotations.base import find_image, last_part, names_alone
from atrous.annotations.landmark_columns import Columns, find_columns, has_coordinates
from atrous.annotations.landmarks import (
    HIDDEN,
    VISIBLE,
    Landmark,
    LandmarkEntry,
    LandmarkFormat,
    LandmarkTable,
    make_entry,
    mirrored_names,
    not_told_apart,
    unite_names,
)
from atrous.annotations.parsing import Gathered, refuse
from atrous.errors import DataError
from atrous.findings import FindingError

__all__ = [
    "LANDMARK_CSV",
    "CsvTable",
    "cell_number",
    "read_landmark_csv",
    "read_rows",
    "write_landmark_csv",
]

_MISSING = ("", "nan", "na", "n/a", "none", "null")
_VISIBLE = {"0": 0, "1": HIDDEN, "2": VISIBLE, "0.0": 0, "1.0": HIDDEN, "2.0": VISIBLE,
            "true": VISIBLE, "false": HIDDEN, "yes": VISIBLE, "no": HIDDEN}  # fmt: skip
_LOOKS = 1 << 16
_SUFFIXES = (".csv", ".tsv")
_WHOLE = ("landmarks.csv", "landmarks.tsv")
_SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
_IMAGES = ("images", "image", "imgs", "JPEGImages")


class CsvTable(NamedTuple):
    """The rows of a table as text, each with its line from 1 on; what separates them."""

    rows: list[tuple[int, list[str]]]
    delimiter: str


class _Key(NamedTuple):
    """Whose landmarks a row holds."""

    file: str
    individual: str


class _Told(NamedTuple):
    """What the rows of one person or animal say: where they stand, places by name, centre and box."""

    line: int
    places: dict[str, Landmark]
    more: dict[str, Any]


def _tables(path: Path) -> list[tuple[str, Path]]:
    """The tables of a folder with their subsets: landmarks.csv, train.csv and val.csv, or the only one that fits."""
    if path.is_file():
        return [("", path)] if path.suffix.lower() in _SUFFIXES and _looks(path) else []
    try:
        here = [one for one in sorted(path.iterdir()) if one.suffix.lower() in _SUFFIXES and one.is_file()]
    except OSError:  # who reads the folder tells that it cannot be opened
        return []
    here = [one for one in here if not one.name.startswith(".")]
    if whole := [one for one in here if one.name in _WHOLE]:
        return [("", whole[0])]
    stems = {name: split for split, names in _SPLITS.items() for name in names}
    parts = [(one.stem.removeprefix("landmarks_"), one) for one in here]
    if found := [(stem, one) for stem, one in parts if stem in stems and _looks(one)]:
        return found
    return [("", here[0])] if len(here) == 1 and _looks(here[0]) else []


def _read(path: Path, images: Path | None, gathered: Gathered) -> Mapping[str, LandmarkTable]:
    root = path if path.is_dir() else path.parent
    files = _tables(path) or [("", path)]
    if path.is_dir() and files == [("", path)]:
        fix = "Write landmarks.csv: file,nose_x,nose_y,tail_x,tail_y and a row for each image."
        refuse(path, "holds no table of landmarks", fix)
    folders = [images, *(root / name for name in _IMAGES), root]
    tables = {subset: read_landmark_csv(file, folders, gathered) for subset, file in files}
    return unite_names(tables, dict(files))


def _looks(path: Path) -> bool:
    """Whether the first line of a CSV file names x and y of something."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = file.readline(_LOOKS)
    except OSError:
        return False
    return has_coordinates(next(csv.reader([first], delimiter=_delimiter(first)), []))


def read_landmark_csv(path: Path, folders: Sequence[Path | None], gathered: Gathered) -> LandmarkTable:
    """Read a table of landmarks.

    Args:
        path: the file.
        folders: in which the images are looked for, and then beside the file.
        gathered: gets what is wrong with single rows, and what is left out.

    Raises:
        FindingError: if it is no such table.
    """
    table = read_rows(path)
    line, header = table.rows[0]
    columns = find_columns(header, f"{path} line {line}")
    for name in columns.unknown:
        gathered.note(f"column {name!r} of {path.name} is no landmark's")
    told: dict[_Key, _Told] = {}
    names = dict.fromkeys(columns.names)
    for number, row in table.rows[1:]:
        with gathered.going_on():
            where = f"{path} line {number}"
            if len(row) != len(header):
                refuse(where, f"has {len(row)} cells, and the first line {len(header)}", "Correct the line.")
            _add_row(row, columns, (where, number, table.delimiter), told, names)
    entry = partial(_entry, path, [*folders, path.parent], (tuple(names), names_alone(key.file for key in told)))
    found: list[LandmarkEntry] = []
    for key, one in told.items():
        with gathered.going_on():
            found.append(entry(key, one))
    gathered.findings |= dict.fromkeys(not_told_apart(found))
    if not names:
        refuse(path, "holds no landmark", "Write a row for each image, or for each landmark.")
    try:
        return LandmarkTable(tuple(names), mirrored_names(tuple(names)), tuple(found))
    except DataError as problem:
        message, _, fix = str(problem).partition(". ")
        refuse(path, message, fix)


def read_rows(path: Path) -> CsvTable:
    """The rows of a CSV file; empty lines are passed over.

    Raises:
        FindingError: if it cannot be read, or has no row.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        refuse(path, f"cannot be read ({problem.strerror})", "Check the name.")
    except UnicodeDecodeError:
        refuse(path, "is not UTF-8 text", "Save it as CSV, encoded as UTF-8.")
    delimiter = _delimiter(text.partition("\n")[0])
    try:
        reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as problem:
        refuse(path, f"is no CSV ({problem})", "Export it again; it may be cut off.")
    rows = [(line, row) for line, row in rows if any(row)]
    if len(rows) < 2:
        refuse(path, "has no row of landmarks", "Write a first line of names, then a row for each image.")
    return CsvTable(rows, delimiter)


def cell_number(text: str, where: str, delimiter: str = ",") -> float | None:
    """The number in a cell, None where it is empty. Where cells are not separated by commas, 1,5 is a number too.

    Raises:
        FindingError: if it is no finite number.
    """
    if text.lower() in _MISSING:
        return None
    try:
        number = float(text.replace(",", ".") if delimiter != "," else text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        refuse(
            where, f"is {text!r}, and a number of pixels is needed", "Correct it; leave it empty where not labelled."
        )
    return number


def _delimiter(line: str) -> str:
    """What separates the cells of a line: a tab, a semicolon or a comma."""
    return max(("\t", ";", ","), key=line.count)


def _add_row(
    row: list[str], columns: Columns, at: tuple[str, int, str], told: dict[_Key, _Told], names: dict[str, None]
) -> None:
    """Add what one row says."""
    where, line, delimiter = at
    file = row[columns.file].replace("\\", "/")
    if not file:
        refuse(where, "names no image", "Write the image's file into the first column.")
    key = _Key(file, row[columns.individual] if columns.individual is not None else "")
    if columns.name is None and key in told:
        message = f"is a second row of {_who(key)}, which line {told[key].line} has too"
        refuse(where, message, "Keep one row for each image; tell several animals apart in a column 'individual'.")
    one = told.setdefault(key, _Told(line, {}, {}))
    for word, cells in (("center", columns.center), ("box", columns.box)):
        numbers = [cell_number(row[cell], f"{where}, {word}", delimiter) for cell in cells]
        known = [number for number in numbers if number is not None]
        if known and len(known) < len(cells):
            refuse(f"{where}, {word}", "is there in part", "Fill all of its cells, or none.")
        if known:
            one.more[word] = known
    named = columns.names if columns.name is None else (row[columns.name],)
    for name, point in zip(named, columns.points, strict=True):
        if not name:
            refuse(where, "names no landmark", "Write its name into the row.")
        names.setdefault(name)
        place = _place([None if cell is None else row[cell] for cell in point], f"{where}, {name}", delimiter)
        if place is None:
            continue
        if name in one.places:
            refuse(where, f"gives {name!r} of {_who(key)} a second place", "Keep one of the rows.")
        one.places[name] = place


def _who(key: _Key) -> str:
    return f"{key.individual!r} in {key.file}" if key.individual else key.file


def _place(cells: Sequence[str | None], where: str, delimiter: str) -> Landmark | None:
    """A landmark's place, None where it is absent."""
    x, y = (cell_number(str(cell), where, delimiter) for cell in cells[:2])
    told = cells[2]
    if (x is None) != (y is None):
        refuse(where, f"has {'no x' if x is None else 'no y'}", "Write both, or leave both empty.")
    visible = None if told is None or told.lower() in _MISSING else _VISIBLE.get(told.lower(), -1)
    if visible == -1:
        refuse(where, f"has a visibility of {told!r}", "Write 0 where absent, 1 where hidden, 2 where visible.")
    if x is None or y is None:
        if visible and told not in ("false", "False", "no"):
            refuse(where, f"has a visibility of {told} and no place", "Write its x and y, or the visibility 0.")
        return None
    if visible == 0:
        fix = "Visibility is 0 absent, 1 hidden, 2 visible: write 1 where it is hidden, and no x and y where absent."
        refuse(where, "has a place and a visibility of 0", fix)
    return Landmark(x, y, VISIBLE if visible is None else visible)


def _entry(
    path: Path, folders: Sequence[Path | None], known: tuple[tuple[str, ...], frozenset[str]], key: _Key, one: _Told
) -> LandmarkEntry:
    """The landmarks of one image, or of one person or animal in it."""
    (names, alone), where, last = known, f"{path} line {one.line}", last_part(key.file)
    file = find_image(key.file, folders, where) if last not in alone else _find(key.file, last, folders, where)
    try:
        return make_entry(file, names, one.places, individual=key.individual, **one.more)
    except DataError as problem:
        message, _, fix = str(problem).partition(". ")
        refuse(where, message.partition(": ")[2], fix)


def _find(name: str, last: str, folders: Sequence[Path | None], where: str) -> Path:
    """The image of a path, or of its last part."""
    try:
        return find_image(name, folders, where)
    except FindingError:
        if last == name:
            raise
        return find_image(last, folders, where)


def write_landmark_csv(path: Path, table: LandmarkTable, files: Mapping[Path, str]) -> None:
    """Write a row for each entry, which `read_landmark_csv` reads back as it was.

    Args:
        path: the file.
        table: what to write.
        files: what each image is called in it.

    Raises:
        DataError: if a landmark is called as a column that is needed for something else.
    """
    several = any(entry.individual for entry in table.entries)
    boxes = any(entry.box is not None for entry in table.entries)
    centers = any(entry.center is not None for entry in table.entries)
    for word, used in (("box", boxes), ("center", centers)):
        if used and word in table.names:
            raise DataError(f"the landmark {word!r} is called as a column that tells where a person is. Rename it.")
    header = ["file", *(["individual"] if several or centers else [])]
    header += [f"{name}_{column}" for name in table.names for column in ("x", "y", "visible")]
    header += ["center_x", "center_y"] if centers else []
    header += ["box_x", "box_y", "box_width", "box_height"] if boxes else []
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        for entry in table.entries:
            row = [files[entry.file], *([entry.individual] if several or centers else [])]
            for (x, y), visible in zip(entry.points.tolist(), entry.visibility.tolist(), strict=True):
                row += [_text(x), _text(y), str(visible)] if visible else ["", "", "0"]
            row += _cells(entry.center, 2) if centers else []
            row += _cells(entry.box, 4) if boxes else []
            writer.writerow(row)


def _cells(values: Any, count: int) -> Iterator[str]:
    yield from ([""] * count if values is None else map(_text, values.tolist()))


def _text(number: float) -> str:
    """The shortest text that is read as the same number."""
    return str(int(number)) if number.is_integer() else repr(number)


LANDMARK_CSV = LandmarkFormat("landmark table (CSV)", lambda path: bool(_tables(path)), _read)
