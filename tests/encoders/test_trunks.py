"""The papers' own trunks: sizes, rates and counts, and the numbers of torchvision and timm with their weights."""

import pytest
import timm
import torch
from torch import nn
from torchvision.models import vgg16 as torchvision_vgg16

from atrous.analysis import parameters
from atrous.encoders import ENCODERS, create_encoder, fetching, load_vgg16, vgg_stages
from atrous.encoders import vgg as vgg_module
from atrous.encoders.base import Weights
from atrous.encoders.resnet import Bottleneck
from atrous.errors import ModelError
from atrous.layers import BatchNorm


def on_meta(section, **options):
    with torch.device("meta"):
        return create_encoder(section, **options)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vgg16", 14_714_688),  # "encoder 14.7M" (SegNet paper)
        ("resnet152", 58_143_808),  # specs of GCN
        ("resnet50", 23_508_032),  # torchvision's 25,557,032 without its classifier of 2,049,000
        ("resnet101", 42_500_160),
        ("hrnet_w48", 65_325_120),  # specs of HRNet: trunk
    ],
)
def test_parameters_are_those_of_the_papers_networks(name, count):
    assert parameters(on_meta(name)) == count


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet50s"])
def test_a_resnet_gives_the_numbers_of_timm_with_its_weights(name):
    torch.manual_seed(0)
    theirs = timm.create_model(name, features_only=True).eval()
    whole = {key: value for key, value in timm.create_model(name).state_dict().items() if not key.startswith("fc.")}
    for key, value in whole.items():  # statistics that change something
        if key.endswith("running_var"):
            value.uniform_(0.5, 2)
    theirs.load_state_dict(whole, strict=False)
    ours = create_encoder(name).eval()
    ours.load_state_dict(whole)
    image = torch.randn(1, 3, 65, 98)
    with torch.inference_mode():
        for a, b in zip(ours(image), theirs(image), strict=True):
            assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize(("stride", "rates"), [(16, [1, 1, 2, 2]), (8, [2, 2, 4, 4])])
def test_every_block_of_a_dilated_stage_has_its_rate(stride, rates):
    trunk = on_meta("resnet50", output_stride=stride)
    found = [
        block.conv2.dilation[0] for layer in (trunk.layer3, trunk.layer4) for block in (layer[0], layer[len(layer) - 1])
    ]
    assert found == rates
    assert [level.stride for level in trunk.levels] == [2, 4, 8, min(16, stride), stride]


def test_multi_grid_multiplies_the_rates_of_the_last_stage():
    trunk = on_meta("resnet101", output_stride=16, multi_grid=(1, 2, 4))
    assert [block.conv2.dilation[0] for block in trunk.layer4] == [2, 4, 8]
    assert {block.conv2.dilation[0] for block in trunk.layer3} == {1}


def test_the_stride_stands_where_it_is_asked_for():
    trunk = on_meta({"name": "resnet50", "stride_in": "1x1"})
    first = trunk.layer2[0]
    assert isinstance(first, Bottleneck)
    assert (first.conv1.stride, first.conv2.stride) == ((2, 2), (1, 1))


def test_the_stems_pooling_rounds_up_where_asked():
    image = torch.empty(1, 3, 324, 324, device="meta")
    assert on_meta({"name": "resnet18", "ceil_pool": True})(image)[1].shape[2] == 82
    assert on_meta("resnet18")(image)[1].shape[2] == 81


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_a_pooling_that_rounds_up_leaves_the_strides_alone(output_stride):
    plain, caffes = (
        on_meta({"name": "resnet18", "width": 4, "ceil_pool": up}, output_stride=output_stride) for up in (False, True)
    )
    assert caffes.levels == plain.levels
    assert [level.stride for level in caffes.levels] == [min(stride, output_stride) for stride in (2, 4, 8, 16, 32)]
    image = torch.empty(1, 3, 64, 96, device="meta")
    assert [maps.shape for maps in caffes.fitted(image)] == [maps.shape for maps in plain(image)]
    assert caffes(image)[1].shape[2:] == (17, 25)


def test_vgg_gives_the_numbers_of_torchvision_where_sizes_halve():
    theirs = torchvision_vgg16(weights=None).features.eval()
    ours = create_encoder("vgg16").eval()
    for own, given in zip(ours.stages.state_dict().values(), theirs.state_dict().values(), strict=True):
        own.copy_(given)
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.allclose(ours(image)[-1], theirs(image), atol=1e-5)


