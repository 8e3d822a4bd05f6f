"""Counts, fields of view and starts of the discriminators, against specs/adversarial.md."""

import pytest
import torch
from torch import nn

from atrous.adversarial import DISCRIMINATORS, INPUTS, USUAL
from atrous.adversarial.base import Discriminator, large_enough
from atrous.adversarial.hung2018 import hung2018
from atrous.adversarial.luc2016 import LARGE_FOV, LARGE_FOV_LIGHT, SMALL_FOV, SMALL_FOV_LIGHT, WholeMap, two_branch
from atrous.adversarial.patchgan import patchgan
from atrous.analysis import receptive_field

CHANNELS = 8
# Stages, kernel of the last convolution, parameters with 63 channels in and 2 out, side of the field of view.
LUC = {
    "large_fov": (LARGE_FOV, 3, 2_387_458, 34),
    "large_fov_light": (LARGE_FOV_LIGHT, 3, 907_778, 34),
    "small_fov": (SMALL_FOV, 1, 1_609_090, 18),
    "small_fov_light": (SMALL_FOV_LIGHT, 1, 526_722, 18),
}
# As built, with one output.
ONE_OUTPUT = {"large_fov": 2_382_849, "large_fov_light": 905_473, "small_fov": 1_608_577, "small_fov_light": 526_465}


def on_meta(build, *args, **kwargs):
    with torch.device("meta"):
        return build(*args, **kwargs)


def small(name):
    return DISCRIMINATORS[name](CHANNELS)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def field(network, in_channels):
    found = receptive_field(network.features.eval(), in_channels=in_channels)
    assert found.vertical.size == found.horizontal.size
    return found.vertical.size, found.stride


@pytest.mark.parametrize("name", LUC)
def test_lucs_networks_have_the_ports_parameters_and_the_papers_field_of_view(name):
    stages, kernel, parameters, side = LUC[name]
    with_two = on_meta(WholeMap, 63, stages, kernel=kernel, out_channels=2)
    assert count(with_two) == parameters
    assert field(with_two, 63) == (side, 4)
    ours = on_meta(DISCRIMINATORS[name], 63)
    assert count(ours) == ONE_OUTPUT[name]
    assert field(ours, 63) == (side, 4)
    assert not any("Norm" in type(layer).__name__ for layer in ours.modules())
    # Two poolings halve; nothing else changes the size, the 1x1 convolutions neither.
    assert ours.features(torch.empty(1, 63, 40, 52, device="meta")).shape == (1, 1, 10, 13)


def test_lucs_networks_average_logits_and_not_probabilities():
    torch.manual_seed(0)
    network = small("small_fov_light")
    nn.init.normal_(network.features[-1].weight, std=1.0)
    maps = torch.rand(2, CHANNELS, 12, 16)
    logits = network.features(maps)
    expected = logits.sum((2, 3)) / 12
    torch.testing.assert_close(network(maps).flatten(1), expected)
    assert not torch.allclose(network(maps).sigmoid().flatten(1), logits.sigmoid().mean((2, 3)))


def test_the_branches_of_maps_and_image_meet_at_128_channels():
    network = on_meta(two_branch, 8 + 3, 3)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    shapes = [(layer.in_channels, layer.out_channels, layer.kernel_size[0]) for layer in convolutions]
    assert shapes[:3] == [(8, 64, 5), (3, 16, 5), (16, 64, 5)]
    assert shapes[3:] == [(128, 128, 3), (128, 256, 3), (256, 512, 3), (512, 1, 3)]
    assert count(network) == sum((before * kernel**2 + 1) * after for before, after, kernel in shapes)
    assert count(on_meta(two_branch, 21 + 3, 3)) == 1_688_065
    assert network(torch.empty(2, 11, 16, 20, device="meta")).shape == (2, 1, 1, 1)


def test_the_longer_branch_sees_as_far_as_large_fov():
    network = on_meta(two_branch, 3 + 3, 3)
    path = nn.Sequential(network.image, nn.Conv2d(64, 128, 1, device="meta"), network.joined.features)
    found = receptive_field(path, in_channels=3)
    assert (found.vertical.size, found.stride) == (34, 4)


def test_the_branches_see_what_is_theirs():
    torch.manual_seed(0)
    network, seen = two_branch(4 + 1, 1), []
    network.joined.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    maps = torch.rand(1, 5, 12, 12)
    other_image, other_maps = maps.clone(), maps.clone()
    other_image[:, 4], other_maps[:, 0] = 0, 0
    for one in (maps, other_image, other_maps):
        network(one)
    same = [torch.equal(seen[0][:, half], one[:, half]) for one in seen[1:] for half in (slice(64), slice(64, None))]
    assert same == [True, False, False, True]


