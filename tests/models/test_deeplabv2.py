"""Facts of DeepLab v2: counts, sizes, Caffe's ResNet, the sum of branches, the largest score over scales."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.encoders import vgg, vgg_dense
from atrous.encoders.base import Weights
from atrous.errors import ModelError
from atrous.models import create_model
from atrous.models.deeplabv2 import deeplabv2

NARROW = {"encoder": {"name": "resnet18", "width": 4}, "rates": [1, 2]}


def on_meta(num_classes=21, **arguments):
    with torch.device("meta"):
        return deeplabv2(num_classes, **arguments)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({}, 44_048_532),  # of the port that loads the authors' weights
        ({"num_classes": 19}, 43_901_068),
        ({"encoder": "vgg16"}, 37_877_652),
        ({"encoder": "vgg16", "rates": (12,)}, 20_505_429),  # LargeFOV
        ({"encoder": "vgg16", "rates": (2, 4, 8, 12)}, 37_877_652),  # ASPP-S
    ],
)
def test_parameters(arguments, parameters):
    assert count(on_meta(**arguments)) == parameters


@pytest.mark.parametrize(("size", "grids"), [(321, (41, 31, 21)), (513, (65, 49, 33))])
def test_sizes(size, grids):
    model = on_meta(aux=True)
    outputs = model(torch.empty(2, 3, size, size, device="meta"))
    assert {name: value.shape[-1] for name, value in outputs.items()} == {
        "out": size,
        "scale_100": grids[0],
        "scale_75": grids[1],
        "scale_50": grids[2],
    }
    assert on_meta()(torch.empty(2, 3, size, size, device="meta")).keys() == {"out"}


def test_the_resnet_is_caffe_s():
    trunk = on_meta().encoder
    assert [len(layer) for layer in (trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4)] == [3, 4, 23, 3]
    assert trunk.layer2[0].conv1.stride == (2, 2)
    assert trunk.layer2[0].conv2.stride == (1, 1)
    assert all(block.conv2.dilation == (2, 2) for block in trunk.layer3)
    assert all(block.conv2.dilation == (4, 4) for block in trunk.layer4)
    assert trunk.ceil_pool
    # 320 pixels: the stem gives 160, and Caffe's pooling 81.
    assert trunk(torch.empty(1, 3, 320, 320, device="meta"))[1].shape[-1] == 81
    assert on_meta(encoder={"name": "resnet50", "stride_in": "3x3"}).encoder.layer2[0].conv2.stride == (2, 2)


def test_the_vgg_form():
    model = on_meta(encoder="vgg16", scales=(1.0,))
    maps = model.encoder(torch.empty(1, 3, 321, 321, device="meta"))
    assert maps[-1].shape == (1, 512, 41, 41)
    assert [body.fc6.dilation[0] for body in model.head.bodies] == [6, 12, 18, 24]
    assert all(body.fc7.out_channels == 1024 for body in model.head.bodies)
    dropouts = [module.p for module in model.head.modules() if isinstance(module, nn.Dropout)]
    assert dropouts == [0.5] * 8


def test_the_branches_are_added():
    torch.manual_seed(0)
    model = create_model("deeplabv2", num_classes=3, **NARROW)
    x = torch.randn(1, 32, 9, 9)
    branches = [
        F.conv2d(x, branch.weight, branch.bias, padding=rate, dilation=rate)
        for branch, rate in zip(model.head.classifiers, (1, 2), strict=True)
    ]
    assert len(model.head.classifiers) == 2
    assert torch.allclose(model.head(x), sum(branches), atol=1e-6)


def test_the_classifiers_start_as_the_paper_says():
    torch.manual_seed(0)
    model = create_model("deeplabv2", num_classes=21, encoder={"name": "resnet18", "width": 8})
    assert all(layer.weight.std().item() == pytest.approx(0.01, rel=0.05) for layer in model.head.classifiers)
    assert not any(layer.bias.any() for layer in model.head.classifiers)


def test_the_largest_of_the_scales_counts():
    """The whole forward, written out for an image of 65: it shrinks to 49 and 33, with corners on corners."""
    torch.manual_seed(0)
    model = create_model("deeplabv2", num_classes=3, **NARROW).eval()
    image = torch.randn(1, 3, 65, 65)

    def scores(size):
        shrunk = F.interpolate(image, (size, size), mode="bilinear", align_corners=True)
        return F.interpolate(model.head(model.encoder(shrunk)[-1]), (9, 9), mode="bilinear", align_corners=True)

    with torch.inference_mode():
        stacked = torch.stack([scores(65), scores(49), scores(33)])
        out = model(image)["out"]
    assert torch.allclose(out[..., ::8, ::8], stacked.amax(0), atol=1e-5)
    assert len(stacked.argmax(0).unique()) == 3  # every scale wins somewhere


def test_training_outputs_are_the_scores_of_each_scale():
    torch.manual_seed(0)
    model = create_model("deeplabv2", num_classes=3, **NARROW, aux=True).train()
    image = torch.randn(2, 3, 65, 33)
    outputs = model(image)
    assert {name: tuple(value.shape[-2:]) for name, value in outputs.items()} == {
        "out": (65, 33),
        "scale_100": (9, 5),
        "scale_75": (7, 4),
        "scale_50": (5, 3),
    }
    enlarged = [
        F.interpolate(outputs[f"scale_{percent}"], (9, 5), mode="bilinear", align_corners=True)
        for percent in (100, 75, 50)
    ]
    assert torch.allclose(outputs["out"][..., ::8, ::8], torch.stack(enlarged).amax(0), atol=1e-5)
    assert model.eval()(image).keys() == {"out"}


def test_a_shift_by_the_alignment_shifts_the_output():
    """Grids of 1, 3/4 and 1/2 meet again every 32 pixels; with one scale every 8."""
    torch.manual_seed(0)
    for scales, step in (((1.0, 0.75, 0.5), 32), ((1.0,), 8)):
        small = {"encoder": {"name": "resnet18", "width": 4, "depths": [1, 1, 1, 1]}, "rates": [1]}
        model = create_model("deeplabv2", num_classes=2, **small, scales=list(scales)).double().eval()
        assert model.alignment == step
        image = torch.randn(1, 3, 33, 1025, dtype=torch.float64)

        def difference(shift, model=model, image=image):
            with torch.inference_mode():
                whole, shifted = model(image)["out"], model(image[..., shift:])["out"]
            return (whole[..., shift + 400 : shift + 500] - shifted[..., 400:500]).abs().max().item()

        # Steps of 4/3 pixels have no exact floating-point number.
        assert difference(step) < 1e-4
        assert difference(step // 2) > 1e-3


def test_pretrained_thins_the_branches_out_of_vgg_s(monkeypatch):
    torch.manual_seed(0)
    trunk = {f"features.{name}": value for name, value in vgg.vgg_stages(3, width=8).state_dict().items()}
    classifier = {
        "fc1.weight": torch.randn(32, 64, 7, 7),
        "fc1.bias": torch.arange(32.0),
        "fc2.weight": torch.randn(32, 32, 1, 1),
        "fc2.bias": torch.arange(32.0),
    }
    state = trunk | {f"pre_logits.{name}": value for name, value in classifier.items()}
    for module in (vgg, vgg_dense):
        monkeypatch.setattr(module, "timm_weights", lambda name, **asked: Weights(state, None))
    model = deeplabv2(2, encoder={"name": "vgg16", "width": 8}, pretrained=True, hidden=8)
    bodies = model.head.bodies
    for body in bodies:
        assert torch.equal(body.fc6.weight, classifier["fc1.weight"][body.fc6.bias.long()][..., ::3, ::3])
    assert len({tuple(body.fc6.bias.tolist()) for body in bodies}) == 4  # each branch draws its own


@pytest.mark.parametrize("scales", [[0.5, 0.75], [1.0, 0.77], [1.0, 1.5], [1.0, 0.0]])
def test_scales_that_fit_no_grid_are_refused(scales):
    with pytest.raises(ModelError, match="give 1, and others between 0 and 1 that are fractions of numbers up to 8"):
        create_model("deeplabv2", num_classes=2, **NARROW, scales=scales)


def test_branches_without_and_with_hidden_layers_on_any_encoder():
    assert not list(on_meta(encoder="vgg16", hidden=0).head.bodies.parameters())
    assert on_meta(hidden=16).head.bodies[0].fc6.in_channels == 2048


def test_the_vgg_network_reads_one_scale_and_the_resnet_three():
    assert on_meta(encoder="vgg16").ratios == [1]
    assert on_meta(encoder={"name": "vgg16", "width": 4}).alignment == 8
    assert [float(ratio) for ratio in on_meta().ratios] == [1.0, 0.75, 0.5]
    assert [float(ratio) for ratio in on_meta(encoder="vgg16", scales=(1.0, 0.5)).ratios] == [1.0, 0.5]
