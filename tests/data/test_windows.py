"""Windows of large images: what they hold, that nothing else is read, and the data set that draws them."""

import numpy as np
import pytest
import tifffile
import torch
import zarr

from atrous.data import FolderDataset, dataset, open_folder
from atrous.errors import DataError
from atrous.images import read_image
from atrous.images.arrays import open_array
from atrous.images.files import read_info, read_mask, read_mask_window, read_window, write_image

ROWS, COLUMNS = slice(70, 100), slice(33, 130)


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (noise(200, 150, 3), {"tile": (64, 32), "photometric": "rgb", "compression": "zlib"}),
        (noise(200, 150, dtype=np.uint16), {"tile": (32, 32)}),
        (noise(200, 150), {"rowsperstrip": 16, "compression": "zlib"}),
        (
            noise(5, 200, 150, dtype=np.float32),
            {"tile": (64, 64), "planarconfig": "separate", "photometric": "minisblack"},
        ),
        (noise(5, 200, 150), {"tile": (64, 64), "metadata": {"axes": "CYX"}, "photometric": "minisblack"}),
        (noise(150, 200, 3), {"tile": (64, 64), "photometric": "rgb", "compression": "jpeg"}),
        (noise(200, 150, 4), {"tile": (64, 64), "photometric": "rgb", "extrasamples": ["unassalpha"]}),
    ],
)
def test_windows_of_tiff_are_the_windows_of_the_whole(tmp_path, array, options):
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    whole = read_image(tmp_path / "a.tif").array
    window = read_window(tmp_path / "a.tif", ROWS, COLUMNS, channels=whole.shape[2])
    assert (window.array == whole[ROWS, COLUMNS]).all()
    assert window.array.dtype == whole.dtype


def test_only_the_tiles_of_the_window_are_read(tmp_path):
    path = tmp_path / "large.tif"
    array = noise(512, 768)
    tifffile.imwrite(path, array, tile=(128, 128), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        places = list(zip(tif.pages[0].dataoffsets, tif.pages[0].databytecounts, strict=True))
    rows, columns = slice(130, 250), slice(140, 380)  # tiles of row 1, columns 1 and 2, of 6 columns
    data = bytearray(path.read_bytes())
    for number, (offset, count) in enumerate(places):
        if number not in (7, 8):
            data[offset : offset + count] = b"\xff" * count
    path.write_bytes(data)
    assert (read_window(path, rows, columns).array[..., 0] == array[rows, columns]).all()
    with pytest.raises(DataError, match=r"large\.tif: cannot be read as an image"):
        read_image(path)
    with pytest.raises(DataError, match=r"large\.tif: cannot be read as an image"):
        read_window(path, slice(0, 10), slice(0, 10))


def test_windows_of_files_that_are_decoded_as_a_whole(tmp_path):
    array = noise(120, 140, 3)
    write_image(tmp_path / "a.png", array)
    assert (read_window(tmp_path / "a.png", ROWS, COLUMNS).array == array[ROWS, COLUMNS]).all()
    tifffile.imwrite(tmp_path / "turned.tif", array, photometric="rgb", extratags=[(274, "H", 1, 3, True)])
    assert (read_window(tmp_path / "turned.tif", ROWS, COLUMNS).array == array[::-1, ::-1][ROWS, COLUMNS]).all()
    values = noise(120, 140) % 4
    write_image(tmp_path / "mask.png", values, palette=[(0, 0, 0), (9, 9, 9), (5, 5, 5), (1, 2, 3)])
    write_image(tmp_path / "mask.tif", values, palette=[(0, 0, 0), (9, 9, 9), (5, 5, 5), (1, 2, 3)])
    for name in ("mask.png", "mask.tif"):
        assert (read_mask_window(tmp_path / name, ROWS, COLUMNS) == values[ROWS, COLUMNS]).all()


def test_nodata_in_a_window(tmp_path):
    array = noise(100, 140, dtype=np.float32)
    array[75:80, 40:50] = -9999
    nodata = (42113, "s", 0, "-9999", True)
    tifffile.imwrite(tmp_path / "a.tif", array, tile=(32, 32), extratags=[nodata])
    window = read_window(tmp_path / "a.tif", ROWS, COLUMNS)
    assert (~window.valid).sum() == 50
    assert np.isfinite(window.array).all()
    assert window.array.min() >= 0


def test_windows_outside(tmp_path):
    write_image(tmp_path / "a.png", noise(20, 20))
    tifffile.imwrite(tmp_path / "a.tif", noise(40, 40), tile=(16, 16))
    np.save(tmp_path / "a.npy", noise(20, 20))
    for name in ("a.png", "a.tif", "a.npy"):
        with pytest.raises(DataError, match=rf"{name}: does not hold rows 10 to 50 and columns 0 to 5\. Name a window"):
            read_window(tmp_path / name, slice(10, 50), slice(0, 5))


def test_arrays(tmp_path):
    array = noise(120, 140, 2, dtype=np.uint16)
    np.save(tmp_path / "a.npy", array)
    zarr.save(tmp_path / "a.zarr", array)
    for name in ("a.npy", "a.zarr"):
        info = read_info(tmp_path / name)
        assert (info.height, info.width, info.channels, info.dtype) == (120, 140, 2, "uint16")
        assert (read_image(tmp_path / name).array == array).all()
        assert (read_window(tmp_path / name, ROWS, COLUMNS).array == array[ROWS, COLUMNS]).all()
        assert open_array(tmp_path / name).shape == array.shape
    np.save(tmp_path / "b.npy", noise(3))
    with pytest.raises(DataError, match=r"b\.npy: is no image: it holds 3 numbers"):
        read_image(tmp_path / "b.npy")
    with pytest.raises(DataError, match=r"nowhere\.zarr: there is no such file"):
        read_image(tmp_path / "nowhere.zarr")


def test_an_ome_zarr_image(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    array = noise(1, 2, 1, 40, 50)
    for level, step in ((0, 1), (1, 2)):
        group.create_array(str(level), data=array[..., ::step, ::step])
    axes = [{"name": name} for name in "tczyx"]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}, {"path": "1"}]}]
    info = read_info(tmp_path / "a.zarr")
    assert (info.height, info.width, info.channels) == (40, 50, 2)
    assert (
        read_window(tmp_path / "a.zarr", slice(3, 9), slice(4, 8)).array == array[0, :, 0, 3:9, 4:8].transpose(1, 2, 0)
    ).all()
    zarr.open_group(tmp_path / "b.zarr", mode="w").create_array("x", data=array)
    with pytest.raises(DataError, match=r"b\.zarr: is a group of arrays \(x\), and one array is needed"):
        read_image(tmp_path / "b.zarr")


