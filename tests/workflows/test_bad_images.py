"""One bad image stops no batch, whatever is wrong with it, and each is named."""

import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from atrous import workflows
from atrous.bundle import save_bundle
from atrous.errors import AtrousError
from atrous.models import create_model
from tests.networks import made_image


@pytest.fixture
def bundle(tmp_path):
    model = create_model("unet2015", num_classes=2, in_channels=3, width=2)
    return save_bundle(tmp_path / "bundle", model, task="segmentation", class_names=("a", "b"))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def write_files(folder) -> set[str]:
    """A good image, and bad ones, whose names are returned."""
    folder.mkdir()
    Image.fromarray(made_image(24, 32, 3)).save(folder / "good.png")
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 6, 0, 0, 0))
    huge = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    tifffile.imwrite(folder / "cut.tif", made_image(64, 64, 3), photometric="rgb", tile=(16, 16))
    (folder / "cut.tif").write_bytes((folder / "cut.tif").read_bytes()[:-900])
    bad = {"huge.png": huge, "empty.jpg": b"", "text.tif": b"II*\0hello", "none.tif": b"II*\0"}
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    os.mkfifo(folder / "pipe.png")
    return {"cut.tif", *bad}


def write_arrays(folder) -> set[str]:
    folder.mkdir()
    np.save(folder / "good.npy", made_image(24, 32, 3))
    for name, data in {"empty.npy": b"", "cut.npy": b"\x93NUMPY\1\0"}.items():
        (folder / name).write_bytes(data)
    zarr.create_array(folder / "huge.zarr", shape=(10**9, 10**9, 3), chunks=(1000, 1000, 3), dtype="u1")
    return {"empty.npy", "cut.npy", "huge.zarr"}


@pytest.mark.parametrize("write", [write_files, write_arrays])
def test_a_prediction_goes_on_and_names_them(bundle, tmp_path, write):
    """A Zarr of 10^18 pixels ended the batch with "not enough memory"."""
    bad = write(tmp_path / "images")
    with pytest.raises(AtrousError) as problem:
        workflows.predict(bundle, tmp_path / "images", tmp_path / "out", device="cpu")
    assert f"{len(bad)} of {len(bad) + 1} images could not be segmented" in str(problem.value)
    assert (tmp_path / "out/good.png").is_file()
    for name in bad:
        with pytest.raises(AtrousError, match=name):
            workflows.predict(bundle, tmp_path / "images" / name, tmp_path / "out2", device="cpu")


def test_names_that_are_no_text_get_masks_and_counts(bundle, tmp_path):
    (tmp_path / "images").mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    try:
        Image.fromarray(made_image(24, 32, 3)).save(tmp_path / "images/a.png")
        (tmp_path / "images/a.png").rename(tmp_path / "images" / name)
    except OSError:
        pytest.skip("this file system takes text alone")
    for _ in range(2):  # the second time its lines are made anew
        workflows.predict(bundle, tmp_path / "images", tmp_path / "out", device="cpu")
        assert (tmp_path / "out" / name).is_file()
        lines = (tmp_path / "out/counts.csv").read_text("utf-8").splitlines()
        assert [line.split(",")[0] for line in lines[1:]] == ["caf\\xe9.png"] * 2
