"""Plain and hierarchical transformers as encoders: where cells stand, any size, and a whole run with one."""

import inspect

import pytest
import timm
import torch
from torch import nn

from atrous.analysis import receptive_field
from atrous.encoders import create_encoder
from atrous.encoders.base import keeps_corners
from atrous.encoders.hiera import HieraMaps, resized_positions
from atrous.encoders.pyramid import PlainEncoder, SimplePyramid, nearest_power
from atrous.models import MODELS, create_model
from atrous.optim import parameter_groups
from atrous.types import Level

# Trunks of one family only: these refuse every other encoder by name.
ONE_FAMILY = ("pspnet_smp",)
TAKING_ANY = [
    name
    for name, build in MODELS.items()
    if "encoder" in inspect.signature(build).parameters and name not in ONE_FAMILY
]
OPTIONS = {"multi_grid": (1, 1, 1), "width": 16, "fc_width": 16}


class Patches(nn.Module):
    """A body whose map is the mean of each patch; sides that are no multiples are refused, as by timm."""

    def __init__(self, patch):
        super().__init__()
        self.patch = patch

    def forward(self, image):
        assert all(side % self.patch == 0 for side in image.shape[-2:])
        return [nn.functional.avg_pool2d(image, self.patch)]


def plain(patch, channels=2, **options):
    encoder = PlainEncoder(Patches(patch), channels, channels, patch, **options)
    for conv in encoder.modules():
        if isinstance(conv, nn.ConvTranspose2d):
            nn.init.zeros_(conv.bias)
            with torch.no_grad():  # the first channel goes on as it is
                conv.weight.zero_()
                conv.weight[0, 0] = 1
    return encoder.eval()


def places(height, width):
    """An image that holds each pixel's column and row."""
    rows, columns = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([columns, rows])[None]


