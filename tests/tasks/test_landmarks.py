"""Landmarks by belief maps: what is learnt, what is read, and that the whole of the house carries them."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from atrous.bundle import load_bundle
from atrous.configure.facts import look
from atrous.data import open_folder
from atrous.errors import DataError, RecipeError, UsageError
from atrous.inference import Predictor
from atrous.layers.belief import background_of, draw_beliefs
from atrous.tasks import Landmarks, build_task, extra_maps, propose
from atrous.tasks.landmarks import coco_results
from atrous.training.module import pieces
from atrous.types import CellGrid
from atrous.workflows import Evaluation, PredictionFiles, evaluate, predict, report, train
from tests.landmark_folders import NAMES, make_landmarks

NAN = torch.nan
TINY = ["data={crop: 32, batch_size: 2, workers: 0, augment: [{name: horizontal_flip}, {name: rotation, degrees: 15}]}"]
TINY += ["training={max_steps: 2, device: cpu, precision: float32}", "task={name: landmarks, sigma: 3.0}"]


def batch(points=None, visible=None, **more):
    points = torch.tensor([[[5.0, 4.0], [10.25, 6.5]], [[2.0, 2.0], [NAN, NAN]]]) if points is None else points
    visible = torch.tensor([[2, 1], [2, 0]]).byte() if visible is None else visible
    return {"keypoints": points, "visible": visible, **more}


def test_the_sum_is_half_of_the_squared_errors_by_images():
    """Caffe's Euclidean loss, as published: 1 / (2 N) of the sum over maps and cells."""
    given, maps = batch(), torch.rand(2, 2, 12, 16)
    target = draw_beliefs(given["keypoints"], (12, 16), 2.0)
    squares = (maps - target) ** 2
    squares[1, 1] = 0  # nobody has set it: it teaches nothing
    (loss,) = Landmarks(2, sigma=2.0, loss="sum").losses({"out": maps}, given).values()
    assert loss.item() == pytest.approx(squares.sum().item() / 4, rel=1e-5)
    (loss,) = Landmarks(2, sigma=2.0).losses({"out": maps}, given).values()
    assert loss.item() == pytest.approx(squares.sum().item() / (3 * 12 * 16), rel=1e-5)


def test_a_cell_of_a_stage_counts_in_the_sum_as_the_pixels_that_it_stands_for():
    """So stages on coarser grids weigh as much as the map that is enlarged to the image."""
    given = batch(torch.full((2, 2, 2), NAN), torch.zeros(2, 2).byte(), image=torch.zeros(2, 3, 16, 24))
    maps = {"out": torch.ones(2, 2, 16, 24), "stage1": torch.ones(2, 2, 2, 3)}
    task = Landmarks(2, loss="sum", absent="nowhere")
    losses = task.losses(maps, given | {"grids": {"stage1": CellGrid.centred(8)}})
    assert {name: loss.item() for name, loss in losses.items()} == {
        "squared_error": 2 * 16 * 24 / 2, "stage1.squared_error": 2 * 16 * 24 / 2
    }  # fmt: skip


def test_absent_and_hidden_landmarks_teach_what_the_recipe_says():
    given, maps = batch(), torch.ones(2, 2, 12, 16)

    def taught(**arguments):
        leaf = maps.clone().requires_grad_()
        Landmarks(2, sigma=2.0, loss="sum", **arguments).losses({"out": leaf}, given)["squared_error"].backward()
        return leaf.grad.abs().sum((2, 3)) > 0

    assert taught().tolist() == [[True, True], [True, False]]
    assert taught(hidden=False).tolist() == [[True, False], [True, False]]
    assert taught(absent="nowhere").tolist() == [[True, True], [True, True]]


def test_the_background_is_the_last_map_and_unknown_beside_an_unknown_landmark():
    given = batch()
    task = Landmarks(3, sigma=2.0, loss="sum", background=True)
    target = draw_beliefs(given["keypoints"], (12, 16), 2.0)
    target = torch.cat([target, background_of(target)], 1)
    assert task.losses({"out": target}, given)["squared_error"] == 0
    wrong = target.clone()
    wrong[:, 2] += 1
    assert task.losses({"out": wrong}, given)["squared_error"].item() == pytest.approx(12 * 16 / 4)  # of one image
    assert task.decode(target[0]).keypoints.shape == (2, 3)
    assert extra_maps({"name": "landmarks", "background": True}) == 1
    assert extra_maps("landmarks") == 0
    assert build_task({"name": "landmarks", "background": True}, 14).num_classes == 15


