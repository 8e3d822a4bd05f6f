"""Facts of HRNetV2: counts, grids, and the numbers of the authors' form, which stacks the branches first."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from atrous.analysis import parameters, receptive_field
from atrous.models import create_model
from atrous.models.hrnet import PAPERS, hrnet

SMALL_V1 = {
    "name": "hrnet_w18", "width": 16, "modules": [1, 1, 1], "blocks": 2, "bottlenecks": 1, "bottleneck_width": 32
}  # fmt: skip
SMALL_V2 = {"name": "hrnet_w18", "modules": [1, 3, 2], "blocks": 2, "bottlenecks": 2}
TINY = {"name": "hrnet_w18", "width": 4, "modules": [1, 1, 1], "blocks": 1, "bottlenecks": 1, "bottleneck_width": 8}


def on_meta(**arguments):
    with torch.device("meta"):
        return hrnet(19, **arguments)


@pytest.mark.parametrize(
    ("encoder", "count"),  # specs of HRNet, measured on the authors' networks with 19 classes
    [
        ("hrnet_w18", 9_641_119),
        ("hrnet_w32", 29_546_515),
        ({"name": "hrnet_w48", "width": 40}, 45_894_435),
        ("hrnet_w48", 65_859_379),
        (SMALL_V1, 1_540_819),
        (SMALL_V2, 3_939_579),
    ],
)
def test_parameters_are_those_of_the_authors(encoder, count):
    assert parameters(on_meta(encoder=encoder)) == count


def test_w48_is_the_default_and_its_head_has_534259():
    model = on_meta()
    assert parameters(model) == PAPERS["hrnet"].parameters == 65_859_379
    assert parameters(model) - parameters(model.encoder) == 534_259


def test_logits_stand_on_a_quarter_of_the_image():
    model = on_meta().eval()
    seen = []
    model.head.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
    out = model(torch.empty(1, 3, 512, 1024, device="meta"))["out"]
    assert seen == [(1, 19, 128, 256)]
    assert out.shape == (1, 19, 512, 1024)


def test_the_network_is_the_authors_with_their_weights():
    """timm's trunk, branches stacked, 1x1 convolution, normalisation, ReLU, 1x1 convolution, interpolation."""
    torch.manual_seed(0)
    trunk = timm.create_model("hrnet_w18_small")
    for part in trunk.modules():
        if isinstance(part, nn.Upsample):
            part.mode, part.align_corners = "bilinear", False
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    last_layer = nn.Sequential(
        nn.Conv2d(240, 240, 1), nn.BatchNorm2d(240, momentum=1.0), nn.ReLU(), nn.Conv2d(240, 5, 1)
    )

    def theirs(image):
        stem = trunk.act2(trunk.bn2(trunk.conv2(trunk.act1(trunk.bn1(trunk.conv1(image))))))
        finest, *coarser = trunk.stages(stem)
        maps = [finest, *(F.interpolate(x, finest.shape[2:], mode="bilinear") for x in coarser)]
        return F.interpolate(last_layer(torch.cat(maps, dim=1)), image.shape[2:], mode="bilinear")

    theirs(torch.randn(2, 3, 64, 96))  # statistics
    trunk.eval(), last_layer.eval()
    ours = create_model("hrnet", num_classes=5, encoder=SMALL_V1).eval()
    weights = trunk.state_dict()
    ours.encoder.load_state_dict({key: weights[key] for key in ours.encoder.state_dict()})
    for own, index in ((ours.decoder.conv, 0), (ours.decoder.norm, 1), (ours.head, 3)):
        own.load_state_dict(last_layer[index].state_dict())
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected = theirs(image)
        assert expected.std() > 0.1
        assert torch.allclose(ours(image)["out"], expected, atol=1e-4)


def test_of_another_encoder_the_maps_of_stride_4_and_coarser_take_part():
    model = create_model("hrnet", num_classes=2, encoder={"name": "resnet18", "width": 4}).eval()
    assert model.decoder.out_channels == 4 + 8 + 16 + 32
    assert model.decoder(model.encoder(torch.rand(1, 3, 64, 96))).shape == (1, 60, 16, 24)


def test_receptive_field_is_bounded():
    field = receptive_field(create_model("hrnet", num_classes=2, encoder=TINY))
    assert field.unbounded_by is None
    w18 = receptive_field(on_meta(encoder="hrnet_w18"))
    assert (w18.vertical.left, w18.vertical.right, w18.vertical.size) == (1448, 1417, 2847)
