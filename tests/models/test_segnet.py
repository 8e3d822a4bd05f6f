"""Facts of SegNet: parameters, sizes, positions, initialisation, dropout, the response normalisation."""

import sys
from math import sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.analysis import receptive_field
from atrous.encoders.vgg import vgg_stages
from atrous.errors import ModelError
from atrous.layers import BatchNorm
from atrous.layers.upsample import max_pool
from atrous.models import create_model


def counted(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


# Counted from the authors' network files, convolution biases and scale and shift of the normalisations included.
@pytest.mark.parametrize(
    ("name", "num_classes", "count"),
    [("segnet", 11, 29_449_355), ("segnet_bayesian", 11, 29_449_355), ("segnet_basic", 11, 1_416_587)],
)
def test_parameter_count(name, num_classes, count):
    model = counted(name, num_classes=num_classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_the_encoder_is_that_of_vgg16_with_its_fourteen_million_weights():
    model = counted("segnet", num_classes=11)
    convs = [module for module in model.encoder.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == 13
    assert sum(parameter.numel() for conv in convs for parameter in conv.parameters()) == 14_714_688


def test_channels_of_the_decoder():
    model = counted("segnet", num_classes=11)
    outs = [[layer.out_channels for layer in stage if isinstance(layer, nn.Conv2d)] for stage in model.decoder]
    assert outs == [[512, 512, 512], [512, 512, 256], [256, 256, 128], [128, 64], [64]]
    assert (model.head.in_channels, model.head.out_channels, model.head.kernel_size) == (64, 11, (3, 3))


def test_sizes_at_360_by_480():
    model, seen = counted("segnet", num_classes=11).eval(), []
    for stage in [*model.encoder, *model.decoder]:
        stage.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape[-2:])))
    assert model(torch.empty(1, 3, 360, 480, device="meta"))["out"].shape == (1, 11, 360, 480)
    sizes = [(360, 480), (180, 240), (90, 120), (45, 60), (23, 30)]
    assert seen == [*sizes, *reversed(sizes)]


