"""Facts of DeepLab v3, and its numbers beside torchvision's and segmentation_models_pytorch's with their weights."""

import pytest
import torch
from torch import nn

from atrous.analysis import alignment, receptive_field
from atrous.errors import ModelError
from atrous.models import create_model
from atrous.models.deeplabv3 import PAPERS, Cascade, deeplabv3, deeplabv3_cascade, deeplabv3_smp, deeplabv3_torchvision
from tests.models.weights import copy_weights, difference

NARROW = {"name": "resnet50", "width": 8, "depths": [1, 1, 2, 3]}


def count(builder, *args, **arguments):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in builder(*args, **arguments).parameters())


def rates(module):
    """The rates of the 3x3 convolutions, in order."""
    return [conv.dilation[0] for conv in module.modules() if isinstance(conv, nn.Conv2d) and conv.kernel_size[0] == 3]


@pytest.mark.parametrize(("encoder", "expected"), [("resnet101", 58_040_661), ("resnet50", 39_048_533)])
def test_parameter_count_with_the_pyramid(encoder, expected):
    """kazuto1011/deeplab-pytorch has the same."""
    assert count(deeplabv3, 21, encoder=encoder) == expected


def test_a_replica_of_the_last_stage_has_13_387_776_parameters():
    base = count(deeplabv3_cascade, 21, replicas=0)
    assert [count(deeplabv3_cascade, 21, replicas=n) - base for n in (1, 3)] == [13_387_776, 40_163_328]


@pytest.mark.parametrize(
    ("encoder", "aux", "expected"),
    [
        ("resnet101", False, 58_630_997),
        ("resnet101", True, 60_996_202),
        ("resnet50", False, 39_638_869),
        ("resnet50", True, 42_004_074),
    ],
)
def test_parameter_count_is_torchvisions(encoder, aux, expected):
    assert count(deeplabv3_torchvision, 21, encoder=encoder, aux=aux) == expected


def test_the_papers_counts_stand_with_the_models():
    assert PAPERS["deeplabv3"].parameters == count(deeplabv3, 21)
    assert PAPERS["deeplabv3_torchvision"].parameters == count(deeplabv3_torchvision, 21)


@pytest.mark.parametrize(("output_stride", "grid"), [(16, 33), (8, 65)])
def test_grids_of_an_image_of_513(output_stride, grid):
    with torch.device("meta"):
        model = deeplabv3(21, encoder="resnet50", output_stride=output_stride).eval()
        seen = []
        model.head.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
        assert model(torch.empty(1, 3, 513, 513))["out"].shape == (1, 21, 513, 513)
    assert seen == [(1, 21, grid, grid)]
    assert model.alignment == output_stride


def test_an_image_of_512_is_fitted_to_513():
    with torch.device("meta"):
        model = deeplabv3(2, encoder=NARROW).eval()
        seen = []
        model.encoder.register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape[-2:])))
        model(torch.empty(1, 3, 512, 498))
    assert seen == [(513, 513)]


@pytest.mark.parametrize(("output_stride", "third", "fourth", "aspp"), [
    (16, [1] * 6, [2, 4, 8], [6, 12, 18]),
    (8, [2] * 6, [4, 8, 16], [12, 24, 36]),
])  # fmt: skip
def test_rates_of_the_stages_and_the_pyramid(output_stride, third, fourth, aspp):
    with torch.device("meta"):
        model = deeplabv3(21, encoder="resnet50", output_stride=output_stride)
    assert rates(model.encoder.layer3) == third
    assert rates(model.encoder.layer4) == fourth
    assert rates(model.decoder) == aspp


@pytest.mark.parametrize(("output_stride", "expected"), [
    (16, [[2, 4, 2], [4, 8, 4], [8, 16, 8], [16, 32, 16]]),
    (8, [[4, 8, 4], [8, 16, 8], [16, 32, 16], [32, 64, 32]]),
])  # fmt: skip
def test_rates_of_block4_to_block7(output_stride, expected):
    with torch.device("meta"):
        model = deeplabv3_cascade(21, encoder="resnet50", output_stride=output_stride)
    assert [rates(block) for block in (model.encoder.layer4, *model.decoder.replicas)] == expected


