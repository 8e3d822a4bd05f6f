"""Damaged files, false headers and what is no file: an error that names it, before memory or time is spent."""

import io
import os
import socket
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from atrous.data import FolderDataset, check_folder, open_folder
from atrous.errors import DataError
from atrous.images import formats, limits, open_source, read_image, read_info, read_mask, read_window, source
from atrous.images.files import read_mask_window
from atrous.images.jpeg import check_jpeg
from tests.images.writers import HEIGHT, WIDTH, WRITERS
from tests.networks import made_image

LAST = slice(50, 60), slice(50, 60)


@pytest.fixture
def smooth():
    return cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), (0, 0), 3)


@pytest.mark.parametrize("layout", [{"tile": (16, 16)}, {"rowsperstrip": 16}])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd", "lerc", "jpeg"])
@pytest.mark.parametrize("left", [0.5, 0, -1])
def test_a_tile_beyond_the_end_of_the_file_is_no_empty_tile(tmp_path, smooth, layout, compression, left):
    """Its window was zeros, and a mask's was background."""
    tifffile.imwrite(tmp_path / "a.tif", smooth, photometric="rgb", compression=compression, **layout)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        start, length = tif.pages[0].dataoffsets[-1], tif.pages[0].databytecounts[-1]
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: int(start + (length * left if left > 0 else left))])
    for read in (lambda path: read_window(path, *LAST), lambda path: read_mask_window(path, *LAST), read_image):
        with pytest.raises(DataError, match=r"cut\.tif: cannot be read as an image: "):
            read(tmp_path / "cut.tif")
    assert read_window(tmp_path / "a.tif", *LAST).array.shape == (10, 10, 3)


def damaged(data: bytes, seed: int) -> bytes:
    """One byte of the coded pixels changed."""
    rng, start = np.random.default_rng(seed), data.find(b"\xff\xda") + 20
    place = start + int(rng.integers(0, len(data) - start - 10))
    return data[:place] + bytes([data[place] ^ int(rng.integers(1, 255))]) + data[place + 1 :]


def jpeg(image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(64, 64), (37, 41), (1, 1)])
def test_sound_jpegs_are_sound(smooth, progressive, mode, size):
    image = Image.fromarray(smooth[: size[0], : size[1]]).convert(mode)
    for options in ({}, {"restart_marker_blocks": 3}, {"optimize": True}):
        for subsampling in (0, 1, 2) if mode == "RGB" else (-1,):
            assert check_jpeg(jpeg(image, progressive=progressive, subsampling=subsampling, **options)) == ""


def outcome(read, path) -> tuple[object, str]:
    """What is read, or the error's text."""
    try:
        return read(path), ""
    except DataError as problem:
        return None, str(problem)


def libjpeg_warns(data: bytes, capfd) -> bool:
    cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return "Corrupt JPEG data" in capfd.readouterr().err


@pytest.mark.parametrize("progressive", [False, True])
def test_what_libjpeg_says_to_nobody_is_said_with_the_files_name(tmp_path, smooth, capfd, progressive):
    """OpenCV 5.0 and Pillow 13 give a picture; libjpeg-turbo writes a line to stderr."""
    data = jpeg(Image.fromarray(np.tile(smooth, (3, 3, 1))), progressive=progressive)
    refused = told = 0
    for seed in range(60):
        bad = damaged(data, seed)
        warned = libjpeg_warns(bad, capfd)
        (tmp_path / f"{seed}.jpg").write_bytes(bad)
        odd, error = outcome(lambda path: read_image(path).odd, tmp_path / f"{seed}.jpg")
        assert not error or f"{seed}.jpg: cannot be read as an image: " in error
        refused += bool(error)
        told += bool(odd)
        assert progressive or bool(odd or error) == warned
        assert capfd.readouterr().err == ""
    assert refused + told > 1


