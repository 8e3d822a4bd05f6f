"""Masks of classes that may overlap, through the whole house."""

import numpy as np
import pytest

from atrous import Predictor
from atrous.errors import DataError
from atrous.images.files import read_mask
from atrous.workflows import evaluate, predict, train
from atrous.workflows.evaluation import Evaluation

SMALL = ["model={name: unet2015, width: 8}", "training.device=cpu", "training.precision=float32"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Bright discs over dark stripes, which overlap."""
    folder = tmp_path_factory.mktemp("made") / "shapes"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :80]
    for number in range(8):
        disc = (y - rng.integers(20, 44)) ** 2 + (x - rng.integers(20, 60)) ** 2 < 15**2
        start = rng.integers(5, 40)
        stripe = (y >= start) & (y < start + 18)
        image = 120 + 90 * disc - 80 * stripe + rng.normal(0, 5, disc.shape)
        np.save(folder / "images" / f"{number}.npy", image.clip(0, 255).astype(np.uint8))
        np.save(folder / "masks" / f"{number}.npy", np.stack([disc, stripe]).astype(np.uint8))
    (folder / "classes.yaml").write_text("classes: [{name: disc, value: 0}, {name: a/stripe, value: 1}]\n")
    return folder


@pytest.fixture(scope="module")
def run(shapes, tmp_path_factory):
    data = "data={crop: 64, batch_size: 4, workers: 0, augment: [horizontal_flip, {name: elastic, sigma: 3}]}"
    overrides = [*SMALL, data, "task={name: multilabel, loss: [binary_cross_entropy, binary_dice]}"]
    overrides += ["training.max_steps=60", "training.validate_every=30", "optimizer.lr=0.01", "schedule.warmup=5"]
    return train(shapes, recipe="unet", out=tmp_path_factory.mktemp("runs") / "run", overrides=overrides)


def test_it_learns_both_classes_where_they_overlap(run, shapes):
    summary = run.evaluation.summary
    assert set(summary["iou"]) == {"disc", "a/stripe"}
    assert summary["mean_iou"] > 0.6
    assert np.asarray(run.evaluation.matrix).shape == (2, 2, 2)
    assert "a/stripe" in run.evaluation.table()
    again = Evaluation.from_json(run.evaluation.to_json())
    assert again.table() == run.evaluation.table()
    assert evaluate(run.out, shapes).summary["mean_iou"] == pytest.approx(summary["mean_iou"])
    page = (run.out / "report.html").read_text()
    assert "What was taken for what" not in page


def test_each_class_is_written(run, shapes, tmp_path):
    (mask, *_) = predict(run.bundle, shapes / "images" / "0.npy", tmp_path / "masks")
    names = sorted(path.name for path in (tmp_path / "masks" / "labels").iterdir())
    assert names == ["a_stripe", "disc"]
    disc, stripe = (read_mask(tmp_path / "masks" / "labels" / name / "0.png") for name in ("disc", "a_stripe"))
    assert set(np.unique(disc)) <= {0, 255}
    classes = read_mask(mask)
    assert ((classes == 255) == ((disc == 0) & (stripe == 0))).all()
    assert ((disc > 0) & (stripe > 0)).any()


def test_tiles_decide_as_the_whole(run, shapes):
    predictor = Predictor.load(run.bundle, device="cpu", precision="float32")
    image = np.load(shapes / "images" / "1.npy")
    whole, tiled = predictor(image), predictor(image, tile=40)
    assert (whole.labels == tiled.labels).mean() > 0.9999
    assert whole.labels.shape == (2, 64, 80)


def test_without_a_recipe_the_task_is_chosen(shapes, tmp_path):
    given = [*SMALL, "data.crop=64", "data.workers=0", "training.max_steps=2"]
    found = train(shapes, out=tmp_path / "run", overrides=given)
    assert "a pixel may belong to several classes" in (found.out / "recipe.yaml").read_text()


def test_another_task_is_refused_before_anything_is_written(shapes, tmp_path):
    with pytest.raises(DataError, match="task=multilabel"):
        train(shapes, recipe="unet_small", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_class_per_pixel_trains_by_sigmoids(data, tmp_path):
    given = [*SMALL, "data={crop: 64, batch_size: 4, workers: 0}", "task=multilabel", "training.max_steps=3"]
    found = train(data, recipe="unet", out=tmp_path / "run", overrides=given)
    assert set(found.evaluation.summary["iou"]) == {"background", "cell"}
