"""Objects through the whole house."""

import numpy as np
import pytest
import torch

from atrous import Predictor
from atrous.data import open_folder
from atrous.images.files import read_mask
from atrous.metrics.objects import objects_of, score_objects, summarize_objects
from atrous.reports.panels import example_panels, ranked_panels
from atrous.types import Prediction
from atrous.workflows import evaluate, predict, report, train
from atrous.workflows.evaluation import Evaluation

SMALL = ["model={name: unet2015, width: 4}", "data={crop: 64, batch_size: 4, workers: 0}", "task.name=instances"]
STEPS = ["training={max_steps: 6, device: cpu, precision: float32, validate_every: 3}"]


@pytest.fixture(scope="module")
def objects_run(data, tmp_path_factory):
    return train(data, recipe="unet", out=tmp_path_factory.mktemp("objects") / "run", overrides=[*SMALL, *STEPS])


def test_a_run_measures_objects_and_its_bundle_finds_them(objects_run, data, tmp_path):
    summary = objects_run.evaluation.summary
    assert set(summary["iou"]) == {"background", "cell"}
    assert summary["objects"] > 5
    assert 0 <= summary["seg"] <= 1
    assert "SEG" in objects_run.evaluation.table()
    assert "touching ones as one" not in objects_run.evaluation.table()
    again = Evaluation.from_json(objects_run.evaluation.to_json())
    assert again.images[0].objects == objects_run.evaluation.images[0].objects
    (mask, *_) = predict(objects_run.bundle, data / "images", tmp_path / "masks")
    classes, numbers = (read_mask(file) for file in (mask, mask.parent / "instances" / mask.name))
    assert numbers.dtype == np.uint16
    assert ((numbers > 0) == (classes > 0)).all()
    (tif, *_) = predict(objects_run.bundle, data / "images", tmp_path / "tif", outputs=_tif())
    assert (read_mask(tif.parent / "instances" / tif.name) == numbers).all()


def test_missing_files_of_objects_are_made_again(objects_run, data, tmp_path):
    from atrous.workflows.prediction import PredictionFiles

    masks = predict(objects_run.bundle, data / "images", tmp_path / "out")
    numbers = tmp_path / "out" / "instances" / masks[0].name
    before = numbers.read_bytes()
    numbers.unlink()
    again = predict(objects_run.bundle, data / "images", tmp_path / "out", outputs=PredictionFiles(skip_existing=True))
    assert again == [masks[0]]
    assert numbers.read_bytes() == before


