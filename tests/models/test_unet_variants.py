"""Facts of the U-Net's variants: counts, every form's promises, receptive fields, gates and recurrence."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.analysis import alignment, receptive_field
from atrous.errors import ModelError
from atrous.layers.unet import PlainUNet, SkipGate, contracting_path, same_conv
from atrous.models import create_model, paper
from atrous.models.attention_unet import GridGate
from atrous.models.dilated_unet import DilatedCascade
from atrous.models.r2unet import RecurrentConv, RecurrentResidual, SharedRecurrentConv

KEYS = ["dilated_unet", "attention_unet", "r2unet", "stacked_unet", "multiscale_unet", "context_unet"]
FORMS = [
    ("dilated_unet", {"fuse": "sum", "rates": [1, 2]}),
    ("dilated_unet", {"form": "unpooled"}),
    ("dilated_unet", {"form": "substituted"}),
    ("attention_unet", {"form": "paper"}),
    ("r2unet", {"form": "paper", "attention": True}),
    ("stacked_unet", {"detach": True, "carry": "logits", "stages": 3}),
    ("stacked_unet", {"coarse": 2}),
    ("multiscale_unet", {"output": "finest", "scales": 2}),
    ("multiscale_unet", {"scales": 1}),
    ("context_unet", {"scale": 3, "context_levels": 2, "context_width": 4}),
]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def small(name, **arguments):
    """A narrow model that has seen a batch, so that its normalisation is not the identity."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, width=4, **arguments)
    model.set_normalization([100.0] * 3, [60.0] * 3)
    model.train()(torch.rand(2, 3, 64, 64) * 255)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "arguments", "in_channels", "num_classes", "parameters"),
    [
        ("attention_unet", {}, 3, 1, 34_878_573),
        ("attention_unet", {}, 1, 2, 34_877_486),
        ("r2unet", {}, 3, 1, 39_091_393),
        ("r2unet", {}, 1, 2, 39_091_330),
        ("r2unet", {"attention": True}, 3, 1, 39_442_925),
        ("r2unet", {"attention": True}, 1, 2, 39_442_862),
        # Two plain U-Nets; the second reads 2 channels more, 9 weights each for 64 maps.
        ("stacked_unet", {}, 1, 2, 2 * 34_525_954 + 2 * 9 * 64),
    ],
)
def test_parameter_counts_of_the_published_code(name, arguments, in_channels, num_classes, parameters):
    with torch.device("meta"):
        model = create_model(name, num_classes=num_classes, in_channels=in_channels, **arguments)
    assert count(model) == parameters


@pytest.mark.parametrize(("in_channels", "num_classes", "parameters"), [(3, 1, 34_527_041), (1, 2, 34_525_954)])
def test_parameter_count_of_the_plain_unet(in_channels, num_classes, parameters):
    with torch.device("meta"):
        assert count(PlainUNet(in_channels, num_classes)) == parameters


def test_parameter_counts_of_the_parts():
    with torch.device("meta"):
        gates = [SkipGate(channels) for channels in (512, 256, 128, 64)]
        assert [count(gate) for gate in gates] == [263_939, 66_435, 16_835, 4_323]
        assert count(GridGate(512, 512, inner=512)) == 1_575_425
        assert count(RecurrentResidual(64, 128, layer=SharedRecurrentConv, steps=2)) == 304_000


@pytest.mark.parametrize("key", KEYS)
def test_the_entry_of_the_paper_agrees_with_the_model(key):
    entry = paper(key)
    assert entry.url.startswith("https://")
    if entry.parameters is not None:
        with torch.device("meta"):
            assert count(create_model(key, num_classes=entry.num_classes)) == entry.parameters


@pytest.mark.parametrize(("name", "arguments"), FORMS)
def test_every_form_learns_at_every_parameter_and_keeps_every_size(name, arguments):
    model = small(name, **arguments)
    for size in [(1, 1), (33, 47)]:
        assert model(torch.rand(1, 3, *size) * 255)["out"].shape == (1, 3, *size)
    outputs = model.train()(torch.rand(2, 3, 96, 96) * 255)
    assert all(logits.shape[:2] == (2, 3) for logits in outputs.values())
    sum(logits.square().mean() for logits in outputs.values()).backward()
    assert [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()] == []


