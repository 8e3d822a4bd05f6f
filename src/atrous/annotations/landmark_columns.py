"""What the columns of a CSV table of landmarks mean, by their names in its first line."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from atrous.annotations.parsing import refuse

__all__ = ["Columns", "find_columns", "has_coordinates"]

_FILES = ("file", "filename", "file_name", "image", "image_name", "image_path", "imagepath", "img", "path", "filepath")
_NAMES = ("name", "landmark", "keypoint", "bodypart", "part", "label", "point")
_INDIVIDUALS = ("individual", "animal", "person", "subject_id", "instance")
_VISIBLE = ("visible", "visibility", "vis", "v")

_SUFFIX = re.compile(r"(?P<name>.+)[_. :/-](?P<axis>[xyXY])")
_CAPITAL = re.compile(r"(?P<name>.*[a-z0-9])(?P<axis>[XY])")
_PREFIX = re.compile(r"(?P<axis>[xyXY])(?:[_. :-](?P<name>.+)|(?P<digits>\d+))")
_SEEN = re.compile(r"(?P<name>.+)[_. :/-](?P<word>visible|visibility|vis|v)", re.IGNORECASE)
_SEEN_FIRST = re.compile(r"(?P<word>visible|visibility|vis|v)(?:[_. :-](?P<name>.+)|(?P<digits>\d+))", re.IGNORECASE)
_BOX = (("x",), ("y",), ("width", "w"), ("height", "h"))


class Columns(NamedTuple):
    """The columns of a table, by number.

    Attributes:
        file: of the image.
        name: of the landmark's name, where each has a row; else None.
        names: of the landmarks, where an image has a row; else none.
        points: for each landmark of a row x, y, and visibility or None.
        individual: of who it is, or None.
        center: x and y, or ().
        box: x, y, width, height, or ().
        unknown: names of columns that are nothing of the above.
    """

    file: int
    name: int | None
    names: tuple[str, ...]
    points: tuple[tuple[int, int, int | None], ...]
    individual: int | None
    center: tuple[int, ...]
    box: tuple[int, ...]
    unknown: tuple[str, ...]


def has_coordinates(header: Sequence[str]) -> bool:
    """Whether the cells of a first line name x and y of something, though not of what they should.

    Example:
        >>> has_coordinates(["image", "nose_x", "nose_y"]), has_coordinates(["id", "mean x", "label"])
        (True, False)
    """
    lower = {cell.strip().lower() for cell in header}
    found = [match for cell in header if (match := _coordinate(cell.strip()))]
    return {"x", "y"} <= ({match["axis"].lower() for match in found} | ({"x", "y"} & lower))


def _coordinate(cell: str) -> re.Match[str] | None:
    return _SUFFIX.fullmatch(cell) or _CAPITAL.fullmatch(cell) or _PREFIX.fullmatch(cell)


def find_columns(header: Sequence[str], where: object) -> Columns:
    """Tell what each column is.

    Args:
        header: the cells of the first line.
        where: the place of that line, for messages.

    Raises:
        FindingError: if there is no landmark in them, or one coordinate of it alone.
    """
    lower = [cell.strip().lower() for cell in header]
    if twice := next((cell for cell in lower if cell and lower.count(cell) > 1), None):
        refuse(where, f"names the column {twice!r} twice", "Give every column a name of its own.")
    if lower and lower[0] == "scorer":
        fix = "Name it CollectedData_SCORER.csv, as DeepLabCut does, or say layout deeplabcut."
        refuse(where, "begins a table of DeepLabCut", fix)
    individual = _first(lower, _INDIVIDUALS)
    name = _first(lower, _NAMES)
    if {"x", "y"} <= set(lower) and name is not None:
        points = ((lower.index("x"), lower.index("y"), _first(lower, _VISIBLE)),)
        return _columns(header, lower, name, (), points, individual, where)
    axes: dict[str, dict[str, int]] = {}
    taken = {individual, *(_whole(lower, "box", _BOX))}
    taken |= set(_whole(lower, "center", _BOX[:2])) if individual is not None else set()
    for number, cell in enumerate(header):
        found = _coordinate(cell)
        if found and number not in taken:
            parts = found.groupdict()
            axes.setdefault(parts["name"] or parts["digits"], {})[parts["axis"].lower()] = number
    for landmark, given in axes.items():
        if len(given) < 2:
            has, lacks = ("x", "y") if "x" in given else ("y", "x")
            refuse(
                where, f"has a column of {has} for {landmark!r}, and none of {lacks}", "Add it, or rename the column."
            )
    if not axes:
        fix = "Write: file,nose_x,nose_y,tail_x,tail_y; or file,name,x,y with a row for each landmark."
        refuse(where, f"names no landmark: {', '.join(header[:6])}", fix)
    seen = _seen(header, axes)
    wide = tuple((given["x"], given["y"], seen.get(landmark)) for landmark, given in axes.items())
    return _columns(header, lower, None, tuple(axes), wide, individual, where)


def _columns(
    header: Sequence[str],
    lower: Sequence[str],
    name: int | None,
    names: tuple[str, ...],
    points: tuple[tuple[int, int, int | None], ...],
    individual: int | None,
    where: object,
) -> Columns:
    center = _whole(lower, "center", _BOX[:2]) if individual is not None else ()
    box = _whole(lower, "box", _BOX)
    used = {individual, name, *center, *box, *(cell for point in points for cell in point)}
    file = _first(lower, _FILES)
    if file is None or file in used:
        file = next((number for number in range(len(header)) if number not in used), None)
    if file is None:
        refuse(where, "has no column for the image", "Name the first column 'file'.")
    unknown = tuple(cell for number, cell in enumerate(header) if number not in used and number != file and cell)
    return Columns(file, name, names, points, individual, center, box, unknown)


def _first(lower: Sequence[str], words: Sequence[str]) -> int | None:
    """The column of the first of several names."""
    return next((lower.index(word) for word in words if word in lower), None)


def _whole(lower: Sequence[str], word: str, parts: Sequence[Sequence[str]]) -> tuple[int, ...]:
    """The columns `word_x`, `word_y`, ...; none where one of them is missing."""
    found = [_first(lower, [f"{word}_{part}" for part in names]) for names in parts]
    return tuple(number for number in found if number is not None) if None not in found else ()


def _seen(header: Sequence[str], names: Sequence[str] | dict[str, dict[str, int]]) -> dict[str, int]:
    """The column of visibility of each landmark that has one."""
    found: dict[str, int] = {}
    for number, cell in enumerate(header):
        match = _SEEN.fullmatch(cell) or _SEEN_FIRST.fullmatch(cell)
        name = match and (match["name"] or match.groupdict().get("digits"))
        if name and name in names:
            found[name] = number
    return found
