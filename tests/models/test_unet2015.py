"""Facts of the paper: parameters, sizes, initialisation, dropout, and the arithmetic of the mirror."""

from math import sqrt

import pytest
import torch
from torch import nn

from atrous.layers import mirror
from atrous.models import create_model
from atrous.models.unet2015 import UNet2015


@pytest.mark.parametrize(
    ("in_channels", "num_classes", "count"), [(1, 2, 31_030_658), (3, 2, 31_031_810), (3, 21, 31_033_045)]
)
def test_parameter_count_of_the_paper(in_channels, num_classes, count):
    with torch.device("meta"):
        model = UNet2015(num_classes, in_channels)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_twenty_three_convolutions():
    model = create_model("unet2015", num_classes=2, width=1)
    kernels = [
        module.kernel_size[0] for module in model.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    assert len(kernels) == 23
    assert [kernels.count(size) for size in (3, 2, 1)] == [18, 4, 1]


@pytest.mark.parametrize(("size", "out"), [(188, 4), (204, 20), (572, 388)])
def test_sizes_of_the_paper(size, out):
    with torch.device("meta"):
        logits = UNet2015(2).core(torch.empty(1, 1, size, size))
    assert logits.shape == (1, 2, out, out)


def test_maps_of_figure_1():
    with torch.device("meta"):
        model = UNet2015(2)
    seen = []
    for part in [*model.contracting, *model.expanding]:
        part.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape[1:3])))
    model.core(torch.empty(1, 1, 572, 572, device="meta"))
    contracting = [(64, 568), (128, 280), (256, 136), (512, 64), (1024, 28)]
    assert seen == [*contracting, (512, 52), (256, 100), (128, 196), (64, 388)]


@pytest.mark.parametrize("size", [1, 3, 4, 5, 20, 21, 33])
def test_an_image_of_any_size_is_the_core_on_its_mirrored_context(size):
    model = create_model("unet2015", num_classes=2, width=2).eval()
    image = torch.rand(1, 1, size, 20)
    out_size = next(n for n in range(4, 100, 16) if n >= size)
    context = mirror(image, 92, 92, 92, 92 + out_size - size)
    with torch.inference_mode():
        whole = model.core(context)
        assert whole.shape[-2:] == (out_size, 20)
        assert torch.equal(model(image)["out"], whole[:, :, :size])


def test_a_shift_by_the_alignment_shifts_the_output_and_a_shift_by_half_of_it_does_not():
    model = create_model("unet2015", num_classes=2, width=4).double().eval()
    image = torch.rand(1, 1, 300, 300, dtype=torch.float64)

    def difference(shift):
        with torch.inference_mode():
            whole, shifted = model(image)["out"], model(image[:, :, shift:, shift:])["out"]
        # 107 pixels of context on the left: beyond them the border is not seen.
        inner = slice(112, 170)
        return (whole[:, :, shift:, shift:][:, :, inner, inner] - shifted[:, :, inner, inner]).abs().max().item()

    assert difference(16) < 1e-12
    assert difference(8) > 1e-6


def test_skips_are_centred_and_stand_behind_the_upsampled_map():
    model = create_model("unet2015", num_classes=2, width=1)
    step = model.expanding[-1]
    seen = []
    step.convs.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    coarse, skip = torch.rand(1, 2, 98, 98), torch.rand(1, 1, 284, 284)
    step(coarse, skip)
    assert torch.equal(seen[0][:, :1], step.up(coarse))
    assert torch.equal(seen[0][:, 1:], skip[:, :, 44:240, 44:240])


def test_dropout_stands_after_the_levels_of_512_and_1024_channels_and_in_the_skip():
    model = create_model("unet2015", num_classes=2, width=4).train()
    dropped, skips = [], []
    model.dropout.register_forward_hook(lambda module, args, output: dropped.append(output))
    model.expanding[0].register_forward_pre_hook(lambda module, args: skips.append(args))
    model(torch.rand(1, 1, 4, 4))
    assert model.dropout.p == 0.5
    assert [tensor.shape[1] for tensor in dropped] == [32, 64]
    assert skips[0][0] is dropped[1]
    assert skips[0][1] is dropped[0]


def test_initialisation_is_gaussian_by_incoming_connections():
    torch.manual_seed(0)
    model = create_model("unet2015", num_classes=2)
    second = model.contracting[0][2]
    assert second.weight.std().item() == pytest.approx(sqrt(2 / 576), rel=0.02)
    assert model.contracting[4][2].weight.std().item() == pytest.approx(sqrt(2 / 9216), rel=0.01)
    assert model.expanding[0].up.weight.std().item() == pytest.approx(sqrt(2 / (4 * 512)), rel=0.01)
    assert all(
        not module.bias.any() for module in model.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    )
