"""Facts of DeepLab v1: counts, sizes, fields of view, the finer maps, and kernels thinned out of VGG's."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.analysis import alignment, receptive_field
from atrous.encoders import vgg_dense
from atrous.encoders.base import Encoder, Weights
from atrous.encoders.vgg_dense import decimate, load_vgg16_classifier, thin_out, vgg_classifier
from atrous.errors import ModelError
from atrous.models import create_model
from atrous.models.deeplabv1 import deeplabv1

# The paper's table 2: first fully connected layer, parameters at 21 classes, pixels that it looks at.
FORMS = [
    ({"kernel": 7, "dilation": 4, "channels": 4096}, 134_346_581, 224),
    ({"kernel": 4, "dilation": 4, "channels": 4096}, 65_140_565, 128),
    ({"kernel": 4, "dilation": 8, "channels": 4096}, 65_140_565, 224),
    ({"kernel": 3, "dilation": 12, "channels": 1024}, 20_505_429, 224),
]
NARROW = {"encoder": {"name": "vgg16", "width": 4}, "channels": 16}


def on_meta(num_classes=21, **arguments):
    with torch.device("meta"):
        return deeplabv1(num_classes, **arguments)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("form", "parameters", "field"), FORMS)
def test_the_four_forms_of_the_paper(form, parameters, field):
    model = on_meta(**form)
    assert count(model) == parameters
    fc6 = model.decoder.fc6
    # A tap of the undilated layer stands for 32 pixels, the outermost taps are this many cells of 8 pixels apart.
    assert (receptive_field(fc6, in_channels=512).vertical.size - 1) * 8 + 32 == field
    assert model.decoder(torch.empty(1, 512, 41, 43, device="meta")).shape[-2:] == (41, 43)


@pytest.mark.parametrize(("num_classes", "parameters"), [(19, 20_503_379), (11, 20_495_179)])
def test_parameters_at_other_class_counts(num_classes, parameters):
    assert count(on_meta(num_classes)) == parameters  # measured from the authors' prototxt


def test_the_finer_maps_add_what_the_paper_adds():
    assert count(on_meta(msc=True)) - count(on_meta()) == 1_192_576 + 640 * 21


def test_sizes_of_the_released_network():
    model = on_meta()
    seen = []
    for pool in model.encoder.pools:
        pool.register_forward_hook(lambda module, args, output: seen.append((output.shape[1], output.shape[2])))
    out = model(torch.empty(1, 3, 321, 321, device="meta"))["out"]
    assert seen == [(64, 161), (128, 81), (256, 41), (512, 41), (512, 41)]
    assert out.shape == (1, 21, 321, 321)
    assert model.encoder(torch.empty(1, 3, 513, 513, device="meta"))[-1].shape[-1] == 65
    dilations = [module.dilation for module in model.encoder.stages[4] if isinstance(module, nn.Conv2d)]
    assert dilations == [(2, 2)] * 3


def test_the_average_after_the_last_pooling_counts_the_border_as_zeros():
    model = create_model("deeplabv1", num_classes=2, **NARROW)
    ones = model.encoder.pools[4](torch.ones(1, 1, 5, 5))
    assert torch.allclose(ones[0, 0, 0, :3], torch.tensor([4 / 9, 6 / 9, 6 / 9]))


def test_scores_are_interpolated_with_their_corners_on_the_image_s():
    model = create_model("deeplabv1", num_classes=2, **NARROW).eval()
    image = torch.rand(1, 3, 41, 65)
    with torch.inference_mode():
        out = model(image)["out"]
        coarse = model.head(model.decoder(model.encoder(image)[-1]))
        # Any other size is a corner of the next such one, its edge repeated.
        grown = model(F.pad(image, (0, 8, 0, 8), mode="replicate"))["out"]
        assert torch.allclose(model(F.pad(image, (0, 3, 0, 3), mode="replicate"))["out"], grown[..., :44, :68])
    assert coarse.shape == (1, 2, 6, 9)
    assert torch.allclose(out[..., ::8, ::8], coarse, atol=1e-6)


@pytest.mark.parametrize("msc", [False, True])
def test_eight_pixels_of_shift_and_the_reach(msc):
    model = create_model("deeplabv1", num_classes=2, **NARROW, msc=msc)
    assert alignment(model) == model.alignment == 8
    assert receptive_field(model).vertical is not None


def test_finer_scores_added_are_one_classifier_on_all_maps_side_by_side():
    torch.manual_seed(0)
    model = create_model("deeplabv1", num_classes=2, **NARROW, msc=True).eval()
    image = torch.randn(1, 3, 33, 41)
    with torch.inference_mode():
        features = model.encoder(image)
        read = zip(model.sides, [image, *features[:4]], strict=True)
        maps = [model.decoder(features[-1]), *(side[:2](x) for side, x in read)]
        assert [(x.shape[1], x.shape[2]) for x in maps] == [(16, 5), (128, 33), (128, 17), (128, 9), (128, 5), (128, 5)]
        stacked = torch.cat([F.interpolate(x, (33, 41), mode="bilinear", align_corners=True) for x in maps], 1)
        weight = torch.cat([model.head.weight, *(side[-1].weight for side in model.sides)], 1)
        assert torch.allclose(model(image)["out"], F.conv2d(stacked, weight, model.head.bias), atol=1e-5)


def test_the_finer_maps_of_another_encoder():
    model = create_model("deeplabv1", num_classes=2, encoder="test_resnet", channels=8, msc=True)
    assert len(model.sides) == len(model.encoder.levels)
    assert model(torch.rand(2, 3, 30, 20))["out"].shape == (2, 2, 30, 20)


def test_initialisation_and_dropout():
    torch.manual_seed(0)
    model = create_model("deeplabv1", num_classes=64, encoder={"name": "vgg16", "width": 8}, channels=256)
    assert model.head.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not model.head.bias.any()
    assert model.decoder.fc6.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    assert [module.p for module in model.decoder if isinstance(module, nn.Dropout)] == [0.5, 0.5]


def made_weights(kernels=32, channels=8):
    generator = torch.Generator().manual_seed(0)
    return {
        "fc6.weight": torch.randn(kernels, channels, 7, 7, generator=generator),
        "fc6.bias": torch.arange(float(kernels)),
        "fc7.weight": torch.randn(kernels, kernels, generator=generator)[:, :, None, None],
        "fc7.bias": torch.arange(float(kernels)) + 100,
    }


@pytest.mark.parametrize(("side", "taps"), [(7, [0, 1, 2, 3, 4, 5, 6]), (4, [0, 2, 4, 6]), (3, [0, 3, 6]), (2, [0, 6])])
def test_decimation_keeps_evenly_spaced_taps(side, taps):
    kernel = torch.arange(49.0).reshape(1, 1, 7, 7)
    assert decimate(kernel, side)[0, 0].tolist() == [[7.0 * row + column for column in taps] for row in taps]


def test_a_decimated_kernel_reads_the_same_places_as_the_whole_at_its_dilation():
    """7x7 at dilation 4 whose other taps are zero is 3x3 at dilation 12, and 4x4 at dilation 8."""
    torch.manual_seed(0)
    x = torch.randn(1, 2, 30, 30)
    for side, dilation in ((3, 12), (4, 8)):
        kernel = torch.randn(1, 2, side, side)
        whole = torch.zeros(1, 2, 7, 7)
        taps = torch.arange(side) * 6 // (side - 1)
        whole[..., taps[:, None], taps] = kernel
        assert torch.equal(decimate(whole, side), kernel)
        wide = F.conv2d(x, whole, dilation=4)
        assert torch.allclose(wide, F.conv2d(x, kernel, dilation=dilation), atol=1e-5)


def test_thinning_keeps_kernels_and_what_reads_them_together():
    given = made_weights()
    classifier = vgg_classifier(8, 12, kernel=3, dilation=12)
    torch.manual_seed(0)
    thin_out(classifier, given)
    kept = classifier.fc6.bias.long()  # the made bias of a kernel is its number
    last = (classifier.fc7.bias - 100).long()
    assert len(set(kept.tolist())) == len(set(last.tolist())) == 12
    assert kept.tolist() == sorted(kept.tolist())
    assert kept.tolist() != list(range(12))
    assert torch.equal(classifier.fc6.weight, given["fc6.weight"][kept][..., ::3, ::3])
    assert torch.equal(classifier.fc7.weight, given["fc7.weight"][last][:, kept])
    other = vgg_classifier(8, 12, kernel=3, dilation=12)
    thin_out(other, given)
    assert not torch.equal(other.fc6.bias, classifier.fc6.bias)


def test_a_classifier_of_the_same_size_is_copied_as_it_is():
    given, classifier = made_weights(), vgg_classifier(8, 32, kernel=7, dilation=4)
    thin_out(classifier, given)
    assert all(torch.equal(value, given[name]) for name, value in classifier.named_parameters())


def test_pretrained_fetches_the_fully_connected_layers_by_timm_s_names(monkeypatch):
    given = made_weights()
    state = {f"pre_logits.fc{n - 5}.{kind}": given[f"fc{n}.{kind}"] for n in (6, 7) for kind in ("weight", "bias")}
    asked = []
    monkeypatch.setattr(vgg_dense, "timm_weights", lambda name, **more: asked.append(name) or Weights(state, None))
    classifier = vgg_classifier(8, 32)
    load_vgg16_classifier(Encoder(), classifier, name="vgg16_bn")
    assert asked == ["vgg16_bn"]
    assert torch.equal(classifier.fc7.weight, given["fc7.weight"])


def test_pretrained_fills_trunk_and_classifier(monkeypatch):
    """The whole builder, on weights made here in VGG's own shapes at an eighth of its width."""
    from atrous.encoders import vgg

    torch.manual_seed(0)
    trunk = vgg.vgg_stages(3, width=8).state_dict()
    given = made_weights(channels=64)
    state = {f"features.{name}": value for name, value in trunk.items()}
    state |= {f"pre_logits.fc{n - 5}.{kind}": given[f"fc{n}.{kind}"] for n in (6, 7) for kind in ("weight", "bias")}
    for module in (vgg, vgg_dense):
        monkeypatch.setattr(module, "timm_weights", lambda name, **asked: Weights(state, None))
    model = deeplabv1(2, encoder={"name": "vgg16", "width": 8}, pretrained=True, channels=12)
    assert torch.equal(model.encoder.stages[4][0].weight, trunk["4.0.weight"])
    assert torch.equal(model.decoder.fc6.weight, given["fc6.weight"][model.decoder.fc6.bias.long()][..., ::3, ::3])
    assert model.decoder.fc7.bias.min() >= 100


def test_what_a_user_can_ask_in_vain():
    with pytest.raises(ModelError, match="a kernel of 4 at dilation 3 has no centre: make the kernel odd or the dila"):
        create_model("deeplabv1", num_classes=2, **NARROW, kernel=4, dilation=3)
    with pytest.raises(ModelError, match="has 32 kernels of 7x7 over 8 channels, 33 of 3x3 over 8 are asked for"):
        thin_out(vgg_classifier(8, 33, kernel=3), made_weights())
    with pytest.raises(ModelError, match="kernel of deeplabv1 must be int, at least 2, at most 7"):
        create_model("deeplabv1", num_classes=2, kernel=9)
