"""A classifier made fully convolutional: its own scores, on every window where nothing is padded."""

import copy

import pytest
import timm
import torch
from torch import nn
from torch.export import Dim
from torchvision import models

from atrous.analysis import alignment, receptive_field
from atrous.errors import ModelError
from atrous.inference import Predictor
from atrous.surgery import convolutionalize, window_difference


def unpadded(seed=0):
    """An AlexNet of 8 channels for 32x32: valid convolutions, overlapping pools, three fully connected layers."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Dropout(), nn.Linear(8 * 6 * 6, 16), nn.BatchNorm1d(16), nn.ReLU(),
        nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 5),
    ).eval()  # fmt: skip


class _Averaging(nn.Module):
    """Global average pooling written as a mean, a 1x1 convolution behind it, and a reshape."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 4, stride=2)
        self.head = nn.Conv2d(6, 8, 1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.conv(x).relu()
        x = self.head(x.mean((2, 3), keepdim=True)).relu()
        return self.fc(x.view(x.size(0), -1))


@pytest.mark.parametrize(("classifier", "stride"), [(unpadded(), 4), (_Averaging().eval(), 2)])
def test_without_padding_the_map_is_the_classifier_on_every_window(classifier, stride):
    dense = convolutionalize(classifier, size=32).eval()
    assert dense.stride == dense.alignment == stride
    image = torch.rand(2, 3, 45, 53)
    scores = dense.scores(image)
    assert scores.shape[-2:] == ((45 - 32) // stride + 1, (53 - 32) // stride + 1)
    with torch.inference_mode():
        for i in range(scores.shape[-2]):
            for j in range(scores.shape[-1]):
                window = image[..., i * stride : i * stride + 32, j * stride : j * stride + 32]
                assert torch.allclose(scores[..., i, j], classifier(window), atol=1e-5)
    report = window_difference(classifier, dense, image)
    assert report.windows == 2 * scores.shape[-2] * scores.shape[-1]
    assert report.largest < 1e-5
    assert report.same_class == 1


@pytest.mark.parametrize(
    ("build", "size", "stride"),
    [
        (lambda: models.alexnet(num_classes=7), 224, 32),
        (lambda: models.squeezenet1_1(num_classes=7), 64, 16),
        (lambda: models.resnet18(num_classes=7), 64, 32),
        (lambda: models.densenet121(num_classes=7), 64, 32),
        (lambda: models.mobilenet_v3_small(num_classes=7), 64, 32),
        (lambda: timm.create_model("resnet18", num_classes=7), 64, 32),
        (lambda: timm.create_model("mobilenetv3_small_050", num_classes=7), 64, 32),
        (lambda: timm.create_model("convnext_atto", num_classes=7), 64, 32),
        (lambda: timm.create_model("test_efficientnet", num_classes=7), 64, 32),
    ],
)
def test_every_classifier_keeps_its_scores_on_its_own_window(build, size, stride):
    torch.manual_seed(0)
    classifier = build().eval()
    dense = convolutionalize(classifier, size=size).eval()
    image = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        expected = classifier(image)
        assert torch.allclose(dense.scores(image)[..., 0, 0], expected, atol=1e-4 * expected.std().item() + 1e-7)
    assert (dense.stride, dense.num_classes) == (stride, 7)


@pytest.mark.parametrize("build", [models.vgg16, lambda: timm.create_model("vgg16")])
def test_vgg_has_the_kernels_of_the_paper(build):
    with torch.device("meta"):
        classifier = build()
        count = sum(weight.numel() for weight in classifier.parameters())
        dense = convolutionalize(classifier)
    kernels = [part.kernel_size for part in dense.net.modules() if isinstance(part, nn.Conv2d)]
    assert kernels[-3:] == [(7, 7), (1, 1), (1, 1)]
    assert not any(isinstance(part, nn.Linear) for part in dense.modules())
    assert sum(weight.numel() for weight in dense.parameters()) == count
    assert (dense.window, dense.stride) == ((224, 224), 32)


def test_the_classifier_is_not_changed_and_names_are_kept():
    classifier = unpadded().train()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    dense = convolutionalize(classifier, size=32)
    with torch.no_grad():
        for weight in dense.parameters():
            weight.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert isinstance(classifier[9], nn.Linear)
    assert classifier.training
    assert dense.net.training
    assert {name.removeprefix("net.") for name in dense.state_dict()} - {"mean", "std"} == before.keys()


def test_padding_makes_a_difference_everywhere_but_in_the_whole_image():
    torch.manual_seed(0)
    classifier = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 8 * 8, 5)
    )
    dense = convolutionalize(classifier, size=16)
    assert window_difference(classifier, dense, torch.rand(1, 3, 16, 16)).largest < 1e-5
    report = window_difference(classifier, dense, torch.rand(1, 3, 24, 22))
    assert report.windows == 5 * 4
    assert 1e-3 < report.mean < report.largest
    assert report.mean < report.spread
    assert classifier.training
    assert dense.training


