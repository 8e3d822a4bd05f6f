"""One reader: an image is the same numbers whatever holds it, however it is read, and whoever asks.

Every format holds the same image in every data type that it can. It is read whole and by windows, as training reads it
and as prediction reads it; the numbers, the valid pixels, what stands in the others, and the data type must agree.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile
import torch
import zarr
from PIL import Image

from atrous.data import Classes, Folder, FolderDataset, Pair
from atrous.images import open_source, read_image, read_info, read_window, write_image
from atrous.images import source as sources
from atrous.inference import Predictor
from tests.images.writers import HEIGHT, NODATA, WIDTH, WRITERS
from tests.networks import made_image

FORMATS = (
    "array", "png", "tiff whole", "tiff by windows", "npy", "zarr 2", "zarr 3", "ome-zarr 0.4", "ome-zarr 0.5",
    "nifti 1", "nifti 2", "bmp", "gif", "webp", "jp2", "imagej", "ome-tiff set", "lerc",
)  # fmt: skip
TYPES = ("bool", "uint8", "uint16", "int16", "float32", "float64")
WINDOWS = {
    "everything": (slice(0, HEIGHT), slice(0, WIDTH)),
    "a corner": (slice(0, 7), slice(0, 9)),
    "the last corner": (slice(33, HEIGHT), slice(47, WIDTH)),
    "inside a tile": (slice(17, 30), slice(33, 47)),
    "across tiles": (slice(9, 38), slice(11, 55)),
    "a pixel": (slice(HEIGHT - 1, HEIGHT), slice(WIDTH - 1, WIDTH)),
    "a row": (slice(16, 17), slice(0, WIDTH)),
}
READ_AS = {"bool": "uint8", "uint8": "uint8", "uint16": "uint16"}  # every other type is read as float32


class Case(NamedTuple):
    """An image in a format, and what a reader must make of it."""

    image: object  # a path or an array
    numbers: np.ndarray  # (H, W, C) float32, 0 where invalid
    valid: np.ndarray  # (H, W) bool
    kind: str


HOLDS = {
    "nifti 1": (("uint8", "uint16", "int16", "float32", "float64"), (1,)),
    "nifti 2": (("uint8", "uint16", "int16", "float32", "float64"), (1,)),
    "bmp": (("uint8",), (1, 3)),
    "gif": (("uint8",), (1,)),
    "webp": (("uint8",), (3,)),
    "jp2": (("uint8",), (1, 3)),
    "imagej": (("uint8", "uint16", "float32"), (1, 3)),
    "ome-tiff set": (("uint8", "uint16", "float32"), (3,)),
    "lerc": (("uint8", "uint16", "int16", "float32", "float64"), (1,)),
}
"""Types and channels that some formats are written with here."""


def cannot(form: str, dtype: str, missing: bool, channels: int = 1) -> str:
    """Why a format does not hold such an image, or nothing where it does."""
    if form == "png" and dtype not in ("bool", "uint8", "uint16"):
        return "PNG stores whole numbers from 0 to 65535"
    if form == "png" and missing:
        return "PNG has no place for a nodata value, and no NaN"
    if form in HOLDS and (dtype not in HOLDS[form][0] or channels not in HOLDS[form][1]):
        return "the format, or its writer, has no such numbers or channels"
    if form in ("bmp", "gif", "webp", "jp2") and missing:
        return "the format has no place for a nodata value, and no NaN"
    if missing and dtype == "bool":
        return "of two values none is left to say that a pixel is missing"
    if missing and form != "lerc" and not form.startswith("tiff") and not dtype.startswith("float"):
        return "whole numbers are missing only where a file names its nodata value, and this one has no place for it"
    return ""


def cases(*channels: int):
    for form in FORMATS:
        for dtype in TYPES:
            for missing in (False, True):
                for count in channels:
                    if not cannot(form, dtype, missing, count):
                        name = f"{form}-{dtype}-{'missing' if missing else 'complete'}-{count}"
                        yield pytest.param((form, dtype, missing, count), id=name)


def pixels(dtype: str, channels: int) -> np.ndarray:
    """Smooth blobs in the range of a data type."""
    image = made_image(HEIGHT, WIDTH, channels).clip(1)
    if dtype == "bool":
        return image > 127
    if dtype == "int16":
        return image.astype(np.int16) * 20 - 2000
    return image.astype(dtype) * (200 if dtype == "uint16" else 1)


def write(path: Path, array: np.ndarray, form: str, nodata: int | None) -> Path:
    if form == "png":
        path = path.with_suffix(".png")
        if array.dtype == bool and array.shape[2] == 1:
            Image.fromarray(array[..., 0]).save(path)
        else:
            write_image(path, array.astype(np.uint8) * 255 if array.dtype == bool else array)
    elif form.startswith("tiff"):
        path = path.with_suffix(".tif")
        tags = [] if nodata is None else [(42113, "s", 0, str(nodata), True)]
        tile = {} if array.dtype == bool else {"tile": (16, 16)}
        array = array.squeeze()
        planar = {"planarconfig": "contig"} if array.ndim == 3 else {}
        if array.dtype == bool and array.ndim == 3:
            array = array.astype(np.uint8) * 255  # TIFF packs bits of one channel alone
        tifffile.imwrite(path, array, photometric="minisblack", extratags=tags, **planar, **tile)
    elif form in WRITERS:
        path = WRITERS[form](path, array)
    elif form == "npy":
        path = path.with_suffix(".npy")
        np.save(path, array)
    elif form.startswith("zarr"):
        path = path.with_suffix(".zarr")
        zarr.create_array(path, data=array, chunks=(16, 16, array.shape[2]), zarr_format=int(form[-1]))
    else:
        path = path.with_suffix(".zarr")
        write_ome_zarr(path, array, form[-3:])
    return path


def write_ome_zarr(path: Path, array: np.ndarray, version: str) -> None:
    """(T, C, Z, Y, X), as microscopes write it, with a coarser level after the full one."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    levels = {"s0": array, "s1": array[::2, ::2]}
    for name, level in levels.items():
        stored = np.moveaxis(level, -1, 0)[None, :, None]  # (H, W, C) -> (1, C, 1, H, W)
        group.create_array(name, data=stored, chunks=(1, 1, 1, 16, 16))
    scales = [{"axes": [{"name": a} for a in "tczyx"], "datasets": [{"path": name} for name in levels]}]
    group.attrs.update({"multiscales": scales} if version == "0.4" else {"ome": {"multiscales": scales}})


