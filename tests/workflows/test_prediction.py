"""Prediction: the right files, whole or not at all, and no surprise for those who have many images."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atrous.data import open_folder
from atrous.errors import AtrousError, DataError, UsageError
from atrous.images import read_image, read_mask, write_image
from atrous.inference import Predictor
from atrous.inference.inputs import find_inputs
from atrous.workflows import PredictionFiles, evaluate, predict


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three grey images of three sizes and formats."""
    folder = tmp_path / "scans"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (40, 50)), ("b.tif", (33, 71)), ("C.PNG", (1, 1))):
        write_image(folder / name.lower(), rng.integers(0, 256, size, dtype=np.uint8))
        if name.lower() != name:
            (folder / name.lower()).rename(folder / name)
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_masks_hold_the_classes_and_their_colors(run: Path, images: Path, tmp_path: Path) -> None:
    written = predict(run, images, tmp_path / "out", device="cpu", precision="float32")
    assert sorted(path.name for path in written) == ["C.png", "a.png", "b.png"]
    predictor = Predictor.load(run / "bundle", device="cpu", precision="float32")
    for source, mask in ((images / "a.png", "a.png"), (images / "b.tif", "b.png")):
        stored = read_mask(tmp_path / "out" / mask)
        assert (stored == predictor(read_image(source).array).classes).all()
        with Image.open(tmp_path / "out" / mask) as file:
            assert file.mode == "P"
            palette = np.asarray(file.getpalette("RGB")).reshape(-1, 3)
        assert palette[:2].tolist() == [list(color) for color in predictor.colors]


def test_overlay_and_confidence(run: Path, images: Path, tmp_path: Path) -> None:
    outputs = PredictionFiles(overlay=True, confidence=True)
    predict(run, images / "a.png", tmp_path / "out", outputs=outputs, device="cpu", precision="float32")
    score = Predictor.load(run / "bundle", device="cpu", precision="float32")(images / "a.png").confidence
    stored = read_image(tmp_path / "out" / "confidence" / "a.png").array[..., 0]
    assert abs(stored / 255 - score.astype(float)).max() <= 0.5 / 255 + 1e-3
    with Image.open(tmp_path / "out" / "overlay" / "a.jpg") as picture:
        assert picture.size == (50, 40)
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file()) == [
        "a.jpg",
        "a.png",
        "a.png",
        "counts.csv",
    ]


def test_tiff_keeps_the_confidence_exact(run: Path, images: Path, tmp_path: Path) -> None:
    outputs = PredictionFiles("tif", confidence=True)
    predict(run, images / "a.png", tmp_path / "out", outputs=outputs, device="cpu", precision="float32")
    score = Predictor.load(run / "bundle", device="cpu", precision="float32")(images / "a.png").confidence
    stored = read_image(tmp_path / "out" / "confidence" / "a.tif").array
    assert stored.dtype == np.float32
    assert (stored[..., 0] == score.astype(np.float32)).all()
    assert read_mask(tmp_path / "out" / "a.tif").shape == (40, 50)


def test_more_than_256_classes_take_16_bits(make_bundle, images: Path, tmp_path: Path) -> None:
    bundle = make_bundle(num_classes=300)
    predict(bundle, images / "a.png", tmp_path / "out", device="cpu", precision="float32")
    expected = Predictor.load(bundle, device="cpu", precision="float32")(images / "a.png").classes
    stored = read_mask(tmp_path / "out" / "a.png")
    assert stored.dtype == np.uint16
    assert (stored == expected).all()


