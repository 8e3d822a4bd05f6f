"""Normalisation, the table of models and the messages of `create_model`."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch

from atrous import Predictor
from atrous.analysis import alignment
from atrous.errors import ModelError
from atrous.models import MODELS, ModelSpec, create_model, list_models


@pytest.fixture
def tiny():
    return create_model("unet2015", num_classes=2, in_channels=2, width=1)


def test_normalisation_starts_as_nothing_and_is_set_per_channel(tiny):
    image = torch.rand(1, 2, 4, 5) * 65535
    assert torch.equal(tiny.normalize(image), image)
    tiny.set_normalization([10.0, 20.0], torch.tensor([2.0, 4.0]))
    expected = torch.stack([(image[:, 0] - 10) / 2, (image[:, 1] - 20) / 4], dim=1)
    assert torch.equal(tiny.normalize(image), expected)
    assert {"mean", "std"} <= tiny.state_dict().keys()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_normalisation_is_exact_under_autocast_and_in_a_narrow_model(tiny, dtype):
    tiny.set_normalization([65535.0 / 2, 100.1], [1000.3, 7.7])
    image = torch.rand(1, 2, 4, 5) * 65535
    expected = tiny.normalize(image)
    with torch.autocast("cpu", dtype):
        assert torch.equal(tiny.normalize(image), expected)
    narrow = copy.deepcopy(tiny).to(dtype)
    assert narrow.mean.dtype == narrow.std.dtype == torch.float32
    assert torch.equal(narrow.normalize(image), expected.to(dtype))
    assert narrow.eval()(image)["out"].dtype == dtype


def test_a_double_model_normalises_in_double(tiny):
    assert tiny.double().normalize(torch.rand(1, 2, 3, 3)).dtype == torch.float64


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        ([0.0], [1.0], r"mean has shape \(1,\), the model has 2 input channels: give one value per channel"),
        ([0.0, 0.0], [1.0, 1.0, 1.0], r"std has shape \(3,\)"),
        ([0.0, float("nan")], [1.0, 1.0], "mean is .* every value must be finite"),
        ([0.0, 0.0], [1.0, 0.0], "std is .* every value must be finite and above 0"),
        ([0.0, 0.0], [1.0, float("inf")], "std is .* finite"),
    ],
)
def test_what_normalisation_refuses(tiny, mean, std, text):
    with pytest.raises(ModelError, match=text):
        tiny.set_normalization(mean, std)
    assert tiny.mean.tolist() == [0.0, 0.0]
    assert tiny.std.tolist() == [1.0, 1.0]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": "uent", "num_classes": 2}, "create_model: there is no model 'uent'. Did you mean 'unet'?"),
        (
            {"name": "unet", "num_classes": 2, "encodr": "resnet18"},
            "create_model, encodr: unet takes no argument 'encodr'. Did you mean 'encoder'?",
        ),
        (
            {"name": "unet", "num_classes": "2"},
            "create_model, num_classes: got '2' (str), but num_classes of unet must be int.",
        ),
        (
            {"name": "unet", "num_classes": 2, "encoder": "resnet81"},
            "unknown encoder 'resnet81'. Did you mean 'resnet18', 'resnet61q' or 'resnet51q'?",
        ),
        (
            {"name": "unet", "num_classes": 2, "decoder_channels": [64] * 6},
            "decoder_channels has 6 values, the encoder's maps allow 1 to 5 steps: give at most 5 values",
        ),
        (
            {"name": "unet", "num_classes": 2, "encoder": "test_resnet", "decoder_channels": [8, 0]},
            "decoder_channels is [8, 0]: every step needs at least 1 channel",
        ),
        (
            {"name": "unet", "num_classes": 2, "in_channels": 0},
            "encoder 'resnet18': in_channels is 0; give at least 1",
        ),
        (
            {"name": "unet2015", "num_classes": 0},
            "a model has 0 classes and 1 input channels: give at least 1 of each",
        ),
        ({"name": "unet2015", "num_classes": 2, "width": 0}, "unet2015 has width 0: give at least 1; the paper has 64"),
    ],
)
def test_the_text_of_every_refusal(arguments, text):
    with pytest.raises(ModelError) as caught:
        create_model(**arguments)
    assert str(caught.value) == text


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 3, 8, 8), (2, 8, 8)])
def test_an_image_of_other_channels_is_refused_not_broadcast(tiny, shape):
    with pytest.raises(ModelError, match=r"the model reads \(batch, 2, height, width\): give images of 2 channels"):
        tiny(torch.rand(shape))


def test_the_spec_holds_every_argument_as_plain_values():
    model = create_model("unet", num_classes=3, encoder="test_resnet", decoder_channels=(8, 4))
    assert model.spec == ModelSpec(
        "unet",
        {
            "num_classes": 3,
            "in_channels": 3,
            "encoder": "test_resnet",
            "pretrained": False,
            "decoder_channels": [8, 4],
        },
    )
    again = create_model(model.spec.name, **copy.deepcopy(model.spec).arguments)
    assert again.spec == model.spec
    again.load_state_dict(model.state_dict())


def test_the_list_is_the_table():
    assert list_models() == sorted(MODELS)


def test_importing_the_models_imports_neither_timm_nor_torchvision():
    code = "import sys, atrous.models; assert not {'timm', 'torchvision', 'lightning', 'pydantic'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("encoder", "aligned"), [("resnet18", True), ("convnext_atto", False)])
def test_corners_are_aligned_where_the_encoder_has_them(encoder, aligned):
    model = create_model("pspnet", num_classes=2, encoder=encoder, output_stride=32, width=8).eval()
    assert model.align_corners is aligned
    for size in [(1, 1), (33, 65), (40, 70)]:
        assert model(torch.rand(1, 3, *size))["out"].shape[-2:] == size


CAFFES = {"name": "resnet18", "width": 4, "depths": (1, 1, 1, 1), "ceil_pool": True}


@pytest.mark.parametrize(("name", "arguments"), [("refinenet", {"width": 4}), ("gcn", {"k": 3}), ("fcn8s", {})])
def test_a_trunk_whose_pooling_rounds_up_moves_with_the_image(name, arguments):
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, encoder=CAFFES, **arguments).eval()
    for weight in model.parameters():
        if weight.ndim > 1 and not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    assert model.alignment == alignment(model) == 32
    image = torch.randn(1, 3, 64, 672)
    with torch.inference_mode():
        whole, moved = model(image)["out"][..., 32:], model(image[..., 32:])["out"]
    inside = slice(300, 340)
    assert (whole - moved)[..., inside].abs().max() < 1e-3 * whole[..., inside].std()


def test_tiles_of_a_trunk_whose_pooling_rounds_up_equal_the_whole():
    torch.manual_seed(0)
    model = create_model("gcn", num_classes=3, encoder=CAFFES, k=3)
    predictor = Predictor(model, class_names=["a", "b", "c"])
    image = np.random.default_rng(0).integers(0, 256, (70, 500, 3), dtype=np.uint8)
    whole, tiled = predictor(image, tile=10_000), predictor(image, tile=96)
    assert (whole.classes == tiled.classes).all()


@pytest.mark.parametrize(
    ("name", "encoder", "first"),
    [
        ("deeplabv3", "resnet5", "'resnet50', "),  # not that it has no multi-grid rates
        ("deeplabv3_cascade", {"name": "resnet5"}, "'resnet50', "),
        ("deeplabv3plus", "hrnetw48", "'hrnet_w48', "),
        ("dilation", "vgg61", "'vgg16"),
        ("fcn8s", "vg16", "'vgg16"),
        ("unet", "resnet5", "'resnet50"),
    ],
)
def test_a_name_that_is_no_encoder_is_answered_with_near_ones(name, encoder, first):
    with pytest.raises(ModelError) as caught:
        create_model(name, num_classes=2, encoder=encoder)
    given = encoder if isinstance(encoder, str) else encoder["name"]
    assert f"unknown encoder {given!r}. Did you mean {first}" in str(caught.value)
    assert str(caught.value).endswith("?")


@pytest.mark.parametrize("name", ["deeplabv1", "deeplabv2", "deeplabv3"])
def test_a_trunk_of_patches_moves_with_the_image(name):
    """It has no maps whose corners are the image's; stretched as if it had, its cells would lie elsewhere."""
    torch.manual_seed(0)
    arguments = {"image_pooling": False, "rates": (1,), "multi_grid": (1, 1, 1)} if name == "deeplabv3" else {}
    arguments |= {"deeplabv1": {"dilation": 1, "channels": 8}, "deeplabv2": {"rates": (1,)}}.get(name, {})
    model = create_model(name, num_classes=2, encoder="convnext_atto", **arguments).eval()
    assert not model.align_corners
    step, image = model.alignment, torch.randn(1, 3, 32, 1120)
    with torch.inference_mode():
        whole, moved = model(image)["out"][..., step:], model(image[..., step:])["out"]
    inside = slice(540, 560)
    assert (whole - moved)[..., inside].abs().max() < 1e-2 * whole[..., inside].std()