def test_every_stage_is_compared_on_its_own_grid():
    """Half a cell off is what is lost where a grid's beginning is forgotten."""
    image, given = torch.zeros(2, 3, 33, 50), batch()
    for grid in (CellGrid.centred(4), CellGrid.cornered(4)):
        size = (grid.cells(33), grid.cells(50))
        outputs = {
            "out": draw_beliefs(given["keypoints"], (33, 50), 3.0),
            "stage1": draw_beliefs(given["keypoints"], size, 3.0, grid),
        }
        losses = Landmarks(2, sigma=3.0).losses(outputs, given | {"image": image, "grids": {"stage1": grid}})
        assert {name: loss.item() for name, loss in losses.items()} == {"squared_error": 0, "stage1.squared_error": 0}


def test_stages_are_weighed_by_name_or_all_alike():
    given = batch() | {"image": torch.zeros(2, 3, 12, 16), "grids": {"a": CellGrid.centred(1)}}
    outputs = {"out": torch.ones(2, 2, 12, 16), "a": torch.ones(2, 2, 12, 16)}
    plain = Landmarks(2).losses(outputs, given)
    assert plain["a.squared_error"] == plain["squared_error"]
    halved = Landmarks(2, aux_weight={"a": 0.5}).losses(outputs, given)
    assert halved["a.squared_error"] == plain["squared_error"] / 2
    assert list(Landmarks(2, aux_weight=0.0).losses(outputs, given)) == ["squared_error"]
    with pytest.raises(RecipeError, match="output 'a' without a weight"):
        Landmarks(2, aux_weight={"b": 0.5}).losses(outputs, given)


def test_cells_of_weight_0_count_for_nothing():
    given, maps = batch(), torch.rand(2, 2, 12, 16)
    weight = torch.ones(2, 12, 16)
    task = Landmarks(2, sigma=2.0)
    assert task.losses({"out": maps}, given | {"weight": weight})["squared_error"].item() == pytest.approx(
        task.losses({"out": maps}, given)["squared_error"].item()
    )
    weight[:, :, 8:] = 0
    changed = maps.clone()
    changed[..., 8:] = 100
    one, other = (task.losses({"out": each}, given | {"weight": weight})["squared_error"] for each in (maps, changed))
    assert one == other > 0


def test_the_batches_of_a_step_are_weighed_by_what_they_teach():
    assert Landmarks(2).divisors(batch())["squared_error"] == 3
    assert Landmarks(2, loss="sum").divisors(batch()) == {}


def test_decoding_says_where_and_how_sure():
    maps = (
        draw_beliefs(torch.tensor([[5.25, 4.0], [12.0, 7.5]]), (12, 16), 2.0) * torch.tensor([1.0, 0.1])[:, None, None]
    )
    found = Landmarks(2, sigma=2.0).decode(maps)
    np.testing.assert_allclose(found.keypoints, [[5.25, 4.0, 0.992], [12.0, 7.5, 0.097]], atol=2e-3)
    assert found.classes[4, 5] == 0
    assert found.classes[7, 12] == 255  # below the threshold
    assert found.confidence[4, 5] == pytest.approx(maps[0, 4, 5].item(), abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reference": "eyes"}, "'eyes' is no length"),
        ({"reference": ("a", "c")}, "no landmark 'c'"),
        ({"reference": ("a", "a")}, "has no distance from itself"),
    ],
)
def test_references_that_say_nothing_are_refused(arguments, message):
    with pytest.raises(RecipeError, match=message):
        Landmarks(2, **arguments).check_names(["a", "b"])


def test_data_without_landmarks_or_with_others_is_refused():
    with pytest.raises(DataError, match="no landmarks"):
        Landmarks(2).losses({"out": torch.zeros(1, 2, 4, 4)}, {"mask": torch.zeros(1, 4, 4)})
    with pytest.raises(DataError, match="has 2 landmarks, and the network 3 maps"):
        Landmarks(3).losses({"out": torch.zeros(2, 3, 4, 4)}, batch())


