"""Facts of DeepLab v3+, and its numbers beside segmentation_models_pytorch's with their weights."""

import pytest
import torch
from torch import nn

from atrous.errors import ModelError
from atrous.layers import conv_bn_relu
from atrous.models import create_model
from atrous.models.deeplabv3 import deeplabv3
from atrous.models.deeplabv3plus import PAPERS, DeepLabV3PlusDecoder, deeplabv3plus, deeplabv3plus_smp
from atrous.types import Level
from tests.models.weights import copy_weights, difference

NARROW = {"name": "resnet50", "width": 8, "depths": [1, 1, 2, 3]}


def count(builder, *args, **arguments):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in builder(*args, **arguments).parameters())


def test_parameter_count_on_a_resnet_101():
    """kazuto1011/deeplab-pytorch has the same; the decoder is DeepLab v3's and 1,303,648 more."""
    assert PAPERS["deeplabv3plus"].parameters == 59_344_309
    assert count(deeplabv3plus, 21) == 59_344_309
    assert count(deeplabv3plus, 21) - count(deeplabv3, 21) == 12_384 + 700_928 + 590_336


@pytest.mark.parametrize(("encoder", "expected"), [("resnet50", 26_682_725), ("resnet101", 45_674_853)])
def test_parameter_count_is_smps(encoder, expected):
    smp = pytest.importorskip("segmentation_models_pytorch")
    with torch.device("meta"):
        theirs = smp.DeepLabV3Plus(encoder, encoder_weights=None, classes=21)
    assert sum(parameter.numel() for parameter in theirs.parameters()) == expected
    assert count(deeplabv3plus_smp, 21, encoder=encoder) == expected


@pytest.mark.parametrize(("output_stride", "grid"), [(16, 33), (8, 65)])
def test_grids_of_an_image_of_513(output_stride, grid):
    with torch.device("meta"):
        model = deeplabv3plus(21, encoder="resnet50", output_stride=output_stride).eval()
        seen = []
        for part in (model.decoder.context, model.decoder.reduce, model.decoder.fuse, model.head):
            part.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape[1:])))
        assert model(torch.empty(1, 3, 513, 513))["out"].shape == (1, 21, 513, 513)
    # In the order of the forward: the finer map is reduced before the context is computed.
    assert sorted(seen) == sorted([(48, 129, 129), (256, grid, grid), (256, 129, 129), (21, 129, 129)])


def test_the_finer_map_is_that_of_conv2():
    with torch.device("meta"):
        model = deeplabv3plus(21)
    level = model.encoder.levels[model.decoder.skip_level]
    assert level == Level(256, 4)
    assert model.decoder.reduce[0].in_channels == 256


def test_rates_double_with_the_finer_stride_and_separable_convolutions_have_them_too():
    for output_stride, expected in ((16, [6, 12, 18]), (8, [12, 24, 36])):
        model = create_model(
            "deeplabv3plus", num_classes=2, encoder=NARROW, output_stride=output_stride, separable=True, width=8
        )
        kernels = [m for m in model.decoder.modules() if isinstance(m, nn.Conv2d) and m.kernel_size[0] == 3]
        assert [conv.dilation[0] for conv in kernels] == [*expected, 1, 1]
        assert all(conv.groups == conv.in_channels for conv in kernels)


def test_the_corners_of_all_grids_coincide():
    """A context and scores that are linear in place are interpolated without a step, up to the corners."""
    decoder = DeepLabV3PlusDecoder(
        [Level(1, 4), Level(1, 16)], nn.Identity(), nn.Identity(), width=1, skip_width=1
    ).eval()
    ramp = torch.linspace(0, 2, 3).view(1, 1, 1, 3).expand(1, 1, 3, 3)
    context = decoder([torch.zeros(1, 1, 9, 9), ramp])[:, :1]
    assert torch.allclose(context[0, 0, 0], torch.linspace(0, 2, 9))


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("resnet18", {}),
        ("resnet34", {"output_stride": 8}),
        ("resnet18", {"separable": False, "rates": (2, 4, 6), "width": 64}),
        ("resnet50", {}),
    ],
)
def test_forward_equals_smps_with_its_weights(encoder, options):
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    names = {
        "output_stride": "encoder_output_stride",
        "separable": "decoder_aspp_separable",
        "rates": "decoder_atrous_rates",
        "width": "decoder_channels",
    }
    theirs = smp.DeepLabV3Plus(
        encoder, encoder_weights=None, classes=5, **{names[key]: value for key, value in options.items()}
    )
    ours = create_model("deeplabv3plus_smp", num_classes=5, encoder=encoder, **options)
    copy_weights(theirs, ours)
    assert difference(ours, theirs, (64, 96)) < 1e-4


def test_an_encoder_without_a_map_of_stride_4_is_refused():
    with pytest.raises(ModelError, match=r"strides \[2, 8\], the decoder needs one of stride 4"):
        DeepLabV3PlusDecoder([Level(4, 2), Level(4, 8)], nn.Identity(), conv_bn_relu(8, 4), width=4, skip_width=4)
