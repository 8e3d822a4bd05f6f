"""The many ways in which Pillow, tifffile, GDAL and ImageJ write the same picture are read by one rule.

A picture of 4 x 6 pixels is stored in every way; what an image and what a mask must be is written out, not computed by
the reader. The rule stands in docs/data.md.
"""

import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from atrous.images import open_source, read_image, read_info, read_mask, read_window
from atrous.images.files import read_mask_window
from tests.networks import made_image

ROWS, COLUMNS = slice(1, 4), slice(2, 5)
LEVELS = np.array([[0, 1, 2, 3, 0, 1], [3, 2, 1, 0, 3, 2], [1, 1, 0, 0, 2, 2], [0, 3, 1, 2, 2, 0]])
PALETTE = [(0, 0, 0), (200, 10, 20), (7, 8, 9), (90, 0, 255)]
COLORS = np.array(PALETTE, np.uint8)[LEVELS]


def tiff(path, array, **options):
    tifffile.imwrite(path, array, **{"photometric": "minisblack", **options})


def png(path, bits: int):
    """A grey PNG of 1, 2 or 4 bits, which Pillow does not write."""
    rows = [
        b"\0" + int("".join(f"{v:0{bits}b}" for v in row).ljust(24, "0"), 2).to_bytes(3, "big")[: -(-6 * bits // 8)]
        for row in LEVELS % 2**bits
    ]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 6, 4, bits, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"".join(rows)))]
    parts = [
        struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in [*chunks, (b"IEND", b"")]
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def with_palette(path, form: str):
    image = Image.fromarray(LEVELS.astype(np.uint8))
    image.putpalette([number for color in PALETTE for number in color])
    image.save(path, form)


def bits_of(bits: int, white: bool = False):
    """A grey TIFF of some bits."""

    def write(path):
        kind = bool if bits == 1 else np.uint8 if bits <= 8 else np.uint16
        array = (LEVELS % 2 if bits == 1 else LEVELS).astype(kind)
        tiff(path, array, photometric="miniswhite" if white else "minisblack", bitspersample=bits)

    return write


def nodata(photometric: str, **options):
    def write(path):
        tags = [(42113, "s", 0, "3", True)]
        tiff(path, LEVELS.astype(np.uint8), photometric=photometric, extratags=tags, **options)

    return write


def colormap():
    colors = np.zeros((3, 256), np.uint16)
    colors[:, :4] = np.array(PALETTE, np.uint16).T * 257
    return colors


def alpha(corner: int):
    def write(path):
        channel = np.full((4, 6, 1), 255, np.uint8)
        channel[0, 0] = corner
        tiff(path, np.concatenate([COLORS, channel], 2), photometric="rgb", extrasamples=["unassalpha"])

    return write


def inner_mask(path):
    with tifffile.TiffWriter(path) as writer:
        writer.write(LEVELS.astype(np.uint8), photometric="minisblack", metadata=None)
        writer.write(LEVELS != 3, photometric=4, subfiletype=4, metadata=None)


def beside(path):
    tiff(path, LEVELS.astype(np.uint8))
    tifffile.imwrite(f"{path}.msk", (LEVELS != 3).astype(np.uint8) * 255)


def lerc(dtype):
    def write(path):
        array = LEVELS.astype(dtype)
        packed = bytes(imagecodecs.lerc_encode(array, masks=LEVELS != 3))
        tifffile.imwrite(
            path, iter([packed]), shape=array.shape, dtype=dtype, compression="lerc", rowsperstrip=4,
            photometric="minisblack",
        )  # fmt: skip

    return write


def imagej(path):
    tifffile.imwrite(path, np.stack([LEVELS, LEVELS + 9]).astype(np.uint16), imagej=True, metadata={"axes": "CYX"})


def lowest(dtype):
    def write(path):
        array = LEVELS.astype(dtype)
        array[LEVELS == 3] = np.finfo(dtype).min
        tiff(path, array)

    return write


G, W = np.array(LEVELS)[..., None], 3 - np.array(LEVELS)[..., None]
B = G % 2
TWO = np.concatenate([G, G + 9], 2)
HOLES = LEVELS != 3
CORNER = np.arange(24).reshape(4, 6) == 0

# name: (suffix, how it is written, the image's numbers, their type, which are valid, what a mask holds)
VARIANTS = {
    "1 bit PNG": ("png", lambda path: png(path, 1), B * 255, "uint8", None, LEVELS % 2),
    "2 bit PNG": ("png", lambda path: png(path, 2), G * 85, "uint8", None, LEVELS),
    "4 bit PNG": ("png", lambda path: png(path, 4), G * 17, "uint8", None, LEVELS),
    "1 bit TIFF": ("tif", bits_of(1), B * 255, "uint8", None, LEVELS % 2),
    "2 bit TIFF": ("tif", bits_of(2), G * 85, "uint8", None, LEVELS),
    "4 bit TIFF": ("tif", bits_of(4), G * 17, "uint8", None, LEVELS),
    "6 bit TIFF": ("tif", bits_of(6), G, "uint8", None, LEVELS),
    "8 bit TIFF": ("tif", bits_of(8), G, "uint8", None, LEVELS),
    "12 bit TIFF": ("tif", bits_of(12), G, "uint16", None, LEVELS),
    "16 bit TIFF": ("tif", bits_of(16), G, "uint16", None, LEVELS),
    "1 bit TIFF, 0 white": ("tif", bits_of(1, True), 255 - B * 255, "uint8", None, LEVELS % 2),
    "2 bit TIFF, 0 white": ("tif", bits_of(2, True), W * 85, "uint8", None, LEVELS),
    "4 bit TIFF, 0 white": ("tif", bits_of(4, True), 255 - G * 17, "uint8", None, LEVELS),
    "8 bit TIFF, 0 white": ("tif", bits_of(8, True), 255 - G, "uint8", None, LEVELS),
    "12 bit TIFF, 0 white": ("tif", bits_of(12, True), 4095 - G, "uint16", None, LEVELS),
    "16 bit TIFF, 0 white": ("tif", bits_of(16, True), 65535 - G, "uint16", None, LEVELS),
    "int32 TIFF": ("tif", lambda path: tiff(path, LEVELS.astype(np.int32)), G, "float32", None, LEVELS),
    "float32 TIFF, 0 white": (
        "tif", lambda path: tiff(path, LEVELS.astype(np.float32), photometric="miniswhite"), G, "float32", None, LEVELS
    ),
    "palette PNG": ("png", lambda path: with_palette(path, "PNG"), COLORS, "uint8", None, LEVELS),
    "palette GIF": ("gif", lambda path: with_palette(path, "GIF"), COLORS, "uint8", None, LEVELS),
    "palette BMP": ("bmp", lambda path: with_palette(path, "BMP"), COLORS, "uint8", None, LEVELS),
    "palette TIFF": ("tif", lambda path: with_palette(path, "TIFF"), COLORS, "uint8", None, LEVELS),
    "palette TIFF, nodata": ("tif", nodata("palette", colormap=colormap()), COLORS, "uint8", HOLES, LEVELS),
    "8 bit TIFF, nodata": ("tif", nodata("minisblack"), G, "uint8", HOLES, LEVELS),
    "8 bit TIFF, 0 white, nodata": ("tif", nodata("miniswhite"), 255 - G, "uint8", HOLES, LEVELS),
    "2 bit TIFF, nodata": ("tif", nodata("minisblack", bitspersample=2), G * 85, "uint8", HOLES, LEVELS),
    "lowest float32": ("tif", lowest("float32"), G, "float32", HOLES, None),
    "lowest float64": ("tif", lowest("float64"), G, "float32", HOLES, None),
    "constant alpha": ("tif", alpha(255), COLORS, "uint8", None, COLORS),
    "alpha of 0 and 255": ("tif", alpha(0), COLORS, "uint8", ~CORNER, COLORS),
    "inner mask": ("tif", inner_mask, G, "uint8", HOLES, LEVELS),
    "mask beside": ("tif", beside, G, "uint8", HOLES, LEVELS),
    "LERC mask of floats": ("tif", lerc("float32"), G, "float32", HOLES, None),
    "LERC mask of integers": ("tif", lerc("uint16"), G, "uint16", HOLES, None),
    "interleaved": ("tif", lambda path: tiff(path, COLORS, photometric="rgb"), COLORS, "uint8", None, COLORS),
    "planar": (
        "tif", lambda path: tiff(path, np.moveaxis(COLORS, 2, 0), photometric="rgb", planarconfig="separate"),
        COLORS, "uint8", None, COLORS,
    ),
    "planar in tiles": (
        "tif",
        lambda path: tiff(path, np.moveaxis(COLORS, 2, 0), photometric="rgb", planarconfig="separate", tile=(16, 16)),
        COLORS, "uint8", None, COLORS,
    ),
    "ImageJ of two channels": ("tif", imagej, TWO, "uint16", None, None),
    "big-endian": ("tif", lambda path: tiff(path, LEVELS.astype(">u2"), byteorder=">"), G, "uint16", None, LEVELS),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_follows_the_rule(name, tmp_path):
    suffix, write, numbers, dtype, valid, mask = VARIANTS[name]
    path = tmp_path / f"image.{suffix}"
    write(path)
    there = np.ones((4, 6), bool) if valid is None else valid
    whole, part, info = read_image(path), read_window(path, ROWS, COLUMNS), read_info(path)
    assert (whole.array.dtype, info.dtype) == (dtype, dtype)
    assert whole.array.shape == numbers.shape
    np.testing.assert_array_equal(whole.array[there], numbers[there])
    assert (whole.valid is None) == (valid is None)
    assert valid is None or (whole.valid == valid).all()
    np.testing.assert_array_equal(part.array, whole.array[ROWS, COLUMNS])
    with open_source(path.read_bytes()) as source:
        if "beside" not in name:
            np.testing.assert_array_equal(source.whole().array, whole.array)
    if mask is not None:
        np.testing.assert_array_equal(read_mask(path), mask)
        np.testing.assert_array_equal(read_mask_window(path, ROWS, COLUMNS), mask[ROWS, COLUMNS])


def test_alpha_that_varies_is_a_channel(tmp_path):
    alpha(9)(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").array.shape == (4, 6, 4)


def test_colour_spaces_become_red_green_and_blue(tmp_path):
    """Once CMYK in a TIFF was four channels, and YCbCr and Lab were read as if they were RGB."""
    picture = Image.fromarray(np.kron(COLORS, np.ones((16, 16, 1), np.uint8)))
    for mode in ("CMYK", "YCbCr"):
        image = picture.convert(mode)
        image.save(tmp_path / f"{mode}.tif")
        found = read_image(tmp_path / f"{mode}.tif").array
        np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))
        assert read_info(tmp_path / f"{mode}.tif")[:4] == (64, 96, 3, "uint8")
        np.testing.assert_array_equal(open_source(image).whole().array, found)
        window = read_window(tmp_path / f"{mode}.tif", ROWS, COLUMNS).array
        np.testing.assert_array_equal(window, found[ROWS, COLUMNS])


@pytest.mark.parametrize("mode", ["P", "1", "L", "LA", "CMYK", "I;16", "I;16B", "YCbCr", "I", "F", "RGBA"])
def test_a_pillow_image_of_any_mode_is_read_as_its_file(mode, tmp_path):
    image = Image.fromarray(COLORS)
    if mode in ("I;16", "I;16B"):
        order = ">u2" if mode.endswith("B") else "<u2"
        image = Image.frombytes(mode, (6, 4), (LEVELS * 300).astype(order).tobytes())
    else:
        image = image.convert(mode)
    suffix = {"F": "tif", "I": "tif", "CMYK": "tif", "YCbCr": "tif", "I;16B": "tif"}.get(mode, "png")
    image.save(tmp_path / f"a.{suffix}")
    wanted = read_image(tmp_path / f"a.{suffix}").array
    with open_source(image) as held:
        np.testing.assert_array_equal(held.whole().array, wanted)
        assert held.dtype == wanted.dtype


def test_a_palette_with_alpha_gives_its_colours():
    """No file of ours holds such an image."""
    image = Image.fromarray(COLORS).convert("P")
    with open_source(image.convert("PA")) as held:
        np.testing.assert_array_equal(held.whole().array, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("form", ["whole", "by windows"])
@pytest.mark.parametrize("count", [3, 4])
def test_an_alpha_channel_of_0_and_255_says_which_pixels_are_valid(form, count, tmp_path):
    """As in orthophotos: what lies outside of the flight was black, and counted."""
    picture = made_image(600, 64, count)
    shown = np.zeros((600, 64), bool)
    shown[300:, 5:] = True
    array = np.dstack([picture, shown.astype(np.uint8) * 255])
    photometric = "rgb" if count == 3 else "minisblack"
    extra = {"extrasamples": ["unassalpha"] if count == 3 else [0, 0, 0, 2]}
    tifffile.imwrite(tmp_path / "a.tif", array, photometric=photometric, planarconfig="contig", tile=(16, 16), **extra)
    below = 0 if form == "by windows" else None
    for channels in (None, count):
        with open_source(tmp_path / "a.tif", channels=channels, whole_below=below) as source:
            assert source.shape == (600, 64, count)
            for rows in (slice(0, 20), slice(290, 310), slice(400, 420)):
                part = source.read(rows, slice(0, 64))
                np.testing.assert_array_equal(np.ones((20, 64)) if part.valid is None else part.valid, shown[rows])
                np.testing.assert_array_equal(part.array, picture[rows] * shown[rows][..., None])
            np.testing.assert_array_equal(source.whole().valid, shown)
    with open_source(tmp_path / "a.tif", channels=count + 1, whole_below=below) as source:
        np.testing.assert_array_equal(source.read(slice(0, 9), slice(0, 9)).array, array[:9, :9])


def test_an_alpha_channel_of_nothing_but_0_is_an_unused_one(tmp_path):
    array = np.dstack([made_image(300, 64, 3), np.zeros((300, 64), np.uint8)])
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unassalpha"], tile=(16, 16))
    for channels in (None, 3):
        for below in (0, None):
            with open_source(tmp_path / "a.tif", channels=channels, whole_below=below) as source:
                part = source.read(slice(3, 20), slice(0, 64))
                assert part.valid is None
                np.testing.assert_array_equal(part.array, array[3:20, :, :3])


@pytest.mark.parametrize("packing", [None, "deflate", "zstd"])
def test_nan_in_lerc_is_found_in_its_mask(packing, tmp_path):
    """LERC keeps no NaN: what is hidden is 0 below, and tifffile 2026.3.3 does not ask for the mask."""
    array = np.random.default_rng(0).normal(100, 5, (64, 48)).astype(np.float32)
    array[3:9, 4:40] = np.nan
    options = {} if packing is None else {"compressionargs": {"compression": packing}}
    tifffile.imwrite(tmp_path / "a.tif", array, compression="lerc", tile=(32, 32), **options)
    whole = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(whole.valid, np.isfinite(array))
    np.testing.assert_allclose(whole.array[whole.valid, 0], array[np.isfinite(array)], atol=1e-4)
    part = read_window(tmp_path / "a.tif", slice(2, 20), slice(20, 48))
    np.testing.assert_array_equal(part.valid, np.isfinite(array)[2:20, 20:48])
