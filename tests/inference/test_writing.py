"""What the files of predictions hold: values, colours, pages, places on Earth and in patients, counts."""

import csv
import gzip
import struct
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from atrous import Predictor, create_model, save_bundle
from atrous.data import Classes
from atrous.errors import DataError, UsageError
from atrous.images import read_mask, write_image
from atrous.images.nifti_writing import writing_volume
from atrous.inference.coding import MaskCoding, class_coding, value_coding
from atrous.inference.counting import CountsFile, count_classes, count_regions, count_table
from atrous.inference.inputs import ImageInput
from atrous.inference.writing import FileWriter
from atrous.tasks.outputs import confidence, mask
from atrous.types import Prediction
from atrous.workflows import PredictionFiles, predict
from tests.layouts import nifti

COLORS = ((0, 0, 0), (200, 10, 20), (30, 40, 250))


def table(*values: tuple[int, ...], ignore: tuple[int, ...] = (255,), **more: Any) -> Classes:
    return Classes(tuple("abcdef"[: len(values)]), COLORS[: len(values)], values, ignore, **more)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    model = create_model("unet2015", num_classes=2, in_channels=1, width=1).eval()
    return save_bundle(tmp_path / "b", model, class_names=table((255,), (7,), ignore=()))


def picture(size: tuple[int, ...] = (24, 30)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


@pytest.mark.parametrize(
    ("classes", "values", "nodata", "short"),
    [
        (table((0,), (1,)), (0, 1), 255, True),
        (table((1,), (0,)), (1, 0), 255, True),
        (table((0,), (255,), ignore=()), (0, 255), 254, True),
        (table((0,), (3, 2), (254,), ignore=()), (0, 3, 254), 255, True),
        (table((0,), (300,)), (0, 300), 255, False),
        (table((0,), (1,), ignore=(-1, 9)), (0, 1), 9, True),
        (table((0,), (1,), ignore=(-1,)), (0, 1), 255, True),
        (table((0,), (1,), ignore=(65535,)), (0, 1), 255, True),
        (table((), (2,), (), ignore=(0,), color_coded=True), (1, 2, 3), 0, True),
    ],
)
def test_values_of_a_table(classes: Classes, values: tuple[int, ...], nodata: int, short: bool) -> None:
    coding = value_coding(classes)
    assert (coding.values, coding.nodata, coding.short) == (values, nodata, short)
    numbers = np.arange(len(values), dtype=np.uint8)[None]
    valid = np.ones(numbers.shape, bool)
    valid[0, 0] = False
    coded = coding.encode(numbers)
    assert coded.dtype == (np.uint8 if short else np.uint16)
    assert coded[0].tolist() == list(values)
    assert coding.encode(numbers, valid)[0].tolist() == [nodata, *values[1:]]
    if short:
        assert [coding.palette[value] for value in values] == list(classes.colors)  # type: ignore[index]
    else:
        assert coding.palette is None


def test_numbers_of_many_classes() -> None:
    assert class_coding(COLORS[:1] * 255).short
    many = class_coding(COLORS[:1] * 256)
    assert (many.short, many.nodata) == (False, 65535)
    assert many.encode(np.full((1, 1), 255, np.uint8)).tolist() == [[255]]


def test_a_palette_reaches_to_the_largest_value(bundle: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture())
    (written,) = predict(bundle, tmp_path / "a.png", tmp_path / "out", device="cpu")
    assert set(np.unique(read_mask(written))) <= {7, 255}
    with Image.open(written) as file:
        assert file.mode == "P"
        shown = np.asarray(file.convert("RGB"))
    assert {tuple(color) for color in shown.reshape(-1, 3).tolist()} <= set(COLORS[:2])


def test_one_image_into_one_file(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.png", picture())
    write_image(tmp_path / "b.png", picture())
    place = tmp_path / "new" / "m.tif"
    outputs = PredictionFiles(confidence=True)
    assert predict(bundle, tmp_path / "a.png", place, outputs=outputs, device="cpu") == [place]
    found = sorted(str(path.relative_to(place.parent)) for path in place.parent.rglob("*") if path.is_file())
    assert found == ["confidence/m.tif", "m.counts.csv", "m.tif"]
    with pytest.raises(UsageError, match=r"m\.png: is one file, and 2 images came; name a folder with -o"):
        predict(bundle, [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "m.png", device="cpu")
    with pytest.raises(UsageError, match=r"only a NIfTI volume gives a NIfTI mask"):
        predict(bundle, tmp_path / "a.png", tmp_path / "m.nii.gz", device="cpu")
    monkeypatch.chdir(tmp_path)
    assert predict(bundle, "a.png", device="cpu") == [Path("predictions/a.png")]


def test_stacks_give_stacks(bundle: Path, tmp_path: Path) -> None:
    pages = picture((5, 24, 30))
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    outputs = PredictionFiles(confidence=True, overlay=True)
    (written,) = predict(bundle, tmp_path / "a.tif", tmp_path / "out", outputs=outputs, device="cpu")
    predictor = Predictor.load(bundle, device="cpu")
    assert written.name == "a.tif"
    stored = tifffile.imread(written)
    sure = tifffile.imread(tmp_path / "out/confidence/a.tif")
    assert (stored.shape, sure.dtype) == (pages.shape, np.float32)
    for number, page in enumerate(pages):
        told = predictor(page)
        assert (stored[number] == np.array([255, 7])[told.classes]).all()
        assert (sure[number] == told.confidence).all()
        assert (tmp_path / f"out/overlay/a_{number:04}.jpg").is_file()
    with (tmp_path / "out/counts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["page"] for row in rows] == [str(page) for page in range(5) for _ in range(2)]
    with pytest.raises(UsageError, match=r"a\.tif: is a stack of 5 images, and a PNG holds one; write --format tif"):
        predict(bundle, tmp_path / "a.tif", tmp_path / "png", outputs=PredictionFiles("png"), device="cpu")


def test_a_georeference_is_kept_and_nodata_stays_nodata(tmp_path: Path) -> None:
    place = [(33550, 12, 3, (0.5, 0.5, 0), True), (33922, 12, 6, (0, 0, 0, 4e5, 5e6, 0), True)]
    keys = [(34735, 3, 8, (1, 1, 0, 1, 3072, 0, 1, 32633), True), (34737, 2, 0, "WGS 84|", True)]
    image = picture().astype(np.float32)
    image[3:9, 4:20] = -9999
    gone = image == -9999
    tifffile.imwrite(tmp_path / "a.tif", image, extratags=[*place, *keys, (42113, 2, 0, "-9999", True)])
    model = create_model("unet2015", num_classes=2, in_channels=1, width=1).eval()
    classes = table((0,), (1,))
    bundle = save_bundle(tmp_path / "b", model, class_names=classes, dtype="float32")
    (written,) = predict(bundle, tmp_path / "a.tif", tmp_path / "out", device="cpu")
    with tifffile.TiffFile(written) as file:
        tags = file.pages[0].tags
        assert (tags[33550].value, tags[33922].value) == ((0.5, 0.5, 0.0), (0, 0, 0, 4e5, 5e6, 0))
        assert (tags[34735].value, tags[34737].value) == ((1, 1, 0, 1, 3072, 0, 1, 32633), "WGS 84|")
        assert tags[42113].value == "255"
    stored = read_mask(written)
    assert (stored[gone] == 255).all()
    assert (stored[~gone] < 255).all()
    (plain,) = predict(bundle, tmp_path / "a.tif", tmp_path / "p", outputs=PredictionFiles("png"), device="cpu")
    assert (read_mask(plain) == stored).all()
    counts = (tmp_path / "out/counts.csv").read_text()
    assert f"a.tif,,(no data),255,{gone.sum()}," in counts
    assert not (Predictor.load(bundle, device="cpu")(tmp_path / "a.tif").valid[gone]).any()  # type: ignore[index]


def test_an_image_that_is_turned_gives_no_georeference(bundle: Path, tmp_path: Path, caplog) -> None:
    place = [(33550, 12, 3, (1, 1, 0), True), (33922, 12, 6, (0, 0, 0, 9, 9, 0), True), (274, 3, 1, 3, True)]
    tifffile.imwrite(tmp_path / "a.tif", picture(), extratags=place)
    (written,) = predict(bundle, tmp_path / "a.tif", tmp_path / "out", device="cpu")
    assert written.name == "a.png"
    assert "its results do not get its georeference" in caplog.text


def test_a_volume_gives_a_volume_at_its_place(bundle: Path, tmp_path: Path) -> None:
    pages = picture((4, 24, 30))
    (tmp_path / "a.nii.gz").write_bytes(nifti(pages))
    (written,) = predict(bundle, tmp_path / "a.nii.gz", tmp_path / "out", device="cpu")
    assert written.name == "a.nii.gz"
    before, after = (gzip.decompress((tmp_path / name).read_bytes()) for name in ("a.nii.gz", "out/a.nii.gz"))
    for span in (slice(40, 56), slice(76, 108), slice(252, 328)):  # sizes, spacing, affine
        assert before[span] == after[span]
    stored = np.frombuffer(after[352:], np.uint8).reshape(pages.shape)
    told = [Predictor.load(bundle, device="cpu")(page).classes for page in pages]
    assert (stored == np.array([255, 7])[np.stack(told)]).all()
    again = predict(bundle, tmp_path / "a.nii.gz", tmp_path / "two", device="cpu")[0]
    assert again.read_bytes() == written.read_bytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("second", [False, True])
def test_headers_of_both_generations_and_byte_orders(order: str, second: bool, tmp_path: Path) -> None:
    size, datatype, offset, scale = (540, 12, 168, 176) if second else (348, 70, 108, 112)
    head = bytearray(size + 4)
    struct.pack_into(f"{order}i", head, 0, size)
    struct.pack_into(f"{order}2h", head, datatype, 512, 16)
    struct.pack_into(f"{order}2{'d' if second else 'f'}", head, scale, 2, -7)
    (tmp_path / "a.nii").write_bytes(bytes(head))
    values = np.array([[1, 2], [300, 4]], np.uint16)
    with writing_volume(tmp_path / "b.nii", tmp_path / "a.nii", packed=False) as put:
        put(values)
        put(values + 1)
    new = (tmp_path / "b.nii").read_bytes()
    assert struct.unpack_from(f"{order}2h", new, datatype) == (512, 16)
    assert struct.unpack_from(f"{order}2{'d' if second else 'f'}", new, scale) == (1, 0)
    assert struct.unpack_from(f"{order}{'q' if second else 'f'}", new, offset)[0] == size + 4
    stored = np.frombuffer(new[size + 4 :], f"{order}u2").reshape(2, 2, 2)
    assert (stored == np.stack([values, values + 1])).all()


def test_colors_alone_are_written_as_such_in_tiff(tmp_path: Path) -> None:
    classes = table((), (2,), (), ignore=(), color_coded=True)
    found = Prediction(np.array([[0, 1, 2]], np.uint8), np.ones((1, 3), np.float16))
    image = ImageInput("a", tmp_path / "a.tif", (tmp_path / "a.tif",))
    predictor = SimpleNamespace(class_names=classes.names)
    for kind in ("tif", "png"):
        files = [mask(classes.names, classes.colors)]
        writer = FileWriter(tmp_path / kind, PredictionFiles(kind), files, value_coding(classes))  # type: ignore[arg-type]
        with writer.writing(image, predictor) as put:  # type: ignore[arg-type]
            put(found, image.place)
    assert read_mask(tmp_path / "tif/a.tif")[0].tolist() == [list(color) for color in COLORS]
    with Image.open(tmp_path / "png/a.png") as file:
        assert np.asarray(file.convert("RGB"))[0].tolist() == [list(color) for color in COLORS]


def test_what_is_asked_for_in_vain() -> None:
    with pytest.raises(UsageError, match="--format bmp: masks are written as auto, png or tif"):
        PredictionFiles("bmp")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--values raw: masks hold the values of the data, or index numbers"):
        PredictionFiles(values="raw")  # type: ignore[arg-type]


def test_confidence_of_a_large_image_takes_no_multiple_of_the_memory() -> None:
    found = Prediction(np.zeros((4000, 4000), np.uint8), np.full((4000, 4000), 0.5, np.float16))
    tracemalloc.start()
    stored = confidence().make(found, False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (stored == 128).all()
    assert peak < 16e6 + 8 * (1 << 22) * 2  # the bytes, and a band of rows as float32 a few times


def test_tiles_are_told_while_they_are_done(bundle: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture((30, 40)))
    write_image(tmp_path / "b.png", picture((10, 10)))
    told: list[tuple[int, int]] = []
    images = [tmp_path / name for name in ("a.png", "missing.png", "b.png")]
    images[1].write_text("no image")
    with pytest.raises(DataError, match="1 of 3 images could not be segmented"):
        predict(
            bundle, images, tmp_path / "out", tile=20, device="cpu", progress=lambda done, of: told.append((done, of))
        )
    assert told == [(0, 3), (1, 6), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]


def test_pixels_and_objects_are_counted(tmp_path: Path) -> None:
    classes = np.array([[0, 1, 0, 2], [1, 0, 0, 2], [0, 0, 1, 1]], np.uint8)
    valid = np.ones(classes.shape, bool)
    valid[2, 3] = False
    found = Prediction(classes, np.ones(classes.shape, np.float16), valid=valid)
    rows = count_classes(found, ["bg", "x", "y"], [0, 9, 3, 255], mask="a.png")
    assert [(row.name, row.value, row.pixels, row.objects) for row in rows] == [
        ("bg", 0, 6, ""),
        ("x", 9, 3, "2"),  # corners connect
        ("y", 3, 2, "1"),
        ("(no data)", 255, 1, ""),
    ]
    assert sum(row.share for row in rows[:3]) == pytest.approx(1)
    numbered = Prediction(classes, found.confidence, instances=np.where(classes == 1, [[1], [2], [3]], classes))
    assert [row.objects for row in count_classes(numbered, "abc", [0, 1, 2, 255], mask="")] == ["", "3", "1"]
    planes = np.stack([classes == 1, classes > 0])
    over = Prediction(classes, found.confidence, labels=planes)
    assert [(row.pixels, row.objects) for row in count_classes(over, "ab", [0, 1, 255], mask="")] == [
        (4, "2"),
        (6, "2"),
    ]


@pytest.mark.parametrize("height", [1, 2, 7])
def test_regions_that_bands_cut_are_counted_once(height: int) -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 0.2, 0.5, 1.0):
        picture = rng.random((40, 31)) < share
        whole = count_regions(iter([picture]))
        assert count_regions(iter([picture[top : top + height] for top in range(0, 40, height)])) == whole


def test_lines_of_other_masks_stay(bundle: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png", picture())
    out = tmp_path / "out"
    predict(bundle, [tmp_path / "a.png", tmp_path / "b.png"], out, device="cpu")
    first = (out / "counts.csv").read_text()
    (out / "counts.csv").write_text(first + "b.png,,cut")  # as a killed process leaves it
    write_image(tmp_path / "a.png", 255 - picture())
    predict(bundle, tmp_path / "a.png", out, device="cpu")
    rows = (out / "counts.csv").read_text().splitlines()
    assert rows[1:3] == first.splitlines()[3:5]
    assert [row.split(",")[0] for row in rows] == ["mask", "b.png", "b.png", "a.png", "a.png"]
    text = count_table(out / "counts.csv", ["a.png"])
    assert text.splitlines()[0].split() == ["class", "share", "objects"]
    assert len(text.splitlines()) == 3
    (out / "counts.csv").write_text("my,own,table\n")
    with pytest.raises(UsageError, match=r"counts\.csv: the counts of the masks go into this file, and it holds some"):
        predict(bundle, tmp_path / "a.png", out, device="cpu")
    assert CountsFile(tmp_path / "none.csv").path.name == "none.csv"


def test_a_coding_paints() -> None:
    coding = MaskCoding((0, 1), COLORS[:2], 255, (9, 9, 9), colored=True)
    painted = coding.paint(np.array([[0, 1, 1]], np.uint8), np.array([[True, True, False]]))
    assert painted[0].tolist() == [[0, 0, 0], [200, 10, 20], [9, 9, 9]]


@pytest.mark.shared
def test_real_georeferenced_images(shared: Path, tmp_path: Path) -> None:
    model = create_model("unet2015", num_classes=2, in_channels=1, width=1).eval()
    bundle = save_bundle(tmp_path / "b", model, class_names=table((0,), (1,)), dtype="float32")
    written = predict(bundle, [shared / "geotiff" / name for name in ("dsm.tif", "hag.tif")], tmp_path / "out")
    for mask_file in written:
        with tifffile.TiffFile(mask_file) as mine, tifffile.TiffFile(shared / "geotiff" / mask_file.name) as theirs:
            for code in (33550, 33922, 34735, 34736, 34737):
                ours = mine.pages[0].tags.get(code)
                image = theirs.pages[0].tags.get(code)
                assert (ours is None) == (image is None)
                assert ours is None or ours.value == image.value