def make(folder: Path, form: str, dtype: str, missing: bool, channels: int) -> Case:
    array = pixels(dtype, channels)
    valid, nodata = np.ones((HEIGHT, WIDTH), bool), None
    if missing:
        valid[5:19, 30:50] = False
        valid[-1, -1] = valid[39, 3] = False
        nodata = NODATA[dtype] if form.startswith("tiff") or (form == "lerc" and dtype[0] in "ui") else None
        array[~valid] = np.nan if nodata is None else nodata
        if dtype.startswith("float"):
            array[20, 20], array[21, 21, 0] = np.nan, np.inf  # one channel is enough
            valid[20, 20] = valid[21, 21] = False
    numbers = array.astype(np.float32) * (255 if dtype == "bool" else 1)
    numbers[~valid] = 0
    image = array if form == "array" else write(folder / "image", array, form, nodata)
    return Case(image, numbers, valid, READ_AS.get(dtype, "float32"))


@pytest.fixture
def case(request, tmp_path, monkeypatch):
    form, dtype, missing, channels = request.param
    if form == "tiff by windows":
        monkeypatch.setattr(sources, "_WHOLE_FILE", 100)
    return make(tmp_path, form, dtype, missing, channels)


def over(*channels: int):
    return pytest.mark.parametrize("case", list(cases(*channels)), indirect=True)


