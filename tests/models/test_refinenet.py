"""Facts of RefineNet: counts, widths, dropout, initialisation, and the decoder written out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.analysis import alignment, receptive_field
from atrous.models import create_model
from atrous.models.refinenet import PAPERS, RefineNetDecoder, refinenet
from atrous.types import Level

LEVELS = [Level(channels, stride) for channels, stride in ((2, 2), (3, 4), (4, 8), (5, 16), (9, 32))]


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def decoder(width=4, **arguments):
    made = RefineNetDecoder(LEVELS, width, **{"pooling_steps": 2, "improved": False, "dropout": 0.5, **arguments})
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.1)
    return made.eval()


def features():
    return [torch.randn(1, level.channels, 64 // level.stride, 96 // level.stride) for level in LEVELS]


@pytest.mark.parametrize(
    ("encoder", "expected"), [("resnet50", 99_060_309), ("resnet101", 118_052_437), ("resnet152", 133_696_085)]
)
def test_parameter_count(encoder, expected):
    with torch.device("meta"):
        model = refinenet(21, encoder=encoder)
    assert count(model) == expected
    assert count(model.decoder) + count(model.head) == 75_552_277


def test_defaults_are_the_papers():
    with torch.device("meta"):
        model = refinenet(21)
    assert count(model) == PAPERS["refinenet"].parameters
    assert [block.adapt[0].in_channels for block in model.decoder.blocks] == [2048, 1024, 512, 256]
    assert [block.adapt[0].out_channels for block in model.decoder.blocks] == [512, 256, 256, 256]
    assert [len(block.chain.convs) for block in model.decoder.blocks] == [4] * 4
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.decoder.modules())


def test_dropout_stands_on_the_two_widest_taps_and_before_the_classifier():
    with torch.device("meta"):
        model = refinenet(21)
    rates = [getattr(drop, "p", None) for drop in model.decoder.drops]
    assert rates == [0.5, 0.5, None, None]
    assert model.head[0].p == 0.5


@pytest.mark.parametrize("size", [400, 512])
def test_sizes_of_the_blocks(size):
    with torch.device("meta"):
        model = refinenet(21)
        seen = []
        for block in model.decoder.blocks:
            block.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape[1:3])))
        model.head.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape[1:3])))
        out = model(torch.empty(1, 3, size, size))["out"]
    fitted = -(-size // 32) * 32
    sizes = [(512, fitted // 32), *((256, fitted // stride) for stride in (16, 8, 4)), (21, fitted // 4)]
    assert seen == sizes
    assert out.shape == (1, 21, size, size)


def test_kernels_start_gaussian_and_biases_at_zero():
    torch.manual_seed(0)
    model = create_model("refinenet", num_classes=21, encoder={"name": "resnet18", "width": 8}, width=32)
    parts = [*model.decoder.parameters(), *model.head.parameters()]
    kernels = torch.cat([parameter.flatten() for parameter in parts if parameter.ndim > 1])
    assert kernels.std().item() == pytest.approx(0.01, rel=0.01)
    assert not any(parameter.any() for parameter in parts if parameter.ndim == 1)


@pytest.mark.parametrize("improved", [False, True])
def test_the_decoder_written_out(improved):
    torch.manual_seed(0)
    model, maps = decoder(improved=improved), features()
    weights = model.state_dict()

    def conv(x, name):
        return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), padding=1)

    def unit(x, name):
        return x + conv(conv(x.relu(), f"{name}.conv1").relu(), f"{name}.conv2")

    x = None
    for index, tap in enumerate(reversed(maps[1:])):
        name = f"blocks.{index}"
        own = unit(unit(conv(tap, f"{name}.adapt.0"), f"{name}.adapt.1"), f"{name}.adapt.2")
        if x is not None:
            coarse = F.interpolate(conv(x, f"{name}.fusion.coarse"), own.shape[-2:], mode="bilinear")
            own = conv(own, f"{name}.fusion.fine") + coarse
        step = own = own.relu()
        for place in range(2):
            if improved:
                step = F.max_pool2d(conv(step, f"{name}.chain.convs.{place}"), 5, 1, 2)
            else:
                step = conv(F.max_pool2d(step, 5, 1, 2), f"{name}.chain.convs.{place}")
            own = own + step
        x = own
        for place in range(3):
            x = unit(x, f"{name}.units.{place}")
    assert torch.allclose(model(maps), x, atol=1e-5)
    assert x.shape == (1, 4, 16, 24)


def test_the_finest_map_at_stride_2_takes_no_part():
    model, maps = decoder(), features()
    before = model(maps)
    assert torch.equal(model([torch.zeros_like(maps[0]), *maps[1:]]), before)
    assert not torch.equal(model([maps[0], torch.zeros_like(maps[1]), *maps[2:]]), before)


@pytest.mark.parametrize("encoder", ["test_convnext", "test_vit", {"name": "vgg16", "width": 4}])
def test_other_encoders_on_odd_sizes(encoder):
    model = create_model("refinenet", num_classes=2, encoder=encoder, width=4).eval()
    with torch.inference_mode():
        for size in [(1, 1), (33, 47)]:
            assert model(torch.rand(1, 3, *size))["out"].shape == (1, 2, *size)


def test_receptive_field_of_the_paper():
    with torch.device("meta"):
        model = refinenet(2)
    assert tuple(receptive_field(model).vertical) == (1846, 1815, 3659)
    assert alignment(model) == model.alignment == 32


def test_every_step_of_the_chains_sees_three_pixels_more_of_its_map():
    section = {"name": "resnet18", "width": 4}
    small, large = (receptive_field(refinenet(2, encoder=section, width=4, pooling_steps=steps)) for steps in (2, 4))
    assert large.vertical.left - small.vertical.left == 2 * 3 * (32 + 16 + 8 + 4)
