import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from atrous.errors import BundleError, DataError, ModelError, UsageError
from atrous.inference import VIEWS, ModelScorer, Predictor
from atrous.inference import predictor as module
from atrous.inference.canvas import Canvas
from atrous.inference.prepare import chains, prepare
from atrous.models import create_model
from atrous.tasks import Segmentation, build_task
from atrous.types import Prediction
from tests.networks import MODELS, experienced, made_image

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def predict(small_model):
    return Predictor(small_model, class_names=NAMES, precision="float32", device="cpu")


class Thresholds:
    """A scorer that is no network: the value of each pixel decides."""

    num_classes, in_channels, alignment, margin = 2, 1, 1, (0, 0)

    def __call__(self, image):
        return torch.cat([255 - image, image], 1) / 255


def test_prediction_of_an_array(predict, small_model):
    image = made_image(33, 50)
    found = predict(image[..., 0])
    with torch.no_grad():
        expected = small_model(torch.from_numpy(image).permute(2, 0, 1)[None].float())["out"].softmax(1)[0].numpy()
    assert found.classes.dtype == np.uint8
    assert found.confidence.dtype == np.float16
    assert np.allclose(found.scores, expected, atol=1e-5)
    assert (found.classes == expected.argmax(0)).all()
    assert np.allclose(found.confidence, expected.max(0), atol=1e-3)


def test_scores_are_kept_refused_and_bounded(predict, monkeypatch):
    image = made_image(20, 300)
    assert predict(image, tile=100, scores=False).scores is None
    assert predict(image, scores=False).scores is None
    assert predict(image, tile=100).scores.shape == (3, 20, 300)
    monkeypatch.setattr("atrous.inference.canvas.SCORES_LIMIT", 3 * 4 * 20 * 300 - 1)
    assert predict(image, tile=100).scores is None
    assert predict(image, tile=100, scores=True).scores is not None


def test_the_image_is_not_written_to(predict):
    image = made_image(20, 30).astype(np.uint8)
    image.flags.writeable = False
    before = image.copy()
    predict(image)
    assert (image == before).all()


def test_large_images_are_tiled_by_themselves(predict, monkeypatch):
    monkeypatch.setattr(module, "ONE_PASS", 100 * 100)
    monkeypatch.setattr(module, "TILE", 64)
    image = made_image(90, 130)
    tiled = predict(image)
    assert "6 tiles of 64" in predict.last_note
    assert np.abs(tiled.scores - predict(image, tile=1000).scores).max() < 1e-5


def test_explain_says_how_an_image_would_be_cut(predict):
    text = predict.explain((1000, 600, 1), tile=400)
    assert text == (
        "1000 x 600 pixels in 6 tiles of 400, read with 107 pixels before and 107 after (up to 624 x 512): "
        "the answer of one pass"
    )
    assert predict.explain((100, 200)) == "100 x 200 pixels in one pass"


def test_any_scorer_will_do():
    predict = Predictor(Thresholds(), class_names=["dark", "bright"])
    image = made_image(30, 40)
    found = predict(image, tile=16)
    assert (found.classes == (image[..., 0] > 127)).all()
    assert (predict.device, predict.precision) == ("cpu", "float32")


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_taken_back(view):
    """A scorer that looks at each pixel alone sees the same in every view; one that looks to the left does not."""
    predict = Predictor(Thresholds(), class_names=["dark", "bright"])
    image = made_image(30, 40)
    assert np.allclose(predict(image, views=(view,)).scores, predict(image).scores)


def test_views_average_scores(small_model):
    predict = Predictor(small_model, class_names=NAMES, precision="float32", device="cpu")
    image = made_image(48, 64)
    plain, mirrored = predict(image).scores, predict(np.ascontiguousarray(image[:, ::-1])).scores[:, :, ::-1]
    assert np.allclose(predict(image, views=["hflip"]).scores, (plain + mirrored) / 2, atol=1e-6)
    assert np.allclose(predict(image, views=["hflip", "hflip"]).scores, (plain + mirrored) / 2, atol=1e-6)


