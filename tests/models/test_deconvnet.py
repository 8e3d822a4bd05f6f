"""Facts of DeconvNet: parameters, sizes, the window of 224 pixels, positions, initialisation."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.export import Dim

from atrous.layers import BatchNorm
from atrous.models import create_model


def counted(**arguments):
    with torch.device("meta"):
        return create_model("deconvnet", **{"num_classes": 21, **arguments}).eval()


def sizes_of(model, *size):
    seen = []
    for part in [*model.encoder, *model.fully_connected, *model.decoder]:
        part.register_forward_hook(lambda module, args, output: seen.append((output.shape[1], *output.shape[-2:])))
    out = model(torch.empty(1, 3, *size, device="meta"))["out"]
    return tuple(out.shape), seen


def test_parameter_count():
    """Counted from the authors' network file; 33,408 of them belong to the normalisations."""
    model = counted()
    assert sum(parameter.numel() for parameter in model.parameters()) == 251_805_653
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    assert sum(parameter.numel() for norm in norms for parameter in norm.parameters()) == 33_408


def test_sizes_of_the_paper_s_window():
    shape, seen = sizes_of(counted(), 224, 224)
    assert shape == (1, 21, 224, 224)
    encoder = [(64, 224, 224), (128, 112, 112), (256, 56, 56), (512, 28, 28), (512, 14, 14)]
    assert seen[:5] == encoder
    assert seen[5::3][:3] == [(4096, 1, 1), (4096, 1, 1), (512, 7, 7)]
    decoder = [(512, 14, 14), (256, 28, 28), (128, 56, 56), (64, 112, 112), (64, 224, 224)]
    assert seen[-5:] == decoder


@pytest.mark.parametrize(
    ("size", "column"),
    [((1, 1), (1, 1)), ((96, 224), (1, 1)), ((225, 256), (2, 2)), ((300, 500), (4, 10)), ((720, 31), (17, 1))],
)
def test_other_sizes_are_continued_to_the_next_window(size, column):
    shape, seen = sizes_of(counted(width=2, fc_channels=2), *size)
    assert shape == (1, 21, *size)
    assert seen[5][1:] == column


def test_an_image_smaller_than_the_window_is_its_continued_edge():
    model = create_model("deconvnet", num_classes=2, width=2, fc_channels=4, std=0.3).eval()
    image = torch.rand(1, 3, 50, 71)
    rows, columns = (torch.arange(224).clamp(max=side - 1) for side in (50, 71))
    with torch.inference_mode():
        whole = model(image[:, :, rows][:, :, :, columns])["out"]
        assert whole.std() > 0
        assert torch.equal(model(image)["out"], whole[..., :50, :71])


def test_layers_are_transposed_convolutions_with_normalisation_and_relu():
    model = counted()
    kinds = [type(layer) for stage in model.decoder for layer in stage]
    assert kinds == [nn.ConvTranspose2d, BatchNorm, nn.ReLU] * 13
    outs = [[layer.out_channels for layer in stage if isinstance(layer, nn.ConvTranspose2d)] for stage in model.decoder]
    assert outs == [[512, 512, 512], [512, 512, 256], [256, 256, 128], [128, 64], [64, 64]]
    assert not any(isinstance(module, nn.Dropout) for module in model.modules())
    assert model.head.kernel_size == (1, 1)


def test_values_return_to_where_the_pooling_found_them():
    model = create_model("deconvnet", num_classes=2, width=2, fc_channels=4, std=0.3).eval()
    maps, unpooled = [], []
    for stage in model.encoder:
        stage.register_forward_hook(lambda module, args, output: maps.append(output))
    for stage in model.decoder:
        stage.register_forward_pre_hook(lambda module, args: unpooled.append(args[0]))
    model(torch.rand(1, 3, 224, 224))
    for earlier, later in zip(maps, reversed(unpooled), strict=True):
        cells = earlier.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
        largest = F.one_hot(cells.argmax(-1), 4).bool()
        assert later.shape == earlier.shape
        assert not later.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)[~largest].any()


def test_initialisation():
    torch.manual_seed(0)
    model = create_model("deconvnet", num_classes=2, width=16, fc_channels=64)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            assert not module.bias.any()
            if module.weight.numel() > 10_000:
                assert module.weight.std().item() == pytest.approx(0.01, rel=0.03)
        if isinstance(module, BatchNorm):
            assert torch.allclose(module.bias, torch.tensor(0.001))


@pytest.mark.parametrize(
    ("traced", "sizes"), [((70, 90), [(33, 224), (224, 40)]), ((300, 260), [(225, 400), (320, 256), (257, 288)])]
)
def test_an_export_runs_on_its_side_of_the_window(traced, sizes, unchecked):
    """One column is another case to torch.export than a map of columns."""
    model = create_model("deconvnet", num_classes=2, width=2, fc_channels=4, std=0.3).eval()
    dynamic = {"image": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
    program = torch.export.export(model, (torch.rand(2, 3, *traced),), dynamic_shapes=dynamic).module()
    with torch.inference_mode():
        for size in sizes:
            image = torch.rand(1, 3, *size)
            assert torch.allclose(program(image)["out"], model(image)["out"], atol=1e-5)
