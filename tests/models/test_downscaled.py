"""Facts of a network at a fraction of its image's size."""

import pytest
import torch
import torch.nn.functional as F

from atrous.analysis import alignment, receptive_field
from atrous.errors import ModelError
from atrous.models import create_model

NETWORK = {"name": "unet", "encoder": "test_resnet", "decoder_channels": [16, 8, 8, 4, 4]}


def build(factor=2, **changes):
    torch.manual_seed(0)
    return create_model("downscaled", **{"num_classes": 3, "network": NETWORK, "factor": factor, **changes}).eval()


def inside():
    torch.manual_seed(0)
    return create_model(**NETWORK, num_classes=3).eval()


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_network_sees_averages_and_its_logits_are_interpolated(factor):
    image = torch.rand(2, 3, 64 * factor, 128 * factor) * 255
    model, network = build(factor), inside()
    for each in (model, network):
        each.set_normalization([100.0, 90.0, 80.0], [50.0, 60.0, 70.0])
    averages = image.unfold(2, factor, factor).unfold(3, factor, factor).mean((-1, -2))
    with torch.inference_mode():
        logits = network(averages)["out"]
        wanted = F.interpolate(logits, scale_factor=factor, mode="bilinear")
        assert torch.allclose(model(image)["out"], wanted, atol=1e-4)


def test_sides_that_are_no_multiples_repeat_the_border():
    model, image = build(4), torch.rand(1, 3, 61, 67) * 255
    with torch.inference_mode():
        whole = model(F.pad(image, (0, 1, 0, 3), mode="replicate"))["out"]
        assert torch.allclose(model(image)["out"], whole[..., :61, :67], atol=1e-5)


def test_it_sees_as_many_times_further_and_shifts_by_as_many_pixels():
    model, network = build(2), inside()
    assert model.alignment == alignment(model) == 2 * network.alignment
    inner, outer = receptive_field(network).vertical, receptive_field(model).vertical
    assert outer.size >= 2 * inner.size


def test_it_has_the_weights_of_its_network_alone():
    count = [sum(parameter.numel() for parameter in model.parameters()) for model in (build(), inside())]
    assert count[0] == count[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"factor": 1}, "factor"),
        ({"network": "unett"}, "unet"),
        ({"network": inside()}, None),
    ],
)
def test_what_does_not_fit_is_refused(changes, words):
    if words is None:
        with pytest.raises(ModelError, match="1 channels, its network 3 and 3"):
            build(in_channels=1, **changes)
        return
    with pytest.raises(ModelError, match=words):
        build(**changes)
