"""Refinement in the predictor: what it is given, what it gives back, and what tiles make of it."""

import warnings

import numpy as np
import pytest
import torch

from atrous.crf import dense_crf, local_crf
from atrous.errors import BundleError, RecipeError, UsageError
from atrous.inference import Predictor, SeamWarning
from atrous.postprocess import REFINERS, read_refine
from atrous.tables import Place
from tests.networks import made_image

CRF = {"name": "crf", "bilateral_xy": 6, "bilateral_rgb": 20, "bilateral_weight": 4, "iterations": 3}
ARGUMENTS = {"gaussian": (3.0, 3.0), "bilateral": (6, 20, 4), "iterations": 3}


class Bright:
    """A pixel scorer that looks at its own pixel alone: bright or dark, with doubt."""

    num_classes, in_channels, alignment, margin = 2, 1, 1, (0, 0)

    def __init__(self, scale=1.0, low=0.0):
        self.scale, self.low = scale, low

    def __call__(self, image):
        bright = (image[:, 0].nan_to_num() - self.low) / self.scale
        p = torch.sigmoid((bright - 127) / 40)
        return torch.stack([1 - p, p], 1)


def predictor(scorer=None, **more):
    return Predictor(scorer or Bright(), class_names=["dark", "bright"], **more)


def scores_of(image):
    return Bright()(torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None])[0].numpy()


# --- reading ---------------------------------------------------------------------------------------------------------


def test_text_section_and_refiner_say_the_same():
    read = read_refine("crf:bilateral_xy=6,bilateral_rgb=20,bilateral_weight=4,iterations=3")
    assert read == read_refine(CRF) == read_refine(read)
    assert read.section == CRF
    assert str(read) == "crf:bilateral_xy=6,bilateral_rgb=20,bilateral_weight=4,iterations=3"
    assert str(read_refine("crf")) == "crf"
    assert [read_refine(nothing) for nothing in (None, "none", {"name": "none"})] == [None] * 3