def test_a_new_last_layer_starts_at_zero_and_everything_trains():
    dense = convolutionalize(unpadded(), size=32, num_classes=3).train()
    assert dense.num_classes == 3
    assert not dense(torch.rand(2, 3, 40, 40))["out"].any()
    optimizer = torch.optim.SGD(dense.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (dense(torch.rand(2, 3, 40, 40))["out"] - 1).square().mean().backward()
        optimizer.step()
    assert all(weight.grad is not None and weight.grad.any() for weight in dense.parameters())


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 64), (97, 130)])
def test_out_has_the_size_of_every_image(size):
    dense = convolutionalize(unpadded(), size=32).eval()
    with torch.inference_mode():
        assert dense(torch.rand(2, 3, *size))["out"].shape == (2, 5, *size)


def test_a_pixel_gets_the_score_of_the_window_around_it():
    """Where the score is the mean of the window and the image a ramp, that is the pixel itself."""
    classifier = nn.Sequential(nn.Conv2d(3, 1, 4, 4, bias=False), nn.Flatten(), nn.Linear(16, 1, bias=False))
    for layer in (classifier[0], classifier[2]):
        nn.init.constant_(layer.weight, 1 / layer.weight.numel())
    image = (torch.arange(80.0) + 3 * torch.arange(60.0)[:, None]).expand(1, 3, 60, 80)
    out = convolutionalize(classifier, size=16)(image)["out"]
    assert torch.allclose(out[0, 0, 12:-12, 12:-12], image[0, 0, 12:-12, 12:-12], atol=1e-3)


def test_the_images_are_normalised_where_asked():
    classifier = unpadded()
    dense = convolutionalize(classifier, size=32, normalization=([100.0, 110.0, 120.0], [50.0, 60.0, 70.0])).eval()
    image = torch.rand(1, 3, 32, 32) * 255
    mean, std = torch.tensor([100.0, 110.0, 120.0]), torch.tensor([50.0, 60.0, 70.0])
    expected = classifier((image - mean[:, None, None]) / std[:, None, None])
    assert torch.allclose(dense.scores(image)[..., 0, 0], expected, atol=1e-5)
    assert window_difference(classifier, dense, torch.rand(1, 3, 40, 40) * 255).largest < 1e-4


def test_it_exports_compiles_and_can_be_analysed(unchecked):
    dense = convolutionalize(unpadded(), size=32).eval()
    dynamic = {"image": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
    program = torch.export.export(dense, (torch.rand(2, 3, 70, 90),), dynamic_shapes=dynamic).module()
    compiled = torch.compile(dense, fullgraph=True, backend="aot_eager")
    with torch.inference_mode():
        for size in [(33, 47), (128, 65), (64, 64)]:
            image = torch.rand(1, 3, *size)
            assert torch.allclose(program(image)["out"], dense(image)["out"], atol=1e-5)
            assert torch.allclose(compiled(image)["out"], dense(image)["out"], atol=1e-5)
    assert receptive_field(dense).vertical.size == 32 + 4  # two windows beside each other are interpolated
    assert dense.alignment % alignment(dense) == 0
    assert copy.deepcopy(dense).state_dict().keys() == dense.state_dict().keys()


def test_a_predictor_takes_it():
    dense = convolutionalize(unpadded(), size=32)
    image = (torch.rand(40, 50, 3) * 255).byte().numpy()
    prediction = Predictor(dense, class_names=list("abcde"), device="cpu")(image)
    assert prediction.classes.shape == (40, 50)


class _Softmaxed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)).softmax(-1))


class _Chooses(_Softmaxed):
    def forward(self, x):
        return self.fc(x.mean((2, 3))) if x.sum() > 0 else self.fc(self.conv(x).mean((2, 3)))


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        (timm.create_model("test_vit"), "VisionTransformer .* no place where a map becomes a vector"),
        (nn.Sequential(nn.Conv2d(3, 2, 3)), "no place where a map becomes a vector"),
        (_Softmaxed(), r"_Softmaxed works on its vector with softmax \(softmax\), whose dense form is not known"),
        (_Chooses(), "_Chooses cannot be followed through an image of 224x224"),
        (nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.LayerNorm(2 * 222 * 222)), "with LayerNorm"),
    ],
)
def test_what_cannot_be_converted_is_named(classifier, message):
    with pytest.raises(ModelError, match=message) as caught:
        convolutionalize(classifier)
    assert "\n" not in str(caught.value)


def test_another_size_than_it_was_made_for_is_refused():
    with pytest.raises(
        ModelError, match=r"gives \(1, 1\) scores at 20x20 .* give the size that the classifier was made for"
    ):
        convolutionalize(unpadded(), size=20)
    with pytest.raises(ModelError, match=r"the image has 31x40 pixels, the classifier sees windows of 32x32"):
        convolutionalize(unpadded(), size=32).scores(torch.rand(1, 3, 31, 40))


def test_without_a_fully_connected_layer_there_is_no_last_one_to_replace():
    with pytest.raises(ModelError, match="SqueezeNet has no fully connected layer"):
        convolutionalize(models.squeezenet1_1(), size=64, num_classes=3)
