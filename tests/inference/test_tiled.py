"""Tiled equals whole: the promise that the receptive field and the alignment keep."""

import warnings

import numpy as np
import pytest
import torch

from atrous.inference import Predictor, SeamWarning
from atrous.models import DenseModel
from tests.networks import experienced, made_image

# Cut along one axis at a time, and once along both: the receptive fields reach some 300 pixels, and a strip is quick.
# Both axes are cut by the same function; tests/inference/test_tiles.py tries it with every tile.
CUTS = [((61, 1237), 100), ((1101, 40), 173), ((331, 419), 173)]


def predictor(model, **keywords):
    names = [str(k) for k in range(model.num_classes)]
    return Predictor(model, class_names=names, precision="float32", device="cpu", **keywords)


def largest_difference(whole, tiled):
    return np.abs(whole.scores - tiled.scores).max()


@pytest.mark.parametrize(("size", "tile"), CUTS)
def test_tiled_is_whole(any_model, size, tile):
    image, predict = made_image(*size), predictor(any_model)
    whole, tiled = predict(image, scores=True), predict(image, tile=tile, scores=True)
    assert "the answer of one pass" in predict.last_note
    assert "tiles of" in predict.last_note
    assert largest_difference(whole, tiled) <= 1e-4
    assert (whole.classes == tiled.classes).all()
    assert len(np.unique(whole.classes)) > 1  # or the comparison of classes would mean nothing


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (45, 45), (17, 16)])
@pytest.mark.parametrize("tile", [1, 7, 16])
def test_tiny_images_and_tiles(small_model, size, tile):
    if tile == 1 and size[0] * size[1] > 50:
        tile = 13
    image, predict = made_image(*size), predictor(small_model)
    whole, tiled = predict(image), predict(image, tile=tile)
    assert whole.classes.shape == size
    assert largest_difference(whole, tiled) <= 1e-4
    assert (whole.classes == tiled.classes).all()


def test_a_smaller_margin_is_not_whole_and_says_so(small_model):
    image, predict = made_image(200, 400), predictor(small_model)
    whole, tiled = predict(image), predict(image, tile=120, margin=16)
    assert largest_difference(whole, tiled) > 1e-4
    assert "not the answer of one pass, as the network sees 107 pixels before and 107 after" in predict.last_note
    assert "7 seams" not in predict.last_note


def test_a_wrong_phase_is_not_whole(small_model):
    class Misaligned(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = small_model
            self.num_classes, self.in_channels, self.alignment = 3, 1, 1

        def forward(self, image):
            return self.inner(image)

    image = made_image(40, 600)
    model = Misaligned()
    whole, tiled = predictor(model)(image), predictor(model)(image, tile=101)
    assert largest_difference(whole, tiled) > 1e-4


def test_views_are_exact_where_sides_are_multiples_of_the_alignment(small_model):
    image, predict = made_image(160, 480), predictor(small_model)
    views = ("hflip", "vflip", "rot90", "rot180", "rot270")
    whole, tiled = predict(image, views=views), predict(image, views=views, tile=99)
    assert largest_difference(whole, tiled) <= 1e-4


class Centred(DenseModel):
    """Sees the whole image: takes off its mean."""

    def __init__(self):
        super().__init__(2, 1, alignment=1)
        self.conv = torch.nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, image):
        x = image / 100
        return {"out": self.conv(x - x.mean((2, 3), keepdim=True))}


def test_a_network_that_sees_everything_warns_once_with_the_measured_error():
    torch.manual_seed(0)
    image = made_image(200, 700)
    image[:, :350] //= 2  # so that the means of the tiles differ
    predict = predictor(Centred())
    with pytest.warns(
        SeamWarning, match=r"sees the whole image by the model's forward \(mean\); at 2 seams.*at most 0\.\d"
    ):
        tiled = predict(image, tile=250)
    assert "at 2 seams" in predict.last_note
    whole = predict(image)
    assert predict.last_note == "200 x 700 pixels in one pass"
    assert largest_difference(whole, tiled) > 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict(image, tile=250)


def test_the_seam_error_is_what_it_says():
    """Columns cut in two: both tiles score the pixels beside the cut, and the note has their largest difference."""
    torch.manual_seed(0)
    model, image = Centred().eval(), made_image(20, 100)
    predict = predictor(model)
    predict(image, tile=50, margin=10)
    with torch.no_grad():
        left, right = (
            model(torch.from_numpy(part[None, ..., 0].copy())[None].float())["out"].softmax(1)[0]
            for part in (image[:, :60], image[:, 40:])
        )
    expected = (left[:, :, 49:51] - right[:, :, 9:11]).abs().max()
    assert f"at 1 seams the scores of neighbouring tiles differ by at most {expected:.2g}" in predict.last_note


def test_no_margin_cannot_be_measured():
    predict = predictor(Centred())
    predict(made_image(20, 100), tile=50, margin=0)
    assert "could not be measured" in predict.last_note


def test_auto_margin_is_half_the_reach(small_model):
    predict = predictor(small_model)
    predict(made_image(64, 300), tile=128, margin="auto")
    assert "54 pixels before and 54 after" in predict.last_note
    assert "at 2 seams" in predict.last_note


@pytest.mark.shared
@pytest.mark.parametrize(("name", "tile"), [("unet2015", 100), ("unet2015", 173), ("unet", 173), ("fcn", 331)])
def test_tiled_is_whole_on_real_images(shared, name, tile):
    from tests.networks import MODELS

    electron = sorted((shared / "isbi2012_em" / "images").iterdir())[0]
    street = sorted((shared / "camvid" / "val").iterdir())[0]
    for path, channels in ((electron, 1), (street, 3)):
        predict = predictor(experienced(name, in_channels=channels, **MODELS[name]))
        whole, tiled = predict(path), predict(path, tile=tile)
        assert largest_difference(whole, tiled) <= 1e-4
        assert (whole.classes == tiled.classes).all()
        assert len(np.unique(whole.classes)) > 1
