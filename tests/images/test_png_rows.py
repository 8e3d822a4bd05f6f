"""PNGs whose rows are unfiltered here, against OpenCV and Pillow."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from atrous.errors import DataError
from atrous.images.files import read_image
from atrous.images.formats import decode_png


def png(array: np.ndarray, filters: list[int], color: int) -> bytes:
    """A PNG with these filters in turn, filtered as the specification says."""
    height, width, channels = array.shape
    rows = array.reshape(height, -1).astype(int)
    above, lines = np.zeros(width * channels, int), []
    for y, row in enumerate(rows):
        kind = filters[y % len(filters)]
        left, corner = (np.concatenate([np.zeros(channels, int), line[:-channels]]) for line in (row, above))
        if kind == 4:
            a, b, c = abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)
            guess = np.where((a <= b) & (a <= c), left, np.where(b <= c, above, corner))
        else:
            guess = {0: 0 * row, 1: left, 2: above, 3: (left + above) // 2}.get(kind, 0 * row)
        lines.append(bytes([kind]) + ((row - guess) % 256).astype(np.uint8).tobytes())
        above = row
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0))]
    chunks += [(b"PLTE", bytes(range(256)) * 3)] if color == 3 else []
    packed = zlib.compress(b"".join(lines))
    chunks += [(b"IDAT", packed[:40]), (b"IDAT", packed[40:]), (b"IEND", b"")]
    parts = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 1, 3, 0, 2]])
@pytest.mark.parametrize(("color", "channels"), [(0, 1), (2, 3), (3, 1), (4, 2), (6, 4)])
def test_every_filter_and_colour_type(tmp_path, filters, color, channels):
    array = np.random.default_rng(len(filters)).integers(0, 256, (23, 31, channels), np.uint8)
    (tmp_path / "a.png").write_bytes(png(array, filters, color))
    stored = decode_png(tmp_path / "a.png", indices=True)
    assert (stored.array == array).all()
    assert stored.alpha == (color in (4, 6))
    with Image.open(tmp_path / "a.png") as image:
        assert (np.atleast_3d(np.array(image)) == array).all()


@pytest.mark.parametrize("level", [0, 1, 9])
def test_what_opencv_and_pillow_write(tmp_path, level):
    array = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (64, 48, 3), np.uint8), (0, 0), 2)
    cv2.imwrite(str(tmp_path / "a.png"), array[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, level])
    Image.fromarray(array).save(tmp_path / "b.png", compress_level=level)
    for name in ("a.png", "b.png"):
        assert (read_image(tmp_path / name).array == array).all()


def test_a_filter_that_does_not_exist_is_told(tmp_path: Path):
    array = np.zeros((4, 5, 1), np.uint8)
    (tmp_path / "a.png").write_bytes(png(array, [9], 0))
    with pytest.raises(DataError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


def test_pixels_that_do_not_inflate_are_told(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    place = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[place - 4 : place])
    data[place + 4 + length // 2] ^= 0xFF
    data[place + 4 + length : place + 8 + length] = struct.pack(
        ">I", zlib.crc32(bytes(data[place : place + 4 + length]))
    )
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.png"):
        read_image(tmp_path / "a.png")
