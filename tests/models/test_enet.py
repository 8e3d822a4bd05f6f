"""Facts of the paper's table and of the authors' Torch net: counts, sizes, kernels, dropout, positions."""

import pytest
import torch
from torch import nn

from atrous.analysis import alignment, receptive_field
from atrous.errors import ModelError
from atrous.layers.upsample import max_pool
from atrous.models import create_model
from atrous.models.enet import PAPERS, Down, Up, enet
from atrous.training.finetune import load_matching


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("num_classes", "expected"), [(20, 364_376), (12, 363_856), (19, 364_311), (11, 363_791)])
def test_parameter_count_of_the_authors_net(num_classes, expected):
    with torch.device("meta"):
        model = enet(num_classes)
    assert count(model) == expected
    assert count(model.encoder) == 338_156
    assert PAPERS["enet"].parameters == 364_376


def test_the_encoder_alone_has_its_trunk_and_a_classifier():
    with torch.device("meta"):
        model = enet(20, decoder=False)
    assert count(model) == 338_156 + 128 * 20 + 20
    assert [name for name, _ in model.decoder.named_children()] == ["classifier"]


def test_maps_of_the_table_at_512():
    with torch.device("meta"):
        model = enet(19)
        seen = {}
        for name, part in model.named_modules():
            if name.count(".") == 1:
                part.register_forward_hook(lambda module, args, output, name=name: seen.update({name: output}))
        model(torch.empty(1, 3, 512, 512))
    shapes = {name: tuple((x[0] if isinstance(x, tuple) else x).shape[1:3]) for name, x in seen.items()}
    assert shapes == {
        "encoder.initial": (13, 256),
        "encoder.initial_norm": (16, 256),
        "encoder.down1": (64, 128),
        "encoder.stage1": (64, 128),
        "encoder.down2": (128, 64),
        "encoder.stage2": (128, 64),
        "encoder.stage3": (128, 64),
        "decoder.up4": (64, 128),
        "decoder.stage4": (64, 128),
        "decoder.up5": (16, 256),
        "decoder.stage5": (16, 256),
        "decoder.fullconv": (19, 512),
    }


def test_kernels_of_the_rows_two_and_three():
    model = create_model("enet", num_classes=2)
    for stage in (model.encoder.stage2, model.encoder.stage3):
        kernels = [bottleneck.branch[3] for bottleneck in stage]
        rates = [kernel.dilation[0] if isinstance(kernel, nn.Conv2d) else None for kernel in kernels]
        assert rates == [1, 2, None, 4, 1, 8, None, 16]
        assert all(kernel.kernel_size == (3, 3) and kernel.bias is not None for kernel in kernels[::5])
        wide, tall = kernels[2]
        assert (wide.kernel_size, tall.kernel_size) == ((1, 5), (5, 1))
        assert wide.bias is None
        assert tall.bias is not None


