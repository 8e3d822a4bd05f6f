"""Facts of the global convolutional network: counts, blocks, sizes, and what the ways up have in common."""

import pytest
import torch
from torch import nn

from atrous.analysis import alignment, receptive_field
from atrous.errors import ModelError
from atrous.layers.residual import BoundaryRefinement, GlobalConvolution
from atrous.models import create_model
from atrous.models.gcn import PAPERS, GCNDecoder, gcn
from atrous.types import Level

SMALL = {"encoder": {"name": "resnet18", "width": 8}, "k": 5}


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("num_classes", "k", "expected"),
    [
        (21, 7, 59_369_620),
        (21, 15, 60_688_084),
        (21, 25, 62_336_164),
        (19, 7, 59_244_592),
        (19, 15, 60_435_056),
        (19, 25, 61_923_136),
    ],
)
def test_parameter_count_on_a_resnet_152(num_classes, k, expected):
    with torch.device("meta"):
        assert count(gcn(num_classes, k=k)) == expected


def test_parameters_of_the_blocks():
    with torch.device("meta"):
        model = gcn(21)
    convolutions = [module for module in model.modules() if isinstance(module, GlobalConvolution)]
    refinements = [module for module in model.modules() if isinstance(module, BoundaryRefinement)]
    assert (len(convolutions), len(refinements)) == (4, 9)
    assert (sum(map(count, convolutions)), sum(map(count, refinements))) == (2_472_456, 71_820)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.decoder.modules())
    assert PAPERS["gcn"].parameters == count(model)


@pytest.mark.parametrize("num_classes", [21, 19])
def test_five_learned_kernels_of_4x4_on_the_other_way_up(num_classes):
    with torch.device("meta"):
        more = count(gcn(num_classes, upsample="transposed")) - count(gcn(num_classes))
    assert more == 5 * num_classes * num_classes * 16


def test_sizes_at_512_pixels():
    with torch.device("meta"):
        model = gcn(21)
        seen = []
        for part in [*model.decoder.scores, *model.decoder.refinements]:
            part.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape[1:3])))
        out = model(torch.empty(1, 3, 512, 512))["out"]
    assert seen == [(21, size) for size in (16, 32, 64, 128, 32, 64, 128, 256, 512)]
    assert out.shape == (1, 21, 512, 512)


def test_the_decoder_is_the_papers_recursion():
    torch.manual_seed(0)
    levels = [Level(channels, stride) for channels, stride in ((2, 2), (4, 4), (6, 8), (8, 16), (10, 32))]
    decoder = GCNDecoder(levels, 3, 3, refine=BoundaryRefinement, upsample="bilinear")
    features = [torch.randn(1, level.channels, 64 // level.stride, 96 // level.stride) for level in levels]
    x = decoder.scores[0](features[4])
    for index, tap in enumerate([features[3], features[2], features[1], None, None]):
        x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        if tap is not None:
            x = x + decoder.scores[index + 1](tap)
        x = decoder.refinements[index](x)
    assert torch.allclose(decoder(features), x, atol=1e-6)
    assert x.shape == (1, 3, 64, 96)


def test_learned_ups_start_as_bilinear_interpolation_away_from_the_border():
    models = [create_model("gcn", num_classes=3, upsample=up, **SMALL).eval() for up in ("bilinear", "transposed")]
    missing, unexpected = models[1].load_state_dict(models[0].state_dict(), strict=False)
    assert sorted(missing) == [f"decoder.ups.{index}.weight" for index in range(5)]
    assert not unexpected
    bilinear, transposed = (model.decoder.ups for model in models)
    x = torch.randn(1, 3, 6, 7)
    for plain, learned in zip(bilinear, transposed, strict=True):
        assert learned.weight.requires_grad
        assert torch.allclose(plain(x)[..., 1:-1, 1:-1], learned(x)[..., 1:-1, 1:-1], atol=1e-6)


def test_without_refinements_the_decoder_is_linear():
    model = create_model("gcn", num_classes=3, boundary_refinement=False, **SMALL).eval()
    assert not any(isinstance(module, BoundaryRefinement) for module in model.modules())
    levels = model.encoder.levels
    features = [torch.randn(1, level.channels, 64 // level.stride, 64 // level.stride) for level in levels]
    zero = model.decoder([torch.zeros_like(feature) for feature in features])
    one, two = model.decoder(features), model.decoder([2 * feature for feature in features])
    assert torch.allclose(two - zero, 2 * (one - zero), atol=1e-4)


@pytest.mark.parametrize("encoder", ["test_convnext", "test_vit", {"name": "vgg16", "width": 4}])
@pytest.mark.parametrize("upsample", ["bilinear", "transposed"])
def test_other_encoders_on_odd_sizes(encoder, upsample):
    model = create_model("gcn", num_classes=2, encoder=encoder, k=3, upsample=upsample).eval()
    with torch.inference_mode():
        for size in [(1, 1), (33, 47)]:
            assert model(torch.rand(1, 3, *size))["out"].shape == (1, 2, *size)


def test_an_even_kernel_is_refused():
    with pytest.raises(ModelError, match="k = 14, but only an odd k"):
        create_model("gcn", num_classes=2, encoder="test_resnet", k=14)


def test_receptive_field_of_the_paper():
    with torch.device("meta"):
        model = gcn(2)
    assert tuple(receptive_field(model).vertical) == (1137, 1106, 2219)
    assert alignment(model) == model.alignment == 32


def test_receptive_field_grows_by_half_of_k_on_the_coarsest_map():
    small, large = (receptive_field(create_model("gcn", num_classes=2, **SMALL | {"k": k})).vertical for k in (5, 15))
    assert large.left - small.left == large.right - small.right == 32 * (15 - 5) // 2