def test_how_much_context():
    assert read_refine("crf").reach == 160
    assert read_refine("crf:bilateral_xy=30.3").reach == 61
    assert read_refine("crf:bilateral_weight=0,gaussian_xy=5").reach == 10
    assert read_refine("crf:margin=7").reach == 7
    assert not read_refine("crf").exact
    local = read_refine("local_crf:window=5,dilation=2,iterations=3")
    assert (local.reach, local.exact) == (16, True)
    assert set(REFINERS) == {"crf", "local_crf"}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("crv", r"^refine: there is nothing named 'crv' that refines\. Did you mean 'crf'\?"),
        ("crf:bilateral_xz=3", r"^refine, bilateral_xz: crf takes no argument 'bilateral_xz'\. Did you mean"),
        ("crf:iterations=ten", r"^refine, iterations: got 'ten' \(str\), but iterations of crf must be int"),
        ("crf:bilateral_xy=-3", r"bilateral_xy of crf must be float, above 0"),
        ("crf:normalization=symetric", r"Did you mean 'symmetric'\?"),
        ("crf:80", r"got '80' in 'crf:80'; say NAME:KEY=VALUE"),
        ("crf:iterations=", r"got 'iterations=' in"),
        ("crf:iterations=[", r"refine: this is not YAML"),
        ({"iterations": 3}, r"what refines is a name or \{name: \.\.\., its arguments\}.*crf, local_crf, none"),
        (7, r"got 7 \(int\), but what refines is a name"),
        ({"name": ["crf"]}, r"the name of a refinement is text"),
        ("local_crf:window=4", r"window: got 4, but a window has a pixel in its middle; say 5"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_done(given, text):
    with pytest.raises(UsageError, match=text):
        read_refine(given)


def test_the_place_and_the_error_are_those_of_the_reader():
    place = Place("a.yaml", lines={("refine",): "a.yaml line 3"}) / "refine"
    with pytest.raises(RecipeError, match=r"^a\.yaml line 3, refine\.iteratoins: .*Did you mean 'iterations'\?"):
        read_refine({"name": "crf", "iteratoins": 3}, place=place, error=RecipeError)


# --- one pass --------------------------------------------------------------------------------------------------------


def test_it_is_the_dense_crf_of_the_scores():
    image = made_image(50, 61)
    refined = predictor()(image, refine=CRF)
    expected = dense_crf(scores_of(image), image, **ARGUMENTS)
    np.testing.assert_allclose(refined.scores, expected, atol=1e-6)
    assert (refined.classes == expected.argmax(0)).all()
    assert (refined.classes != predictor()(image).classes).any()
    np.testing.assert_allclose(refined.confidence, expected.max(0), atol=1e-3)


def test_the_local_one_too():
    image = made_image(40, 44)
    refined = predictor()(image, refine="local_crf:bilateral_xy=6,bilateral_rgb=20,bilateral_weight=4,iterations=3")
    np.testing.assert_allclose(refined.scores, local_crf(scores_of(image), image, **ARGUMENTS), atol=1e-6)


def test_once_after_the_views():
    image = made_image(32, 48)
    views = ("hflip", "rot90")
    plain = predictor()(image, views=views)
    refined = predictor()(image, views=views, refine=CRF)
    np.testing.assert_allclose(refined.scores, dense_crf(plain.scores, image, **ARGUMENTS), atol=1e-6)


def test_its_own_default_and_switching_it_off():
    image = made_image(30, 30)
    plain, own = predictor(), predictor(refine=CRF)
    assert (own(image).scores == plain(image, refine=CRF).scores).all()
    assert (own(image, refine="none").scores == plain(image).scores).all()
    assert plain.refiner is None
    assert own.refiner.name == "crf"


def test_images_of_other_numbers_are_seen_by_their_range():
    image = made_image(40, 50)
    image[0, 0], image[0, 1] = 0, 255
    for dtype, factor in (("uint16", 200), ("float32", 0.5)):
        scaled = (image.astype(np.float64) * factor).astype(dtype)
        refined = predictor(Bright(factor), dtype=dtype)(scaled, refine=CRF)
        np.testing.assert_allclose(refined.scores, predictor()(image, refine=CRF).scores, atol=1e-4)


@pytest.mark.parametrize("name", ["crf", "local_crf"])
def test_each_channel_is_seen_by_its_own_range(name):
    """A second channel of a hundred times the numbers leaves the first as visible as it was, whole and in tiles."""
    grey = made_image(40, 50)
    small = np.concatenate([grey, grey.transpose(1, 0, 2)[:40].repeat(2, 1)[:, :50]], 2).astype(np.uint16)
    factors = np.array([1, 100], np.uint16)
    refine = {**CRF, "name": name}

    class Both(Bright):
        in_channels = 2

    given = {"refine": refine, "scores": True}
    whole = predictor(Both(), dtype="uint16")(small, **given).scores
    np.testing.assert_allclose(predictor(Both(), dtype="uint16")(small * factors, **given).scores, whole, atol=1e-4)
    if name == "local_crf":  # tiles give what the whole image gives
        tiled = predictor(Both(), dtype="uint16")(small * factors, tile=16, **given).scores
        np.testing.assert_allclose(tiled, whole, atol=1e-4)


def test_what_was_not_measured_is_no_evidence():
    """A hole that the network calls bright, in a dark image: its edge stays dark, and it counts for nothing."""
    image = np.full((24, 24, 1), 60, np.float32)
    image[:, 12:] = 80
    image[8:16, 8:16] = np.nan

    class Deceived(Bright):
        def __call__(self, image):
            scores = super().__call__(image)
            scores[:, 0, 8:16, 8:16], scores[:, 1, 8:16, 8:16] = 0.001, 0.999
            return scores

    refined = predictor(Deceived(), dtype="float32")(image, refine="crf:bilateral_xy=10")
    assert (refined.classes == 0).all()
    assert (refined.confidence[8:16, 8:16] == 0).all()


def test_scores_that_are_no_probabilities_are_refused():
    class Raw(Bright):
        def __call__(self, image):
            return super().__call__(image) * 7

    with pytest.raises(UsageError, match=r"^refine crf: .*sum"):
        predictor(Raw())(made_image(9, 9), refine="crf")


def test_the_image_is_left_as_it_was_and_the_answer_is_the_same_again():
    image = made_image(20, 30)
    predict = predictor(refine=CRF)
    before = image.copy()
    first, second = predict(image), predict(image)
    assert (image == before).all()
    assert (first.scores == second.scores).all()


# --- tiles -----------------------------------------------------------------------------------------------------------


def test_tiles_of_the_local_one_are_the_whole(tmp_path):
    image = made_image(90, 110)
    refine = "local_crf:bilateral_xy=6,bilateral_rgb=20,iterations=3,window=5"
    predict = predictor()
    whole, tiled = predict(image, refine=refine), predict(image, refine=refine, tile=32)
    assert "the answer of one pass" in predict.last_note
    np.testing.assert_allclose(tiled.scores, whole.scores, atol=1e-5)


def test_other_numbers_in_tiles_are_seen_by_the_range_of_the_image():
    image = (made_image(90, 110).astype(np.float32) - 50) * 3
    image[:20, :20] -= 400  # darker than all that the other tiles see
    refine = "local_crf:bilateral_xy=6,bilateral_rgb=9,iterations=2,window=5"
    predict = predictor(Bright(3, -150), dtype="float32")
    whole, tiled = predict(image, refine=refine), predict(image, refine=refine, tile=40)
    np.testing.assert_allclose(tiled.scores, whole.scores, atol=1e-4)


def test_tiles_of_the_dense_one_are_close_and_say_so():
    image = made_image(160, 200)
    predict = predictor(refine="crf:bilateral_xy=12,bilateral_rgb=20,bilateral_weight=5")
    plain, whole = predict(image, refine="none"), predict(image)
    with pytest.warns(SeamWarning, match=r"crf joins all pixels of an image.*decided differently.*crf:margin=48"):
        tiled = predict(image, tile=50)
    assert "in 16 tiles of 50, read with 24 pixels before and 24 after" in predict.last_note
    assert "% of the pixels are decided differently" in predict.last_note
    changed = (plain.classes != whole.classes).mean()
    differing = (tiled.classes != whole.classes).mean()
    down, right = 13, 7  # a lattice lies elsewhere in an image that begins elsewhere: the noise of the method itself
    moved = predict(np.pad(image, ((down, 0), (right, 0), (0, 0)), "edge")).classes[down:, right:]
    assert changed > 0.05
    assert differing < 0.1 * changed
    assert differing < (moved != whole.classes).mean()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        near = predict(image, tile=50, refine="crf:bilateral_xy=12,bilateral_rgb=20,bilateral_weight=5,margin=0")
    assert (near.classes != whole.classes).mean() > 3 * differing


def test_the_network_s_context_is_not_refined_with(small_model):
    """A tile with all of the image as its context is the whole: the network's margin comes on top of the CRF's."""
    image = made_image(70, 260)
    predict = Predictor(small_model, class_names="abc", device="cpu", precision="float32")
    refine = "crf:bilateral_xy=5,bilateral_rgb=20,margin=300"
    whole = predict(image, refine=refine)
    with pytest.warns(SeamWarning):
        tiled = predict(image, refine=refine, tile=100)
    assert "read with 407 pixels before and 407 after" in predict.last_note
    np.testing.assert_allclose(tiled.scores, whole.scores, atol=1e-3)


def test_explain():
    assert "read with 160 pixels before" in predictor(refine="crf").explain((5000, 5000))
    assert "read with 0 pixels before" in predictor(refine="crf").explain((5000, 5000), refine="none")


# --- bundles ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def bundle(small_model, tmp_path):
    from atrous.bundle import save_bundle
    from atrous.models import create_model

    model = create_model("unet2015", num_classes=3, in_channels=1, width=2)
    model.load_state_dict(small_model.state_dict())
    return save_bundle(tmp_path / "a.bundle", model, class_names="abc", recipe={"refine": CRF, "seed": 3})


def test_a_bundle_keeps_it_and_predicts_by_it(bundle):
    image = made_image(40, 40)
    predict = Predictor.load(bundle, device="cpu", precision="float32")
    assert predict.refiner.section == CRF
    plain = Predictor.load(bundle, device="cpu", precision="float32", refine="none")
    assert plain.refiner is None
    assert (predict(image).scores == plain(image, refine=CRF).scores).all()


def test_a_bundle_with_a_spelling_mistake_says_where(bundle):
    from atrous.bundle import update_bundle

    update_bundle(bundle, sections={"refine": {"name": "crf", "iteration": 3}})
    with pytest.raises(BundleError, match=r"a\.bundle/recipe\.yaml, refine\.iteration: .*Did you mean 'iterations'"):
        Predictor.load(bundle)


def test_updating_a_bundle_changes_what_it_says_and_nothing_else(bundle):
    from atrous.bundle import load_bundle, update_bundle

    before = load_bundle(bundle)
    (bundle / "mine.txt").write_text("kept")
    update_bundle(bundle, sections={"refine": None}, metrics={"refine": {"gain": float("nan")}})
    after = load_bundle(bundle)
    for name, value in before.model.state_dict().items():
        assert torch.equal(value, after.model.state_dict()[name])
    assert after.recipe == {key: value for key, value in before.recipe.items() if key != "refine"}
    assert (after.class_names, after.colors, after.task) == (before.class_names, before.colors, before.task)
    assert np.isnan(after.metrics["refine"]["gain"])
    assert (bundle / "mine.txt").read_text() == "kept"
    with pytest.raises(BundleError, match="the section model belongs to the weights"):
        update_bundle(bundle, sections={"model": "fcn"})
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["a.bundle"]
