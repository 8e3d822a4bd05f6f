"""The camera's orientation (EXIF) beside masks that have none: said by name, and left out where the recipe says so."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from atrous.bundle import load_bundle, save_bundle
from atrous.data import FolderDataset, check_folder, open_folder, quick_check
from atrous.errors import DataError
from atrous.evaluation.pairs import open_like
from atrous.images import open_source, read_image, write_image
from atrous.inference import Predictor
from atrous.models import create_model
from atrous.recipe import load_recipe
from atrous.training.inputs import open_inputs
from atrous.training.resolved import resolve_run
from tests.networks import made_image


def make(root, orientation: int, *, suffix=".jpg", size=(24, 24), turned_masks=False, count=3):
    """Images with an orientation, and masks of the same stored size without one."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for number in range(count):
        picture = made_image(*size, 3) // (number + 1)
        path = root / f"images/{number}{suffix}"
        if suffix == ".tif":
            tifffile.imwrite(path, picture, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
        else:
            Image.fromarray(picture).save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
        mask = Image.fromarray((picture[..., 0] > 60).astype(np.uint8))
        mask.save(root / f"masks/{number}.png", **({"exif": exif} if turned_masks else {}))
    return root


def told(report) -> list:
    return [finding for finding in report.findings if finding.code == "exif"]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_masks_that_fit_either_way_are_told_by_name(tmp_path, suffix, orientation):
    """A mask drawn on the stored pixels agreed with its image in 0.73 to 0.83 of the pixels, and nobody said so."""
    root = make(tmp_path, orientation, suffix=suffix)
    for report in (check_folder(root), quick_check(root, pairs=2)):
        (finding,) = told(report)
        name = Path(finding.file).stem
        assert (finding.severity, finding.file) == ("warning", str(root / f"images/{name}{suffix}"))
        assert finding.message == (
            f"is turned by the camera's orientation (EXIF {orientation}), and its mask {root}/masks/{name}.png is not, "
            "as in 3 pairs in all: a mask drawn on the pixels as stored lies wrong"
        )
        assert finding.fix.endswith("set data.exif=raw in the recipe.")


@pytest.mark.parametrize("orientation", [0, 1, 9, 255])
def test_orientations_that_do_not_exist_turn_nothing(tmp_path, orientation):
    """9 and 255 exchanged height and width."""
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        root = make(tmp_path / suffix, orientation, suffix=suffix, size=(16, 24))
        assert not check_folder(root).errors
        assert not told(check_folder(root))
        assert read_image(root / f"images/0{suffix}").array.shape == (16, 24, 3)


def test_masks_with_the_same_orientation_and_sides_that_tell_are_not_told(tmp_path):
    assert not told(check_folder(make(tmp_path / "both", 3, turned_masks=True)))
    root = make(tmp_path / "sides", 6, size=(16, 24))
    for number in range(3):  # drawn on the turned image
        write_image(root / f"masks/{number}.png", np.arange(384).reshape(24, 16).astype(np.uint8) % 2)
    report = check_folder(root)
    assert not told(report)
    assert not report.errors


def test_a_mask_on_stored_pixels_of_an_oblong_image_is_an_error_with_the_cure(tmp_path):
    root = make(tmp_path, 6, size=(16, 24))
    (first, *_) = check_folder(root).errors
    assert first.code == "size_mismatch"
    assert first.fix.endswith("if masks lie on stored pixels, set data.exif=raw.")
    assert open_folder(root, exif="raw").pairs
    assert not quick_check(open_folder(root, exif="raw")).errors


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_raw_reads_the_pixels_as_they_are_stored(tmp_path, suffix):
    root = make(tmp_path, 6, suffix=suffix, size=(16, 24))
    folder = open_folder(root, exif="raw")
    assert not told(quick_check(folder))
    for data in (FolderDataset(folder, "train"), FolderDataset(folder, "train", cache="memory")):
        stored = np.rot90(read_image(root / f"images/{data.names[0]}{suffix}").array)  # 6 turns to the right
        for sample in (data[0], data[0]):
            np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), stored)
        window = data.window(0, slice(3, 9), slice(2, 20))["image"].permute(1, 2, 0)
        np.testing.assert_array_equal(window, stored[3:9, 2:20])
    sized = folder.splits["train"][0]
    assert str(sized.image) == str(root / f"images/{sized.name}{suffix}")


@pytest.mark.parametrize("orientation", range(2, 9))
def test_raw_takes_masks_as_they_are_stored_too(tmp_path, orientation):
    """A mask that was saved with the image's own block would be turned alone."""
    root = make(tmp_path, orientation, suffix=".png", size=(16, 24), turned_masks=True)
    for exif, turned in (("oriented", True), ("raw", False)):
        folder = open_folder(root, exif=exif)
        data = FolderDataset(folder, "train")
        for index, pair in enumerate(data.pairs):
            with (
                Image.open(root / f"images/{pair.name}.png") as image,
                Image.open(root / f"masks/{pair.name}.png") as mask,
            ):
                picture, labels = (
                    np.asarray(ImageOps.exif_transpose(part) if turned else part) for part in (image, mask)
                )
            np.testing.assert_array_equal(data[index]["image"].permute(1, 2, 0), picture)
            np.testing.assert_array_equal(data[index]["mask"], labels)
            part = data.window(index, slice(2, 9), slice(3, 12))
            np.testing.assert_array_equal(part["mask"], labels[2:9, 3:12])


def test_a_bundle_predicts_as_its_recipe_read(tmp_path):
    """By the file, by bytes and by a Pillow image; and the same data are opened for its evaluation."""
    root = make(tmp_path / "data", 6, suffix=".png", size=(16, 24))
    model = create_model("unet2015", num_classes=3, in_channels=3, width=2)
    path = root / "images/0.png"
    stored = np.rot90(read_image(path).array)
    for exif, wanted in (("raw", stored), ("oriented", read_image(path).array)):
        section = {"data": {"exif": exif}}
        names = ("a", "b", "c")
        save_bundle(tmp_path / exif, model, task="segmentation", class_names=names, recipe=section)
        predict = Predictor.load(tmp_path / exif, device="cpu", precision="float32")
        assert predict.exif == exif
        classes = predict(np.ascontiguousarray(wanted)).classes
        for given in (path, path.read_bytes(), Image.open(io.BytesIO(path.read_bytes()))):
            np.testing.assert_array_equal(predict(given).classes, classes)
        if exif == "raw":
            assert open_like(load_bundle(tmp_path / exif).recipe, root).pairs
        else:
            with pytest.raises(DataError, match=r"its image .* has 24 x 16"):
                quick_check(open_like(load_bundle(tmp_path / exif).recipe, root)).raise_errors()
    with open_source(path, exif="raw") as source:
        assert source.shape == (16, 24, 3)


def test_a_training_says_it_before_its_first_step(tmp_path, caplog):
    root = make(tmp_path / "data", 3)
    for exif, told_there in (("oriented", True), ("raw", False)):
        run = resolve_run(load_recipe("unet", [f"data.exif={exif}", "training.max_steps=1"]))
        caplog.clear()
        inputs = open_inputs(root, run, tmp_path / exif, None)
        assert any("EXIF 3" in record.getMessage() for record in caplog.records) == told_there
        assert inputs.folder.pairs
