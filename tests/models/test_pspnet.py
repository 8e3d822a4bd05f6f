"""Facts of PSPNet, and its numbers beside segmentation_models_pytorch's with their weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.errors import ModelError
from atrous.models import create_model
from atrous.models.pspnet import PAPERS, pspnet, pspnet_smp
from tests.models.weights import copy_weights, difference

NARROW = {"name": "resnet50s", "width": 8, "depths": [1, 1, 1, 1]}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("num_classes", "encoder", "aux", "expected"),
    [
        (150, "resnet50s", False, 46_782_550),
        (150, "resnet50s", True, 49_180_908),
        (21, "resnet101s", False, 65_708_501),
        (21, "resnet101s", True, 68_073_706),
        (19, "resnet101s", False, 65_707_475),
        (19, "resnet101s", True, 68_072_166),
    ],
)
def test_parameter_count_of_the_authors_networks(num_classes, encoder, aux, expected):
    """Their Caffe files and their PyTorch code agree."""
    with torch.device("meta"):
        assert count(pspnet(num_classes, encoder=encoder, aux=aux)) == expected


def test_parameters_of_the_parts():
    with torch.device("meta"):
        model = pspnet(150, encoder="resnet50s", aux=True)
        assert PAPERS["pspnet"].parameters == count(pspnet(21))
    assert count(model.decoder.pooling) == 4_198_400
    assert count(model.decoder.fuse) + count(model.head) == 18_952_342
    assert count(model.aux_heads) == 2_398_358


@pytest.mark.parametrize(("size", "grid"), [(473, 60), (713, 90)])
def test_grids_of_the_papers_crops(size, grid):
    with torch.device("meta"):
        model = pspnet(19, encoder="resnet50s", aux=True)
        outputs = model(torch.empty(1, 3, size, size))
        seen = []
        model.eval().decoder.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
        model.encoder.conv1.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
        model(torch.empty(1, 3, size, size))
    assert outputs["out"].shape == (1, 19, size, size)
    assert outputs["aux"].shape == (1, 19, grid, grid)
    assert seen == [(1, 128, (size + 1) // 2, (size + 1) // 2), (1, 512, grid, grid)]


def test_every_block_of_the_last_two_stages_is_dilated():
    with torch.device("meta"):
        model = pspnet(19, encoder="resnet50s")
    rates = [
        {conv.dilation[0] for conv in stage.modules() if isinstance(conv, nn.Conv2d) and conv.kernel_size[0] == 3}
        for stage in (model.encoder.layer1, model.encoder.layer2, model.encoder.layer3, model.encoder.layer4)
    ]
    assert rates == [{1}, {1}, {2}, {4}]
    assert [level.stride for level in model.encoder.levels] == [2, 4, 8, 8, 8]


def test_the_decoder_is_the_paper_written_with_adaptive_pooling():
    model = create_model("pspnet", num_classes=3, encoder=NARROW, width=8).eval()
    x = torch.rand(1, 256, 9, 11)
    pooled = [
        F.interpolate(project(F.adaptive_avg_pool2d(x, bins)), size=(9, 11), mode="bilinear", align_corners=True)
        for bins, project in zip((1, 2, 3, 6), model.decoder.pooling.projections, strict=True)
    ]
    with torch.inference_mode():
        expected = model.decoder.fuse(torch.cat([x, *pooled], dim=1))
        assert torch.allclose(model.decoder([x]), expected, atol=1e-5)


def test_scores_are_interpolated_with_aligned_corners():
    model = create_model("pspnet", num_classes=3, encoder=NARROW, width=8).eval()
    image = torch.rand(1, 3, 41, 57)
    seen = []
    model.head.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.inference_mode():
        out = model(image)["out"]
    assert seen[0].shape[-2:] == (6, 8)
    assert torch.allclose(out[..., ::8, ::8], seen[0], atol=1e-5)


def test_dropout_of_a_tenth_stands_before_the_scores_and_in_the_auxiliary_head():
    model = create_model("pspnet", num_classes=3, encoder=NARROW, width=8, aux=True)
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.1, 0.1]
    assert isinstance(model.decoder.fuse[-1], nn.Dropout)


@pytest.mark.parametrize(("encoder", "size"), [("resnet18", (64, 96)), ("resnet34", (40, 56)), ("resnet50", (48, 48))])
def test_forward_equals_smps_with_its_weights(encoder, size):
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    theirs = smp.PSPNet(encoder, encoder_weights=None, classes=5)
    ours = create_model("pspnet_smp", num_classes=5, encoder=encoder)
    # Nothing of these two is ever used there.
    theirs.encoder.layer3, theirs.encoder.layer4 = nn.Identity(), nn.Identity()
    copy_weights(theirs, ours)
    assert difference(ours, theirs, size) < 1e-4


def test_parameter_count_is_smps_without_what_it_never_uses():
    smp = pytest.importorskip("segmentation_models_pytorch")
    with torch.device("meta"):
        theirs = smp.PSPNet("resnet50", encoder_weights=None, classes=21)
        unused = count(theirs.encoder.layer3) + count(theirs.encoder.layer4)
        assert count(theirs) == 24_393_173
        assert count(pspnet_smp(21, encoder="resnet50")) == count(theirs) - unused == 2_330_069


def test_smps_form_on_other_encoders_is_refused():
    with pytest.raises(ModelError, match="pspnet_smp ends an encoder at stride 8, and 'test_resnet' cannot be"):
        create_model("pspnet_smp", num_classes=2, encoder="test_resnet")


@pytest.mark.parametrize("bins", [[], [0, 2]])
def test_bins_must_be_positive(bins):
    with pytest.raises(ModelError, match="give numbers of at least 1"):
        create_model("pspnet", num_classes=2, encoder=NARROW, bins=bins)
