"""The rules by which an image follows from what is stored: data types, alpha, nodata, pages, axes."""

import struct
import tracemalloc

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from atrous.errors import BundleError, DataError
from atrous.images import Raster, open_source, read_image, read_info, read_mask, read_window, write_image
from atrous.images.files import read_mask_window
from atrous.images.tiff import TiffPixels
from atrous.inference import Predictor
from atrous.inference.inputs import find_inputs
from tests.networks import made_image

ROWS, COLUMNS = slice(9, 40), slice(13, 59)
EVERYTHING = slice(0, 45), slice(0, 61)

READ_AS = {
    "bool": "uint8",
    "uint8": "uint8",
    "uint16": "uint16",
    ">u2": "uint16",
    "int8": "float32",
    "int16": "float32",
    ">i2": "float32",
    "int32": "float32",
    "uint32": "float32",
    ">u4": "float32",
    "int64": "float32",
    "uint64": "float32",
    "float16": "float32",
    "float32": "float32",
    ">f4": "float32",
    "float64": "float32",
}


def numbers(dtype: str, shape=(45, 61)) -> np.ndarray:
    given = np.dtype(dtype)
    made = np.random.default_rng(0).integers(-100 if given.kind in "if" else 0, 100, shape)
    return made > 50 if given.kind == "b" else made.astype(given)


@pytest.fixture
def predict(small_model):
    def make(kind: str) -> Predictor:
        return Predictor(small_model, class_names=["a", "b", "c"], precision="float32", device="cpu", dtype=kind)

    return make


@pytest.mark.parametrize("dtype", READ_AS)
@pytest.mark.parametrize("holder", ["array", "npy", "tif", "zarr"])
def test_a_data_type_is_read_alike_whatever_holds_it(dtype, holder, tmp_path, predict):
    given = numbers(dtype)
    path = tmp_path / f"image.{holder}"
    if holder == "npy":
        np.save(path, given)
    elif holder == "tif":
        tifffile.imwrite(path, given, photometric="minisblack", byteorder=">" if dtype[0] == ">" else "<")
    elif holder == "zarr":
        zarr.create_array(path, data=given, chunks=(16, 16))
    image = given if holder == "array" else path
    wanted = given.astype(np.float32) * (255 if dtype == "bool" else 1)
    with open_source(image) as source:
        assert source.dtype == READ_AS[dtype]
        for raster in (source.whole(), source.read(*EVERYTHING)):
            assert raster.array.dtype == READ_AS[dtype]
            np.testing.assert_array_equal(raster.array[..., 0], wanted)
    if holder != "array":
        assert read_info(path).dtype == READ_AS[dtype]
        np.testing.assert_array_equal(read_image(path).array[..., 0], wanted)
        np.testing.assert_array_equal(read_window(path, ROWS, COLUMNS).array[..., 0], wanted[ROWS, COLUMNS])
    assert predict(READ_AS[dtype])(image).classes.shape == (45, 61)


@pytest.mark.parametrize("turned", [lambda a: a[:, ::-1], lambda a: a[::2, 1::3], np.asfortranarray, lambda a: a.T])
def test_the_layout_in_memory_makes_no_difference(turned):
    given = turned(numbers("int16"))
    source = open_source(given)
    height, width = given.shape
    np.testing.assert_array_equal(source.whole().array[..., 0], given)
    np.testing.assert_array_equal(source.read(slice(3, height), slice(0, width - 2)).array[..., 0], given[3:, :-2])
    assert source.whole().array.flags.c_contiguous


def test_what_was_given_is_not_written_to(predict):
    given = numbers("float32")
    given[3, 4] = np.nan
    before = given.copy()
    raster = open_source(given).whole()
    predict("float32")(given)
    raster.as_floats([7.0])[:] = 1
    np.testing.assert_array_equal(given, before)


def test_numbers_that_float32_cannot_hold_are_invalid_pixels():
    given = numbers("float64")
    given[2, 3] = 1e39
    raster = open_source(given).whole()
    assert np.argwhere(~raster.valid).tolist() == [[2, 3]]
    large = np.array([[2**24 + 1, 5]])
    assert open_source(large).whole().array.ravel().tolist() == [2**24, 5]  # as the table says


