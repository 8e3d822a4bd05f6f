"""The one form of HDF5 in which DeepLabCut keeps its tables: a data frame that pandas wrote, without pandas.

pandas writes a frame in two ways. "fixed": the values as an array in blocks, the labels of rows and columns as levels
and numbers of levels. "table": a compound with the values, the columns' labels as a pickle of tuples and texts, which
is read by an unpickler that makes nothing else. `h5py` is needed: `pip install 'atrous[deeplabcut]'`.
"""

import io
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from atrous.annotations.parsing import refuse

__all__ = ["Frame", "read_frame"]


class Frame(NamedTuple):
    """A table: labels of its columns and of its rows, each of one level or several; (R, C) float64, NaN where empty."""

    columns: list[tuple[str, ...]]
    rows: list[tuple[str, ...]]
    values: np.ndarray


def read_frame(path: Path) -> Frame:
    """Read the only frame of a file.

    Raises:
        FindingError: if `h5py` is not installed, or the file holds something else.
    """
    try:
        import h5py
    except ImportError:
        fix = "Run `pip install 'atrous[deeplabcut]'`, or use the CSV beside it."
        refuse(path, "is an HDF5 file, and h5py is not installed", fix)
    try:
        with h5py.File(path, "r") as file:
            groups = [group for group in file.values() if "pandas_type" in group.attrs]
            if len(groups) != 1:
                refuse(path, f"holds {len(groups)} tables of pandas, and one is needed", "Use the CSV beside it.")
            kind = _text(groups[0].attrs["pandas_type"])
            return _table(groups[0]) if kind == "frame_table" else _fixed(groups[0])
    except (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError, pickle.UnpicklingError) as problem:
        text = " ".join(str(problem).split()) or type(problem).__name__
        refuse(path, f"cannot be read as a table of pandas ({text})", "Use the CSV beside it, or export it again.")


def _fixed(group: Any) -> Frame:
    columns, rows = _labels(group, "axis0"), _labels(group, "axis1")
    values = np.full((len(rows), len(columns)), np.nan)
    at = {column: number for number, column in enumerate(columns)}
    for block in range(int(group.attrs["nblocks"])):
        items = _labels(group, f"block{block}_items")
        data = np.asarray(group[f"block{block}_values"], np.float64)
        values[:, [at[item] for item in items]] = data
    return Frame(columns, rows, values)


def _labels(group: Any, axis: str) -> list[tuple[str, ...]]:
    """The labels of an axis."""
    if _text(group.attrs[f"{axis}_variety"]) != "multi":
        return [(label,) for label in _texts(group[axis])]
    levels = []
    for level in range(int(group.attrs[f"{axis}_nlevels"])):
        names = _texts(group[f"{axis}_level{level}"])
        numbers = np.asarray(group[f"{axis}_label{level}"]).tolist()
        levels.append([names[number] if number >= 0 else "" for number in numbers])
    return list(zip(*levels, strict=True))


def _table(group: Any) -> Frame:
    table = group["table"][()]
    columns = [tuple(map(str, label)) for label in _unpickled(group.attrs["non_index_axes"])[0][1]]
    names = [name for name in table.dtype.names if name.startswith("values_block_")]
    labels = [tuple(map(str, label)) for name in names for label in _unpickled(group["table"].attrs[f"{name}_kind"])]
    data = np.concatenate([np.asarray(table[name], np.float64).reshape(len(table), -1) for name in names], axis=1)
    at = {label: number for number, label in enumerate(labels)}
    return Frame(columns, [(label,) for label in _texts(table["index"])], data[:, [at[column] for column in columns]])


class _Plain(pickle.Unpickler):
    """Makes lists, tuples, texts and numbers, and nothing that has a class of its own."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"its labels are of the type {module}.{name}")


def _unpickled(attribute: Any) -> Any:
    data = attribute if isinstance(attribute, bytes) else bytes(attribute)
    return _Plain(io.BytesIO(data)).load()


def _texts(data: Any) -> list[str]:
    array = np.asarray(data)
    if array.dtype.kind not in "SU":
        raise TypeError(f"labels are {array.dtype}, and texts are needed")
    return [_text(label) for label in array.tolist()]


def _text(label: Any) -> str:
    return label.decode("utf-8") if isinstance(label, bytes) else str(label)
