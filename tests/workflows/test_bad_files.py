"""One bad file stops neither a batch nor the doctor: all others are done, and each bad one is named."""

import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from atrous import cli
from atrous.errors import DataError
from atrous.workflows import check, convert, predict


def png_header(width, height):
    """A PNG that ends after its header."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def npy_header(text):
    """A NumPy file whose header says this, and that ends there."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


BAD = {
    "empty.npy": b"",
    "empty.png": b"",
    "empty.tif": b"",
    "text.jpg": b"this is no image",
    "zeros.tif": bytes(500),
    "cut.png": png_header(20, 10),
    "huge.png": png_header(2_000_000_000, 2_000_000_000),
    "huge.npy": npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000000000), }\n"),
    "odd.npy": npy_header("{'descr': '<f8', 'shape': (3,"),
    "objects.npy": npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }\n"),
}


@pytest.fixture
def spoiled(data, tmp_path):
    """The images of the data, and bad ones among them, first, between and last."""
    folder = tmp_path / "images"
    shutil.copytree(data / "images", folder)
    for number, (name, content) in enumerate(BAD.items()):
        (folder / f"{'a' if number % 2 else 'z'}_{number}{name}").write_bytes(content)
    array = np.zeros((72, 88), np.uint8)
    np.save(folder / "m_cut.npy", array)
    (folder / "m_cut.npy").write_bytes((folder / "m_cut.npy").read_bytes()[:-1000])
    return folder


def bad_in(folder):
    return [path.name for path in folder.iterdir() if path.name[:2] in ("a_", "z_", "m_")]


def test_predict_goes_on_and_names_each(run, data, spoiled, tmp_path, capsys):
    assert cli.main(["predict", str(run), str(spoiled), "-o", str(tmp_path / "masks")]) == 2
    done = {path.stem for path in (tmp_path / "masks").iterdir()}
    assert {path.stem for path in (data / "images").iterdir()} <= done
    err = capsys.readouterr().err
    missing = [name for name in bad_in(spoiled) if name not in err]
    assert not missing, f"{missing} in {err}"
    assert "Traceback" not in err


def test_predict_raises_after_all_others_are_done(run, spoiled, tmp_path):
    with pytest.raises(DataError, match=rf"{len(bad_in(spoiled))} of \d+ images could not be segmented"):
        predict(run, spoiled, tmp_path / "masks")


def test_the_doctor_names_each(data, spoiled, tmp_path):
    shutil.copytree(data / "masks", tmp_path / "masks")
    mask = next((data / "masks").iterdir())
    for name in bad_in(spoiled):
        shutil.copyfile(mask, tmp_path / "masks" / f"{Path(name).stem}.png")
    report = check(tmp_path)
    told = " ".join(str(finding) for finding in report.errors)
    assert not [name for name in bad_in(spoiled) if name not in told]


def test_conversion_names_each(data, spoiled, tmp_path):
    names, bad = sorted(path.name for path in spoiled.iterdir()), bad_in(spoiled)
    shape = {
        "label": "cell",
        "points": [[1, 1], [9, 1], [9, 9]],
        "shape_type": "polygon",
        "group_id": None,
        "flags": {},
    }
    for name in names:
        table = {"shapes": [shape], "imagePath": name, "imageData": None, "imageHeight": 72, "imageWidth": 88}
        (spoiled / f"{name}.json").write_text(json.dumps(table))
    with pytest.raises(DataError) as told:
        convert(spoiled, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    first, *lines = str(told.value).splitlines()
    assert first == f"{len(bad)} entries cannot be converted:"
    assert sorted(line.partition(":")[0].rpartition("/")[2] for line in lines) == sorted(bad)
