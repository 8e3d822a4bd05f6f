"""Stages against what is known of the networks, and their sums against the whole."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.analysis import (
    Reach,
    activation_memory,
    inference_memory,
    multiply_adds,
    parameters,
    receptive_fields,
    stages,
)
from atrous.errors import ModelError
from atrous.models import create_model


def named(model, size=(64, 96), **keywords):
    return {stage.name: stage for stage in stages(model, size, **keywords)}


def test_the_stages_of_unet2015_are_those_of_its_figure():
    with torch.device("meta"):
        model = create_model("unet2015", num_classes=2)
    found = stages(model, (388, 388))
    assert [stage.name for stage in found] == [
        *(f"contracting.{level}" for level in range(5)),
        *(f"expanding.{level}" for level in range(4)),
        "head",
    ]
    # Channels and sizes of the paper's figure 1; after each second convolution.
    sizes = [568, 280, 136, 64, 28, 52, 100, 196, 388, 388]
    channels = [64, 128, 256, 512, 1024, 512, 256, 128, 64, 2]
    assert [stage.shape for stage in found] == [(c, s, s) for c, s in zip(channels, sizes, strict=True)]
    assert [stage.stride for stage in found] == [1, 2, 4, 8, 16, 8, 4, 2, 1, 1]
    skips = {"expanding.0": (3, 4), "expanding.1": (2, 5), "expanding.2": (1, 6), "expanding.3": (0, 7)}
    assert {name: stage.sources for name, stage in named(model, (388, 388)).items() if name in skips} == skips
    assert found[4].receptive_field.vertical.size == 140
    assert sum(stage.parameters for stage in found) == 31_030_658


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("unet", {"encoder": "test_resnet"}), ("segnet_basic", {}), ("unet2015", {"width": 4}), ("enet", {})],
)
def test_the_sums_are_the_whole(name, arguments):
    model, size = create_model(name, num_classes=3, in_channels=3, **arguments), (65, 90)
    found = stages(model, size)
    assert sum(stage.multiply_adds for stage in found) == multiply_adds(model, size)
    assert sum(stage.training_memory for stage in found) == activation_memory(model, size)
    assert max(stage.inference_memory for stage in found) == inference_memory(model, size)
    assert sum(stage.parameters for stage in found) == parameters(model)


def test_encoder_and_decoder_are_opened_and_poolings_go_with_what_follows():
    with torch.device("meta"):
        model = create_model("unet", num_classes=2, encoder="resnet18")
    found = named(model, (256, 256))
    names = list(found)
    assert names[:5] == ["encoder.body.conv1", *(f"encoder.body.layer{level}" for level in range(1, 5))]
    assert [found[name].stride for name in names] == [2, 4, 8, 16, 32, 16, 8, 4, 2, 1, 1]
    first_step = found["decoder.steps.0"]
    assert [names[i] for i in first_step.sources] == ["encoder.body.layer3", "encoder.body.layer4"]


def test_what_training_alone_runs_is_no_stage():
    with torch.device("meta"):
        model = create_model("fcn", num_classes=2, encoder="resnet18", aux=True)
    assert not any(stage.name.startswith("aux") for stage in stages(model, (64, 64)))


def test_plain_sequences_are_taken_apart_by_resolution():
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        model = torchvision.models.vgg16()
    found = stages(model, (224, 224))
    shapes = [stage.shape for stage in found]
    assert shapes[:5] == [(64, 224, 224), (128, 112, 112), (256, 56, 56), (512, 28, 28), (512, 14, 14)]
    assert found[0].name == "features.0..2"
    assert found[-1].stride is None  # scores of the whole image
    assert sum(stage.parameters for stage in found) == 138_357_544


class Branches(nn.Module):
    """Two ways through and a skip around both."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.near = nn.Conv2d(4, 4, 3, padding=1)
        self.far = nn.Conv2d(4, 4, 3, padding=4, dilation=4)
        self.join = nn.Conv2d(12, 2, 1)
        self.unused = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        return self.join(torch.cat([x, self.near(x), self.far(x).relu()], 1))


