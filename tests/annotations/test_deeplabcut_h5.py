"""DeepLabCut's H5: frames as pandas 3.1.1 writes them (checked against its own files), and what is refused."""

import pickle
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from atrous.annotations.deeplabcut import read_deeplabcut
from atrous.annotations.deeplabcut_h5 import read_frame
from atrous.annotations.parsing import Gathered
from atrous.errors import DataError
from atrous.images.files import write_image

COLUMNS = [("Ann", part, axis) for part in ("snout", "left ear", "tail") for axis in "xy"]
ROWS = [("labeled-data", "vid", f"img{number}.png") for number in range(3)]
VALUES = np.arange(18.0).reshape(3, 6) + 0.25
VALUES[1, 2:4] = np.nan


def labels(group: h5py.Group, axis: str, tuples: list[tuple[str, ...]]) -> None:
    """Labels of several levels: the texts of each in order, and their numbers."""
    group.attrs[f"{axis}_variety"] = np.bytes_(b"multi")
    group.attrs[f"{axis}_nlevels"] = len(tuples[0])
    for level, names in enumerate(zip(*tuples, strict=True)):
        known = sorted(set(names))
        group[f"{axis}_level{level}"] = np.array([name.encode() for name in known])
        group[f"{axis}_label{level}"] = np.array([known.index(name) for name in names], np.int8)


def fixed(path: Path, *, flat: bool = False, blocks: int = 1) -> Path:
    """The form "fixed"; pandas keeps columns of one type in a block, so that files of two blocks exist too."""
    with h5py.File(path, "w") as file:
        group = file.create_group("df_with_missing")
        group.attrs["pandas_type"] = np.bytes_(b"frame")
        group.attrs["nblocks"] = blocks
        labels(group, "axis0", COLUMNS)
        if flat:
            group.attrs["axis1_variety"] = np.bytes_(b"regular")
            group["axis1"] = np.array(["/".join(row).encode() for row in ROWS])
        else:
            labels(group, "axis1", ROWS)
        for block in range(blocks):
            mine = slice(block, None, blocks)
            labels(group, f"block{block}_items", COLUMNS[mine])
            group[f"block{block}_values"] = VALUES[:, mine]
    return path


def table(path: Path, kind: object = COLUMNS) -> Path:
    """The form "table", whose columns' labels are a pickle."""
    with h5py.File(path, "w") as file:
        group = file.create_group("df_with_missing")
        group.attrs["pandas_type"] = np.bytes_(b"frame_table")
        group.attrs["non_index_axes"] = np.bytes_(pickle.dumps([(1, kind)], 0))
        data = np.zeros(3, [("index", "S25"), ("values_block_0", "<f8", (6,))])
        data["index"] = ["/".join(row).encode() for row in ROWS]
        data["values_block_0"] = VALUES
        group["table"] = data
        group["table"].attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(COLUMNS, 0))
    return path


@pytest.mark.parametrize("kind", ["three levels", "flat", "two blocks", "table"])
def test_every_form_gives_the_same_points(tmp_path, kind):
    file = tmp_path / "CollectedData_Ann.h5"
    if kind == "table":
        table(file)
    else:
        fixed(file, flat=kind == "flat", blocks=2 if kind == "two blocks" else 1)
    for number in range(3):
        image = tmp_path / f"labeled-data/vid/img{number}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        write_image(image, np.zeros((40, 40), np.uint8))
    gathered = Gathered()
    found = read_deeplabcut([file], tmp_path, None, gathered)
    assert not gathered.findings
    assert found.names == ("snout", "left ear", "tail")
    assert [entry.file.name for entry in found.entries] == ["img0.png", "img1.png", "img2.png"]
    np.testing.assert_array_equal(np.stack([entry.points for entry in found.entries]), VALUES.reshape(3, 3, 2))
    assert found.entries[1].visibility.tolist() == [2, 0, 2]


def test_a_pickle_that_makes_anything_else_is_not_opened(tmp_path):
    file = table(tmp_path / "a.h5", kind=Path("never made"))
    with pytest.raises(DataError, match=r"as a table of pandas \(its labels are of the type pathlib"):
        read_frame(file)


def test_two_tables_and_a_missing_library_are_told(tmp_path, monkeypatch):
    file = fixed(tmp_path / "a.h5")
    with h5py.File(file, "a") as opened:
        opened.create_group("more").attrs["pandas_type"] = np.bytes_(b"frame")
    with pytest.raises(DataError, match="holds 2 tables of pandas, and one is needed"):
        read_frame(file)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"h5py is not installed\. Run `pip install 'atrous\[deeplabcut\]'`"):
        read_frame(file)