@pytest.fixture
def slides(tmp_path):
    """Tiled images with masks and instance maps."""
    for folder in ("images", "masks", "instances"):
        (tmp_path / folder).mkdir()
    for number in range(3):
        rng = np.random.default_rng(number)
        image = rng.integers(0, 255, (300, 400, 3), np.uint8)
        tifffile.imwrite(tmp_path / f"images/{number}.tif", image, tile=(64, 64), photometric="rgb")
        tifffile.imwrite(tmp_path / f"masks/{number}.tif", rng.integers(0, 3, (300, 400), np.uint8), tile=(64, 64))
        objects = rng.integers(0, 9, (300, 400)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"instances/{number}.tif", objects, tile=(64, 64))
    return open_folder(tmp_path)


def same(sample, whole, rows, columns):
    return all(torch.equal(sample[key], whole[key][..., rows, columns]) for key in ("image", "mask", "instances"))


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_windows_of_a_data_set(slides, cache):
    data = FolderDataset(slides, "train", cache=cache)
    whole = data[1]
    assert same(data.window(1, ROWS, COLUMNS), whole, ROWS, COLUMNS)
    assert data.size(1) == (300, 400)
    assert int(data.window(1, ROWS, COLUMNS)["index"]) == 1
    with pytest.raises(DataError, match="does not hold rows 290 to 310"):
        FolderDataset(slides, "train").window(0, slice(290, 310), slice(0, 9))


def test_drawing_regions_of_large_images(slides, monkeypatch):
    data = FolderDataset(slides, "train", region=(64, 500))
    assert torch.equal(data.draw(0, np.random.default_rng(0))["image"], data[0]["image"])  # not large
    monkeypatch.setattr(dataset, "LARGE", 300 * 400)
    whole = data[0]
    starts = set()
    for seed in range(40):
        sample = data.draw(0, np.random.default_rng(seed))
        assert sample["image"].shape == (3, 64, 400)  # wider than the image: all of it
        start = int(np.random.default_rng(seed).random(2)[0] * 237)
        assert same(sample, whole, slice(start, start + 64), slice(0, 400))
        starts.add(start)
    assert min(starts) < 30
    assert max(starts) > 206
    drawn = [np.random.default_rng(1), np.random.default_rng(1)]
    data.draw(0, drawn[0])
    FolderDataset(slides, "train").draw(0, drawn[1])
    assert drawn[0].random() == drawn[1].random()


def test_planes_by_windows(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(2):
        write_image(
            tmp_path / f"images/{number}.png", np.random.default_rng(number).integers(0, 255, (40, 50), np.uint8)
        )
        np.save(tmp_path / f"masks/{number}.npy", np.random.default_rng(number).integers(0, 2, (4, 40, 50), np.uint8))
    data = FolderDataset(open_folder(tmp_path), "train")
    window = data.window(0, slice(3, 20), slice(5, 9))
    assert window["mask"].shape == (4, 17, 4)
    assert torch.equal(window["mask"], data[0]["mask"][:, 3:20, 5:9])
    assert read_mask(tmp_path / "images/0.png").shape == (40, 50)