def test_pixels_without_data_have_no_confidence():
    torch.manual_seed(0)
    model = create_model("unet2015", num_classes=2, in_channels=2, width=2)
    model.set_normalization([0.5, 0.5], [0.2, 0.2])
    predict = Predictor(model, class_names=["a", "b"], dtype="float32", precision="float32", device="cpu")
    image = np.random.default_rng(0).random((40, 300, 2))
    image[5:9, 120:140, 1] = np.nan
    image[30, 10, 0] = np.inf
    for found in (predict(image), predict(image, tile=100)):
        assert np.isfinite(found.scores).all()
        assert (found.confidence[5:9, 120:140] == 0).all()
        assert found.confidence[30, 10] == 0
        assert (found.confidence == 0).sum() == 4 * 20 + 1
    filled = np.where(np.isfinite(image).all(2, keepdims=True), image, 0.5)
    assert np.allclose(predict(image).scores, predict(filled).scores)


def test_threads_share_a_predictor(predict):
    images = [made_image(40, 200 + 16 * i, seed=i) for i in range(6)]
    expected = [predict(image) for image in images]
    found, notes = [None] * 6, [""] * 6

    def work(i):
        for _ in range(3):
            found[i] = predict(images[i], tile=150)
        notes[i] = predict.last_note

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(6):
        assert (found[i].classes == expected[i].classes).all()
        assert np.allclose(found[i].scores, expected[i].scores, atol=1e-5)
        assert f"40 x {200 + 16 * i} pixels" in notes[i]


def test_the_model_may_go_on_training(small_model):
    model = experienced("unet2015", width=2)
    predict = Predictor(model, class_names=NAMES, precision="float32", device="cpu")
    image = made_image(30, 30)
    before = predict(image).scores
    with torch.no_grad():
        model.head.weight.zero_()
    model.train()
    assert (predict(image).scores == before).all()


def test_a_task_that_is_not_pixelwise_gets_all_scores_at_once():
    class Everything(Segmentation):
        pixelwise = False
        shapes: list = []  # noqa: RUF012

        def decode(self, scores):
            self.shapes.append(tuple(scores.shape))
            found = super().decode(scores)
            return Prediction(found.classes, found.confidence, keypoints=np.ones((1, 3), np.float32))

    predict = Predictor(Thresholds(), task=Everything(2), class_names=["a", "b"])
    found = predict(made_image(30, 40), tile=16, scores=False)
    assert Everything.shapes == [(2, 30, 40)]
    assert found.keypoints.shape == (1, 3)
    assert found.scores is None


def test_tiles_are_decoded_one_by_one(monkeypatch):
    """The memory in use must not hold all scores: the canvas never makes them."""
    seen = []
    monkeypatch.setattr(
        Canvas,
        "put",
        lambda self, rows, columns, scores, valid, put=Canvas.put: (
            put(self, rows, columns, scores, valid),
            seen.append(self._scores),
        ),
    )
    Predictor(Thresholds(), class_names=["a", "b"])(made_image(30, 40), tile=16, scores=False)
    assert seen == [None] * 6


# ---------- precision


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_decides_nearly_alike(name):
    model = experienced(name, **MODELS[name])
    image = made_image(96, 128)
    exact = Predictor(model, class_names=NAMES, precision="float32", device="cpu")(image)
    short = Predictor(model, class_names=NAMES, precision="bfloat16", device="cpu")
    found = short(image)
    assert short.precision == "bfloat16"
    assert found.scores.dtype == np.float32
    assert np.abs(found.scores - exact.scores).max() < 0.1
    assert np.abs(found.scores - exact.scores).mean() < 0.01


def norms_of(model):
    return [pair for pair in chains(model) if isinstance(model.get_submodule(pair[1]), nn.BatchNorm2d)]


@pytest.mark.parametrize(("name", "count"), [("unet2015", 0), ("unet", 20 + 10), ("fcn", 20 + 1)])
def test_every_norm_of_our_models_is_folded(name, count):
    model = experienced(name, **MODELS[name])
    pairs = norms_of(model)
    assert len(pairs) == count
    ready = prepare(model, torch.bfloat16, torch.device("cpu"))
    assert not [m for m in ready.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.weight.dtype for m in ready.modules() if isinstance(m, nn.Conv2d)} == {torch.bfloat16}
    assert ready.mean.dtype == torch.float32
    assert model.training is False
    assert [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)] or not count  # the model keeps its own


