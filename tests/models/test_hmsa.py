"""Facts of hierarchical multi-scale attention: counts, the rule on maps made by hand, and its chain over any scales."""

import pytest
import torch
import torch.nn.functional as F

from atrous.analysis import parameters
from atrous.errors import ModelError
from atrous.models import create_model
from atrous.models.hmsa import PAPERS, hmsa, join
from atrous.tasks import Segmentation

TINY = {"name": "hrnet_w18", "width": 4, "modules": [1, 1, 1], "blocks": 1, "bottlenecks": 1, "bottleneck_width": 8}


def small(**arguments):
    torch.manual_seed(0)
    return create_model("hmsa", num_classes=3, encoder=TINY, width=16, key_width=8, attention_width=8, **arguments)


def maps(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


def to(x, *size):
    return F.interpolate(x, size, mode="bilinear")


def test_parameters_are_those_of_the_authors():
    """Specs of HMSA: trunk 65,325,120, OCR 5,047,558, attention 1,770,752."""
    with torch.device("meta"):
        model = hmsa(19)
    assert parameters(model) == PAPERS["hmsa"].parameters == 72_143_430
    assert parameters(model.encoder) == 65_325_120
    assert parameters(model.context) + parameters(model.head) == 5_047_558
    assert parameters(model.attention) == 1_770_752
    assert model.scales == [2.0, 1.0, 0.5]


def test_full_trust_takes_the_smaller_scale_and_none_the_larger():
    large, small_ = maps(1, 3, 8, 12), maps(1, 3, 4, 6)
    always, never = torch.ones(1, 1, 4, 6), torch.zeros(1, 1, 4, 6)
    # Below 1 the smaller comes up to the larger.
    assert torch.equal(join(large, small_, always, 0.5), to(small_, 8, 12))
    assert torch.equal(join(large, small_, never, 0.5), large)
    # From 1 upwards the larger comes down to the smaller.
    assert torch.equal(join(large, small_, always, 1.0), small_)
    assert torch.equal(join(large, small_, never, 1.0), to(large, 4, 6))


def test_below_1_the_product_is_interpolated_and_not_its_factors():
    large, logits = torch.zeros(1, 1, 1, 4), torch.tensor([[[[0.0, 8.0]]]])
    attention = torch.tensor([[[[1.0, 0.0]]]])
    assert join(large, logits, attention, 0.5).abs().max() == 0


def trained(model, image):
    """The outputs of training with the arithmetic of evaluation: dropout off, running statistics."""
    model.train()
    for child in model.children():
        child.eval()
    with torch.no_grad():
        return model(image)


def test_the_chain_of_the_two_scales_of_training_is_their_joint():
    model = small(scales=[0.5, 1.0])
    image = maps(1, 3, 64, 96) * 255
    joint = trained(model, image)["out"]
    with torch.no_grad():
        assert torch.equal(model.eval()(image)["out"], joint)


def test_three_scales_are_chained_from_the_largest_down():
    model = small(scales=[1.0, 0.5, 2.0]).eval()
    image = maps(1, 3, 64, 96) * 255
    with torch.no_grad():
        views = {scale: model.look(model.normalize(image), scale) for scale in (0.5, 1.0, 2.0)}
        a1, a05 = views[1.0]["attention"], views[0.5]["attention"]
        p2, p1, p05 = (views[scale]["out"] for scale in (2.0, 1.0, 0.5))
        assert [tuple(p.shape[2:]) for p in (p2, p1, p05)] == [(128, 192), (64, 96), (32, 48)]
        assert tuple(a05.shape) == (1, 1, 32, 48)
        middle = a1 * p1 + (1 - a1) * to(p2, 64, 96)
        expected = to(a05 * p05, 64, 96) + (1 - to(a05, 64, 96)) * middle
        assert torch.allclose(model(image)["out"], expected, atol=1e-6)


def test_a_single_scale_is_the_network_alone_without_attention():
    model = small(scales=[1.0]).eval()
    image = maps(1, 3, 64, 96) * 255
    with torch.no_grad():
        torch.nn.init.constant_(model.attention[-2].weight, 100.0)
        assert torch.equal(model(image)["out"], model.look(model.normalize(image), 1.0)["out"])


def test_a_scale_sees_the_resized_image():
    model = small().eval()
    image = maps(1, 3, 64, 128)
    seen = []
    model.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        model(image)
    assert [tuple(x.shape[2:]) for x in seen] == [(128, 256), (64, 128), (64, 64)]  # 32 rows, padded to 64
    assert torch.equal(seen[0], to(image, 128, 256))
    assert torch.equal(seen[2][:, :, :32], to(image, 32, 64))


@pytest.mark.parametrize("size", [(33, 47), (5, 200)])
@pytest.mark.parametrize("scales", [[1.0], [0.25, 1.0, 1.75], [0.3, 1.0], [1.0, 1.5]])
def test_any_scales_give_the_size_of_the_image(scales, size):
    model = small(scales=scales).eval()
    with torch.no_grad():
        out = model(maps(1, 3, *size))["out"]
    assert out.shape == (1, 3, *size)
    assert out.isfinite().all()


def test_training_gives_four_outputs_that_the_task_weighs():
    model = small().train()
    outputs = model(maps(2, 3, 96, 96) * 255)
    assert {name: tuple(x.shape) for name, x in outputs.items()} == {
        "out": (2, 3, 96, 96),
        "aux": (2, 3, 96, 96),
        "high": (2, 3, 96, 96),
        "low": (2, 3, 48, 48),
    }
    task = Segmentation(3, aux_weight={"aux": 0.4, "high": 0.05, "low": 0.05})
    mask = torch.zeros(2, 96, 96, dtype=torch.int64)
    weighted = task.losses(outputs, {"mask": mask})
    plain = Segmentation(3, aux_weight=1.0).losses(outputs, {"mask": mask})
    for name, factor in {"": 1.0, "aux.": 0.4, "high.": 0.05, "low.": 0.05}.items():
        assert weighted[f"{name}cross_entropy"].item() == pytest.approx(factor * plain[f"{name}cross_entropy"].item())


def test_the_joint_loss_teaches_the_attention():
    model = small().train()
    model(maps(2, 3, 64, 64) * 255)["out"].square().mean().backward()
    assert all(parameter.grad.any() for parameter in model.attention.parameters())


def test_weights_do_not_depend_on_the_scales():
    first, second = small(), small(scales=[0.25, 0.5, 1.0, 2.0])
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(value, first.state_dict()[name]) for name, value in second.state_dict().items())


@pytest.mark.parametrize("scales", [[0.5, 2.0], [1.0, 1.0], []])
def test_scales_without_1_or_with_one_twice_are_refused(scales):
    with pytest.raises(ModelError, match=r"scales is .*1 must be among them.*give for example \[0\.5, 1\.0, 2\.0\]"):
        small(scales=scales)