def test_branches_and_skips_are_seen_by_who_reads_from_whom():
    found = named(Branches())
    assert {name: stage.sources for name, stage in found.items()} == {
        "stem": (), "near": (0,), "far": (0,), "join": (0, 1, 2),
    }  # fmt: skip
    assert found["far"].receptive_field.vertical == Reach(5, 5, 11)
    assert found["join"].receptive_field.vertical == Reach(5, 5, 11)


def test_memory_of_inference_by_hand():
    """A skip is held until it is joined: one map of four channels more than without it."""

    class Skip(nn.Module):
        def __init__(self, keep):
            super().__init__()
            self.keep = keep
            self.first, self.second, self.third = (nn.Conv2d(a, 4, 3, padding=1) for a in (1, 4, 4))

        def forward(self, x):
            x = self.first(x)
            skip = x if self.keep else None
            x = self.third(self.second(x))
            return x + skip if self.keep else x

    pixels = 4 * 16 * 16
    assert inference_memory(Skip(False), (16, 16)) == pixels * (1 + 4 + 4 + 4)  # `x` names the map while both run
    # The image, the skip, what the third made, and the sum.
    assert inference_memory(Skip(True), (16, 16)) == pixels * (1 + 4 + 4 + 4)
    chain = nn.Sequential(*(nn.Conv2d(1 if i == 0 else 4, 4, 3, padding=1) for i in range(5)))
    assert inference_memory(chain, (16, 16)) == pixels * (1 + 4 + 4)


def test_memory_in_place_is_not_counted_twice():
    conv = nn.Conv2d(1, 4, 1)
    assert inference_memory(nn.Sequential(conv, nn.ReLU(inplace=True)), (8, 8)) == 4 * 64 * 5
    assert inference_memory(nn.Sequential(conv, nn.ReLU()), (8, 8)) == 4 * 64 * 9


def test_an_operation_whose_reach_is_unknown_leaves_the_rest():
    class Spectrum(nn.Module):
        def forward(self, x):
            return torch.fft.fft2(x).abs()

    model = nn.Sequential(nn.Conv2d(1, 2, 3), Spectrum(), nn.Conv2d(2, 2, 3))
    found = stages(model, (32, 32))
    assert [stage.receptive_field for stage in found] == [None, None]
    assert found[1].shape == (2, 28, 28)


def test_weights_used_twice_are_counted_once():
    shared = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1))
    model = nn.Sequential(nn.Conv2d(1, 2, 1), shared, nn.MaxPool2d(2), shared)
    found = stages(model, (16, 16))
    assert sum(stage.parameters for stage in found) == parameters(model)
    assert sum(stage.multiply_adds for stage in found) == multiply_adds(model, (16, 16))


def test_two_scales_through_one_network():
    class TwoScales(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1))

        def forward(self, x):
            small = self.net(F.interpolate(x, scale_factor=0.5))
            return self.net(x) + F.interpolate(small, scale_factor=2)

    (found,) = stages(TwoScales(), (32, 32))
    assert found.multiply_adds == (32 * 32 + 16 * 16) * 9 * (4 + 8)


def test_receptive_fields_of_all_modules():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)))
    fields = receptive_fields(model)
    assert fields["1.0"].vertical == Reach(0, 3, 4)
    assert fields["1.0"].stride == 2
    assert fields["1"].vertical is None
    assert fields["1"].stride is None
    assert set(fields) == {"", "0", "1", "1.0", "1.1"}


def test_a_model_without_parts_is_refused():
    class Bare(nn.Module):
        def forward(self, x):
            return x.relu()

    with pytest.raises(ModelError, match="no parts"):
        stages(Bare(), (8, 8), in_channels=1)


def test_a_network_around_another_shows_the_stages_of_that_one():
    inner = {"name": "unet", "encoder": "test_resnet", "decoder_channels": [16, 8, 8, 4, 4]}
    alone = stages(create_model(**inner, num_classes=2), (64, 64))
    around = stages(create_model("downscaled", network=inner, num_classes=2), (128, 128))
    assert [stage.name for stage in around] == [f"network.{stage.name}" for stage in alone]
    assert [stage.shape for stage in around] == [stage.shape for stage in alone]