def test_hungs_network():
    network = on_meta(hung2018, 21)
    assert count(network) == 2_783_169
    assert field(network, 21) == (94, 32)
    layers = [type(layer).__name__ for layer in network.features]
    assert layers == [*["Conv2d", "LeakyReLU"] * 4, "Conv2d"]
    assert {layer.negative_slope for layer in network.features if isinstance(layer, nn.LeakyReLU)} == {0.2}
    assert network.features(torch.empty(1, 21, 321, 321, device="meta")).shape == (1, 1, 10, 10)
    assert network(torch.empty(1, 21, 321, 289, device="meta")).shape == (1, 1, 321, 289)


def test_hungs_judgements_come_back_with_aligned_corners():
    torch.manual_seed(0)
    network = hung2018(2, channels=2)
    maps = torch.rand(1, 2, 96, 64)
    coarse, fine = network.features(maps), network(maps)
    torch.testing.assert_close(fine[..., [0, 0, -1, -1], [0, -1, 0, -1]], coarse[..., [0, 0, -1, -1], [0, -1, 0, -1]])


@pytest.mark.parametrize(("in_channels", "parameters"), [(6, 2_768_705), (3 + 21, 2_787_137)])
def test_pix2pixs_network(in_channels, parameters):
    network = on_meta(patchgan, in_channels)
    assert count(network) == parameters
    kinds = [type(layer).__name__ for layer in network.features]
    assert kinds == ["Conv2d", "LeakyReLU", *["Conv2d", "BatchNorm", "LeakyReLU"] * 3, "Conv2d"]
    biases = [layer.bias is not None for layer in network.features if isinstance(layer, nn.Conv2d)]
    assert biases == [True, False, False, False, True]


@pytest.mark.parametrize(("n_layers", "side"), [(1, 16), (2, 34), (3, 70), (4, 142), (5, 286)])
def test_pix2pixs_patches(n_layers, side):
    assert field(patchgan(3, n_layers=n_layers, channels=2), 3) == (side, 2**n_layers)


def test_pix2pixs_weights_start_narrow():
    torch.manual_seed(0)
    network = patchgan(24)
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
            assert layer.bias is None or not layer.bias.any()
        elif not isinstance(layer, nn.LeakyReLU):
            assert float(layer.weight.detach().mean()) == pytest.approx(1.0, abs=0.01)
            assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.3)


def test_the_tables_agree():
    assert list(USUAL) == list(DISCRIMINATORS)
    assert {usual.input for usual in USUAL.values()} <= set(INPUTS)


@pytest.mark.parametrize("name", DISCRIMINATORS)
@pytest.mark.parametrize("size", [(3, 5), (33, 70)])
def test_every_size_gets_judgements_and_every_weight_a_gradient(name, size):
    torch.manual_seed(0)
    network = small(name)
    logits = network(torch.rand(2, CHANNELS, *size))
    assert logits.shape[:2] == (2, 1)
    assert logits.dtype == torch.float32
    assert (logits.shape[-2:] == size) == network.pixelwise
    logits.square().sum().backward()
    unmoved = [key for key, weight in network.named_parameters() if not weight.grad.any()]
    assert not unmoved, unmoved


@pytest.mark.parametrize("name", [name for name in DISCRIMINATORS if name != "patchgan"])
def test_judgements_of_a_batch_are_those_of_its_images(name):
    torch.manual_seed(0)
    network, maps = small(name), torch.rand(3, CHANNELS, 24, 24)
    torch.testing.assert_close(network(maps), torch.cat([network(one[None]) for one in maps]), atol=1e-5, rtol=1e-4)


def test_what_is_too_small_is_filled_up_with_its_edge():
    maps = torch.arange(6.0).view(1, 1, 2, 3)
    assert large_enough(maps, 2) is maps
    filled = large_enough(maps, 4)
    assert filled.shape == (1, 1, 4, 4)
    assert filled[0, 0, -1].tolist() == [3, 4, 5, 5]


def test_a_discriminator_without_a_forward_says_so():
    with pytest.raises(NotImplementedError, match="Discriminator has no forward"):
        Discriminator()(torch.zeros(1, 1, 1, 1))
