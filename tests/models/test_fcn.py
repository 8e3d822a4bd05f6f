"""The dilated FCN: torchvision's parameter counts, and its numbers with its weights."""

import pytest
import torch
from torch import nn

from atrous.models import create_model
from atrous.models.fcn import PAPERS, fcn
from tests.models.weights import copy_weights, difference


def from_torchvision(weights):
    """torchvision's names -> ours."""
    heads = {
        "classifier": {"0": "decoder.conv.0", "1": "decoder.conv.1", "4": "head"},
        "aux_classifier": {"0": "aux_heads.aux.0.0", "1": "aux_heads.aux.0.1", "4": "aux_heads.aux.2"},
    }
    renamed = {}
    for key, value in weights.items():
        part, rest = key.split(".", 1)
        if part == "backbone":
            renamed[f"encoder.body.{rest}"] = value
        else:
            index, tail = rest.split(".", 1)
            renamed[f"{heads[part][index]}.{tail}"] = value
    return renamed


@pytest.mark.parametrize(("aux", "count"), [(False, 32_957_013), (True, 35_322_218)])
def test_parameter_count_is_torchvisions(aux, count):
    model = create_model("fcn", num_classes=21, aux=aux)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert model.alignment == 8


@pytest.fixture(scope="module")
def pair():
    """torchvision's network with statistics that are not zero and one, and ours with its weights."""
    from torchvision.models.segmentation import fcn_resnet50

    torch.manual_seed(0)
    theirs = fcn_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    ours = create_model("fcn", num_classes=21, aux=True)
    missing, unexpected = ours.load_state_dict(from_torchvision(theirs.state_dict()), strict=False)
    assert sorted(missing) == ["mean", "std"]
    assert not unexpected
    return ours, theirs


def test_forward_equals_torchvisions_with_its_weights(pair):
    ours, theirs = (model.eval() for model in pair)
    image = torch.rand(1, 3, 72, 104)
    with torch.inference_mode():
        expected = theirs(image)["out"]
        difference = (ours(image)["out"] - expected).abs().max()
    assert expected.std() > 1e-3
    assert difference < 1e-4


def test_the_dilations_are_torchvisions_in_every_block(pair):
    """The first block of a dilated stage keeps the dilation before it, in timm as in torchvision."""
    spacing = [
        [(conv.stride, conv.dilation, conv.padding) for conv in part.modules() if isinstance(conv, nn.Conv2d)]
        for part in (pair[0].encoder.body, pair[1].backbone)
    ]
    assert spacing[0] == spacing[1]
    assert [dilation[0] for _, dilation, _ in spacing[0]].count(4) == 2


def test_aux_equals_torchvisions_before_it_resizes(pair):
    ours, theirs = pair
    image = torch.rand(1, 3, 64, 64)
    ours.eval(), theirs.eval()
    with torch.inference_mode():
        features = ours.encoder(ours.normalize(image))
        logits = ours.aux_heads["aux"](features[ours.aux_levels["aux"]])
        expected = theirs(image)["aux"]
        resized = nn.functional.interpolate(logits, size=(64, 64), mode="bilinear", align_corners=False)
    assert (resized - expected).abs().max() < 1e-4


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_auxiliary_logits_stand_on_their_own_grid(output_stride):
    model = create_model("fcn", num_classes=3, encoder="test_resnet", aux=True, output_stride=output_stride)
    outputs = model.train()(torch.rand(1, 3, 64, 64))
    grid = 64 // min(16, output_stride)
    assert outputs["aux"].shape == (1, 3, grid, grid)
    assert model.alignment == output_stride


def test_forward_equals_torchvisions_on_a_resnet101():
    from torchvision.models.segmentation import fcn_resnet101

    torch.manual_seed(0)
    theirs = fcn_resnet101(weights=None, weights_backbone=None, num_classes=5)
    ours = create_model("fcn", num_classes=5, encoder="resnet101")
    copy_weights(theirs, ours)
    assert difference(ours, theirs, (64, 72)) < 1e-4


def test_the_papers_count_stands_with_the_model():
    with torch.device("meta"):
        model = fcn(PAPERS["fcn"].num_classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == PAPERS["fcn"].parameters