def same(found, case: Case, window: tuple[slice, slice]) -> None:
    """A raster holds a window of the case: its numbers, and which of them count."""
    valid = case.valid[window]
    told = np.ones(valid.shape, bool) if found.valid is None else found.valid
    np.testing.assert_array_equal(told, valid)
    assert np.isfinite(found.array).all()
    np.testing.assert_array_equal(found.array[valid].astype(np.float32), case.numbers[window][valid])


@over(1, 3)
def test_windows_are_windows_of_the_whole(case):
    """Read whole and read by windows, opened once or anew for each."""
    everything = WINDOWS["everything"]
    with open_source(case.image) as source:
        assert (source.shape, source.dtype) == (case.numbers.shape, case.kind)
        for window in WINDOWS.values():
            same(source.read(*window), case, window)
    if isinstance(case.image, Path):
        info = read_info(case.image)
        assert info[:4] == (*case.numbers.shape, case.kind)
        whole = read_image(case.image)
        assert whole.array.dtype == case.kind
        same(whole, case, everything)
        for window in WINDOWS.values():
            part = read_window(case.image, *window)
            assert part.array.dtype == case.kind
            same(part, case, window)


class Witness:
    """A network's scorer that keeps the images it was shown."""

    def __init__(self, scorer):
        self.scorer, self.shown = scorer, []

    def __getattr__(self, name):
        return getattr(self.scorer, name)

    def __call__(self, image):
        self.shown.append(image.clone())
        return self.scorer(image)