def test_a_jpeg_that_ends_early_is_refused_before_it_is_decoded(tmp_path, smooth):
    data = jpeg(Image.fromarray(smooth))
    (tmp_path / "short.jpg").write_bytes(data[:-300] + b"\xff\xd9")
    with pytest.raises(DataError, match=r"short\.jpg: cannot be read as an image: its JPEG data ends before the image"):
        read_image(tmp_path / "short.jpg")
    start = data.find(b"\xff\xc0")  # its frame says 65500 x 65500
    (tmp_path / "huge.jpg").write_bytes(data[: start + 5] + struct.pack(">HH", 65500, 65500) + data[start + 9 :])
    with pytest.raises(DataError, match=r"huge\.jpg: (cannot be read as an image: its JPEG data ends|declares 65500)"):
        read_image(tmp_path / "huge.jpg")


def odd_jpeg(smooth) -> bytes:
    """Of which all can be read, and something is left over."""
    data = jpeg(Image.fromarray(smooth))
    for seed in range(200):
        bad = damaged(data, seed)
        if outcome(check_jpeg, bad)[0]:
            return bad
    raise AssertionError("no damage of this kind")


def test_what_is_odd_is_told_by_check_train_and_predict(tmp_path, smooth, caplog):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for number in range(3):
        (tmp_path / f"images/{number}.jpg").write_bytes(
            odd_jpeg(smooth) if number == 1 else jpeg(Image.fromarray(smooth // (number + 1)))
        )
        Image.fromarray((smooth[..., 0] > 127).astype(np.uint8)).save(tmp_path / f"masks/{number}.png")
    wanted = "1.jpg: its JPEG data goes on after the image ends, so a part of it may be damaged"
    assert [finding.code for finding in check_folder(tmp_path, val_fraction=0).findings] == ["odd_file"]
    assert wanted in str(check_folder(tmp_path, val_fraction=0))
    data = FolderDataset(open_folder(tmp_path, val_fraction=0), "train")
    for read in (lambda: [data[index] for index in range(3)], lambda: open_source(tmp_path / "images/1.jpg").whole()):
        source._told.clear()
        caplog.clear()
        read()
        read()
        assert [wanted in record.getMessage() for record in caplog.records] == [True]


def test_a_jpeg_in_a_tiff_is_looked_at_too(tmp_path, smooth):
    tifffile.imwrite(tmp_path / "a.tif", smooth, photometric="rgb", compression="jpeg", tile=(32, 32))
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        start, length = tif.pages[0].dataoffsets[1], tif.pages[0].databytecounts[1]
    data = (tmp_path / "a.tif").read_bytes()
    found = 0
    for back in range(20, 140, 4):
        place = start + length - back
        bad = data[:place] + bytes([data[place] ^ 0x5A]) + data[place + 1 :]
        (tmp_path / "bad.tif").write_bytes(bad)
        for read in (read_image, lambda path: read_window(path, slice(0, 20), slice(40, 60))):
            _, error = outcome(read, tmp_path / "bad.tif")
            assert not error or "bad.tif: cannot be read as an image" in error
            found += bool(error)
        assert read_window(tmp_path / "bad.tif", slice(0, 20), slice(0, 20)).array.shape == (20, 20, 3)
    assert found >= 10
    assert found % 2 == 0  # whole and by windows alike


def test_a_file_of_an_ome_tiff_set_is_missing(tmp_path, capfd):
    """tifffile 2026.3.3 gives zeros for it, with a line in its log."""
    array = made_image(HEIGHT, WIDTH, 3)
    path = WRITERS["ome-tiff set"](tmp_path / "a", array)
    for name in ("s0", "s1", "s2"):
        np.testing.assert_array_equal(read_image(tmp_path / f"{name}.ome.tif").array, array)
        part = read_window(tmp_path / f"{name}.ome.tif", slice(9, 30), slice(4, 50)).array
        np.testing.assert_array_equal(part, array[9:30, 4:50])
    (tmp_path / "s2.ome.tif").unlink()
    for read in (read_info, read_image, lambda path: read_window(path, slice(9, 30), slice(4, 50))):
        with pytest.raises(
            DataError, match=r"s1\.ome\.tif: .*channels of it are in other files of its set, and not all"
        ):
            read(path)
    assert capfd.readouterr().err == ""


# Headers that declare what is not there


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_small_png_that_declares_a_huge_size(tmp_path):
    for width, height, depth, color in ((60000, 60000, 8, 6), (2**31 - 1, 2**31 - 1, 8, 2), (60000, 60000, 1, 0)):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
        body = chunk(b"IDAT", zlib.compress(bytes(10)))
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b""))
        message = (
            rf"a\.png: .*declares {height} x {width} pixels, more than its {len(body) - 12} bytes of pixels can be"
        )
        for read in (read_info, read_image, read_mask):
            with pytest.raises(DataError, match=message):
                read(tmp_path / "a.png")