def test_folders_that_show_several_are_refused(tmp_path):
    root = make_landmarks(tmp_path / "data", 4)
    table = root / "landmarks.csv"
    lines = table.read_text().splitlines()
    rows = [*(f"{line},a,20,20" for line in lines[1:]), f"{lines[1]},b,40,20"]
    lines = [f"{lines[0]},individual,center_x,center_y", *rows]
    table.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"im00\.png: shows 2 persons or animals, as 1 of"):
        train(root, recipe="unet_small", out=tmp_path / "run", overrides=TINY)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_landmarks(tmp_path_factory.mktemp("landmarks") / "data")


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    given = ["schedule.warmup=5"]
    given += ["data={crop: 48, batch_size: 4, workers: 0, augment: [{name: horizontal_flip}]}"]
    given += ["training={max_steps: 90, device: cpu, precision: float32, validate_every: 45, clip: 1.0}"]
    given += ["task={name: landmarks, sigma: 3.0, reference: pixel, pck: 3.0, pixel_size: 0.5}"]
    return train(data, recipe="unet_small", out=tmp_path_factory.mktemp("runs") / "run", overrides=given)


def test_it_learns_and_is_chosen_by_its_error(finished, data):
    with (finished.out / "log.csv").open(newline="") as file:
        row = [row for row in csv.DictReader(file) if row["val_mean_error"]][-1]
    assert float(row["val_mean_error"]) < 1
    assert float(row["val_pck"]) == 1
    assert "mean_iou" not in row
    assert finished.best <= float(row["val_mean_error"]) + 1e-6
    bundle = load_bundle(finished.bundle)
    assert bundle.class_names == NAMES
    assert bundle.flip_pairs == ((0, 1),)
    assert bundle.model.num_classes == 3


def test_it_is_evaluated_by_its_own_figures(finished, data):
    found = evaluate(finished.bundle, data, split="train", device="cpu", precision="float32")
    summary = found.summary
    assert summary["mean_error"] < summary["mean_position_error"] / 2
    assert summary["mean_error_low"] <= summary["mean_error"] <= summary["mean_error_high"]
    assert summary["mean_error_mm"] == pytest.approx(summary["mean_error"] / 2)
    assert set(summary["error"]) == set(NAMES)
    assert "error" in found.table()
    assert "left_disc" in found.table()
    again = Evaluation.from_json(found.to_json())
    assert str(again) == str(found)
    worst = found.ranked()[0]
    assert worst.figure("mean_error") == max(image.figure("mean_error") for image in found.images)


def test_tiles_equal_the_whole(finished, data):
    predictor = Predictor.load(finished.bundle, device="cpu", precision="float32")
    image = data / "images" / "im00.png"
    whole, tiled = predictor(image, scores=True), predictor(image, tile=16, scores=True)
    np.testing.assert_allclose(tiled.scores, whole.scores, atol=1e-5)
    np.testing.assert_allclose(tiled.keypoints, whole.keypoints, atol=1e-3)


def test_mirrored_views_exchange_left_and_right(finished, data):
    predictor = Predictor.load(finished.bundle, device="cpu", precision="float32")
    folder = open_folder(data)
    pair = folder.splits["train"][0]
    array = np.asarray(Image.open(pair.image))
    plain = predictor(array, scores=True).scores
    mirrored = predictor(np.ascontiguousarray(array[:, ::-1]), scores=True).scores[[1, 0, 2], :, ::-1]
    both = predictor(array, views=["hflip"], scores=True).scores
    np.testing.assert_allclose(both, (plain + mirrored) / 2, atol=1e-5)


@pytest.mark.parametrize("name", ["hrnet_small", "deeplabv3plus_small"])
def test_networks_of_classes_find_landmarks_unchanged(name, data, tmp_path):
    done = train(data, recipe=name, out=tmp_path / "run", overrides=TINY)
    found = Predictor.load(done.bundle, device="cpu")(data / "images" / "im00.png")
    assert found.keypoints.shape == (3, 3)
    assert np.isfinite(found.keypoints).all()
    assert json.loads((done.out / "evaluation.json").read_text())["rank"][0] == "mean_error"


