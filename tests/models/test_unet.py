"""The U-Net on an encoder: equal to segmentation_models_pytorch's with the same weights, and at home on any levels."""

import pytest
import torch

from atrous.models import create_model
from atrous.models.unet import UNetDecoder
from atrous.types import Level


def from_smp(weights):
    """segmentation_models_pytorch's names -> ours."""
    renamed = {}
    for key, value in weights.items():
        part, rest = key.split(".", 1)
        if part == "encoder":
            name = f"encoder.body.{rest}"
        elif part == "segmentation_head":
            name = f"head.{rest.removeprefix('0.')}"
        else:  # decoder.blocks.0.conv1.0.weight -> decoder.steps.0.convs.0.0.weight
            _, index, conv, tail = rest.split(".", 3)
            name = f"decoder.steps.{index}.convs.{int(conv.removeprefix('conv')) - 1}.{tail}"
        renamed[name] = value
    return renamed


@pytest.mark.parametrize("in_channels", [1, 3])
def test_forward_equals_smps_with_its_weights(in_channels):
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    theirs = smp.Unet("resnet18", encoder_weights=None, in_channels=in_channels, classes=5)
    theirs.train()(torch.rand(2, in_channels, 64, 64))  # running statistics that are not zero and one
    theirs.eval()
    ours = create_model("unet", num_classes=5, in_channels=in_channels).eval()
    missing, unexpected = ours.load_state_dict(from_smp(theirs.state_dict()), strict=False)
    assert sorted(missing) == ["mean", "std"]
    assert not unexpected
    image = torch.rand(2, in_channels, 96, 64)
    with torch.inference_mode():
        assert (ours(image)["out"] - theirs(image)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("levels", "channels", "stride"),
    [
        (((8, 2), (8, 4), (8, 8), (8, 16), (8, 32)), (8, 8, 8, 8, 8), 1),
        (((8, 2), (8, 4), (8, 8), (8, 16), (8, 32)), (8, 8, 8), 4),
        (((8, 4), (8, 8), (8, 16), (8, 32)), (8, 8, 8, 8, 8), 1),
        (((8, 1), (8, 2), (8, 4)), (8, 8), 1),
        (((8, 16), (8, 16), (8, 16)), (8, 8, 8, 8, 8), 2),
        (((8, 4),), (8, 8), 1),
    ],
)
def test_the_decoder_follows_the_shapes_of_any_levels(levels, channels, stride):
    decoder = UNetDecoder([Level(*level) for level in levels], channels)
    features = [torch.rand(1, width, 64 // step, 96 // step) for width, step in levels]
    assert decoder(features).shape == (1, 8, 64 // stride, 96 // stride)


@pytest.mark.parametrize("name", ["test_convnext", "test_efficientnet", "test_vit", "swin_tiny_patch4_window7_224"])
def test_odd_sizes_on_other_families(name):
    model = create_model("unet", num_classes=2, in_channels=5, encoder=name, decoder_channels=(16, 8, 8)).eval()
    for size in [(1, 1), (33, 47)]:
        with torch.inference_mode():
            assert model(torch.rand(1, 5, *size))["out"].shape == (1, 2, *size)


def test_parameter_count_is_smps():
    assert sum(parameter.numel() for parameter in create_model("unet", num_classes=1).parameters()) == 14_328_209