def test_existing_masks_are_left_alone_when_asked(run: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_text("mine")
    told: list[tuple[int, int]] = []
    written = predict(
        run,
        images,
        out,
        outputs=PredictionFiles(skip_existing=True),
        progress=lambda done, total: told.append((done, total)),
    )
    assert sorted(path.name for path in written) == ["C.png", "b.png"]
    assert (out / "a.png").read_text() == "mine"
    assert told[-1] == (2, 2)
    assert predict(run, images, out, outputs=PredictionFiles(skip_existing=True)) == []
    # The mask alone is not all: the overlay is still to be made.
    assert len(predict(run, images / "b.tif", out, outputs=PredictionFiles(skip_existing=True, overlay=True))) == 1


def test_a_broken_image_does_not_stop_the_others(run: Path, images: Path, tmp_path: Path) -> None:
    (images / "aa.png").write_text("no image")
    with pytest.raises(DataError, match=r"1 of 4 images could not be segmented, the others are done: .*aa\.png"):
        predict(run, images, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["C.png", "a.png", "b.png", "counts.csv"]


def test_when_all_fail_nothing_is_left(run: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(AtrousError, match=r"x\.png"):
        predict(run, tmp_path / "x.png", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_many_failures_make_a_short_text(run: Path, tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"x{i}.png").write_text("no image")
    with pytest.raises(DataError, match=r"8 of 8 images could not be segmented: .* and 5 more\.$"):
        predict(run, str(tmp_path / "x*.png"), tmp_path / "out")


def test_a_failed_write_leaves_no_half_file(run: Path, images: Path, tmp_path: Path, monkeypatch) -> None:
    def fail(self: Image.Image, path: Path, *args: object, **kwargs: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(DataError, match=r"b\.jpg: cannot be written \(No space left on device\)"):
        predict(run, images / "b.tif", tmp_path / "out", outputs=PredictionFiles("tif", overlay=True))
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == []


def names(images: object) -> list[str]:
    return [image.place.name for image in find_inputs(images)]  # type: ignore[arg-type]


def test_images_are_found_by_file_folder_and_pattern(images: Path) -> None:
    assert names(images) == ["C.PNG", "a.png", "b.tif"]
    assert names([images / "b.tif", str(images / "*.p*"), images]) == ["b.tif", "a.png", "C.PNG"]
    assert names(str(images.parent / "**" / "a.png")) == ["a.png"]


def test_a_data_folder_gives_its_images(data: Path) -> None:
    assert {image.place.parent.name for image in find_inputs(data)} == {"images"}


def test_names_that_would_meet_are_refused_before_anything_is_done(run: Path, images: Path, tmp_path: Path) -> None:
    shutil.copy(images / "a.png", images / "A.tif")
    with pytest.raises(UsageError, match=r"a\.png and .*A\.tif would both give|A\.tif and .*a\.png would both give"):
        predict(run, images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mask_never_replaces_an_image(run: Path, images: Path) -> None:
    before = (images / "a.png").read_bytes()
    with pytest.raises(UsageError, match=r"a\.png: the result would replace an image"):
        predict(run, images / "a.png", images)
    assert (images / "a.png").read_bytes() == before
    predict(run, images / "b.tif", images)  # b.png is free
    assert (images / "b.png").is_file()


def test_unknown_keywords_are_refused_as_by_any_function(run: Path, images: Path, tmp_path: Path, data: Path) -> None:
    with pytest.raises(TypeError, match=r"predict\(\) got an unexpected keyword argument 'devise'.*'device'"):
        predict(run, images, tmp_path / "out", devise="cpu")
    with pytest.raises(TypeError, match=r"evaluate\(\) got an unexpected keyword argument 'view'.*'views'"):
        evaluate(run, data, view="hflip")
    assert not (tmp_path / "out").exists()


def test_what_is_predicted_by_views_is_measured_by_views(run: Path, data: Path) -> None:
    told = {"split": "test", "device": "cpu", "precision": "float32", "boundary": False}
    plain, turned = evaluate(run, data, **told), evaluate(run, data, views=["hflip"], **told)
    predictor = Predictor.load(run / "bundle", device="cpu", precision="float32")
    pairs = open_folder(data).splits["test"]
    wrong = [
        sum((predictor(pair.image, views=views).classes != read_mask(pair.mask)).sum() for pair in pairs)
        for views in ((), ("hflip",))
    ]
    pixels = sum(read_mask(pair.mask).size for pair in pairs)
    found = [1 - result.summary["pixel_accuracy"] for result in (plain, turned)]
    assert found == pytest.approx([count / pixels for count in wrong])