@pytest.mark.parametrize(("name", "arguments"), FORMS)
def test_a_window_of_every_form_equals_the_whole_image(name, arguments):
    model = small(name, **arguments)
    field, step = receptive_field(model), model.alignment
    assert step % alignment(model) == 0
    before = -(-field.vertical.left // step) * step
    after = -(-field.vertical.right // step) * step
    image = torch.rand(1, 3, 2 * step + before + 20 + after, step + before + 20 + after) * 255
    inner, window = slice(before, before + 20), slice(step, step + before + 20 + after)
    with torch.inference_mode():
        whole = model(image)["out"][..., step : step + before + 20, :][..., inner, inner]
        part = model(image[..., window, :])["out"][..., inner, inner]
    assert (whole - part).abs().max() < 1e-4
    assert whole.std() > 1e-3


@pytest.mark.parametrize(("name", "arguments"), FORMS)
def test_every_form_exports_and_runs_at_sizes_that_were_not_traced(name, arguments, unchecked):
    model = small(name, **arguments)
    dim = torch.export.Dim.DYNAMIC
    program = torch.export.export(
        model, (torch.rand(2, 3, 70, 90),), dynamic_shapes={"image": {0: dim, 2: dim, 3: dim}}
    ).module()
    with torch.inference_mode():
        for size in [(33, 47), (64, 64), (128, 65)]:
            image = torch.rand(1, 3, *size) * 255
            assert torch.allclose(program(image)["out"], model(image)["out"], atol=1e-4)


class Bottom(nn.Module):
    """The coarsest map of a contracting path."""

    def __init__(self, model):
        super().__init__()
        self.path = model.contracting

    def forward(self, x):
        return self.path(x)[-1]


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (lambda: create_model("dilated_unet", num_classes=2, width=2), 1044),
        (lambda: create_model("dilated_unet", num_classes=2, width=2, form="unpooled"), 65),
        (lambda: create_model("attention_unet", num_classes=2, width=2), 140),
        (lambda: PlainUNet(3, 2, width=2), 140),
    ],
)
def test_receptive_fields_of_the_coarsest_map(build, size):
    field = receptive_field(Bottom(build()).eval(), in_channels=3, size=(1280, 1536))
    assert field.vertical.size == field.horizontal.size == size


def test_a_cascade_reads_its_own_maps_and_fuses_them_all():
    torch.manual_seed(0)
    stacked, summed = DilatedCascade(3, 4, (1, 2, 4), "concat").eval(), DilatedCascade(3, 4, (1, 2, 4), "sum").eval()
    summed.load_state_dict(stacked.state_dict())
    x = torch.rand(1, 3, 20, 20)
    first = stacked.convs[0](x)
    second = stacked.convs[1](first)
    third = stacked.convs[2](second)
    assert torch.equal(stacked(x), torch.cat([first, second, third], dim=1))
    assert torch.allclose(summed(x), first + second + third)
    assert [conv[0].dilation for conv in stacked.convs] == [(1, 1), (2, 2), (4, 4)]


@pytest.mark.parametrize("size", [(32, 48), (64, 64)])
def test_dilation_in_place_of_pooling_gives_the_same_values_at_the_sampled_positions(size):
    torch.manual_seed(0)
    pooled = contracting_path(3, [4, 8, 16, 32])
    pooled.train()(torch.rand(2, 3, 64, 64))  # normalisation that is not the identity
    dense = create_model("dilated_unet", num_classes=2, width=4, form="substituted").contracting
    dense.load_state_dict(pooled.state_dict())
    image = torch.rand(1, 3, *size)
    with torch.inference_mode():
        for level, (few, all_) in enumerate(zip(pooled.eval()(image), dense.eval()(image), strict=True)):
            assert all_.shape[-2:] == size
            sampled = all_[..., :: 2**level, :: 2**level]
            assert (sampled - few).abs().max() < 1e-5
    assert few.std() > 1e-3


def test_the_cascade_has_three_poolings_and_the_other_forms_none():
    assert [small("dilated_unet", form=form).alignment for form in ("cascade", "unpooled", "substituted")] == [8, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"form": "unpooled", "rates": [2, 2]}, "two different ones"),
        ({"form": "substituted", "rates": [1]}, "leave them out"),
        ({"rates": [0]}, "at least 1"),
        ({"rates": []}, "of length at least 1"),
        ({"form": "atrous"}, "'cascade', 'unpooled' or 'substituted'"),
    ],
)
def test_rates_that_make_no_network_are_refused(arguments, words):
    with pytest.raises(ModelError, match=words):
        create_model("dilated_unet", num_classes=2, **arguments)