@pytest.mark.parametrize("dtype", ["complex64", "U3", "datetime64[s]", "V4"])
def test_other_data_types_are_refused_alike(dtype, tmp_path):
    np.save(tmp_path / "image.npy", np.zeros((4, 4), dtype))
    for read in (read_info, read_image, open_source):
        with pytest.raises(DataError, match=r"image\.npy: holds .* numbers, which are not images|cannot be read"):
            read(tmp_path / "image.npy")


def test_the_cure_for_another_data_type_does_not_spoil_the_numbers(predict):
    with pytest.raises(BundleError, match=r"is float32 \(read from int64\) .* only where its numbers lie in 0 to 255"):
        predict("uint8")(np.full((20, 20), 300))
    with pytest.raises(BundleError, match=r"is uint16 with 1 channel, .* image\.astype\('float32'\)"):
        predict("float32")(np.full((20, 20), 300, np.uint16))
    with pytest.raises(BundleError, match=r"only where its numbers lie in 0 to 65535: 65536 becomes 0"):
        predict("uint16")(np.zeros((20, 20), np.float32))


def test_fills_are_rounded_in_integers_and_the_same_for_training_and_prediction():
    valid = np.array([[True, False]])
    for dtype, wanted in ((np.uint8, 100), (np.uint16, 100), (np.float32, np.float32(99.6))):
        raster = Raster(np.array([[[7], [0]]], dtype), valid)
        assert raster.filled([99.6]).dtype == dtype
        assert raster.filled([99.6]).ravel().tolist() == raster.as_floats([99.6]).ravel().tolist() == [7, wanted]
        assert raster.filled(None) is raster.array
        assert raster.array.ravel().tolist() == [7, 0]
    assert Raster(np.zeros((1, 2, 1), np.uint8), valid).filled([300.0]).ravel().tolist() == [0, 255]
    seen = Raster(np.array([[[7], [0]]], np.uint16), valid).visible()
    assert seen.dtype == np.float32
    assert np.isnan(seen[0, 1, 0])


def test_a_raster_is_an_image_with_its_valid_pixels(predict):
    valid = np.ones((45, 61), bool)
    valid[5:9, 20:30] = False
    raster = Raster(numbers("uint8", (45, 61, 1)), valid)
    found = predict("uint8")(raster)
    assert (found.confidence[~valid] == 0).all()
    assert (found.confidence[valid] > 0).all()
    part = open_source(raster).read(slice(0, 5), slice(0, 61))
    assert part.valid is None  # all of them are


# TIFF


@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 7}, {"tile": (16, 16)}, {"rowsperstrip": 5, "compression": 8}])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_one_bit_tiff_by_windows(tmp_path, layout, photometric):
    bits = numbers("bool")
    tifffile.imwrite(tmp_path / "a.tif", bits, photometric=photometric, **layout)
    assert TiffPixels(tmp_path / "a.tif", "a").window(ROWS, COLUMNS) is not None
    whole = read_image(tmp_path / "a.tif").array
    assert set(np.unique(whole)) == {0, 255}
    np.testing.assert_array_equal(read_window(tmp_path / "a.tif", ROWS, COLUMNS).array, whole[ROWS, COLUMNS])
    np.testing.assert_array_equal(read_mask_window(tmp_path / "a.tif", ROWS, COLUMNS), bits[ROWS, COLUMNS])