def test_a_small_tiff_that_declares_a_huge_size(tmp_path, capfd):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64), np.uint8))
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        places = [tif.pages[0].tags[code].valueoffset for code in (256, 257)]
    for place in places:
        struct.pack_into("<I", data, place, 1_900_000)
    (tmp_path / "a.tif").write_bytes(data)
    for read in (read_info, read_image, read_mask, lambda path: read_window(path, *LAST)):
        with pytest.raises(
            DataError, match=r"a\.tif: .*its header declares 1900000 x 1900000 pixels in 29688 strips, not"
        ):
            read(tmp_path / "a.tif")
    assert capfd.readouterr().err == ""  # tifffile logs what it notices without a name


def test_a_zarr_larger_than_the_memory_is_read_by_windows_only(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(10**9, 10**9), chunks=(1000, 1000), dtype="u1")
    assert read_info(tmp_path / "a.zarr")[:2] == (10**9, 10**9)
    assert read_window(tmp_path / "a.zarr", *LAST).array.shape == (10, 10, 1)
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match=r"a\.zarr: declares 1000000000 x 1000000000 numbers, which take .* PB"):
            read(tmp_path / "a.zarr")


def test_the_limit_is_the_memory_that_is_free(tmp_path, monkeypatch):
    """Pillow's limit of 179 million pixels, and its words about an attack, are not ours."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    picture = made_image(45, 61, 3)
    for name in ("a.jpg", "a.bmp", "a.gif", "a.webp"):
        Image.fromarray(picture).save(tmp_path / name)
        assert read_image(tmp_path / name).array.shape == (45, 61, 3)
        assert read_info(tmp_path / name)[:2] == (45, 61)
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "print.jpg")
    Image.fromarray(picture[..., 0] // 64).convert("P").save(tmp_path / "few.png", bits=2)
    Image.fromarray(picture[..., 0] > 99).save(tmp_path / "bits.tif", compression="group4")
    for name in ("print.jpg", "few.png", "bits.tif"):
        assert read_image(tmp_path / name).array.shape[:2] == read_info(tmp_path / name)[:2] == (45, 61)
        assert name == "print.jpg" or read_mask(tmp_path / name).shape == (45, 61)
    assert Image.MAX_IMAGE_PIXELS == 100
    monkeypatch.setattr(limits, "_SMALL", 1000)
    monkeypatch.setattr(limits, "free_memory", lambda: 5000)
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="rgb", tile=(16, 16))
    np.save(tmp_path / "a.npy", picture)
    for name in ("a.jpg", "a.tif", "a.npy", "a.webp"):
        message = (
            rf"{name}: declares 45 x 61 x 3 numbers, which take .* GB, and 5e-06 GB of memory are free\. If that is"
        )
        with pytest.raises(DataError, match=message):
            read_image(tmp_path / name)
    assert read_window(tmp_path / "a.tif", slice(0, 16), slice(0, 16)).array.shape == (16, 16, 3)


def test_pngs_larger_than_opencv_takes(tmp_path, monkeypatch):
    """From 2^30 pixels on Pillow reads what it keeps the bits of."""
    monkeypatch.setattr(formats, "_OPENCV", 100)
    grey = made_image(45, 61, 1)[..., 0]
    Image.fromarray(grey > 99).save(tmp_path / "1.png")
    Image.fromarray(grey.astype(np.uint16) * 200).save(tmp_path / "16.png")
    np.testing.assert_array_equal(read_image(tmp_path / "1.png").array[..., 0], (grey > 99) * np.uint8(255))
    np.testing.assert_array_equal(read_mask(tmp_path / "1.png"), grey > 99)
    np.testing.assert_array_equal(read_image(tmp_path / "16.png").array[..., 0], grey.astype(np.uint16) * 200)
    cv2.imwrite(str(tmp_path / "3.png"), made_image(45, 61, 3).astype(np.uint16) * 200)
    with pytest.raises(
        DataError, match=r"3\.png: .*16 bits of several channels are read up to 2\^30 pixels; write it as"
    ):
        read_image(tmp_path / "3.png")


@pytest.mark.parametrize(
    "shape", [b"(1000000000, 1000000000)", b"(-5, 8)", b"(6.5, 8)", b"__import__('os')", b"((((", b"(0, 8)", b"(48,)"]
)
def test_damaged_headers_of_numpy_files(tmp_path, shape):
    head = b"{'descr': '|u1', 'fortran_order': False, 'shape': " + shape + b", }"
    head = head.ljust(117) + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + bytes(48))
    for read in (read_info, read_image, read_mask):
        with pytest.raises(DataError, match=r"a\.npy: "):
            read(tmp_path / "a.npy")
    with pytest.raises(DataError, match=r"the bytes: "):
        open_source((tmp_path / "a.npy").read_bytes())


@pytest.mark.parametrize("kept", [0, 3, 6, 9, 40, 130])
def test_numpy_files_that_are_cut_off_or_empty(tmp_path, kept):
    np.save(tmp_path / "a.npy", np.zeros((6, 8), np.uint8))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:kept])
    for read in (read_info, read_image, read_mask):
        with pytest.raises(DataError, match=r"a\.npy: cannot be read as an image"):
            read(tmp_path / "a.npy")


# What is no file


def test_pipes_and_sockets_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    held = socket.socket(socket.AF_UNIX)
    held.bind(os.path.relpath(tmp_path / "b.png"))
    for name, kind in (("a.png", "pipe"), ("b.png", "socket")):
        for read in (read_info, read_image, read_mask):
            with pytest.raises(DataError, match=rf"{name}: is a {kind}, and no file\. Take it out"):
                read(tmp_path / name)
    held.close()


def test_names_that_are_no_text_are_read_and_told(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        Image.fromarray(made_image(6, 8, 3)).save(tmp_path / "a.png")
        (tmp_path / "a.png").rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes text alone")
    assert read_image(tmp_path / name).array.shape == (6, 8, 3)
    (tmp_path / name).write_bytes(b"none")
    with pytest.raises(DataError, match=r"caf\\xe9\.png: cannot be read as an image") as problem:
        read_image(tmp_path / name)
    str(problem.value).encode()  # it can be printed


# Blocks beside the pixels


@pytest.mark.parametrize("place", [0, 4, 8])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_exif_block_does_not_make_pixels_unreadable(tmp_path, place, form, recwarn):
    exif = Image.Exif()
    exif[0x0112] = 6
    block = bytearray(exif.tobytes())
    block[6 + place : 10 + place] = b"\xff\xff\xff\xff"
    path = tmp_path / f"a.{form.lower()}"
    Image.fromarray(made_image(6, 8, 3)).save(path, form, exif=bytes(block))
    assert read_info(path)[:2] == read_image(path).array.shape[:2]
    assert not [told for told in recwarn if "EXIF" in str(told.message)]


@pytest.mark.parametrize("nodata", ["none", "", "abc", "-9999,5", "0 0", "nan", "1e400"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_nodata_tag_that_is_no_number_says_nothing(tmp_path, nodata, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((6, 8), dtype), extratags=[(42113, "s", 0, nodata, True)])
    assert read_image(tmp_path / "a.tif").valid is None
