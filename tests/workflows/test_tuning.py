"""Tuning a CRF: it chooses by the images, says what it won, and writes only what is better."""

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atrous.bundle import load_bundle, update_bundle
from atrous.data import open_folder
from atrous.errors import BundleError, DataError, UsageError
from atrous.images import read_mask, write_image
from atrous.inference import Predictor
from atrous.inference.scorer import ModelScorer
from atrous.models import create_model
from atrous.postprocess import CrfGrid
from atrous.workflows import evaluate, predict, report, tune_crf
from atrous.workflows.predicted_pairs import PredictedPairs

RECIPE = """\
model:     {name: unet2015, width: 4}
data:      {crop: 64, batch_size: 4, workers: 0, augment: [{name: horizontal_flip}]}
optimizer: {name: adamw, lr: 0.005}
training:  {device: cpu, precision: float32, clip: 1.0}
"""
SECRET = "crf:bilateral_xy=20,bilateral_rgb=40,bilateral_weight=4,iterations=2"
SLOW = 0.05
FEW = ["bilateral_xy=[5,20]", "bilateral_rgb=[10,40]", "bilateral_weight=4", "refinements=0", "iterations=2"]


@pytest.fixture(scope="module")
def seeing(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt enough to see cells: of a network that guesses there is nothing to refine."""
    from atrous.workflows import train

    folder = tmp_path_factory.mktemp("seeing")
    overrides = ["training.max_steps=120", "training.validate_every=40", "training.log_every=40"]
    (folder / "recipe.yaml").write_text(RECIPE)
    return train(data, recipe=folder / "recipe.yaml", out=folder / "run", overrides=overrides).out


@pytest.fixture
def own(seeing: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(seeing, tmp_path / "own"))


@pytest.fixture
def secret(own: Path, data: Path, tmp_path: Path) -> Path:
    """A copy of the data whose truth is what the network and a CRF of known settings say."""
    folder = Path(shutil.copytree(data, tmp_path / "secret"))
    for mask in predict(own, folder / "images", tmp_path / "truth", refine=SECRET, device="cpu", precision="float32"):
        write_image(folder / "masks" / mask.name, read_mask(mask))
    return folder


def test_what_is_better_is_written_and_used(own: Path, secret: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    found = tune_crf(
        own, secret, overrides=FEW, device="cpu", precision="float32", progress=lambda *both: told.append(both)
    )
    assert found.tried == 4
    assert found.images == len(open_folder(secret).splits["val"])
    assert told[-1] == (4 * found.images, 4 * found.images)
    assert found.written
    assert found.before.summary["mean_iou"] < 0.999
    assert found.after.summary["mean_iou"] == 1
    assert found.after.summary["mean_boundary_f1"] == 1
    assert [found.refine[f"bilateral_{part}"] for part in ("xy", "rgb", "weight")] == [20, 40, 4]
    bundle = load_bundle(own / "bundle")
    assert bundle.recipe["refine"] == found.refine
    assert bundle.metrics["refine"]["after"]["mean_iou"] == found.after.summary["mean_iou"]
    assert "step" in bundle.metrics  # what was measured before is still there
    again = evaluate(own, secret, device="cpu", precision="float32")
    assert again.matrix == found.after.matrix
    assert again.notes["refine"].startswith("refined by crf:")
    plain = evaluate(own, secret, refine="none", device="cpu", precision="float32")
    assert plain.matrix == found.before.matrix
    assert plain.notes["refine"] == ""
    text = str(found)
    assert f"{found.before.summary['mean_iou']:.4f}" in text
    assert f"{found.after.summary['mean_boundary_f1']:.4f}" in text
    assert f"written into {own / 'bundle'}: refine crf:gaussian_xy=3" in text
    masks = [
        predict(own, secret / "images", tmp_path / name, refine=refine, device="cpu", precision="float32")
        for name, refine in (("own", None), ("same", found.refine), ("none", "none"))
    ]
    bytes_of = [[path.read_bytes() for path in paths] for paths in masks]
    assert bytes_of[0] == bytes_of[1] != bytes_of[2]


def test_the_network_sees_an_image_once(own: Path, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search goes through the images twice, and two evaluations follow: all of them take the same scores."""
    asked: list[int] = []
    score = ModelScorer._scores

    def counting(self: Any, network: Any, image: Any) -> Any:
        asked.append(len(image))
        time.sleep(SLOW)
        return score(self, network, image)

    monkeypatch.setattr(ModelScorer, "_scores", counting)
    few = [*FEW[:2], "bilateral_weight=4", "refinements=1", "iterations=1"]
    found = tune_crf(own, secret, overrides=few, device="cpu", precision="float32")
    assert len(asked) == found.images == len(found.after.images)
    for evaluation in (found.before, found.after):  # what was remembered still counts as the time of a prediction
        assert all(image.seconds > SLOW for image in evaluation.images)
    plain = evaluate(own, secret, refine="none", device="cpu", precision="float32")
    assert found.before.matrix == plain.matrix


def test_what_does_harm_is_not_written(own: Path, data: Path) -> None:
    before = {path.name: path.read_bytes() for path in (own / "bundle").iterdir()}
    harm = ["bilateral_xy=200", "bilateral_rgb=500", "bilateral_weight=500", "gaussian_weight=0", "refinements=0"]
    found = tune_crf(own, data, overrides=harm, device="cpu", precision="float32")
    assert not found.written
    assert "does no good" in str(found)
    assert "is left as it was" in str(found)
    assert {path.name: path.read_bytes() for path in (own / "bundle").iterdir()} == before


def test_a_full_disk_leaves_the_old_bundle(own: Path, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in (own / "bundle").iterdir()}

    write = Path.write_text

    def fail(self: Path, *args: Any, **kwargs: Any) -> int:
        if "bundle" in str(self.relative_to(own)):  # there was room for the lock
            raise OSError(28, "No space left on device")
        return write(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(BundleError, match="cannot be written"):
        tune_crf(own, secret, overrides=FEW, device="cpu", precision="float32")
    assert {path.name: path.read_bytes() for path in (own / "bundle").iterdir()} == before
    assert sorted(path.name for path in own.iterdir() if path.name.startswith(".bundle")) == []


def test_few_images_are_evenly_spread(own: Path, data: Path) -> None:
    found = tune_crf(own, data, split="train", images=3, overrides=FEW, device="cpu", precision="float32")
    assert found.images == 3
    assert len(found.before.images) == len(open_folder(data).splits["train"])


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["bilateral_xy"], r"got 'bilateral_xy', but settings are KEY=VALUE"),
        (["bilateral_x=3"], r"command line, bilateral_x: .*Did you mean 'bilateral_xy'\?"),
        (["bilateral_xy=[]"], r"command line, bilateral_xy: .*of length at least 1"),
        (["bilateral_rgb=-3"], r"command line, bilateral_rgb\.0: got -3 \(int\), but .* above 0"),
        (["iterations=many"], r"iterations of CrfGrid must be int"),
        (["score=mean_iuo"], r"no score is named 'mean_iuo'\. Did you mean 'mean_iou'\?"),
    ],
)
def test_overrides_are_checked_before_anything(overrides: list[str], text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=text):
        tune_crf(tmp_path / "no", tmp_path / "no", overrides=overrides)


