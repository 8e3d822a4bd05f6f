"""Files of every kind become arrays; files that are wrong become one line that names them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from atrous.errors import DataError
from atrous.images import open_source
from atrous.images.files import read_image, read_info, read_mask, read_palette, write_image


@pytest.mark.parametrize(
    ("name", "channels", "dtype"),
    [
        ("a.png", 1, np.uint8),
        ("a.png", 3, np.uint8),
        ("a.png", 1, np.uint16),
        ("a.png", 3, np.uint16),
        ("a.png", 4, np.uint16),
        ("a.tif", 1, np.uint16),
        ("a.tif", 3, np.uint8),
        ("a.tif", 5, np.uint16),
        ("a.tiff", 2, np.float32),
    ],
)
def test_what_is_written_is_read_again(tmp_path, picture, name, channels, dtype):
    array = picture(channels=channels, dtype=dtype)
    write_image(tmp_path / name, array)
    raster, info = read_image(tmp_path / name), read_info(tmp_path / name)
    np.testing.assert_array_equal(raster.array, array.reshape(24, 32, channels))
    assert raster.array.dtype == dtype
    assert raster.valid is None
    assert info[:4] == (24, 32, channels, np.dtype(dtype).name)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_gives_what_pillow_gives(tmp_path, picture, mode):
    image = Image.fromarray(picture(channels=3)).convert(mode)
    image.save(tmp_path / "a.jpg", quality=90)
    expected = Image.open(tmp_path / "a.jpg")
    expected = np.asarray(expected.convert("RGB") if mode == "CMYK" else expected)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").array, np.atleast_3d(expected))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_the_cameras_orientation_is_applied(tmp_path, picture, orientation, suffix):
    image = Image.fromarray(picture(height=16, width=24))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        image.save(path, tiffinfo={274: orientation})
    else:
        image.save(path, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    np.testing.assert_array_equal(read_image(path).array, expected)
    assert read_info(path)[:2] == expected.shape[:2]
    assert expected.shape[0] == (24 if orientation >= 5 else 16)
    with open_source(path) as source:
        assert source.shape == expected.shape
        np.testing.assert_array_equal(source.read(slice(3, 9), slice(2, 15)).array, expected[3:9, 2:15])


@pytest.mark.parametrize(("mode", "kept"), [("RGBA", 3), ("LA", 1)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_is_dropped_where_it_is_constant(tmp_path, picture, mode, kept, suffix):
    path = tmp_path / f"a{suffix}"
    array = np.array(Image.fromarray(picture()).convert(mode))
    Image.fromarray(array, mode).save(path)
    np.testing.assert_array_equal(read_image(path).array, array[..., :-1])
    assert read_image(path, channels=kept + 1).array.shape[2] == kept + 1  # as one of a set where it varies
    assert (read_info(path).channels, read_info(path).alpha) == (kept + 1, True)
    array[3, 4, -1] = 7
    Image.fromarray(array, mode).save(path)
    np.testing.assert_array_equal(read_image(path).array, array)
    np.testing.assert_array_equal(read_image(path, channels=kept).array, array[..., :-1])  # as among others without


def test_a_constant_channel_that_is_not_alpha_stays(tmp_path, picture):
    array = picture(channels=4)
    array[..., 3] = 9
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", planarconfig="contig")
    assert read_image(tmp_path / "a.tif").array.shape[2] == 4


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int16, np.int8, np.int32, np.uint32])
def test_other_numbers_become_float32(tmp_path, dtype):
    array = np.arange(-20, 28).reshape(6, 8).astype(dtype)
    if np.dtype(dtype).kind == "u":
        array = np.arange(48).reshape(6, 8).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", array)
    raster = read_image(tmp_path / "a.tif")
    assert raster.array.dtype == np.float32
    assert read_info(tmp_path / "a.tif").dtype == "float32"
    np.testing.assert_array_equal(raster.array[..., 0], array)


def test_one_bit_is_0_and_255_in_images_and_0_and_1_in_masks(tmp_path):
    bits = np.arange(48).reshape(6, 8) % 3 == 0
    Image.fromarray(bits).save(tmp_path / "a.png")
    Image.fromarray(bits).save(tmp_path / "a.bmp")
    tifffile.imwrite(tmp_path / "a.tif", bits, photometric="minisblack")
    for name in ("a.png", "a.bmp", "a.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name).array[..., 0], bits * np.uint8(255))
        np.testing.assert_array_equal(read_mask(tmp_path / name), bits)
        assert read_info(tmp_path / name)[:4] == (6, 8, 1, "uint8")


def test_zero_is_white_turns_images_and_not_masks(tmp_path):
    bits = np.array([[True, False]])
    tifffile.imwrite(tmp_path / "a.tif", bits, photometric="miniswhite")
    assert read_image(tmp_path / "a.tif").array.ravel().tolist() == [0, 255]
    assert read_mask(tmp_path / "a.tif").tolist() == [[1, 0]]


def test_masks_of_four_bits_keep_the_bits(tmp_path):
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, 4, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes([0, 0x01, 0x2F])))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b""))
    assert read_mask(tmp_path / "a.png").tolist() == [[0, 1, 2, 15]]
    assert read_image(tmp_path / "a.png").array[..., 0].tolist() == [[0, 17, 34, 255]]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_palettes_are_indices_in_masks_and_colours_in_images(tmp_path, suffix):
    palette, indices = [(0, 0, 0), (200, 10, 20), (7, 8, 9)], (np.arange(48).reshape(6, 8) % 3).astype(np.uint8)
    write_image(tmp_path / f"a{suffix}", indices, palette=palette)
    np.testing.assert_array_equal(read_mask(tmp_path / f"a{suffix}"), indices)
    image = read_image(tmp_path / f"a{suffix}").array
    np.testing.assert_array_equal(image, np.asarray(palette, np.uint8)[indices])
    assert image.flags.writeable
    assert read_info(tmp_path / f"a{suffix}").channels == 3
    if suffix == ".png":
        assert read_palette(tmp_path / "a.png")[:3] == palette


def test_tiff_channels_may_come_first(tmp_path, picture):
    array = picture(channels=4, dtype=np.uint16)
    first = np.ascontiguousarray(np.moveaxis(array, -1, 0))
    tifffile.imwrite(tmp_path / "a.tif", first, planarconfig="separate", photometric="minisblack")
    tifffile.imwrite(tmp_path / "b.tif", first, metadata={"axes": "CYX"}, photometric="minisblack", ome=True)
    for name in ("a.tif", "b.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name).array, array)
        assert read_info(tmp_path / name)[:4] == (24, 32, 4, "uint16")


def test_a_pyramid_is_its_full_size(tmp_path, picture):
    array = picture(64, 64)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(array, photometric="rgb", subifds=1)
        writer.write(array[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array, array)


def test_a_stack_says_how_many_pages_and_how_to_split(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((31, 61, 57), np.uint16), photometric="minisblack")
    for read in (read_info, read_image, read_mask):
        with pytest.raises(DataError, match=r"a\.tif: is a stack of 31 pages of 61 x 57.*Split it: `for i, page"):
            read(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((40, 30, 5), np.uint16), photometric="minisblack")
    with pytest.raises(
        DataError, match=r"looks like a 40 x 30 image of 5 channels\. Write it with .*planarconfig='contig'"
    ):
        read_image(tmp_path / "b.tif")


def test_nan_and_nodata_become_invalid_pixels(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    array[0, 0], array[1, 1], array[2, 2] = np.nan, np.inf, -9999
    tifffile.imwrite(tmp_path / "a.tif", array, extratags=[(42113, 2, 0, "-9999", True)])
    raster = read_image(tmp_path / "a.tif")
    invalid = np.zeros((4, 6), bool)
    invalid[0, 0] = invalid[1, 1] = invalid[2, 2] = True
    np.testing.assert_array_equal(~raster.valid, invalid)
    np.testing.assert_array_equal(raster.array[invalid, 0], 0)
    np.testing.assert_array_equal(raster.filled([12.5])[invalid, 0], 12.5)
    np.testing.assert_array_equal(raster.array[~invalid, 0], array[~invalid])


def test_integer_nodata_holds_where_all_channels_have_it(tmp_path, picture, capsys):
    array = picture(channels=3).clip(1)
    array[0, 0], array[1, 1, 0] = 0, 0
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extratags=[(42113, 2, 0, "0.0", True)])
    raster = read_image(tmp_path / "a.tif")
    assert np.argwhere(~raster.valid).tolist() == [[0, 0]]
    assert capsys.readouterr().err == ""  # tifffile complains of "0.0"


def test_all_pixels_invalid_gives_zeros(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 6), np.nan, np.float32))
    raster = read_image(tmp_path / "a.tif")
    assert not raster.valid.any()
    assert (raster.array == 0).all()


def test_a_mask_page_inside_a_tiff_marks_what_is_valid(tmp_path, picture):
    valid = np.zeros((24, 32), bool)
    valid[4:] = True
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(picture(), photometric="rgb", metadata=None)
        writer.write(valid, photometric=4, subfiletype=4, metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").valid, valid)


def test_the_content_decides_not_the_suffix(tmp_path, picture):
    array = picture()
    Image.fromarray(array).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").array, array)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_file_that_is_cut_off_is_refused(tmp_path, picture, suffix, share):
    path = tmp_path / f"whole{suffix}"
    Image.fromarray(picture(64, 64)).save(path)
    data = path.read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=rf"cut{suffix}: cannot be read as an image: .*Open it in an image viewer"):
        read_image(tmp_path / f"cut{suffix}")
    assert read_image(path).array.shape == (64, 64, 3)


def test_a_damaged_png_is_refused(tmp_path, picture):
    Image.fromarray(picture(64, 64)).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match="its IDAT chunk is damaged"):
        read_image(tmp_path / "a.png")


def test_an_animation_is_refused(tmp_path, picture):
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.gif")
    assert read_image(tmp_path / "a.gif").array.shape == (24, 32, 3)
    frames[0].save(tmp_path / "b.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"b\.gif: cannot be read as an image: it is an animation of 3 frames"):
        read_image(tmp_path / "b.gif")


def test_what_is_no_image_is_one_line(tmp_path):
    (tmp_path / "a.png").write_text("hello\nworld")
    (tmp_path / "empty.tif").write_bytes(b"")
    for name in ("a.png", "empty.tif"):
        for read in (read_info, read_image, read_mask):
            with pytest.raises(DataError, match=f"{name}: cannot be read as an image") as caught:
                read(tmp_path / name)
            assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"no\.png: there is no such file"):
        read_image(tmp_path / "no.png")
    with pytest.raises(DataError, match="is a folder, not an image"):
        read_image(tmp_path)


def test_masks_are_whole_numbers(tmp_path):
    tifffile.imwrite(tmp_path / "whole.tif", np.array([[0.0, 1.0, 300.0]], np.float32))
    assert read_mask(tmp_path / "whole.tif").tolist() == [[0, 1, 300]]
    tifffile.imwrite(tmp_path / "half.tif", np.array([[0.0, 0.5]], np.float32))
    with pytest.raises(DataError, match=r"half\.tif: is no mask: its float32 values are not whole numbers"):
        read_mask(tmp_path / "half.tif")
    write_image(tmp_path / "five.tif", np.zeros((4, 6, 5), np.uint8))
    with pytest.raises(DataError, match=r"five\.tif: is no mask: it has 5 channels of uint8"):
        read_mask(tmp_path / "five.tif")


def test_a_masks_alpha_is_left_out(tmp_path):
    array = np.zeros((4, 6, 4), np.uint8)
    array[..., 0], array[1:, :, 3] = 9, 200
    cv2.imwrite(str(tmp_path / "a.png"), array)
    assert read_mask(tmp_path / "a.png").shape == (4, 6, 3)


def test_complex_numbers_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 6), np.complex64))
    with pytest.raises(DataError, match="holds complex64 numbers"):
        read_image(tmp_path / "a.tif")


def test_writing_refuses_what_the_format_cannot_hold(tmp_path):
    with pytest.raises(DataError, match=r"a\.png: PNG does not hold a 4x6 array of float32\. Write a \.tif"):
        write_image(tmp_path / "a.png", np.zeros((4, 6), np.float32))
    with pytest.raises(DataError, match=r"not '\.jpg'"):
        write_image(tmp_path / "a.jpg", np.zeros((4, 6), np.uint8))
    with pytest.raises(DataError, match="a palette goes with"):
        write_image(tmp_path / "a.png", np.zeros((4, 6), np.uint16), palette=[(0, 0, 0)])
    with pytest.raises(DataError, match=r"nowhere.*cannot be written"):
        write_image(tmp_path / "nowhere" / "a.png", np.zeros((4, 6), np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, picture, monkeypatch):
    write_image(tmp_path / "a.png", picture())
    before = (tmp_path / "a.png").read_bytes()

    def full(self, data):
        Path.open(self, "wb").write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_image(tmp_path / "a.png", picture(seed=1))
    assert (tmp_path / "a.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_reading_from_several_threads(tmp_path, picture):
    arrays = [picture(seed=seed) for seed in range(8)]
    for number, array in enumerate(arrays):
        write_image(tmp_path / f"{number}.tif", array)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda number: read_image(tmp_path / f"{number}.tif").array, list(range(8)) * 10))
    for number, array in enumerate(read):
        np.testing.assert_array_equal(array, arrays[number % 8])


@pytest.mark.shared
def test_real_geotiffs(shared):
    kinds = {}
    for path in sorted((shared / "geotiff").glob("*.tif")):
        raster, info = read_image(path), read_info(path)
        assert np.isfinite(raster.array).all()
        assert raster.array.shape == (info.height, info.width, info.channels)
        kinds[path.stem] = (info.channels, info.dtype)
    assert kinds["2020"] == (4, "uint8")
    assert kinds["atlanta_buildings_pan"] == (1, "uint16")
    assert kinds["cog"] == (4, "float32")  # float64 in the file
    assert kinds["dsm"] == (1, "float32")
    assert read_info(shared / "geotiff" / "m_4709963_se_14_1_20140720.tif")[:3] == (723, 934, 4)  # infrared, not alpha


@pytest.mark.shared
def test_real_files_with_the_wrong_suffix_and_a_real_stack(shared):
    face = next((shared / "faces68" / "images").glob("*.jpg"))
    assert read_image(face).array.shape[2] == 3
    with pytest.raises(DataError, match="is a stack of 31 pages of 61 x 57"):
        read_image(shared / "tiff16" / "3d.tif")
    assert read_image(shared / "tiff16" / "2d.tif").array.dtype == np.uint16


@pytest.mark.parametrize("suffix", [".jfif", ".jp2", ".avif"])
def test_images_of_rarer_endings_train_and_are_found(suffix: str, tmp_path: Path) -> None:
    from atrous.data import FolderDataset, open_folder

    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    for number in range(3):
        kind = {".jfif": "JPEG", ".jp2": "JPEG2000", ".avif": "AVIF"}[suffix]
        Image.fromarray(picture).save(tmp_path / "images" / f"{number}{suffix}", kind)
        write_image(tmp_path / "masks" / f"{number}.png", picture[..., 0] // 128)
    folder = open_folder(tmp_path)
    assert (len(folder.pairs), folder.channels, folder.dtype) == (3, 3, "uint8")
    assert FolderDataset(folder, "train")[0]["image"].shape == (3, 16, 24)