def test_folding_computes_the_same():
    model = experienced(
        "unet", encoder="mobilenetv2_035", decoder_channels=(16, 8)
    )  # timm's norms with their activation inside
    image = torch.from_numpy(made_image(32, 64)).permute(2, 0, 1)[None].float()
    ready = prepare(model, torch.bfloat16, torch.device("cpu")).float()
    exact = prepare(model, torch.float32, torch.device("cpu"))
    # The same folded network with its weights as they were before they were shortened: only folding is left to see.
    for conv, norm in norms_of(model):
        fused = nn.utils.fusion.fuse_conv_bn_eval(model.get_submodule(conv), model.get_submodule(norm))
        ready.get_submodule(conv).load_state_dict(fused.state_dict())
    plain = dict(model.named_modules())
    for name, module_ in ready.named_modules():
        if isinstance(module_, nn.Conv2d) and name not in {conv for conv, _ in norms_of(model)}:
            module_.load_state_dict(plain[name].state_dict())
    with torch.no_grad():
        assert torch.allclose(ready(image)["out"], exact(image)["out"], atol=1e-4, rtol=1e-4)


def test_relu_overwrites_only_what_nobody_else_reads():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.in_channels = 1
            self.a, self.relu_a = nn.Conv2d(1, 1, 1), nn.ReLU()
            self.b, self.relu_b = nn.Conv2d(1, 1, 1), nn.ReLU()
            self.relu_c = nn.ReLU()

        def forward(self, x):
            y = self.b(self.relu_a(self.a(x)))
            return self.relu_b(y) - y + self.relu_c(x)

    model = Reader()
    ready = prepare(model, torch.float32, torch.device("cpu"))
    assert [m.inplace for m in (ready.relu_a, ready.relu_b, ready.relu_c)] == [True, False, False]
    assert [m.inplace for m in (model.relu_a, model.relu_b, model.relu_c)] == [False, False, False]
    image = torch.randn(1, 1, 8, 8)
    assert torch.equal(ready(image), model(image))


def test_only_norms_that_directly_follow_are_folded():
    class Tangled(nn.Module):
        def __init__(self):
            super().__init__()
            self.in_channels = 2
            self.used_twice, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
            self.shared, self.norm_a, self.norm_b = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2)
            self.late, self.act, self.norm_c = nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)
            self.norm_d, self.good = nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)

        def forward(self, x):
            y = self.used_twice(x)
            x = self.norm(y) + y
            x = self.norm_a(self.shared(x)) + self.norm_b(self.shared(x + 1))
            x = self.norm_c(self.act(self.late(x)))
            return {"out": self.norm_d(self.good(x))}

    assert chains(Tangled()) == [("late", "act"), ("good", "norm_d")]


# ---------- errors


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (
            np.zeros((8, 8, 3), np.uint8),
            "the array is uint8 with 3 channels, but the model was made for uint8 with 1 channel",
        ),
        (np.zeros((8, 8), np.uint16), "the array is uint16 with 1 channel.*convert the image to uint8"),
        (np.zeros((1, 8, 9), np.uint8), r"9 channels.*turn it to \(H, W, C\)"),
    ],
)
def test_another_kind_of_image_is_refused(predict, image, text):
    with pytest.raises(BundleError, match=text):
        predict(image)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"tile": 0}, "tile is 0: give a number of pixels"),
        ({"tile": 2.5}, "tile is 2.5"),
        ({"margin": -1}, "margin is -1: say 'exact', 'auto' or a number"),
        ({"margin": "half"}, "margin is 'half'"),
        ({"views": ("hflp",)}, "unknown view 'hflp'. Did you mean 'hflip'?"),
        ({"scores": "yes"}, "scores is 'yes'"),
    ],
)
def test_arguments_of_a_call_are_checked(predict, keywords, text):
    with pytest.raises(UsageError, match=text.replace("?", r"\?")):
        predict(made_image(8, 8), **keywords)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"class_names": ["a"]}, "decides between 3 classes, but 1 class names came"),
        ({"colors": [(0, 0, 0)]}, "3 class names and 1 colors came"),
        ({"task": "segmentatoin"}, "Did you mean 'segmentation'"),
        ({"dtype": "int8"}, "unknown kind of image 'int8'. Did you mean 'uint8'"),
        ({"device": "cudda"}, "unknown device 'cudda'. Did you mean 'cuda'"),
        ({"precision": "bf16"}, "unknown precision 'bf16'"),
        ({"precision": "float16", "device": "cpu"}, "a CPU has float32 and bfloat16"),
    ],
)
def test_arguments_of_a_predictor_are_checked(small_model, keywords, text):
    with pytest.raises(UsageError, match=text):
        Predictor(small_model, **{"class_names": NAMES, **keywords})


def test_a_device_that_is_not_there_is_refused(small_model):
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(UsageError, match=f"device '{missing}': this machine has none"):
        Predictor(small_model, class_names=NAMES, device=missing)