def folder_of(case: Case, tmp_path: Path) -> Folder:
    """A data folder of this one image."""
    write_image(tmp_path / "mask.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    classes = Classes(("a", "b", "c"), ((0, 0, 0), (9, 9, 9), (5, 5, 5)), ((0,), (1,), (2,)))
    pair = Pair("image", case.image, tmp_path / "mask.png")
    return Folder(tmp_path, {"train": (pair,)}, classes, case.numbers.shape[2], case.kind)


def predictor_for(model, case: Case) -> Predictor:
    predictor = Predictor(model, class_names=["a", "b", "c"], precision="float32", device="cpu", dtype=case.kind)
    predictor.scorer = Witness(predictor.scorer)
    return predictor


@pytest.fixture
def network(small_model, case):
    """A network of random weights, normalised for images like the one at hand, but for a little."""
    known = case.numbers[case.valid]
    before = small_model.mean.clone(), small_model.std.clone()
    small_model.set_normalization((1.1 * known.mean(0) + 0.3).tolist(), known.std(0).tolist())
    yield small_model
    small_model.set_normalization(*before)


@over(1)
def test_training_and_prediction_see_the_same(case, network, tmp_path):
    """The array of a training sample is what the network is shown of the file, and it decides alike on both."""
    predictor = predictor_for(network, case)
    prediction = predictor(case.image, scores=True)
    (shown,) = predictor.scorer.shown
    assert (prediction.confidence[~case.valid] == 0).all()
    fill = network.mean.numpy() if case.kind == "float32" else np.rint(network.mean.numpy())
    filled = np.where(case.valid[..., None], case.numbers, fill)
    np.testing.assert_array_equal(shown[0].permute(1, 2, 0).numpy(), filled)
    if not isinstance(case.image, Path):
        return
    sample = FolderDataset(folder_of(case, tmp_path), "train", fill=network.mean.tolist())[0]
    np.testing.assert_array_equal(sample["mask"].numpy() == 255, ~case.valid)
    assert torch.equal(sample["image"], shown[0])
    with torch.no_grad():
        wanted = network(sample["image"][None])["out"][0].argmax(0).numpy()
    np.testing.assert_array_equal(prediction.classes[case.valid], wanted[case.valid])


@over(1)
def test_tiles_see_what_one_pass_sees(case, network):
    """Prediction in tiles reads by windows; each tile is shown its window of the whole."""
    predictor = predictor_for(network, case)
    predictor(case.image)
    (whole,) = predictor.scorer.shown
    predictor.scorer.shown.clear()
    predictor(case.image, tile=16, margin=0)
    tiles = predictor.scorer.shown
    assert len(tiles) == 12
    place = iter(tiles)
    for top in range(0, HEIGHT, 16):
        for left in range(0, WIDTH, 16):
            tile = next(place)[0]
            height, width = tile.shape[1:]
            assert torch.equal(tile, whole[0, :, top : top + height, left : left + width])


@pytest.mark.parametrize("form", ["png", "tiff whole", "npy"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "float32"])
def test_bytes_are_read_as_their_file(form, dtype, tmp_path):
    """A service holds files in memory."""
    if reason := cannot(form, dtype, False):
        pytest.skip(reason)
    case = make(tmp_path, form, dtype, dtype == "float32", 1)
    with open_source(case.image.read_bytes()) as source:
        assert (source.shape, source.dtype) == (case.numbers.shape, case.kind)
        for window in WINDOWS.values():
            same(source.read(*window), case, window)


def stripe(tmp_path: Path) -> Path:
    """Heights with a stripe of nodata, far from the mean of the images that the network knows."""
    heights = made_image(160, 200)[..., 0].astype(np.float32) + 60
    heights[:, 90:110] = -9999
    tags = [(42113, "s", 0, "-9999", True)]
    tifffile.imwrite(tmp_path / "heights.tif", heights, tile=(16, 16), extratags=tags)
    return tmp_path / "heights.tif"


def test_pixels_without_data_do_not_change_how_a_tiff_is_decided_whole_or_by_windows(
    tmp_path, small_model, monkeypatch
):
    """Valid pixels beside nodata are decided alike: once the fill was the image's mean, once the network's."""
    path = stripe(tmp_path)
    predict = Predictor(small_model, class_names=["a", "b", "c"], precision="float32", device="cpu", dtype="float32")
    valid = read_image(path).valid
    whole = predict(path).classes
    monkeypatch.setattr(sources, "_WHOLE_FILE", 100)
    windows = predict(path).classes
    assert (whole != windows)[valid].mean() == 0


def test_an_ome_zarr_image_is_predicted_as_it_is_trained_on(tmp_path, small_model):
    """A group that holds an image pyramid stands for its full resolution."""
    image = made_image(HEIGHT, WIDTH)
    write_ome_zarr(tmp_path / "image.zarr", image, "0.4")
    predict = Predictor(small_model, class_names=["a", "b", "c"], precision="float32", device="cpu")
    np.testing.assert_array_equal(read_image(tmp_path / "image.zarr").array, image)
    np.testing.assert_array_equal(predict(tmp_path / "image.zarr").classes, predict(image).classes)


@pytest.mark.parametrize("form", ["array", "npy", "tiff by windows"])
def test_signed_16_bits_are_predicted_as_they_are_trained_on(form, tmp_path, small_model, monkeypatch):
    """They are read as float32 by both."""
    monkeypatch.setattr(sources, "_WHOLE_FILE", 100)
    case = make(tmp_path, form, "int16", False, 1)
    predict = Predictor(small_model, class_names=["a", "b", "c"], precision="float32", device="cpu", dtype="float32")
    np.testing.assert_array_equal(predict(case.image).classes, predict(case.numbers).classes)


@pytest.mark.parametrize("form", ["array", "npy", "zarr 3"])
def test_booleans_are_predicted_as_they_are_trained_on(form, tmp_path, small_model):
    """One bit is 0 and 255, in an array as in a PNG."""
    case = make(tmp_path, form, "bool", False, 1)
    predict = Predictor(small_model, class_names=["a", "b", "c"], precision="float32", device="cpu")
    np.testing.assert_array_equal(predict(case.image).classes, predict(case.numbers.astype(np.uint8)).classes)
