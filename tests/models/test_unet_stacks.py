"""Facts of the U-Nets in a row, at several scales, and with a second network for context."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.analysis import receptive_field
from atrous.layers.unet import PlainUNet
from atrous.models import create_model
from atrous.models.context_unet import ContextUNet


def small(name, **arguments):
    """A narrow model that has seen a batch, so that its normalisation is not the identity."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, width=4, **arguments)
    model.set_normalization([100.0] * 3, [60.0] * 3)
    model.train()(torch.rand(2, 3, 64, 64) * 255)
    return model.eval()


def test_a_stack_without_weights_on_the_extra_channels_is_its_last_network_alone():
    model = small("stacked_unet")
    first = model.stages[1].contracting.blocks[0][0][0]
    image = torch.rand(1, 3, 48, 32) * 255
    with torch.inference_mode():
        joined = model(image)["out"]
        first.weight[:, 3:] = 0
        alone = PlainUNet(3, 3, width=4).eval()
        weights = model.stages[1].state_dict()
        weights["contracting.blocks.0.0.0.weight"] = first.weight[:, :3].clone()
        alone.load_state_dict(weights)
        assert torch.allclose(model(image)["out"], alone(model.normalize(image)), atol=1e-6)
        assert (joined - model(image)["out"]).abs().max() > 1e-4


@pytest.mark.parametrize("carry", ["softmax", "logits"])
def test_the_next_stage_reads_the_image_and_the_map_of_the_former(carry):
    model, seen = small("stacked_unet", carry=carry), []
    model.stages[1].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    image = torch.rand(1, 3, 32, 32) * 255
    outputs = model.train()(image)
    assert torch.equal(seen[0][:, :3], model.normalize(image))
    told = outputs["stage1"].softmax(1) if carry == "softmax" else outputs["stage1"]
    assert torch.equal(seen[0][:, 3:], told)


@pytest.mark.parametrize("detach", [False, True])
def test_the_gradient_passes_between_stages_unless_it_is_stopped(detach):
    model = small("stacked_unet", detach=detach).train()
    model(torch.rand(2, 3, 32, 32) * 255)["out"].square().mean().backward()
    reached = any(p.grad is not None and bool(p.grad.any()) for p in model.stages[0].parameters())
    assert reached is not detach


def test_training_outputs_cover_the_image_on_their_own_grids():
    sizes = {
        "stacked_unet": ({"coarse": 4, "stages": 3}, {"stage1": (9, 12), "stage2": (33, 47)}),
        "multiscale_unet": ({}, {"side1": (33, 47), "side2": (17, 24), "side4": (9, 12), "side8": (5, 6)}),
        "context_unet": ({"scale": 4}, {"context": (9, 12)}),
    }
    for name, (arguments, expected) in sizes.items():
        outputs = small(name, **arguments).train()(torch.rand(1, 3, 33, 47))
        assert {key: tuple(x.shape[-2:]) for key, x in outputs.items()} == {"out": (33, 47), **expected}


def test_the_first_network_of_a_coarse_stack_sees_means_of_pixels():
    model, seen = small("stacked_unet", coarse=2), []
    model.stages[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    image = torch.rand(1, 3, 64, 32) * 255
    model(image)
    assert torch.allclose(seen[0][0, 0, 3, 5], model.normalize(image)[0, 0, 6:8, 10:12].mean(), atol=1e-6)


def test_the_output_of_a_pyramid_is_the_mean_of_its_classifiers_enlarged():
    model = small("multiscale_unet")
    image = torch.rand(1, 3, 48, 64) * 255
    with torch.inference_mode():
        maps = model.expanding(model.contracting(model.normalize(image)))
        sides = [
            head(x).repeat_interleave(2**i, 2).repeat_interleave(2**i, 3)
            for i, (head, x) in enumerate(zip(model.heads, maps, strict=True))
        ]
        assert torch.allclose(model(image)["out"], sum(sides) / 4, atol=1e-5)


def test_every_level_reads_the_image_at_its_own_scale():
    model, seen = small("multiscale_unet"), []
    for block in model.contracting.blocks:
        block.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    image = torch.rand(1, 3, 32, 32) * 255
    model(image)
    assert [x.shape[1] for x in seen] == [3, 8 + 4, 16 + 8, 32 + 16, 32]
    x = model.normalize(image)
    for level, entry in enumerate(model.contracting.entries, 1):
        expected = entry(F.avg_pool2d(x, 2**level))
        assert torch.allclose(seen[level][:, : expected.shape[1]], expected, atol=1e-5)


def test_deep_supervision_trains_the_coarser_classifiers_only_for_training():
    model = small("multiscale_unet", output="finest")
    assert model.train()(torch.rand(1, 3, 32, 32)).keys() == {"out", "side2", "side4", "side8"}
    assert model.eval()(torch.rand(1, 3, 32, 32)).keys() == {"out"}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_centres_of_the_context_and_of_the_pixels_are_the_same(scale):
    """A ramp that is reduced, handed through and enlarged is the ramp: pixel u lies at (u + 0.5) / s - 0.5."""

    class Last(nn.Module):
        def forward(self, x):
            return x[:, 1:]

    model = ContextUNet(nn.Identity(), Last(), nn.Identity(), 1, 1, scale=scale, alignment=scale)
    ramp = torch.arange(24.0).expand(1, 1, 24, 24)
    enlarged = model.eval()(ramp)["out"][0, 0]
    inner = slice(scale, 24 - scale)
    assert torch.allclose(enlarged[:, inner], ramp[0, 0][:, inner], atol=1e-5)
    # Aligned corners, or repeated values, are not.
    assert (F.interpolate(F.avg_pool2d(ramp, scale), size=(24, 24))[0, 0] - ramp[0, 0])[:, inner].abs().max() > 0.4


def test_the_context_network_widens_what_the_local_one_sees_by_its_scale():
    model = small("context_unet", context_width=4)
    local = receptive_field(model.local, in_channels=7)
    whole = receptive_field(model)
    context = receptive_field(model.context, in_channels=3)
    assert local.vertical.size == 52  # 44 of a U-Net of two poolings, and its convolutions behind the up-sampling
    assert whole.vertical.size > 4 * context.vertical.size > 4 * local.vertical.size