def test_vgg_dilates_what_it_does_not_stride():
    trunk = on_meta({"name": "vgg16", "width": 4}, output_stride=8)
    assert [level.stride for level in trunk.levels] == [1, 2, 4, 8, 8, 8]
    assert {conv.dilation for conv in trunk.stages[4] if isinstance(conv, nn.Conv2d)} == {(2, 2)}
    assert [level.stride for level in on_meta("vgg16", output_stride=16).levels] == [1, 2, 4, 8, 16, 16]


def test_dilation_instead_of_pooling_keeps_the_values_at_the_sampled_places():
    """What "atrous" means: the dense map holds the strided one."""
    torch.manual_seed(0)
    pool, conv = nn.MaxPool2d(2, 2), nn.Conv2d(1, 1, 3)
    spread = nn.Conv2d(1, 1, 3, dilation=2)
    spread.load_state_dict(conv.state_dict())
    image = torch.randn(1, 1, 20, 20)
    dense = spread(nn.MaxPool2d(2, 1)(image))
    assert torch.allclose(dense[..., ::2, ::2], conv(pool(image)), atol=1e-6)


def test_vgg_with_batch_norm_has_it_after_each_convolution():
    kinds = [type(layer) for layer in on_meta("vgg16_bn").stages[0]]
    assert kinds == [nn.Conv2d, BatchNorm, nn.ReLU] * 2


def test_pretrained_weights_reach_the_trunk(monkeypatch):
    made = {f"features.{i}": value for i, value in enumerate(vgg_stages(3).state_dict().values())}
    made["head.fc.weight"] = torch.zeros(2, 2)
    asked = []

    def give(name, *, in_channels, pretrained, part):
        assert pretrained is True
        asked.append((name, in_channels))
        return Weights(made, ((1.0,) * 3, (2.0,) * 3))

    monkeypatch.setattr(vgg_module, "timm_weights", give)
    trunk = create_encoder("vgg16", pretrained=True)
    assert asked == [("vgg16", 3)]
    assert torch.equal(trunk.stages[4][4].weight, made["features.24"])
    assert trunk.pretrained_normalization == ((1.0,) * 3, (2.0,) * 3)
    with pytest.raises(ModelError, match="need width 64"):
        load_vgg16(vgg_stages(3, width=8))


def test_a_resnet_starts_from_timms_weights_of_its_name(monkeypatch):
    from atrous.encoders import resnet as resnet_module

    state = timm.create_model("resnet18").state_dict()
    monkeypatch.setattr(resnet_module, "timm_weights", lambda name, **asked: Weights(state, None))
    trunk = create_encoder("resnet18", pretrained=True)
    assert torch.equal(trunk.layer3[1].conv2.weight, state["layer3.1.conv2.weight"])
    with pytest.raises(ModelError, match="resnet18 need its own width and depths: set pretrained: false"):
        create_encoder({"name": "resnet18", "width": 8}, pretrained=True)


def test_whole_weights_of_timm_come_with_their_normalisation(monkeypatch):
    body = timm.create_model("resnet18")
    monkeypatch.setattr(timm, "create_model", lambda *args, **options: body)
    monkeypatch.setattr(fetching, "check_online", lambda address: None)
    weights = fetching.timm_weights("resnet18")
    assert str(weights.origin) == "ImageNet weights of timm/resnet18.a1_in1k, apache-2.0"
    assert weights.normalization is not None
    assert weights.normalization[0] == tuple(255 * value for value in (0.485, 0.456, 0.406))
    assert "fc.weight" in weights.state


@pytest.mark.parametrize(
    ("section", "options", "text"),
    [
        ("resnet5o", {}, "unknown encoder 'resnet5o'. Did you mean 'resnet50'"),
        ({"width": 3}, {}, "has no name: add one"),
        ({"name": "resnet50", "widht": 3}, {}, "Did you mean 'width'?"),
        ({"name": "resnet50", "output_stride": 8}, {}, "output_stride"),
        ({"name": "resnet50", "width": 0}, {}, "width"),
        ("resnet50", {"output_stride": 4}, "output_stride is 4; choose 8, 16 or 32"),
        ("vgg16", {"multi_grid": (1, 2, 4)}, "encoder 'vgg16' has no multi-grid rates"),
        ("convnext_atto", {"multi_grid": (1, 2, 1)}, "encoder 'convnext_atto' has no multi-grid rates"),
        ("hrnet_w18", {"output_stride": 8}, "encoder 'hrnet_w18' cannot run at output stride 8"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(section, options, text):
    with pytest.raises(ModelError) as caught:
        create_encoder(section, **options)
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_trunk_reads_any_number_of_channels(name):
    trunk = on_meta(name, in_channels=5)
    maps = trunk(torch.empty(1, 5, 97, 130, device="meta"))
    assert [feature.shape[1] for feature in maps] == [level.channels for level in trunk.levels]
