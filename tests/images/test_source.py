import numpy as np
import pytest
import tifffile
import torch
import zarr

from atrous.errors import DataError
from atrous.images import open_source
from atrous.images import source as sources
from atrous.images.files import read_image, write_image
from atrous.images.tiff import TiffPixels
from atrous.inference import Predictor
from tests.networks import made_image

FULL = slice(0, 40), slice(0, 60)
PART = slice(7, 23), slice(31, 60)


@pytest.fixture
def image():
    return made_image(40, 60, 3)


def check(source, image):
    """The source has the image's shape, and its windows are the image's."""
    assert source.shape == image.shape
    assert source.dtype == image.dtype.name
    for window in (FULL, PART):
        found = source.read(*window)
        assert found.array.dtype == image.dtype
        assert found.as_floats().dtype == np.float32
        assert (found.array == image[window]).all()
        assert found.valid is None


def test_arrays(image):
    check(open_source(image), image)
    check(open_source(image[..., 0]), image[..., :1])
    check(open_source(torch.from_numpy(image)), image)
    check(open_source(image[:, ::-1]), image[:, ::-1])


def test_pillow_images(image):
    from PIL import Image

    check(open_source(Image.fromarray(image)), image)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_files(image, tmp_path, suffix):
    write_image(tmp_path / f"image.{suffix}", image)
    check(open_source(tmp_path / f"image.{suffix}"), image)
    check(open_source(str(tmp_path / f"image.{suffix}")), image)


def test_npy_is_mapped(image, tmp_path):
    np.save(tmp_path / "image.npy", image)
    source = open_source(tmp_path / "image.npy")
    check(source, image)
    assert isinstance(source._pixels.data, np.memmap)


def test_zarr(image, tmp_path):
    array = zarr.create_array(tmp_path / "image.zarr", shape=image.shape, chunks=(16, 16, 3), dtype=image.dtype)
    array[:] = image
    check(open_source(tmp_path / "image.zarr"), image)
    check(open_source(array), image)


def test_a_zarr_group_lists_its_arrays(image, tmp_path):
    group = zarr.open_group(tmp_path / "image.zarr", mode="w")
    group.create_array("fine", shape=image.shape, dtype=image.dtype)
    with pytest.raises(DataError, match=r"image.zarr: is a group of arrays \(fine\)"):
        open_source(tmp_path / "image.zarr")


class Slide:
    """Somebody's own reader."""

    shape = (40, 60)

    def __init__(self, image):
        self.image, self.asked = image, []

    def __getitem__(self, window):
        self.asked.append(window)
        return self.image[window]


def test_an_image_source_of_ones_own(image):
    slide = Slide(image[..., 0])
    check(open_source(slide), image[..., :1])
    assert slide.asked[1:] == [FULL, PART]


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (16, 16), "photometric": "rgb"},
        {"tile": (16, 16), "photometric": "rgb", "compression": "zlib"},
        {"rowsperstrip": 7, "photometric": "rgb"},
        {"tile": (16, 16), "photometric": "minisblack", "planarconfig": "contig"},
        {"tile": (16, 16), "photometric": "rgb", "bigtiff": True},
    ],
)
def test_large_tiff_is_read_by_windows(image, tmp_path, monkeypatch, options):
    tifffile.imwrite(tmp_path / "image.tif", image, **options)
    monkeypatch.setattr(sources, "_WHOLE_FILE", 100)
    monkeypatch.setattr(TiffPixels, "decode", lambda _: pytest.fail("the file was read as a whole"))
    with open_source(tmp_path / "image.tif") as source:
        check(source, image)