def test_what_cannot_be_tuned_is_told(own: Path, data: Path, make_bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"owner/name: there is no such folder; settings are written into a bundle on"):
        tune_crf("owner/name", data)
    with pytest.raises(UsageError, match=r"--images -2: give a number"):
        tune_crf(own, data, images=-2)
    with pytest.raises(UsageError, match=r"tune_crf chooses what refines: leave refine out"):
        tune_crf(own, data, refine="crf")
    with pytest.raises(UsageError, match=r"no split 'vall'"):
        tune_crf(own, data, split="vall")
    with pytest.raises(BundleError, match="decides the classes"):
        tune_crf(make_bundle(num_classes=3), data)
    with pytest.raises((DataError, UsageError)):
        tune_crf(own, tmp_path)


def test_pixels_without_data_are_no_numbers_to_the_crf(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for name in ("a", "b"):
        image = np.full((20, 24), 30, np.float32)
        image[2:9, 5], image[12, 12] = np.nan, np.inf
        write_image(tmp_path / f"images/{name}.tif", image)
        write_image(tmp_path / f"masks/{name}.png", np.indices((20, 24)).sum(0).astype(np.uint8) % 2)
    model = create_model("unet2015", num_classes=2, in_channels=1, width=2)
    model.set_normalization([31.5], [4.0])
    folder = open_folder(tmp_path)
    predictor = Predictor(model, class_names=folder.classes.names, dtype="float32", device="cpu")
    found = PredictedPairs(predictor, folder, folder.splits["train"])[0]
    assert np.isfinite(found.image).all()
    assert (found.image[found.mask == 255] == 31.5).all()  # what the network is shown there
    assert (found.mask == 255).sum() == 8


def test_the_grid_is_small_enough_to_wait_for() -> None:
    grid = CrfGrid()
    assert len(grid.bilateral_xy) * len(grid.bilateral_rgb) * len(grid.bilateral_weight) <= 30


def test_the_report_shows_before_and_after(own: Path, data: Path) -> None:
    plain = report(own, device="cpu").read_text()
    assert "Before and after refinement" not in plain
    update_bundle(own / "bundle", sections={"refine": "crf:bilateral_xy=10"})
    page = report(own, device="cpu").read_text()
    assert "Before and after refinement" in page
    assert "crf:bilateral_xy=10" in page
    assert re.search(r"\d+\.\d\d % of the pixels changed", page)
    shown = min(3, len(json.loads((own / "evaluation.json").read_text())["images"]))
    assert page.count("data:image/") == plain.count("data:image/") + 4 * shown
    assert Predictor.load(own / "bundle", device="cpu").refiner is not None


def test_a_crf_that_erases_a_class_is_not_written_unless_asked_for(own: Path, secret: Path) -> None:
    """The search and the whole split ask what single classes pay; `largest_loss=1` does not."""
    before = {path.name: path.read_bytes() for path in (own / "bundle").iterdir()}
    for mask in (secret / "masks").iterdir():  # a pixel of background is left, which a CRF takes for its surroundings
        classes = np.ones_like(read_mask(mask))
        found = predict_one(own, secret / "images" / mask.name)
        rows, columns = np.nonzero(found == 0)
        if len(rows):
            classes[rows[0], columns[0]] = 0
        write_image(mask, classes)
    strong = ["bilateral_xy=60", "bilateral_rgb=500", "bilateral_weight=200", "refinements=0", "iterations=3"]
    found = tune_crf(own, secret, overrides=[*strong, "score=pixel_accuracy"], device="cpu", precision="float32")
    assert found.after.summary["pixel_accuracy"] > found.before.summary["pixel_accuracy"]
    assert found.harmed == ("background",)
    assert not found.written
    assert "costs background too much" in str(found)
    assert "To have it all the same: largest_loss=1." in str(found)
    assert {path.name: path.read_bytes() for path in (own / "bundle").iterdir() if path.name in before} == before
    asked = [*strong, "score=pixel_accuracy", "largest_loss=1"]
    assert tune_crf(own, secret, overrides=asked, device="cpu", precision="float32").written
    assert "| cell |" in (own / "bundle" / "README.md").read_text().split("## Post-processing")[1]


def predict_one(own: Path, image: Path) -> np.ndarray:
    return Predictor.load(own, device="cpu", precision="float32", refine="none")(image).classes
