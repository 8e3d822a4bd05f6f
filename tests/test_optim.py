"""Schedules as functions, parameters in exactly one group, and what is refused."""

import math

import pytest
import torch
from torch import nn

from atrous.errors import RecipeError
from atrous.layers import BatchNorm
from atrous.models import MODELS, create_model
from atrous.optim import OPTIMIZERS, SCHEDULES, parameter_groups, poly
from atrous.recipe import load_recipe
from atrous.tables import Place, check_arguments, read_section


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.decoder = nn.Sequential(nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3))
        self.head = nn.Conv2d(4, 2, 1)
        self.head_norm = nn.LayerNorm(2)


def rates(model, groups, lr=0.1, weight_decay=0.01):
    """Parameter name -> (rate, decay), each parameter met exactly once."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {}
    for group in parameter_groups(model, lr=lr, weight_decay=weight_decay, groups=groups):
        for parameter in group["params"]:
            assert names[id(parameter)] not in found
            found[names[id(parameter)]] = (group["lr"], group["weight_decay"])
    return found


def test_without_groups_everything_learns_alike():
    found = rates(Network(), None)
    assert set(found) == {name for name, _ in Network().named_parameters()}
    assert set(found.values()) == {(0.1, 0.01)}


def test_parts_norms_and_biases():
    groups = {"head": {"lr": "x10"}, "bias": {"lr": "x2", "weight_decay": 0}, "norm": {"weight_decay": 0.0}}
    found = rates(Network(), groups)
    assert found["encoder.0.weight"] == (0.1, 0.01)
    assert found["encoder.0.bias"] == (0.2, 0.0)
    assert found["encoder.1.weight"] == (0.1, 0.0)
    assert found["encoder.1.bias"] == (0.2, 0.0)
    assert found["decoder.0.weight"] == (0.1, 0.0)
    assert found["head.weight"] == (1.0, 0.01)
    assert found["head.bias"] == (2.0, 0.0)
    assert found["head_norm.weight"] == (0.1, 0.0)  # "head" is an attribute, not the beginning of a word


def test_absolute_values_and_deeper_parts():
    found = rates(Network(), {"encoder": {"lr": 0.001}, "encoder.3": {"lr": "x3", "weight_decay": "x0.5"}})
    assert found["encoder.0.weight"] == (0.001, 0.01)
    assert found["encoder.3.weight"] == pytest.approx((0.3, 0.005))
    assert found["head.weight"] == (0.1, 0.01)


def test_frozen_and_shared_parameters():
    model = Network()
    model.encoder.requires_grad_(False)
    model.again = model.head
    found = rates(model, {"head": {"lr": "x10"}})
    assert not any(name.startswith("encoder") for name in found)
    assert found["head.weight"] == (1.0, 0.01)
    assert len(found) == 8  # the head once, though it has two names


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        ({"haed": {"lr": 1}}, "a.yaml line 4, optimizer.groups.haed: the model has no part 'haed'. "
                              "Did you mean 'head'?"),
        ({"zzz": {"lr": 1}}, "a.yaml line 4, optimizer.groups.zzz: the model has no part 'zzz'. "
                             "Choose from: bias, decoder, encoder, head, head_norm, norm."),
        ({"head": {"weight_decy": 1}}, "a.yaml line 4, optimizer.groups.head.weight_decy: a group has no "
                                       "'weight_decy'. Did you mean 'weight_decay'?"),
        ({"head": {"lr": "10x"}}, "a.yaml line 4, optimizer.groups.head.lr: got '10x' (str), but it must be a number, "
                                  "or a factor such as x10."),
        ({"head": {"lr": -1}}, "a.yaml line 4, optimizer.groups.head.lr: got -1 (int), but it must be a number, "
                               "or a factor such as x10."),
        ({"head": {"lr": True}}, "a.yaml line 4, optimizer.groups.head.lr: got True (bool), but it must be a number, "
                                 "or a factor such as x10."),
        ({"head": "x10"}, "a.yaml line 4, optimizer.groups.head: got 'x10' (str), but a group is like "
                          "{lr: x10, weight_decay: 0}."),
    ],
)  # fmt: skip
def test_what_is_refused(groups, text):
    place = Place("a.yaml", ("optimizer",), {("optimizer",): "a.yaml line 4"})
    with pytest.raises(RecipeError) as caught:
        parameter_groups(Network(), lr=0.1, weight_decay=0, groups=groups, place=place)
    assert str(caught.value) == text


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_from_a_section_take_a_step(name):
    model = Network()
    section = {"name": name, "lr": 1e-2, "groups": {"head": {"lr": "x10"}, "norm": {"weight_decay": 0}}}
    place = Place("a.yaml", ("optimizer",))
    builder, arguments = read_section(OPTIMIZERS, section, kind="optimizer", place=place, given=("model",))
    optimizer = builder(model, **arguments)
    assert {group["lr"] for group in optimizer.param_groups} == {1e-2, 1e-1}
    before = [parameter.clone() for parameter in model.parameters()]
    x = model.encoder(torch.rand(1, 3, 8, 8))
    model.head_norm(model.head(model.decoder(x)).movedim(1, -1)).square().mul(torch.rand(2)).sum().backward()
    optimizer.step()
    assert sum(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)) >= 8


def test_sgd_is_torchs_own_arithmetic():
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    a = OPTIMIZERS["sgd"](ours, lr=0.1, weight_decay=0.01)
    b = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    x = torch.rand(4, 3)
    for _ in range(3):
        for model, optimizer in ((ours, a), (theirs, b)):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_finite_and_hold_at_the_end(name):
    schedule = SCHEDULES[name](20)
    values = [schedule(step) for step in range(30)]
    assert all(0 <= value <= 1 for value in values)
    assert len(set(values[20:])) == 1
    assert SCHEDULES[name](1)(0) > 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_is_a_rise_and_then_the_shape_over_the_rest(name):
    schedule = SCHEDULES[name](20, warmup=5)
    values = [schedule(step) for step in range(20)]
    assert values[:6] == sorted(values[:6])
    assert values[5] == pytest.approx(1.0)
    assert all(math.isfinite(SCHEDULES[name](5, warmup=9)(step)) for step in range(12))
    if name != "one_cycle":
        bare = SCHEDULES[name](15)
        assert values[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
        assert values[5:] == pytest.approx([bare(step) for step in range(15)])


def test_poly_is_the_papers_formula():
    schedule = poly(20000, power=0.9)
    assert schedule(0) == 1
    assert schedule(5000) == pytest.approx((1 - 5000 / 20000) ** 0.9)
    assert schedule(20000) == 0


def test_cosine_is_torchs_own():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12, eta_min=0.1)
    ours = SCHEDULES["cosine"](12, floor=0.1)
    for step in range(12):
        assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


def test_one_cycle_peaks_once():
    values = [SCHEDULES["one_cycle"](100)(step) for step in range(101)]
    top = values.index(max(values))
    assert top == 30
    assert values[0] == pytest.approx(0.04)
    assert values[-1] == pytest.approx(4e-6)
    assert values[:31] == sorted(values[:31])
    assert values[30:] == sorted(values[30:], reverse=True)


def test_a_misspelt_option_of_a_schedule():
    with pytest.raises(RecipeError, match=r"poly takes no argument 'powr'\. Did you mean 'power'"):
        check_arguments(poly, {"powr": 1}, place=Place("a.yaml"), given=("max_steps",))


def test_a_frozen_part_gets_no_gradient_and_keeps_its_statistics():
    from atrous.layers import conv_bn_relu

    model = nn.ModuleDict({"encoder": conv_bn_relu(3, 4), "head": conv_bn_relu(4, 2)}).train()
    assert set(rates(model, {"norm": {"frozen": True}})) == {"encoder.0.weight", "head.0.weight"}
    image = torch.rand(2, 3, 8, 8)
    before = [module.running_mean.clone() for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    model["head"](model["encoder"](image)).sum().backward()
    after = [module.running_mean for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert set(rates(model, {"encoder": {"frozen": True}})) == {"head.0.weight"}


def test_freezing_is_yes_or_no():
    with pytest.raises(RecipeError, match=r"groups.encoder.frozen: got .*; say true, false or statistics"):
        parameter_groups(Network(), lr=0.1, weight_decay=0.0, groups={"encoder": {"frozen": 3}})
    with pytest.raises(RecipeError, match=r"groups.bias.frozen: got .*; say true or false"):
        parameter_groups(Network(), lr=0.1, weight_decay=0.0, groups={"bias": {"frozen": "statistics"}})
    with pytest.raises(RecipeError, match=r"groups: all of the model is frozen"):
        parameter_groups(nn.ModuleDict({"a": nn.Linear(1, 1)}), lr=1, weight_decay=0, groups={"a": {"frozen": True}})


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, BatchNorm])
def test_statistics_alone_are_frozen_whatever_the_layer(norm):
    model = nn.ModuleDict({"encoder": nn.Sequential(nn.Conv2d(3, 4, 3), norm(4)), "head": norm(4)}).train()
    found = rates(model, {"encoder": {"frozen": "statistics", "lr": "x0.1"}})
    assert found["encoder.0.weight"] == found["encoder.1.weight"] == pytest.approx((0.01, 0.01))
    image = torch.rand(2, 3, 8, 8)
    for _ in range(2):
        model.train()
        model["head"](model["encoder"](image)).square().sum().backward()
    assert torch.equal(model["encoder"][1].running_mean, torch.zeros(4))
    assert not torch.equal(model["head"].running_mean, torch.zeros(4))
    assert model["encoder"][1].weight.grad is not None


PARTS = {"stacked_unet": "stages.0.contracting", "context_unet": "context.contracting", "ensemble": "members.1.conv1_1"}
PARTS |= dict.fromkeys(["unet2015", "dilated_unet", "attention_unet", "r2unet", "unetplusplus"], "contracting")
PARTS |= {"multiscale_unet": "contracting", "crfrnn": "network.encoder", "downscaled": "network.encoder"}


@pytest.mark.parametrize("name", MODELS)
def test_encoder_is_one_name_in_every_network(name):
    """With all of it frozen no gradient reaches it, and the rest of the network still trains."""
    model = create_model(**load_recipe(f"{name}_small").section("model"), num_classes=2).train()
    whole = sum(parameter.numel() for parameter in model.parameters())
    groups = parameter_groups(model, lr=1, weight_decay=0, groups={"encoder": {"frozen": True}})
    kept = sum(parameter.numel() for group in groups for parameter in group["params"])
    assert 0 < kept < whole
    frozen = {key for key, parameter in model.named_parameters() if not parameter.requires_grad}
    place = PARTS.get(name, "conv1" if name.startswith("fcn") and name != "fcn" else "encoder")
    assert any(key.startswith(place) for key in frozen)
    first = next(key for key, parameter in model.named_parameters() if parameter.ndim == 4)
    assert first in frozen
    outputs = model(torch.rand(2, model.in_channels, 64, 64) * 255)
    sum(value.float().square().mean() for value in outputs.values()).backward()
    assert all(parameter.grad is None for key, parameter in model.named_parameters() if key in frozen)
    assert any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["unet", "pspnet", "segnet", "hrnet"])
def test_a_frozen_encoder_has_no_backward_pass(name):
    """What the head reads hangs on no graph, so neither its gradients nor its maps are kept."""
    model = create_model(**load_recipe(f"{name}_small").section("model"), num_classes=2).train()
    parameter_groups(model, lr=1, weight_decay=0, groups={"encoder": {"frozen": True}})
    seen = []
    parts = model.encoder if isinstance(model.encoder, nn.ModuleList) else [model.encoder]
    for part in parts:
        part.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model(torch.rand(2, 3, 64, 64))
    maps = [each for output in seen for each in (output if isinstance(output, list) else [output])]
    assert maps
    assert not any(each.requires_grad for each in maps)


def test_steps_fall_after_the_warm_up():
    schedule = SCHEDULES["step"](30, every=10, gamma=0.5, warmup=2)
    assert [schedule(at) for at in (0, 1, 2, 11, 12, 22, 40)] == [0.5, 1, 1, 1, 0.5, 0.25, 0.25]
    with pytest.raises(RecipeError, match="every is 0"):
        SCHEDULES["step"](30, every=0)