def test_a_plain_module_is_refused():
    with pytest.raises(ModelError, match="Conv2d has no num_classes"):
        Predictor(nn.Conv2d(1, 2, 1), class_names=["a", "b"])


def test_an_unknown_operation_leaves_the_margin_in_pixels(small_model):
    class Strange(nn.Module):
        num_classes, in_channels, alignment = 2, 1, 1

        def forward(self, image):
            return {"out": torch.cat([torch.fft.fft2(image).abs(), image], 1)}

    predict = Predictor(Strange(), class_names=["a", "b"], precision="float32", device="cpu")
    image = made_image(20, 40)
    with pytest.raises(ModelError, match=r"reach is not known.*or give the margin in pixels"):
        predict(image, tile=16)
    predict(image, tile=16, margin=4)
    assert "it is not known how far the network sees; at 7 seams" in predict.last_note
    predict(image)


def test_out_of_memory_says_what_to_do(small_model, monkeypatch):
    scorer = ModelScorer(small_model, Segmentation(3), device="cpu", precision="float32")

    def burst(_image):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(scorer._kept.get(), "forward", burst)
    with pytest.raises(UsageError, match=r"400 x 600 pixels at once.*memory of cpu.*tile=100"):
        scorer(torch.zeros(1, 1, 400, 600))


def test_other_errors_pass_through(small_model, monkeypatch):
    scorer = ModelScorer(small_model, Segmentation(3), device="cpu", precision="float32")
    with pytest.raises(ModelError, match="give images of 1 channels"):
        scorer(torch.zeros(1, 2, 40, 60))


def test_load_from_a_bundle(small_model, tmp_path):
    from atrous.bundle import save_bundle

    model = create_model("unet2015", num_classes=2, in_channels=1, width=2)
    save_bundle(
        tmp_path / "cells", model, class_names=["background", "cell"], colors=[(0, 0, 0), (9, 8, 7)], dtype="uint16"
    )
    predict = Predictor.load(tmp_path / "cells", precision="float32")
    assert predict.class_names == ("background", "cell")
    assert predict.colors == ((0, 0, 0), (9, 8, 7))
    assert predict.dtype == "uint16"
    image = made_image(20, 30).astype(np.uint16) * 200
    again = Predictor(model, class_names=["background", "cell"], dtype="uint16", precision="float32")
    assert (predict(image).scores == again(image).scores).all()


def test_a_missing_file_is_named(predict, tmp_path):
    with pytest.raises(DataError, match=r"nothing.png: there is no such file"):
        predict(tmp_path / "nothing.png")


def test_grey_and_alpha_are_brought_to_three_channels_and_told_once(tmp_path, caplog):
    class Reds(Thresholds):
        in_channels = 3

        def __call__(self, image):
            return super().__call__(image[:, :1])

    grey = made_image(20, 30).astype(np.uint8)[..., 0]
    alpha = np.dstack([grey, grey, grey, np.arange(1, 31, dtype=np.uint8)[None].repeat(20, 0)])
    for name, array in (("grey.png", grey), ("other.png", grey), ("alpha.png", alpha)):
        Image.fromarray(array).save(tmp_path / name)
    predict = Predictor(Reds(), class_names=["dark", "light"], device="cpu")
    for image in (tmp_path / "grey.png", tmp_path / "other.png", tmp_path / "alpha.png", grey):
        assert (predict(image).classes == (grey > 127)).all()
    assert [record.message.removeprefix(f"{tmp_path}/") for record in caplog.records] == [
        "grey.png is grey, and the model takes three channels: its grey is repeated; other such images alike",
        "alpha.png has an alpha channel, and the model takes none: it is left out; other such images alike",
    ]
    with pytest.raises(BundleError, match="the array is uint8 with 2 channels"):
        predict(alpha[..., :2])


@pytest.mark.parametrize("task", ["segmentation", "multilabel", "instances"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_scores_that_are_not_numbers_are_no_prediction(task, precision):
    count = build_task({"name": task}, 3).num_classes
    model = create_model("unet2015", num_classes=count, in_channels=1, width=4).eval()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    predictor = Predictor(model, task=task, class_names=["a", "b", "c"], precision=precision)
    cure = {"float32": "train it again", "bfloat16": "precision=float32"}[precision]
    with pytest.raises(ModelError, match=f"are not numbers.*computed in {precision}.*{cure}"):
        predictor(np.zeros((40, 40, 1), np.uint8))
