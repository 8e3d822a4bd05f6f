import pytest
import torch
from torch import nn

from atrous.analysis import activation_memory, multiply_adds, parameters
from atrous.errors import ModelError
from atrous.models import create_model


def test_parameters_counts_shared_weights_once_and_frozen_ones_apart():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model[1].bias.requires_grad_(False)
    assert parameters(model) == 16 + 4 + 4
    assert parameters(model, trainable=True) == 16 + 4


def test_parameters_of_the_paper():
    with torch.device("meta"):
        model = create_model("unet2015", num_classes=2)
    assert parameters(model) == 31_030_658


def test_multiply_adds_of_a_strided_and_a_grouped_convolution():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8))
    assert multiply_adds(model, (16, 32)) == 8 * 16 * 27 * 8 + 6 * 14 * 9 * 8


def test_multiply_adds_of_resnet50_are_the_known_4_1_billion():
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        model = torchvision.models.resnet50()
    assert multiply_adds(model, (224, 224)) == 4_089_184_256


def test_activation_memory_grows_with_the_image_and_leaves_the_model_alone():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    small, large = activation_memory(model, (16, 16)), activation_memory(model, (32, 32))
    # The image, the convolution's output, the activation's output, and a norm's two statistics of four channels.
    assert small == 4 * (256 + 4 * 256 + 4 * 256 + 2 * 4)
    assert large == 4 * (4 * (256 + 4 * 256 + 4 * 256) + 2 * 4)
    assert not model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_model_without_convolution_must_be_told_its_channels():
    with pytest.raises(ModelError, match="pass in_channels="):
        multiply_adds(nn.ReLU(), (8, 8))