@pytest.mark.parametrize("name", ["segnet", "segnet_basic"])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (31, 33), (45, 23)])
def test_every_map_comes_back_in_its_size(name, size):
    model, down, up = create_model(name, num_classes=2, width=2).eval(), [], []
    for seen, stages in ((down, model.encoder), (up, model.decoder)):
        for stage in stages:
            stage.register_forward_hook(lambda module, args, output, seen=seen: seen.append(output.shape[-2:]))
    assert model(torch.rand(1, 3, *size))["out"].shape == (1, 2, *size)
    assert up == down[::-1]
    assert down[-1] == tuple(-(-side // 2 ** (len(down) - 1)) for side in size)


def test_nothing_but_positions_crosses_over():
    """With all maxima in the upper left corners the decoder sees zeros everywhere else."""
    model, inputs = create_model("segnet_basic", num_classes=2, width=4).eval(), []
    nails = torch.zeros(1, 4, 18, 22)
    nails[..., ::2, ::2] = 1
    model.encoder[0] = nn.Module()
    model.encoder[0].forward = lambda x: nails
    model.decoder[-1].register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    model(torch.rand(1, 3, 18, 22))
    assert inputs[0].shape == nails.shape
    assert not inputs[0][nails == 0].any()
    assert inputs[0][nails == 1].any()


def test_the_basic_network_sees_106_pixels_behind_its_deepest_feature():
    encoder = [
        layer for stage in counted("segnet_basic", num_classes=2, width=2).encoder for layer in (stage, nn.MaxPool2d(2))
    ]
    field = receptive_field(nn.Sequential(*encoder), in_channels=3)
    assert field.vertical.size == field.horizontal.size == 106


def test_relu_follows_every_normalisation_of_segnet_and_none_in_the_basic_decoder():
    kinds = [type(layer) for stage in counted("segnet", num_classes=2).decoder for layer in stage]
    assert kinds == [nn.Conv2d, BatchNorm, nn.ReLU] * 12
    basic = counted("segnet_basic", num_classes=2)
    assert [type(layer) for stage in basic.decoder for layer in stage] == [nn.Conv2d, BatchNorm] * 4
    assert [type(layer) for stage in basic.encoder for layer in stage] == [nn.Conv2d, BatchNorm, nn.ReLU] * 4
    assert all(stage[0].kernel_size == (7, 7) for stage in [*basic.encoder, *basic.decoder])
    assert basic.head.kernel_size == (1, 1)


@pytest.mark.parametrize("name", ["segnet", "segnet_basic"])
def test_initialisation(name):
    torch.manual_seed(0)
    model = create_model(name, num_classes=2)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            assert not module.bias.any()
            if module.weight.numel() > 30_000:
                expected = sqrt(2 / module.weight[0].numel())
                assert module.weight.std().item() == pytest.approx(expected, rel=0.03)
        if isinstance(module, BatchNorm):
            assert (module.weight == 1).all()
            assert torch.allclose(module.bias, torch.tensor(0.001))


def test_dropout_of_one_half_stands_in_the_deeper_half():
    model = counted("segnet_bayesian", num_classes=11).train()
    seen = []
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            assert module.p == 0.5
            module.register_forward_hook(lambda module, args, output: seen.append((output.shape[1], output.shape[-1])))
    model(torch.empty(2, 3, 360, 480, device="meta"))
    # Pooled maps 3, 4, 5, and what the decoder's stages 5, 4, 3 put out.
    assert seen == [(256, 60), (512, 30), (512, 15), (512, 30), (256, 60), (128, 120)]
    assert not any(isinstance(module, nn.Dropout) for module in counted("segnet", num_classes=11).modules())


def test_bayesian_basic_drops_its_two_deepest_stages():
    model = counted("segnet_basic", num_classes=11, dropout=0.5)
    kinds = [type(layer) for layer in [*model.encoder_dropouts, *model.decoder_dropouts]]
    assert kinds == [nn.Identity] * 2 + [nn.Dropout] * 4 + [nn.Identity] * 2


def test_dropout_draws_in_training_alone():
    model, image = create_model("segnet_bayesian", num_classes=2, width=2).eval(), torch.rand(1, 3, 64, 64) * 255
    assert torch.equal(model(image)["out"], model(image)["out"])
    model.train()
    assert not torch.equal(model(image)["out"], model(image)["out"])


def test_the_response_normalisation_is_the_release_s_on_8_bit_contrast():
    """An image 64 times as large through alpha 1e-4 is the normalised one through ours, 64 times as large."""
    model = create_model("segnet_basic", num_classes=2, width=2)
    contrast = torch.randn(1, 3, 8, 8)
    theirs = F.local_response_norm(contrast * 64, 5, alpha=1e-4, beta=0.75, k=1.0)
    assert torch.allclose(model.contrast(contrast) * 64, theirs, rtol=1e-4)
    assert (theirs / 64 - contrast).abs().max() > 0.1


def test_pretrained_kernels_are_vgg16_s_and_the_normalisations_are_new(monkeypatch):
    from atrous.encoders import vgg
    from atrous.encoders.base import Weights

    torch.manual_seed(1)
    plain = vgg_stages(3)
    state = {f"features.{key}": value for key, value in plain.state_dict().items()}
    weights = Weights(state, ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)))
    monkeypatch.setattr(vgg, "timm_weights", lambda name, **asked: weights)
    model = create_model("segnet", num_classes=2, pretrained=True)
    own = [module.weight for module in model.encoder.modules() if isinstance(module, nn.Conv2d)]
    theirs = [module.weight for module in plain.modules() if isinstance(module, nn.Conv2d)]
    assert all(torch.equal(a, b) for a, b in zip(own, theirs, strict=True))
    assert (model.encoder[0][1].weight == 1).all()
    assert model.pretrained_normalization == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    with pytest.raises(ModelError, match="need width 64"):
        create_model("segnet", num_classes=2, width=8, pretrained=True)


@pytest.mark.parametrize("name", ["segnet", "segnet_basic"])
def test_short_numbers_change_the_logits_by_positions_alone(name, monkeypatch):
    """Near ties fall the other way in bfloat16; where positions are those of float32, nothing else is far off."""
    torch.manual_seed(0)
    model, positions = create_model(name, num_classes=3, width=8).eval(), []
    module = sys.modules[type(model).__module__]
    image = torch.rand(1, 3, 33, 47) * 2 - 1

    def keep(x):
        pooled, where = max_pool(x)
        positions.append(where)
        return pooled, where

    with torch.inference_mode():
        monkeypatch.setattr(module, "max_pool", keep)
        exact = model(image)["out"]
        stored = iter(list(positions))
        monkeypatch.setattr(module, "max_pool", lambda x: (max_pool(x)[0], next(stored)))
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(image)["out"].float()
    assert (rough - exact).abs().mean() < 0.03 * exact.std()


def test_the_dropout_of_the_papers_benchmark_is_an_argument():
    model = counted("segnet", num_classes=11, dropout=0.5)
    places = [layer.p if isinstance(layer, nn.Dropout) else 0 for layer in model.encoder_dropouts]
    assert places == [0, 0, 0.5, 0.5, 0.5]
    assert not any(isinstance(layer, nn.Dropout) for layer in counted("segnet", num_classes=11).modules())