def test_palettes_and_inner_masks_by_windows(tmp_path):
    palette = [(0, 0, 0), (200, 10, 20), (7, 8, 9)]
    write_image(tmp_path / "a.tif", numbers("uint8") % 3, palette=palette)
    whole = read_image(tmp_path / "a.tif").array
    assert whole.shape == (45, 61, 3)
    np.testing.assert_array_equal(read_window(tmp_path / "a.tif", ROWS, COLUMNS).array, whole[ROWS, COLUMNS])
    valid = np.random.default_rng(1).random((45, 61)) > 0.3
    with tifffile.TiffWriter(tmp_path / "b.tif") as writer:
        writer.write(numbers("uint8"), tile=(16, 16), metadata=None)
        writer.write(valid, photometric=4, subfiletype=4, metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").valid, valid)
    np.testing.assert_array_equal(read_window(tmp_path / "b.tif", ROWS, COLUMNS).valid, valid[ROWS, COLUMNS])
    assert TiffPixels(tmp_path / "b.tif", "b").window(ROWS, COLUMNS) is not None


@pytest.mark.parametrize("nodata", ["-3.4028234663852886e+38", None])
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_tiles_that_a_sparse_file_leaves_out_are_nodata(tmp_path, nodata, dtype):
    """tifffile 2026.3.3 reads them as its own page.nodata, which is 0 for such a tag."""
    nodata = "-32768" if nodata and dtype == "int16" else nodata
    tiles = [None if i % 3 == 1 else np.full((16, 16), i + 1, dtype) for i in range(12)]
    tags = [] if nodata is None else [(42113, "s", 0, nodata, True)]
    tifffile.imwrite(tmp_path / "a.tif", iter(tiles), shape=(45, 61), dtype=dtype, tile=(16, 16), extratags=tags)
    there = np.kron([[i % 3 != 1 for i in range(row, row + 4)] for row in (0, 4, 8)], np.ones((16, 16)))[:45, :61] > 0
    whole, part = read_image(tmp_path / "a.tif"), read_window(tmp_path / "a.tif", ROWS, COLUMNS)
    assert (whole.array[~there] == 0).all()
    assert (whole.array[there] > 0).all()
    np.testing.assert_array_equal(part.array, whole.array[ROWS, COLUMNS])
    if nodata is None:
        assert whole.valid is None is part.valid
    else:
        np.testing.assert_array_equal(whole.valid, there)
        np.testing.assert_array_equal(part.valid, there[ROWS, COLUMNS])


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_mask_beside_the_file_says_what_is_valid(tmp_path, suffix, predict):
    """rasterio 1.4.4 writes one by default: image.tif.msk, a TIFF of 0 and 255."""
    valid = np.random.default_rng(1).random((45, 61)) > 0.3
    path = tmp_path / f"image{suffix}"
    write_image(path, numbers("uint8"))
    tifffile.imwrite(f"{path}.msk", valid.astype(np.uint8) * 255, tile=(16, 16))
    np.testing.assert_array_equal(read_image(path).valid, valid)
    np.testing.assert_array_equal(read_window(path, ROWS, COLUMNS).valid, valid[ROWS, COLUMNS])
    assert (predict("uint8")(path).confidence[~valid] == 0).all()
    assert read_mask(path).shape == (45, 61)  # a mask of classes has none
    tifffile.imwrite(f"{path}.msk", valid[:40].astype(np.uint8))
    with pytest.raises(DataError, match=r"\.msk: is the mask of an image and has 40 x 61 pixels .* that has 45 x 61"):
        read_image(path)


def alpha_tiff(path, alpha: np.ndarray):
    array = np.concatenate([numbers("uint8", (300, 61, 3)), alpha.reshape(300, 61, 1)], axis=2)
    tifffile.imwrite(path, array, photometric="rgb", extrasamples=["unassalpha"], tile=(16, 16))
    return array


def test_alpha_is_decided_over_the_whole_image_when_it_is_read_by_windows(tmp_path):
    constant, varying = np.full((300, 61), 255, np.uint8), np.full((300, 61), 255, np.uint8)
    varying[299, 60] = 9
    first, second = alpha_tiff(tmp_path / "a.tif", constant), alpha_tiff(tmp_path / "b.tif", varying)
    window = slice(0, 20), slice(5, 30)
    for channels, count in ((None, 3), (3, 3), (4, 4)):
        with open_source(tmp_path / "a.tif", channels=channels, whole_below=0) as source:
            assert source.shape == (300, 61, count)
            np.testing.assert_array_equal(source.read(*window).array, first[window][..., :count])
    for channels in (None, 4):
        with open_source(tmp_path / "b.tif", channels=channels, whole_below=0) as source:
            assert source.shape == (300, 61, 4)
            np.testing.assert_array_equal(source.read(*window).array, second[window])
    np.testing.assert_array_equal(read_window(tmp_path / "b.tif", *window).array, second[window])
    with open_source(tmp_path / "b.tif", channels=3, whole_below=0) as source:
        assert (source.shape, source.brought) == ((300, 61, 3), "alpha")  # left out where three channels are needed
        corner = slice(280, 300), slice(40, 61)
        np.testing.assert_array_equal(source.read(*corner).array, second[corner][..., :3])
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif", channels=3).array, second[..., :3])


# Stacks, volumes, axes


def test_a_page_of_a_stack(tmp_path, predict):
    stack = numbers("uint16", (5, 45, 61))
    stack[2, 3, 4] = 0
    tags = [(42113, "s", 0, "0", True)]
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", extratags=tags)
    for image in (tmp_path / "a.tif", (tmp_path / "a.tif").read_bytes()):
        with open_source(image, page=2) as source:
            np.testing.assert_array_equal(source.read(ROWS, COLUMNS).array[..., 0], stack[2][ROWS, COLUMNS])
            np.testing.assert_array_equal(source.whole().valid, stack[2] != 0)
    with pytest.raises(DataError, match=r"a\.tif page 7: cannot be read as an image: it has 5 pages"):
        open_source(tmp_path / "a.tif", page=7)
    with pytest.raises(DataError, match="is a stack of 5 pages"):
        predict("uint16")(tmp_path / "a.tif")


def nifti(volume: np.ndarray) -> bytes:
    """(Z, Y, X) of int16 as a NIfTI-1 file."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *volume.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<hh", head, 70, 4, 16)
    struct.pack_into("<3f", head, 108, 352, 0, 0)
    head[344:348] = b"n+1\0"
    return bytes(head) + volume.astype("<i2").tobytes()


def test_nifti_slices(tmp_path, predict):
    import gzip

    volume = numbers("int16", (3, 45, 61))
    (tmp_path / "one.nii").write_bytes(nifti(volume[:1]))
    (tmp_path / "more.nii.gz").write_bytes(gzip.compress(nifti(volume)))
    for image in (tmp_path / "one.nii", nifti(volume[:1]), gzip.compress(nifti(volume[:1]))):
        np.testing.assert_array_equal(read_image(image).array[..., 0], volume[0])
    for image in (tmp_path / "more.nii.gz", gzip.compress(nifti(volume))):
        np.testing.assert_array_equal(open_source(image, page=2).whole().array[..., 0], volume[2])
        with pytest.raises(DataError, match="is a volume of 3 slices, and one image is needed"):
            open_source(image)
    assert predict("float32")(tmp_path / "one.nii").classes.shape == (45, 61)


def ome(path, array: np.ndarray, axes: str, named=None):
    group = zarr.open_group(path, mode="w")
    group.create_array("0", data=array)
    group.attrs["multiscales"] = [{"axes": named or [{"name": a} for a in axes], "datasets": [{"path": "0"}]}]
    return group


@pytest.mark.parametrize("axes", ["yx", "cyx", "yxc", "tczyx", "czyx", "zyx", "ycx", "xy"])
def test_the_axes_of_an_ome_zarr_image(tmp_path, axes):
    image = numbers("uint16", (45, 61, 2 if "c" in axes else 1))
    sizes = {"y": 45, "x": 61, "c": image.shape[2]}
    shape = [sizes.get(axis, 1) for axis in axes]
    order = ["yxc".index(axis) for axis in axes if axis in "yxc"]
    stored = (image if "c" in axes else image[..., 0]).transpose(order).reshape(shape)
    group = ome(tmp_path / "a.zarr", stored, axes)
    for given in (tmp_path / "a.zarr", group):
        with open_source(given) as source:
            np.testing.assert_array_equal(source.whole().array, image)
            np.testing.assert_array_equal(source.read(ROWS, COLUMNS).array, image[ROWS, COLUMNS])
    np.testing.assert_array_equal(read_image(tmp_path / "a.zarr").array, image)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_window_of_an_ome_zarr_image_reads_the_chunks_it_touches(tmp_path, version):
    """With axes of one entry it was loaded as a whole: 763 MB for a window of 64."""
    side = 20_000
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2 if version == "0.4" else 3)
    array = group.create_array("s0", shape=(1, 2, 1, side, side), chunks=(1, 1, 1, 256, 256), dtype="uint8")
    corner = numbers("uint8", (2, 64, 64))
    array[0, :, 0, 700:764, 900:964] = corner
    scales = [{"axes": [{"name": a} for a in "tczyx"], "datasets": [{"path": "s0"}]}]
    group.attrs.update({"multiscales": scales} if version == "0.4" else {"ome": {"multiscales": scales}})
    window = slice(700, 764), slice(900, 964)
    tracemalloc.start()
    info, part = read_info(tmp_path / "a.zarr"), read_window(tmp_path / "a.zarr", *window)
    with open_source(tmp_path / "a.zarr") as source:
        assert source.shape == (side, side, 2) == info[:3]
        np.testing.assert_array_equal(source.read(*window).array, part.array)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(part.array, np.moveaxis(corner, 0, -1))
    assert most < 20e6


def test_an_ome_zarr_stack_is_refused_by_both(tmp_path, predict):
    ome(tmp_path / "a.zarr", numbers("uint8", (4, 45, 61)), "zyx")
    for read in (read_image, read_info, predict("uint8")):
        with pytest.raises(DataError, match=r"a\.zarr: is a stack of 4 images along its axis 'z'"):
            read(tmp_path / "a.zarr")


def test_booleans_in_masks_are_0_and_1(tmp_path):
    bits = numbers("bool")
    np.save(tmp_path / "a.npy", bits)
    zarr.save(tmp_path / "a.zarr", bits)
    for name in ("a.npy", "a.zarr"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), bits)
        np.testing.assert_array_equal(read_mask_window(tmp_path / name, ROWS, COLUMNS), bits[ROWS, COLUMNS])
        np.testing.assert_array_equal(read_image(tmp_path / name).array[..., 0], bits * np.uint8(255))


# In memory


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_bytes_of_every_format(form, tmp_path):
    image = Image.fromarray(made_image(45, 61, 3))
    image.save(tmp_path / "image", form)
    data, wanted = (tmp_path / "image").read_bytes(), read_image(tmp_path / "image").array
    for given in (data, bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(open_source(given).whole().array, wanted)
    assert read_info(data)[:3] == wanted.shape
    with pytest.raises(DataError, match=r"the bytes: cannot be read as an image"):
        open_source(data[: len(data) // 2]).whole()
    with pytest.raises(DataError, match=r"the bytes: cannot be read as an image"):
        open_source(b"no image")


def test_pillow_images_follow_the_rules_of_files(tmp_path):
    indices = numbers("uint8") % 3
    write_image(tmp_path / "a.png", indices, palette=[(0, 0, 0), (200, 10, 20), (7, 8, 9)])
    np.testing.assert_array_equal(
        open_source(Image.open(tmp_path / "a.png")).whole().array, read_image(tmp_path / "a.png").array
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(made_image(45, 61, 3)).save(tmp_path / "b.png", exif=exif)
    source = open_source(Image.open(tmp_path / "b.png"))
    assert source.shape == (61, 45, 3)
    np.testing.assert_array_equal(source.whole().array, read_image(tmp_path / "b.png").array)
    bits = numbers("bool")
    np.testing.assert_array_equal(open_source(Image.fromarray(bits)).whole().array[..., 0], bits * np.uint8(255))


def test_arrays_are_found_where_they_are_named(tmp_path):
    given = numbers("uint8")
    for name in ("a", "b"):
        ome(tmp_path / f"set/{name}.zarr", given, "yx")
    np.save(tmp_path / "set/c.npy", given)
    found = [tmp_path / f"set/{name}" for name in ("a.zarr", "b.zarr", "c.npy")]

    def places(images):
        return [image.place for image in find_inputs(images)]

    assert places(tmp_path / "set") == found
    assert places(found[0]) == found[:1]
    assert places(f"{tmp_path}/set/*.zarr") == found[:2]
    write_image(tmp_path / "set/d.png", given)
    assert places(tmp_path / "set") == [*found, tmp_path / "set/d.png"]  # nothing is passed over without a word