def test_large_planar_and_grey_tiff(image, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_WHOLE_FILE", 100)
    planes = np.moveaxis(image, -1, 0)
    tifffile.imwrite(tmp_path / "planes.tif", planes, photometric="rgb", planarconfig="separate", tile=(16, 16))
    tifffile.imwrite(tmp_path / "grey.tif", image[..., 0].astype(np.uint16) * 7, tile=(16, 16))
    with open_source(tmp_path / "planes.tif") as source:
        check(source, image)
    with open_source(tmp_path / "grey.tif") as source:
        check(source, image[..., :1].astype(np.uint16) * 7)


def test_large_tiff_drops_alpha_where_it_is_not_needed(image, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_WHOLE_FILE", 100)
    four = np.concatenate([image, np.full((40, 60, 1), 255, np.uint8)], -1)
    tifffile.imwrite(tmp_path / "image.tif", four, photometric="rgb", extrasamples=["unassalpha"], tile=(16, 16))
    with open_source(tmp_path / "image.tif", channels=3) as source:
        check(source, image)
    with open_source(tmp_path / "image.tif", channels=4) as source:
        check(source, four)


@pytest.mark.parametrize("options", [{"photometric": "miniswhite"}, {"extratags": [(274, "H", 1, 6, False)]}])
def test_large_tiff_that_means_something_else_is_read_whole(image, tmp_path, monkeypatch, options):
    tifffile.imwrite(tmp_path / "image.tif", image[..., 0], tile=(16, 16), **options)
    whole = read_image(tmp_path / "image.tif").array
    monkeypatch.setattr(sources, "_WHOLE_FILE", 100)
    source = open_source(tmp_path / "image.tif")
    assert source.shape == whole.shape
    assert (source.read(slice(3, 30), slice(5, 20)).array == whole[3:30, 5:20]).all()


def test_nodata_of_a_large_tiff(tmp_path, monkeypatch):
    height = np.random.default_rng(0).normal(100, 10, (40, 60)).astype(np.float32)
    height[5:9, 40:50] = -9999
    height[20, 20] = np.nan
    tifffile.imwrite(tmp_path / "height.tif", height, tile=(16, 16), extratags=[(42113, "s", 6, "-9999", False)])
    whole = read_image(tmp_path / "height.tif")
    monkeypatch.setattr(sources, "_WHOLE_FILE", 100)
    with open_source(tmp_path / "height.tif") as source:
        window = source.read(*FULL)
    assert (window.valid == whole.valid).all()
    assert (window.as_floats([55.0])[~window.valid] == 55).all()
    assert (window.filled([55.0])[~window.valid] == 55).all()
    assert (window.array[window.valid] == whole.array[whole.valid]).all()


def test_a_small_file_knows_its_invalid_pixels(tmp_path):
    values = np.ones((6, 8), np.float32)
    values[2, 3] = np.nan
    tifffile.imwrite(tmp_path / "values.tif", values)
    window = open_source(tmp_path / "values.tif").read(slice(1, 6), slice(2, 8))
    assert window.valid.sum() == 29
    assert not window.valid[1, 1]


def test_floats_of_any_length_are_float32(image):
    for dtype in (np.float16, np.float64):
        source = open_source(image.astype(dtype))
        assert source.dtype == "float32"
        assert (source.read(*PART).array == image[PART].astype(dtype)).all()


def test_an_empty_image_is_refused():
    for shape in ((0, 5), (5, 0, 1), (5, 5, 0), (5,), (2, 3, 4, 5)):
        with pytest.raises(DataError, match="image"):
            open_source(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.complex64, "U3", "datetime64[s]"])
def test_other_numbers_are_refused(dtype):
    with pytest.raises(DataError, match=r"the array: holds .* numbers, which are not images\. Write real numbers"):
        open_source(np.zeros((4, 4), dtype))


@pytest.mark.parametrize("thing", [None, 7, object(), {"image": 1}, "", "no/such.png"])
def test_things_that_are_no_images(thing):
    with pytest.raises(DataError):
        open_source(thing)


def test_damaged_files_are_named(tmp_path, image, monkeypatch):
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    (tmp_path / "bad.zarr").mkdir()
    with pytest.raises(DataError, match=r"bad.npy: cannot be read"):
        open_source(tmp_path / "bad.npy")
    with pytest.raises(DataError, match=r"bad.zarr: cannot be read as Zarr"):
        open_source(tmp_path / "bad.zarr")
    monkeypatch.setattr(sources, "_WHOLE_FILE", 100)
    tifffile.imwrite(tmp_path / "cut.tif", image, tile=(16, 16), photometric="rgb", compression="zlib")
    data = (tmp_path / "cut.tif").read_bytes()
    start = tifffile.TiffFile(tmp_path / "cut.tif").pages[0].dataoffsets[3]
    (tmp_path / "cut.tif").write_bytes(data[: start + 8] + b"\0" * 64 + data[start + 72 :])
    with (
        open_source(tmp_path / "cut.tif") as source,
        pytest.raises(DataError, match=r"cut.tif: cannot be read as an image: rows 0 to 40"),
    ):
        source.read(*FULL)


def test_a_zarr_image_is_predicted_by_tiles_like_the_array(tmp_path, small_model):
    image = made_image(120, 330)
    array = zarr.create_array(tmp_path / "image.zarr", shape=image.shape, chunks=(64, 64, 1), dtype=image.dtype)
    array[:] = image
    predict = Predictor(small_model, class_names=["a", "b", "c"], precision="float32", device="cpu")
    assert np.allclose(predict(tmp_path / "image.zarr", tile=100).scores, predict(image).scores, atol=1e-5)
