"""The view mc:N: what a pass draws, the mean and the uncertainty over passes, tiles, and what is refused."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from atrous import cli
from atrous.bundle import save_bundle
from atrous.errors import UsageError
from atrous.images import read_image, read_mask, write_image
from atrous.inference import Predictor
from atrous.inference.sampling import Grid, find_dropouts
from atrous.inference.views import VIEWS, average_passes, read_views
from atrous.layers.dropout import placed_dropout, placed_mask
from atrous.models import create_model
from atrous.models.base import DenseModel
from atrous.workflows import PredictionFiles
from atrous.workflows import predict as predict_files
from tests.networks import experienced, made_image

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def network():
    return experienced("segnet_basic", width=8, dropout=0.5)


@pytest.fixture(scope="module")
def predict(network):
    return Predictor(network, class_names=NAMES, precision="float32", device="cpu")


class Doubling(DenseModel):
    """The image through one dropout, as two classes; every number can be worked out."""

    def __init__(self, dropout):
        super().__init__(2, 1, alignment=1)
        self.dropout = dropout

    def forward(self, image):
        x = self.dropout(self.normalize(image))
        return {"out": torch.cat([x, 0 * x], 1)}


# What a pass draws


def test_masks_have_their_share_and_know_nothing_of_each_other():
    masks = torch.stack([placed_mask(32, (40, 50), 0.5, key) for key in range(8)]).float() * 2 - 1
    spread = masks[0].numel() ** -0.5
    assert masks.mean((1, 2, 3)).abs().max() < 4 * spread
    for first in range(8):
        for second in range(first):
            assert (masks[first] * masks[second]).mean().abs() < 5 * spread
            assert (masks[first, 1:] * masks[second, :-1]).mean().abs() < 5 * spread
    for shifted in (
        masks[0][1:] * masks[0][:-1],
        masks[0][:, 1:] * masks[0][:, :-1],
        masks[0, ..., 1:] * masks[0, ..., :-1],
    ):
        assert shifted.mean().abs() < 5 * spread


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean(p):
    out = placed_dropout(torch.ones(2, 16, 64, 64), p, key=3)
    assert out.mean().item() == pytest.approx(1, abs=0.05)
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.02)
    assert torch.equal(out[0], out[1])


def test_the_grids_of_dropouts_are_measured(network):
    with torch.device("meta"):
        bare = create_model("segnet_bayesian", num_classes=2, width=2).eval()
        assert find_dropouts(create_model("segnet", num_classes=2, width=2).eval(), 3, 32) == {}
    found = find_dropouts(bare, 3, 32)
    strides = {
        name: [(grid.pixels / grid.positions[0], grid.pixels / grid.positions[1]) for grid in grids]
        for name, grids in found.items()
    }
    assert strides == {
        "encoder_dropouts.2": [(8, 8)],
        "encoder_dropouts.3": [(16, 16)],
        "encoder_dropouts.4": [(32, 32)],
        "decoder_dropouts.0": [(16, 16)],
        "decoder_dropouts.1": [(8, 8)],
        "decoder_dropouts.2": [(4, 4)],
    }
    assert Grid((4, 4), 32).origin((64, 96)) == (8, 12)


def test_one_dropout_used_on_two_maps_has_two_grids():
    with torch.device("meta"):
        bare = create_model("unet2015", num_classes=2, width=2).eval()
    assert [16 // grid.positions[0] for grid in find_dropouts(bare, 1, 16)["dropout"]] == [8, 16]


# The mean and the uncertainty


def test_passes_are_averaged_and_their_variance_is_the_uncertainty():
    model = Doubling(nn.Dropout(0.5))
    image = np.full((9, 11), 2.0, np.float32)
    predict = Predictor(model, class_names=["a", "b"], precision="float32", device="cpu", dtype="float32")
    prediction = predict(image, views=["mc:50:3"])
    # Each pass says softmax(4, 0) or softmax(0, 0); the share of the first is the mean's.
    high = 1 / (1 + np.exp(-4))
    share = (prediction.scores[0] - 0.5) / (high - 0.5)
    assert np.allclose(share * 50, np.rint(share * 50), atol=1e-3)
    assert 0.4 < share.mean() < 0.6
    assert share.std() > 0.02
    assert prediction.uncertainty.shape == (9, 11)
    assert prediction.uncertainty.dtype == np.float32
    assert np.allclose(prediction.uncertainty, share * (1 - share) * (high - 0.5) ** 2, atol=1e-6)


def test_mean_and_variance_are_those_of_numpy():
    scores = torch.rand(7, 3, 4, 5)
    mean, uncertainty = average_passes(lambda n: scores[n], 7)
    assert np.allclose(mean, scores.numpy().mean(0), atol=1e-6)
    assert np.allclose(uncertainty, scores.numpy().var(0).mean(0), atol=1e-6)


def test_dropout_of_whole_maps_draws_per_channel():
    model = Doubling(nn.Dropout2d(0.5))
    predict = Predictor(model, class_names=["a", "b"], precision="float32", device="cpu", dtype="float32")
    prediction = predict(np.full((9, 11), 2.0, np.float32), views=["mc:20"])
    assert np.ptp(prediction.scores[0]) == 0
    assert prediction.uncertainty.min() > 0


def test_a_prediction_without_passes_is_deterministic_and_has_no_uncertainty(predict):
    image = made_image(50, 60)
    first, second = predict(image), predict(image)
    assert first.uncertainty is None
    assert (first.scores == second.scores).all()


def test_passes_are_a_function_of_the_seed(predict):
    image = made_image(50, 60)
    first, again, other = (predict(image, views=[view]) for view in ("mc:4", "mc:4", "mc:4:1"))
    assert (first.scores == again.scores).all()
    assert (first.uncertainty == again.uncertainty).all()
    assert np.abs(first.scores - other.scores).max() > 1e-3
    assert (first.classes == first.scores.argmax(0)).all()
    more = predict(image, views=["mc:8"])
    assert np.abs(first.scores - more.scores).max() > 1e-3


def test_sampling_leaves_the_network_as_it_was(predict):
    image = made_image(50, 60)
    before = predict(image).scores
    predict(image, views=["mc:2"])
    assert (predict(image).scores == before).all()
    assert all(not module.training for module in predict.scorer._kept.get().modules())


# Tiles, views, threads


@pytest.mark.parametrize("views", [["mc:3"], ["mc:2", "hflip", "rot90", "vflip", "rot180", "rot270"]])
def test_tiles_draw_what_the_whole_image_draws(predict, views):
    image = made_image(320, 288)
    whole, tiled = predict(image, views=views), predict(image, views=views, tile=70)
    assert "the answer of one pass" in predict.last_note
    assert np.allclose(whole.scores, tiled.scores, atol=1e-5)
    assert np.allclose(whole.uncertainty, tiled.uncertainty, atol=1e-5)


def test_tiles_of_an_odd_image_and_of_a_shared_dropout():
    predict = Predictor(experienced("unet2015", width=2), class_names=NAMES, precision="float32", device="cpu")
    image = made_image(301, 213)
    whole, tiled = (predict(image, views=["mc:2"], tile=tile) for tile in (None, 99))
    assert np.abs(whole.uncertainty).max() > 0
    assert np.allclose(whole.scores, tiled.scores, atol=1e-5)


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_knows_where_a_window_begins(name):
    view, size = VIEWS[name], (7, 9)
    rows, columns = slice(2, 5), slice(1, 7)
    place = torch.arange(63).reshape(1, 1, *size)
    turned, window = view.turn(place), view.turn(place[..., rows, columns])
    top, left = view.origin(rows, columns, size)
    assert torch.equal(turned[..., top : top + window.shape[-2], left : left + window.shape[-1]], window)


def test_threads_do_not_draw_for_each_other(predict):
    images = [made_image(64, 64, seed=seed) for seed in range(4)]
    alone = [predict(image, views=["mc:3"]).scores for image in images]
    found = [None] * 4

    def run(index):
        found[index] = predict(images[index], views=["mc:3"]).scores

    threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((one == other).all() for one, other in zip(alone, found, strict=True))


def test_short_numbers_are_sampled_too(network):
    predict = Predictor(network, class_names=NAMES, precision="bfloat16", device="cpu")
    prediction = predict(made_image(50, 60), views=["mc:3"])
    assert prediction.uncertainty.max() > 0


# What is refused


@pytest.mark.parametrize(
    ("views", "text"),
    [
        (["mc"], "view 'mc': say mc:N with at least 2 passes"),
        (["mc:1"], "view 'mc:1': say mc:N with at least 2 passes"),
        (["mc:x"], "view 'mc:x': say mc:N"),
        (["mc:-4"], "view 'mc:-4': say mc:N"),
        (["mc:4:5:6"], "view 'mc:4:5:6': say mc:N"),
        (["mc:4", "mc:5"], "views mc:4 and mc:5: give the number of passes once"),
        (["mcc:4"], "unknown view 'mcc:4'"),
    ],
)
def test_what_is_no_view_is_refused(predict, views, text):
    with pytest.raises(UsageError, match=text):
        predict(made_image(8, 8), views=views)


def test_views_are_read():
    assert read_views("mc:4:9") == ((), (4, 9))
    assert read_views(["hflip", "mc:4", "hflip", "mc:4"]) == (("hflip",), (4, 0))


def test_a_network_without_dropout_is_refused():
    predict = Predictor(experienced("segnet_basic", width=4), class_names=NAMES, device="cpu")
    with pytest.raises(
        UsageError, match="view mc:20 draws the dropouts of a network again and again, but this one has none"
    ):
        predict(made_image(8, 8), views=["mc:20"])


# The command


@pytest.fixture(scope="module")
def bundle(network, tmp_path_factory):
    place = tmp_path_factory.mktemp("mc") / "bundle"
    return save_bundle(place, network, task="segmentation", class_names=NAMES)


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    for name, size in (("a", (50, 60)), ("b", (33, 40))):
        write_image(tmp_path / "images" / f"{name}.png", made_image(*size)[..., 0])
    return tmp_path / "images"


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_the_command_writes_the_uncertainty_beside_the_masks(bundle, images, tmp_path, suffix):
    out = tmp_path / "out"
    line = ["predict", str(bundle), str(images), "-o", str(out), "--format", suffix, "--view", "mc:4", "--confidence"]
    assert cli.main([*line, "--precision", "float32", "--device", "cpu"]) == 0
    names = [f"a.{suffix}", f"b.{suffix}"]
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == sorted(
        ["counts.csv", *names, *(f"confidence/{name}" for name in names), *(f"uncertainty/{name}" for name in names)]
    )
    predictor = Predictor.load(bundle, precision="float32", device="cpu")
    expected = predictor(images / "a.png", views=["mc:4"])
    stored = read_image(out / "uncertainty" / f"a.{suffix}").array[..., 0]
    if suffix == "tif":
        assert np.array_equal(stored, expected.uncertainty)
    else:  # 2 / 9 is the largest variance of three classes: each certain, each a third of the time
        assert np.array_equal(stored, np.rint(255 * np.sqrt(expected.uncertainty / (2 / 9))).astype(np.uint8))
    assert stored.std() > 0
    assert np.array_equal(read_mask(out / f"a.{suffix}"), expected.classes)


def test_finished_images_are_those_with_their_uncertainty(bundle, images, tmp_path):
    out = tmp_path / "out"
    assert len(predict_files(bundle, images, out, outputs=PredictionFiles(skip_existing=True))) == 2
    assert not (out / "uncertainty").exists()
    assert len(predict_files(bundle, images, out, outputs=PredictionFiles(skip_existing=True), views=["mc:2"])) == 2
    assert predict_files(bundle, images, out, outputs=PredictionFiles(skip_existing=True), views=["mc:2"]) == []


def test_the_command_refuses_a_network_without_dropout_once(images, tmp_path, capsys):
    model = experienced("segnet_basic", width=4)
    plain = save_bundle(tmp_path / "bundle", model, task="segmentation", class_names=NAMES)
    assert cli.main(["predict", str(plain), str(images), "-o", str(tmp_path / "out"), "--views", "mc:4"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: view mc:4 draws the dropouts")
    assert error.count("mc:4") == 1
    assert not (tmp_path / "out").exists()