def test_where_the_mask_is_all_files_are(objects_run, data, tmp_path, monkeypatch):
    from atrous.errors import DataError
    from atrous.inference import writing

    def write(path, *arguments, **more):
        if path.parent.name == "instances":
            raise DataError(f"{path}: the disk is full")
        return real(path, *arguments, **more)

    real = writing.writing_pages
    monkeypatch.setattr(writing, "writing_pages", write)
    image = sorted((data / "images").iterdir())[0]
    with pytest.raises(DataError, match="the disk is full"):
        predict(objects_run.bundle, image, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_more_objects_than_a_png_numbers_are_refused_with_their_file(tmp_path):
    from types import SimpleNamespace

    from atrous.errors import DataError
    from atrous.inference.coding import class_coding
    from atrous.inference.inputs import ImageInput
    from atrous.inference.writing import FileWriter, PredictionFiles
    from atrous.tasks import Instances

    numbers = np.arange(2**16 + 1, dtype=np.int32)[None]
    found = Prediction((numbers > 0).astype(np.uint8), np.ones(numbers.shape, np.float16), instances=numbers)
    files = Instances(3).files(["background", "cell"], [(0, 0, 0), (9, 9, 9)])
    image = ImageInput("a", tmp_path / "images" / "a.png", (tmp_path / "images" / "a.png",))
    predictor = SimpleNamespace(class_names=["background", "cell"])

    def write(outputs):
        with FileWriter(tmp_path, outputs, files, class_coding([(0, 0, 0), (9, 9, 9)])).writing(
            image, predictor
        ) as put:
            put(found, image.place)

    with pytest.raises(DataError, match=r"instances.a\.png: 65536 objects are more than a PNG can number"):
        write(PredictionFiles())
    write(PredictionFiles("tif"))
    assert (read_mask(tmp_path / "instances" / "a.tif") == numbers).all()


def test_the_report_counts_objects_outlines_them_and_tells_their_errors_apart(objects_run, data):
    page = (objects_run.out / "report.html").read_text()
    summary = objects_run.evaluation.summary
    assert f"{summary['objects']} objects, {summary['found']} predicted" in page
    assert "Average precision" in page
    for words in ("missed object", "false alarm: no such object", "objects joined, split or badly drawn"):
        assert words in page
    folder, predictor = open_folder(data), Predictor.load(objects_run.bundle, device="cpu")
    worst = ranked_panels(folder, predictor, objects_run.evaluation)[1]
    for panel in [*example_panels(folder), *worst]:
        assert panel.truth_objects.max() > 1
    assert all(panel.predicted_objects is not None and panel.errors.max() <= 4 for panel in worst)
    assert worst[0].errors.any()


def _tif():
    from atrous.workflows.prediction import PredictionFiles

    return PredictionFiles(format="tif")


def test_tiles_find_the_same_objects(objects_run, data):
    from atrous import Predictor

    predictor = Predictor.load(objects_run.bundle, device="cpu", precision="float32")
    image = next(iter(sorted((data / "images").iterdir())))
    whole, tiled = predictor(image), predictor(image, tile=40)
    assert (whole.instances == tiled.instances).all()
    assert whole.scores.shape[0] == 3


def test_a_plain_bundle_is_measured_by_its_connected_parts(run, data):
    found = evaluate(run, data)
    assert found.summary["objects"] > 5
    assert found.summary["found"] >= 0
    words = "touching ones as one: task=instances tells them apart"
    assert words in found.table()
    assert words in report(run, device="cpu").read_text().partition("</header>")[0]
    assert words in Evaluation.from_json(found.to_json()).table()
    assert words not in found.how
    assert np.isfinite(found.summary["seg"])


def test_parts_of_classes_are_objects():
    classes = np.array([[1, 1, 0, 1], [0, 0, 0, 2], [2, 0, 2, 2]], np.uint8)
    numbers = objects_of(Prediction(classes, np.ones(classes.shape, np.float16)))
    assert len(np.unique(numbers)) == 5
    assert ((numbers > 0) == (classes > 0)).all()


def test_right_and_missed_objects_by_hand():
    instances = np.zeros((4, 10), np.int64)
    instances[:, :3], instances[:, 5:9] = 1, 2
    decided = (instances == 1).astype(np.uint8)
    truth = (instances > 0).astype(np.uint8)
    one = score_objects(Prediction(decided, np.ones(truth.shape, np.float16)), instances, truth)
    assert (one.objects, one.found, one.seg) == (2, 1, 0.5)
    summary = summarize_objects([one])
    assert summary["seg"] == 0.5
    assert summary["average_precision"] == 0.5
    truth[:, 5:9] = 255  # nobody knows what is there
    assert score_objects(Prediction(decided, np.ones(truth.shape, np.float16)), instances, truth).seg == 1
    assert summarize_objects([]) == {}


def test_data_without_numbers_is_told(tmp_path):
    from atrous.errors import DataError
    from atrous.made import make_scenes

    folder = make_scenes(tmp_path / "scenes", count=6, size=(64, 96))
    with pytest.raises(DataError, match="instances/"):
        train(folder, recipe="unet", out=tmp_path / "run", overrides=[*SMALL, *STEPS])
    assert not (tmp_path / "run").exists()
    assert torch.is_grad_enabled()