def test_bottlenecks_narrow_to_a_quarter_of_what_they_put_out():
    model = create_model("enet", num_classes=2)
    ends = [(branch[0], branch[6]) for name, branch in model.named_modules() if name.endswith(".branch")]
    assert len(ends) == 27
    assert all(first.out_channels == last.out_channels // 4 for first, last in ends)
    assert all(first.bias is None and last.bias is None for first, last in ends)
    halving = [first for first, _ in ends if first.stride == (2, 2)]
    assert [(conv.kernel_size, conv.out_channels) for conv in halving] == [((2, 2), 16), ((2, 2), 32)]


def test_dropout_slopes_and_norms():
    model = create_model("enet", num_classes=2)
    rates = [module.p for module in model.encoder.modules() if isinstance(module, nn.Dropout2d)]
    assert rates == [0.01] * 5 + [0.1] * 17
    assert all(module.p == 0 for module in model.decoder.modules() if isinstance(module, nn.Dropout2d))
    slopes = [module.weight for module in model.modules() if isinstance(module, nn.PReLU)]
    assert len(slopes) == 1 + 22 * 3
    assert {len(slope) for slope in slopes} == {16, 32, 64, 128}
    assert all((slope == 0.25).all() for slope in slopes)
    assert all(module.eps == 1e-3 for module in model.modules() if isinstance(module, nn.BatchNorm2d))


def test_halving_keeps_the_pooled_map_in_front_and_fills_up_with_zeros():
    down, x = Down(3, 8, 0.0).eval(), torch.randn(1, 3, 6, 4)
    nn.init.zeros_(down.branch[7].weight)  # the branch adds nothing
    y, (positions, size) = down(x)
    assert size == (6, 4)
    assert torch.equal(positions, max_pool(x)[1])
    assert torch.allclose(y[:, :3], nn.functional.prelu(max_pool(x)[0], torch.tensor(0.25)))
    assert not y[:, 3:].any()


def test_doubling_puts_values_back_where_the_maxima_stood():
    up = Up(8, 4).eval()
    nn.init.zeros_(up.branch[7].weight)
    earlier, x = torch.randn(1, 4, 6, 8), torch.randn(1, 8, 3, 4)
    positions = max_pool(earlier)[1]
    y = up(x, (positions, (6, 8)))
    assert torch.equal(y.flatten(2).gather(2, positions.flatten(2)), up.other(x).relu().flatten(2))
    assert y.count_nonzero() == up.other(x).relu().count_nonzero()


def test_each_unpooling_takes_the_positions_of_its_own_halving():
    model = create_model("enet", num_classes=2).eval()
    given, taken = {}, {}
    for name in ("down1", "down2"):
        part = getattr(model.encoder, name)
        part.register_forward_hook(lambda module, args, output, name=name: given.update({name: output[1]}))
    for name in ("up4", "up5"):
        part = getattr(model.decoder, name)
        part.register_forward_pre_hook(lambda module, args, name=name: taken.update({name: args[1]}))
    model(torch.rand(1, 3, 40, 56))
    assert taken["up4"] is given["down2"]
    assert taken["up5"] is given["down1"]
    assert (taken["up4"][1], taken["up5"][1]) == ((10, 14), (20, 28))


def test_the_whole_net_goes_on_from_the_trained_encoder():
    first, second = enet(5, decoder=False), enet(5)
    loaded = load_matching(second, first.state_dict(), source="encoder")
    assert set(loaded.taken) == {name for name in second.state_dict() if name.startswith("encoder.")}
    assert set(loaded.unused) == {"decoder.classifier.weight", "decoder.classifier.bias"}
    assert all(torch.equal(a, b) for a, b in zip(first.encoder.parameters(), second.encoder.parameters(), strict=True))


def test_the_encoder_alone_answers_at_stride_8_and_fills_the_image():
    model = enet(3, decoder=False).eval()
    seen = []
    model.decoder.register_forward_hook(lambda module, args, output: seen.append(output))
    out = model(torch.rand(1, 3, 64, 96))["out"]
    assert seen[0].shape == (1, 3, 8, 12)
    assert out.shape == (1, 3, 64, 96)


def test_images_of_other_channels_join_all_of_them():
    with torch.device("meta"):
        assert enet(2, 1).decoder.fullconv.in_channels == 14
        assert enet(2, 51).decoder.fullconv.in_channels == 64
    with pytest.raises(ModelError, match="at most 51 channels, not 52"):
        enet(2, 52)


@pytest.mark.parametrize(("decoder", "reach"), [(False, (616, 615, 1225)), (True, (622, 627, 1249))])
def test_receptive_field(decoder, reach):
    # 2.1-2.8 and 3.1-3.8 see 2 x 8 x (1 + 2 + 2 + 4 + 1 + 8 + 2 + 16) = 576 pixels to each side of their own.
    with torch.device("meta"):
        model = enet(2, decoder=decoder)
    field = receptive_field(model)
    assert tuple(field.vertical) == tuple(field.horizontal) == reach
    assert alignment(model) == model.alignment == 8
