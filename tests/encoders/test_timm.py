"""The encoder contract on timm's backbones: measured levels, turned maps, refusals by name."""

import sys

import pytest
import timm
import torch
from torch import nn

from atrous.encoders import Encoder, fetching, measure_levels, timm_encoder
from atrous.encoders import timm as adapter
from atrous.errors import ModelError
from atrous.layers import BatchNorm
from atrous.types import Level


@pytest.mark.parametrize(
    ("name", "channels", "strides"),
    [
        ("resnet18", (64, 64, 128, 256, 512), (2, 4, 8, 16, 32)),
        ("resnet50", (64, 256, 512, 1024, 2048), (2, 4, 8, 16, 32)),
        ("mobilenetv3_large_100", (16, 24, 40, 112, 960), (2, 4, 8, 16, 32)),
        ("efficientnet_b0", (16, 24, 40, 112, 320), (2, 4, 8, 16, 32)),
        ("convnext_atto", (40, 80, 160, 320), (4, 8, 16, 32)),
        ("swin_tiny_patch4_window7_224", (96, 192, 384, 768), (4, 8, 16, 32)),
        ("vgg11_bn", (64, 128, 256, 512, 512, 512), (1, 2, 4, 8, 16, 32)),
        ("hrnet_w18", (64, 128, 256, 512, 1024), (2, 4, 8, 16, 32)),
        ("regnetx_002", (32, 24, 56, 152, 368), (2, 4, 8, 16, 32)),
        ("vit_tiny_patch16_224", (48, 96, 192, 192), (4, 8, 16, 32)),
    ],
)
def test_levels_are_what_comes_out(name, channels, strides):
    encoder = timm_encoder(name, in_channels=1).eval()
    assert encoder.levels == tuple(map(Level, channels, strides))
    with torch.inference_mode():
        features = encoder(torch.rand(1, 1, 64, 96))
    assert [tuple(feature.shape) for feature in features] == [
        (1, level.channels, 64 // level.stride, 96 // level.stride) for level in encoder.levels
    ]


def test_swin_maps_are_turned_not_reshaped():
    encoder = timm_encoder("swin_tiny_patch4_window7_224").eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        raw, turned = encoder.body(image), encoder(image)
    assert raw[0].shape == (1, 16, 24, 96)
    assert torch.equal(turned[0][0, 5], raw[0][0, :, :, 5])


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_large_100", "convnext_atto", "regnety_002"])
def test_backbones_that_dilate_keep_their_weights_and_stop_at_the_stride(name, output_stride):
    encoder = timm_encoder(name, output_stride=output_stride)
    assert max(level.stride for level in encoder.levels) == output_stride
    plain = timm_encoder(name)
    assert {key: value.shape for key, value in plain.state_dict().items()} == {
        key: value.shape for key, value in encoder.state_dict().items()
    }


@pytest.mark.parametrize("name", ["vgg11_bn", "hrnet_w18", "swin_tiny_patch4_window7_224", "densenet121"])
def test_a_backbone_that_cannot_dilate_has_its_coarsest_maps_interpolated(name):
    encoder, plain = timm_encoder(name, output_stride=8).eval(), timm_encoder(name).eval()
    assert [level.channels for level in encoder.levels] == [level.channels for level in plain.levels]
    assert [level.stride for level in encoder.levels] == [min(level.stride, 8) for level in plain.levels]
    with torch.inference_mode():
        features = encoder(torch.rand(1, 3, 72, 40))
    assert [tuple(x.shape[-2:]) for x in features] == [(72 // s, 40 // s) for _, s in encoder.levels]


def test_a_plain_transformer_ends_at_the_stride():
    assert [level.stride for level in timm_encoder("vit_tiny_patch16_224", output_stride=16).levels] == [4, 8, 16]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": "resnet81"}, r"unknown encoder 'resnet81'\. Did you mean 'resnet18'(, | or |\?)"),
        ({"name": "zzzzzz"}, r"unknown encoder 'zzzzzz'\. Choose one of the \d+ of timm\.list_models\(\)"),
        ({"name": "resnet18", "output_stride": 7}, "encoder 'resnet18': output_stride is 7; choose 8, 16 or 32"),
        ({"name": "levit_128"}, "encoder 'levit_128' does not give feature maps that line up .*(196).* choose another"),
        ({"name": "inception_v4"}, "encoder 'inception_v4' does not give feature maps that line up .* choose another"),
    ],
)
def test_what_cannot_be_asked(arguments, text):
    with pytest.raises(ModelError, match=text):
        timm_encoder(**arguments)


def test_weights_that_cannot_be_fetched_are_told_with_the_way_out(monkeypatch):
    create = timm.create_model

    def offline(name, pretrained=False, **arguments):
        if pretrained:
            raise ConnectionError("no route to host\nand a second line")
        return create(name, **arguments)

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(fetching, "check_online", lambda address: None)
    with pytest.raises(ModelError) as caught:
        timm_encoder("test_resnet", pretrained=True)
    text = str(caught.value)
    assert "encoder 'test_resnet'" in text
    assert "ConnectionError: no route to host)" in text
    assert "pretrained: false" in text
    assert "\n" not in text


def test_a_wrong_weights_tag_lists_the_right_ones():
    with pytest.raises(ModelError, match=r"resnet18\.nobody.*a1_in1k"):
        timm_encoder("resnet18.nobody", pretrained=True)


@pytest.mark.parametrize("in_channels", [3, 1])
def test_the_weights_own_normalization_is_recorded_whatever_the_channels(monkeypatch, in_channels):
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **rest: create(name, **rest))
    monkeypatch.setattr(fetching, "check_online", lambda address: None)
    mean, std = timm_encoder("resnet18.a1_in1k", in_channels=in_channels, pretrained=True).pretrained_normalization
    assert mean == pytest.approx((123.675, 116.28, 103.53))
    assert std == pytest.approx((58.395, 57.12, 57.375))
    assert timm_encoder("test_resnet").pretrained_normalization is None


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "regnetx_002"])
def test_every_batch_norm_trains_on_a_single_value_and_computes_as_timms(name):
    encoder = timm_encoder(name)
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(norm, BatchNorm) for norm in norms)
    theirs = timm.create_model(name, features_only=True)
    theirs.load_state_dict(encoder.body.state_dict())
    image = torch.rand(2, 3, 64, 64)
    for ours, other in zip(encoder.train()(image), theirs.train()(image), strict=True):
        assert torch.equal(ours, other)
    encoder(torch.rand(1, 3, 32, 32))[-1].sum().backward()


def test_measuring_runs_no_number_and_leaves_the_module_alone():
    module = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    assert measure_levels(module, 2, size=100) == (Level(4, 2),)
    assert module.training
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_the_base_class_is_an_interface():
    with pytest.raises(NotImplementedError, match="Encoder has no forward"):
        Encoder()(torch.rand(1, 3, 8, 8))


def test_timm_is_imported_inside_the_functions_only():
    assert "timm" in sys.modules  # this test's own import
    assert not any(value is timm for value in vars(adapter).values())
