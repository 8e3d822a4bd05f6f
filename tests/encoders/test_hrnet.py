"""Facts of the HRNet trunk: names, counts, strides, and the numbers of timm with its weights."""

import pytest
import timm
import torch
from torch import nn

from atrous.encoders import create_encoder
from atrous.encoders import hrnet as hrnet_module
from atrous.encoders.base import Weights
from atrous.encoders.hrnet import PRETRAINED, HRNet, HRNetForm
from atrous.errors import ModelError

SMALL_V1 = {
    "name": "hrnet_w18", "width": 16, "modules": [1, 1, 1], "blocks": 2, "bottlenecks": 1, "bottleneck_width": 32
}  # fmt: skip
SMALL_V2 = {"name": "hrnet_w18", "modules": [1, 3, 2], "blocks": 2, "bottlenecks": 2}


def on_meta(builder, *arguments, **options):
    with torch.device("meta"):
        return builder(*arguments, **options)


@pytest.mark.parametrize("form", PRETRAINED, ids=PRETRAINED.values())
def test_every_name_and_shape_is_one_of_timms(form):
    ours = on_meta(HRNet, form).state_dict()
    theirs = on_meta(timm.create_model, PRETRAINED[form]).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: theirs[key].shape for key in ours}
    beside = ("incre_modules", "downsamp_modules", "final_layer", "classifier")  # what a classifier adds to the trunk
    assert all(key.startswith(beside) for key in theirs.keys() - ours.keys())


def test_the_official_names_of_w48_are_1830():
    names = on_meta(create_encoder, "hrnet_w48").state_dict().keys()
    assert len(names) == 1830
    assert {
        "conv1.weight",
        "layer1.0.downsample.1.weight",
        "transition1.1.0.0.weight",
        "stage2.0.branches.1.3.conv2.weight",
        "stage4.2.fuse_layers.3.0.2.1.running_var",
        "stage4.2.fuse_layers.0.3.0.weight",
    } <= names


@pytest.mark.parametrize(
    ("section", "channels"),
    [
        ("hrnet_w18", (18, 36, 72, 144)),
        ("hrnet_w32", (32, 64, 128, 256)),
        ("hrnet_w48", (48, 96, 192, 384)),
        (SMALL_V1, (16, 32, 64, 128)),
        (SMALL_V2, (18, 36, 72, 144)),
    ],
)
def test_branches_at_a_quarter_to_a_32nd(section, channels):
    trunk = on_meta(create_encoder, section)
    assert tuple(trunk.levels) == tuple(zip(channels, (4, 8, 16, 32), strict=True))
    maps = trunk(torch.empty(1, 3, 512, 1024, device="meta"))
    assert [tuple(x.shape[2:]) for x in maps] == [(128, 256), (64, 128), (32, 64), (16, 32)]


@pytest.mark.parametrize("section", ["hrnet_w18", SMALL_V2])
def test_the_maps_are_timms_with_its_weights_where_its_interpolation_is_bilinear(section):
    torch.manual_seed(0)
    ours = create_encoder(section)
    theirs = timm.create_model(PRETRAINED[form_of(section)])
    for part in theirs.modules():
        if isinstance(part, nn.Upsample):  # a classifier's is nearest
            part.mode, part.align_corners = "bilinear", False
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    theirs.train()(torch.randn(2, 3, 96, 96))  # statistics that keep the sums of a hundred layers near one
    weights = theirs.eval().state_dict()
    ours.load_state_dict({key: weights[key] for key in ours.state_dict()})
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        stem = theirs.act2(theirs.bn2(theirs.conv2(theirs.act1(theirs.bn1(theirs.conv1(image))))))
        for a, b in zip(ours.eval()(image), theirs.stages(stem), strict=True):
            assert b.std() > 0.1
            assert torch.allclose(a, b, atol=1e-4)


def form_of(section):
    options = {} if isinstance(section, str) else {key: value for key, value in section.items() if key != "name"}
    modules = tuple(options.pop("modules", (1, 4, 3)))
    return HRNetForm(18, modules, **options)


def test_every_branch_reaches_every_other_in_one_module():
    torch.manual_seed(0)
    trunk = create_encoder({"name": "hrnet_w18", "width": 2, "modules": [1, 1, 1], "blocks": 1, "bottlenecks": 1})
    maps = [torch.rand(1, 2 * 2**i, 16 // 2**i, 24 // 2**i) for i in range(4)]
    module = trunk.stage4[0].eval()
    whole = module(maps)
    for source in range(4):
        changed = [x + (index == source) for index, x in enumerate(maps)]
        assert all(not torch.equal(a, b) for a, b in zip(module(changed), whole, strict=True))


def test_kernels_start_gaussian_by_outgoing_connections():
    torch.manual_seed(0)
    trunk = create_encoder("hrnet_w18")
    assert trunk.conv2.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert trunk.stage4[2].branches[3][3].conv2.weight.std().item() == pytest.approx((2 / (9 * 144)) ** 0.5, rel=0.02)


def test_pretrained_weights_are_those_of_the_form_with_their_normalisation(monkeypatch):
    asked = []

    def fetched(name, *, in_channels, pretrained, part):
        asked.append((name, in_channels))
        state = timm.create_model(name, in_chans=in_channels).state_dict()
        return Weights({key: torch.full_like(value, 3) for key, value in state.items()}, ((1.0,), (2.0,)))

    monkeypatch.setattr(hrnet_module, "timm_weights", fetched)
    trunk = create_encoder(SMALL_V1, in_channels=1, pretrained=True)
    assert asked == [("hrnet_w18_small", 1)]
    assert trunk.pretrained_normalization == ((1.0,), (2.0,))
    assert all((value == 3).all() for value in trunk.state_dict().values())


@pytest.mark.parametrize(
    ("section", "options", "message"),
    [
        ("hrnet_w48", {"output_stride": 8}, "'hrnet_w48' cannot run at output stride 8: .* set output_stride to 32"),
        (
            {"name": "hrnet_w32", "blocks": 2},
            {"pretrained": True},
            "'hrnet_w32': no pretrained weights fit .*'blocks': 2",
        ),
        ({"name": "hrnet_w32", "blocks": 0}, {}, "blocks"),
        ({"name": "hrnet_w32", "modules": [1, 1]}, {}, "modules"),
    ],
)
def test_what_the_trunk_cannot_do_is_refused_by_name(section, options, message):
    with pytest.raises(ModelError, match=message):
        create_encoder(section, **options)