def test_what_is_predicted_is_told_in_tables(finished, data, tmp_path):
    images = data / "images"
    outputs = PredictionFiles(overlay=True, maps=True)
    written = predict(finished.bundle, images, tmp_path, outputs=outputs, device="cpu", precision="float32")
    assert written == [tmp_path / "landmarks.csv", tmp_path / "landmarks.json"]
    found = Predictor.load(finished.bundle, device="cpu", precision="float32")(images / "im03.png", scores=True)
    with (tmp_path / "landmarks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 * 3
    own = [row for row in rows if row["file"] == "im03.png"]
    assert [row["name"] for row in own] == list(NAMES)
    np.testing.assert_allclose(
        [[float(row[key]) for key in ("x", "y", "belief")] for row in own], found.keypoints, atol=1e-3
    )
    results = json.loads((tmp_path / "landmarks.json").read_text())
    assert len(results) == 12
    assert results[3]["image_id"] == "im03.png"
    np.testing.assert_allclose(np.reshape(results[3]["keypoints"], (3, 3)), found.keypoints, atol=1e-3)
    assert not (tmp_path / "counts.csv").exists()
    belief = np.asarray(Image.open(tmp_path / "maps" / "left_disc" / "im03.png"))
    np.testing.assert_allclose(belief / 255, found.scores[0].clip(0, 1), atol=0.003)
    drawn, plain = (
        np.asarray(Image.open(path)).astype(int) for path in (tmp_path / "overlay/im03.jpg", images / "im03.png")
    )
    assert abs(drawn - plain).max() > 100


def test_finished_images_are_left_alone_and_others_made_anew(finished, data, tmp_path):
    images = data / "images"
    predict(finished.bundle, images / "im00.png", tmp_path, device="cpu")
    table = tmp_path / "landmarks.csv"
    table.write_text(table.read_text().replace("left_disc", "kept"))
    both = [images / "im00.png", images / "im01.png"]
    predict(finished.bundle, both, tmp_path, outputs=PredictionFiles(skip_existing=True), device="cpu")
    text = table.read_text()
    assert text.count("kept") == 1
    assert text.count("left_disc") == 1
    predict(finished.bundle, both, tmp_path, device="cpu")
    assert table.read_text().count("left_disc") == 2
    assert len(table.read_text().splitlines()) == 1 + 6
    assert len(json.loads((tmp_path / "landmarks.json").read_text())) == 2
    with pytest.raises(UsageError, match="writes no masks but tables"):
        predict(finished.bundle, images / "im00.png", tmp_path / "one.png", device="cpu")


def test_results_have_the_numbers_of_cocos_images():
    rows = [["000012.jpg", "", "nose", "1.0", "2.0", "0.5", "1"], ["scan.tif", "4", "nose", "1.0", "2.0", "0.5", "1"]]
    first, second = json.loads(coco_results(rows))
    assert first == {"image_id": 12, "category_id": 1, "keypoints": [1.0, 2.0, 0.5], "score": 0.5}
    assert second["image_id"] == "scan.tif#4"


def test_its_report_shows_landmarks(finished):
    page = report(finished.out, device="cpu").read_text()
    assert "Mean error (px) on validation images" in page
    assert "left_disc" in page
    assert "mean IoU" not in page
    assert "Pictures</dt><dd>none" not in page


def test_pieces_of_a_large_validation_image_take_their_landmarks_along():
    given = {"image": torch.zeros(1, 1, 30, 50), "keypoints": torch.tensor([[[40.0, 5.0]]])}
    given["box"] = torch.tensor([[38.0, 3.0, 9.0, 9.0]])
    first, second = pieces(given, 30)
    assert first["keypoints"].tolist() == [[[40.0, 5.0]]]
    assert second["keypoints"].tolist() == [[[10.0, 5.0]]]
    assert second["box"].tolist() == [[8.0, 3.0, 9.0, 9.0]]


def test_folders_of_landmarks_ask_for_the_task(data):
    assert propose(look(open_folder(data))).section == {"name": "landmarks"}