@pytest.mark.parametrize("patch", [8, 14, 16, 32])
def test_cells_of_all_strides_stand_on_the_centres_of_their_squares(patch):
    encoder = plain(patch)
    stride = nearest_power(patch)
    features = encoder(places(128, 192))
    for level, feature in zip(encoder.levels, features, strict=True):
        if level.stride == stride:
            wanted = torch.arange(192 // stride) * stride + (stride - 1) / 2
            # the interpolation of 14/16 repeats the outermost pixels
            assert torch.allclose(feature[0, 0, 1, 1:-1], wanted[1:-1], atol=1e-3)
            rows = torch.arange(128 // stride) * stride + (stride - 1) / 2
            assert torch.allclose(feature[0, 1, 1:-1, 1], rows[1:-1], atol=1e-3)
        elif level.stride < stride == 2 * level.stride:  # one transposed convolution: each cell repeated
            own = features[[each.stride for each in encoder.levels].index(stride)]
            assert torch.equal(feature[0, 0], own[0, 0].repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert [level.stride for level in encoder.levels] == [4, 8, 16, 32]


@pytest.mark.parametrize("patch", [8, 14, 16, 32])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_every_size_has_the_cells_that_stand_on_it(patch, output_stride):
    encoder = plain(patch, output_stride=output_stride)
    assert max(level.stride for level in encoder.levels) == output_stride
    for height, width in ((1, 1), (33, 47), (65, 129)):
        for level, feature in zip(encoder.levels, encoder(torch.rand(1, 2, height, width)), strict=True):
            assert feature.shape == (1, level.channels, -(-height // level.stride), -(-width // level.stride))
    assert not keeps_corners(encoder)


def test_levels_of_the_pyramid_are_the_papers():
    pyramid = SimplePyramid(64, 16, (4, 8, 16, 32))
    kinds = [[type(layer) for layer in step.modules()][1:] or [type(step)] for step in pyramid.steps]
    finest, fine, own, coarse = kinds
    assert finest[0] is finest[-1] is nn.ConvTranspose2d
    assert len(finest) == 4
    assert nn.GELU in finest
    assert (fine, own, coarse) == ([nn.ConvTranspose2d], [nn.Identity], [nn.MaxPool2d])


@pytest.mark.parametrize(
    ("name", "channels"),
    [("test_vit", 64), ("vit_small_patch14_dinov2", 384), ("vit_small_patch16_dinov3", 384), ("convmixer_768_32", 768)],
)
def test_plain_networks_of_timm_have_four_levels_of_any_size(name, channels):
    encoder = create_encoder(name, in_channels=1).eval()
    levels = (Level(channels // 4, 4), Level(channels // 2, 8), Level(channels, 16), Level(channels, 32))
    assert encoder.levels == (levels if name != "convmixer_768_32" else (Level(384, 4), Level(768, 8), *levels[2:]))
    with torch.inference_mode():
        features = encoder(torch.rand(1, 1, 70, 45))
    assert [tuple(x.shape[-2:]) for x in features] == [(18, 12), (9, 6), (5, 3), (3, 2)]
    assert all(x.isfinite().all() for x in features)


def test_the_map_is_the_last_one_after_the_networks_own_normalisation():
    encoder = create_encoder("test_vit").eval()
    whole = timm.create_model("test_vit", dynamic_img_size=True).eval()
    missing, unexpected = whole.load_state_dict(encoder.body.model.state_dict(), strict=False)
    assert set(missing) == {"head.weight", "head.bias"}
    assert not unexpected
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        tokens = whole.forward_features(image)[:, whole.num_prefix_tokens :]
        assert torch.allclose(encoder(image)[2], tokens.transpose(1, 2).unflatten(2, (4, 6)), atol=1e-5)


@pytest.mark.parametrize(("name", "size"), [("hiera_tiny_224", 224), ("hiera_small_abswin_256", 256)])
def test_hiera_computes_what_timms_does_at_its_own_size(name, size):
    torch.manual_seed(0)
    theirs = timm.create_model(name, features_only=True).eval()
    ours = HieraMaps(theirs.model).eval()
    image = torch.rand(1, 3, size, size)
    with torch.inference_mode():
        for one, other in zip(ours(image), theirs(image), strict=True):
            assert torch.allclose(one, other, atol=1e-5)
        assert [tuple(x.shape[-2:]) for x in ours(image[..., :96, :160])] == [(24, 40), (12, 20), (6, 10), (3, 5)]


def test_positions_that_repeat_in_every_window_repeat_at_every_size():
    window = torch.rand(1, 5, 4, 4)
    assert torch.allclose(resized_positions(window.tile(1, 1, 3, 3), (4, 4), (20, 8)), window.tile(1, 1, 5, 2))
    learned = torch.rand(1, 5, 12, 12)
    assert torch.allclose(resized_positions(learned, (4, 4), (12, 12)), learned, atol=1e-6)


def test_maps_that_cannot_be_dilated_are_interpolated_on_whole_cells():
    coarse = create_encoder("swin_tiny_patch4_window7_224").eval()
    fine = create_encoder("swin_tiny_patch4_window7_224", output_stride=8).eval()
    fine.load_state_dict(coarse.state_dict())
    assert [level.stride for level in fine.levels] == [4, 8, 8, 8]
    image = torch.rand(1, 3, 72, 40)
    with torch.inference_mode():
        own, finer = coarse(nn.functional.pad(image, (0, 24, 0, 24), mode="replicate")), fine(image)
    assert [tuple(x.shape[-2:]) for x in finer] == [(18, 10), (9, 5), (9, 5), (9, 5)]
    wanted = nn.functional.interpolate(own[3], scale_factor=4, mode="bilinear")[..., :9, :5]
    assert torch.allclose(finer[3], wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "test_vit", "hiera_tiny_224"])
def test_encoders_of_patches_have_no_corners_to_align(name):
    encoder = create_encoder(name)
    assert encoder.multiple == 32
    assert not keeps_corners(encoder)


@pytest.mark.parametrize("name", TAKING_ANY)
def test_every_encoder_decoder_takes_a_plain_transformer(name):
    accepted = inspect.signature(MODELS[name]).parameters
    options = {key: value for key, value in OPTIONS.items() if key in accepted}
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, encoder="test_vit", **options)
    model.set_normalization([100.0] * 3, [60.0] * 3)
    outputs = model.train()(torch.rand(2, 3, 33, 47) * 255)
    sum(logits.square().mean() for logits in outputs.values()).backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())
    with torch.inference_mode():
        out = model.eval()(torch.rand(1, 3, 41, 70) * 255)["out"]
    assert out.shape == (1, 3, 41, 70)
    assert out.isfinite().all()


@pytest.mark.parametrize("name", ["test_vit", "hiera_tiny_224"])
def test_a_transformer_sees_the_whole_image_and_the_layer_is_named(name):
    field = receptive_field(create_model("unet", num_classes=2, encoder=name))
    assert field.vertical is None
    assert field.horizontal is None
    assert field.unbounded_by.startswith("encoder.body")


def test_a_frozen_encoder_keeps_its_weights_and_the_pyramid_learns():
    model = create_model("unet", num_classes=2, encoder="test_vit")
    (group,) = parameter_groups(model, lr=0.1, weight_decay=0, groups={"encoder": {"frozen": True}})
    learning = {id(weight) for weight in group["params"]}
    assert not learning & {id(weight) for weight in model.encoder.body.parameters()}
    assert {id(weight) for weight in model.encoder.pyramid.parameters()} <= learning
    slow, rest = sorted(
        parameter_groups(
            create_model("unet", num_classes=2, encoder="test_vit"),
            lr=0.1,
            weight_decay=0,
            groups={"encoder": {"lr": "x0.1"}},
        ),
        key=lambda g: g["lr"],
    )
    assert len(slow["params"]) < len(list(model.encoder.parameters()))
    assert len(slow["params"]) == len(list(model.encoder.body.parameters()))
    assert rest["lr"] == 0.1