def test_attention_lies_between_zero_and_one():
    torch.manual_seed(0)
    skip, signal, coarse = torch.randn(2, 8, 16, 24) * 3, torch.randn(2, 8, 16, 24) * 3, torch.randn(2, 5, 4, 6) * 3
    for alpha in (SkipGate(8).attention(skip, signal), GridGate(8, 5, inner=8).attention(skip, coarse)):
        assert alpha.shape == (2, 1, 16, 24)
        assert 0 < alpha.min() < alpha.max() < 1


def open_gates(model):
    """Gates whose attention is 1 everywhere, and nothing but the product behind it."""
    for module in model.modules():
        if isinstance(module, SkipGate):
            nn.init.zeros_(module.psi[0].weight)
            nn.init.constant_(module.psi[1].bias, 50.0)
        if isinstance(module, GridGate):
            nn.init.zeros_(module.psi.weight)
            nn.init.constant_(module.psi.bias, 50.0)
            nn.init.dirac_(module.out[0].weight)
            nn.init.zeros_(module.out[0].bias)
    return model


@pytest.mark.parametrize("form", ["popular", "paper"])
def test_open_gates_make_a_plain_unet(form):
    torch.manual_seed(0)
    model = open_gates(create_model("attention_unet", num_classes=2, width=4, form=form)).eval()
    plain = PlainUNet(3, 2, width=4).eval()
    missing, unexpected = plain.load_state_dict(model.state_dict(), strict=False)
    assert missing == []
    assert all("gate" in key or key in ("mean", "std") for key in unexpected)
    image = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        assert (model(image)["out"] - plain(image)).abs().max() < 1e-4
        closed = create_model("attention_unet", num_classes=2, width=4, form=form).eval()
        closed.load_state_dict({**closed.state_dict(), **plain.state_dict()})
        assert (closed(image)["out"] - plain(image)).abs().max() > 1e-3


def test_the_papers_gates_share_one_signal_and_leave_the_finest_skip_alone():
    model = small("attention_unet", form="paper")
    seen = []
    for gate in model.gates.gates:
        gate.register_forward_pre_hook(lambda module, args: seen.append(args))
    model(torch.rand(1, 3, 64, 64))
    skips, signals = zip(*seen, strict=True)
    assert [tuple(skip.shape[1:]) for skip in skips] == [(8, 32, 32), (16, 16, 16), (32, 8, 8)]
    assert all(signal is signals[0] for signal in signals)
    assert signals[0].shape[1:] == (32, 4, 4)
    fresh = create_model("attention_unet", num_classes=2, width=4, form="paper")
    assert torch.equal(fresh.gates.gates[0].psi.bias, torch.tensor([3.0]))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_recurrent_convolution_runs_once_more_than_its_steps(steps):
    layer, calls = SharedRecurrentConv(4, steps), []
    layer.conv.register_forward_hook(lambda module, args, output: calls.append(args[0]))
    x = torch.rand(1, 4, 8, 8)
    layer(x)
    assert len(calls) == steps + 1
    assert torch.equal(calls[0], x)


def test_the_popular_layer_adds_the_input_before_the_kernel_and_the_papers_after_its_own():
    torch.manual_seed(0)
    x = torch.rand(1, 4, 8, 8)
    shared, own = SharedRecurrentConv(4, 2).eval(), RecurrentConv(4, 2).eval()
    with torch.inference_mode():
        state = shared.conv(x)
        state = shared.conv(x + state)
        assert torch.equal(shared(x), shared.conv(x + state))
        driven = F.conv2d(x, own.forward_conv.weight, own.forward_conv.bias, padding=1)
        state = own.norm(driven).relu()
        for _ in range(2):
            state = own.norm(driven + F.conv2d(state, own.recurrent_conv.weight, padding=1)).relu()
        assert torch.allclose(own(x), state, atol=1e-6)
    # One kernel for both and no step, or two kernels of which one is zero, are a convolution.
    nn.init.zeros_(own.recurrent_conv.weight)
    assert torch.allclose(own(x), own.norm(own.forward_conv(x)).relu())


def test_a_unit_is_the_sum_of_its_entry_and_two_layers():
    unit = RecurrentResidual(3, 4, layer=SharedRecurrentConv, steps=2).eval()
    x = torch.rand(1, 3, 8, 8)
    with torch.inference_mode():
        entered = unit.enter(x)
        assert torch.equal(unit(x), entered + unit.layers[1](unit.layers[0](entered)))


def test_plain_convolutions_start_gaussian_with_the_bias_at_zero():
    torch.manual_seed(0)
    conv = same_conv(64, 64)[0]
    assert conv.weight.std().item() == pytest.approx((2 / 576) ** 0.5, rel=0.02)
    assert not conv.bias.any()