def test_the_weights_of_one_output_stride_fit_the_other():
    coarse, fine = (create_model("deeplabv3", num_classes=2, encoder=NARROW, output_stride=s) for s in (16, 8))
    fine.load_state_dict(coarse.state_dict())
    assert all(torch.equal(value, coarse.state_dict()[name]) for name, value in fine.state_dict().items())


def test_receptive_field_of_the_cascade():
    """3 + 2 of the stem, 12, 28, 360 and 128 of the stages, 1792 of the replicas, 15 of the interpolation."""
    with torch.device("meta"):
        model = deeplabv3_cascade(21)
    field = receptive_field(model)
    assert (field.vertical.left, field.vertical.right, field.vertical.size) == (2340, 2340, 4667)
    assert alignment(model) == 16


def test_the_pooled_image_is_what_sees_everything():
    model = create_model("deeplabv3", num_classes=2, encoder=NARROW, image_pooling=False, output_stride=8)
    bounded = receptive_field(model, size=(513, 641)).vertical
    pooled = receptive_field(create_model("deeplabv3", num_classes=2, encoder=NARROW), size=(513, 641))
    assert pooled.vertical is None
    assert pooled.unbounded_by.startswith("decoder.aspp.branches.4")
    assert bounded is not None


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_forward_equals_torchvisions_with_its_weights(name):
    from torchvision.models import segmentation

    torch.manual_seed(0)
    theirs = getattr(segmentation, f"deeplabv3_{name}")(
        weights=None, weights_backbone=None, num_classes=5, aux_loss=True
    )
    ours = create_model("deeplabv3_torchvision", num_classes=5, encoder=name, aux=True)
    copy_weights(theirs, ours)
    assert difference(ours, theirs, (72, 104)) < 1e-4
    assert rates(ours) == rates(theirs)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        aux = ours.aux_heads["aux"](ours.encoder(ours.normalize(image))[-2])
        resized = nn.functional.interpolate(aux, size=(64, 64), mode="bilinear", align_corners=False)
        assert (resized - theirs(image)["aux"]).abs().max() < 1e-4


def test_forward_equals_torchvisions_on_a_mobilenet():
    from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

    torch.manual_seed(0)
    theirs = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21)
    ours = create_model("deeplabv3_torchvision", num_classes=21, encoder="mobilenetv3_large_100", output_stride=16)
    copy_weights(theirs, ours)
    # torchvision says 11,029,328 with the auxiliary head, which has 3,851.
    assert sum(parameter.numel() for parameter in ours.parameters()) == 11_025_477
    assert difference(ours, theirs, (80, 112)) < 1e-4


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("resnet18", {}),
        ("resnet34", {"output_stride": 16}),
        ("resnet18", {"separable": True, "rates": (2, 4, 6), "width": 64}),
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
    theirs = smp.DeepLabV3(
        encoder, encoder_weights=None, classes=5, **{names[key]: value for key, value in options.items()}
    )
    ours = create_model("deeplabv3_smp", num_classes=5, encoder=encoder, **options)
    copy_weights(theirs, ours)
    assert difference(ours, theirs, (64, 96)) < 1e-4


def test_parameter_count_is_smps():
    smp = pytest.importorskip("segmentation_models_pytorch")
    with torch.device("meta"):
        theirs = smp.DeepLabV3("resnet50", encoder_weights=None, classes=21)
    expected = sum(parameter.numel() for parameter in theirs.parameters())
    assert count(deeplabv3_smp, 21, encoder="resnet50") == expected == 39_638_869


def test_an_encoder_without_multi_grid_is_told_what_to_do():
    with pytest.raises(ModelError, match=r"'test_resnet' has no multi-grid rates.*set multi_grid to \[1, 1, 1\]"):
        create_model("deeplabv3", num_classes=2, encoder="test_resnet")
    create_model("deeplabv3", num_classes=2, encoder="test_resnet", multi_grid=[1, 1, 1])


def test_channels_that_no_bottleneck_divides_are_refused():
    with pytest.raises(ModelError, match="the encoder's last map has 30 channels, replicas need a multiple of 4"):
        Cascade(30, [[1]])
