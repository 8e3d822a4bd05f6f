"""First kernels and input scales for images that are not 8-bit RGB: exact where they can be."""

import cv2
import numpy as np
import pytest
import torch

import atrous
from atrous.encoders import create_encoder
from atrous.encoders.fetching import timm_weights
from atrous.encoders.first_kernel import PHOTOGRAPHS, adapt_kernels, first_kernel, matched_scale

LITE0 = "tf_efficientnet_lite0"  # comes with the package


def features(image, in_channels):
    encoder = create_encoder(LITE0, in_channels=in_channels, pretrained="package").eval()
    with torch.inference_mode():
        return encoder(image)


def same(ours, theirs):
    return all(torch.allclose(one, other, atol=1e-4) for one, other in zip(ours, theirs, strict=True))


def test_a_grey_image_is_answered_as_the_same_image_in_three_equal_channels():
    grey = torch.randn(1, 1, 64, 96)
    assert same(features(grey, 1), features(grey.expand(-1, 3, -1, -1), 3))


def test_two_equal_channels_are_answered_as_three():
    grey = torch.randn(1, 1, 64, 96)
    assert same(features(grey.expand(-1, 2, -1, -1), 2), features(grey.expand(-1, 3, -1, -1), 3))


@pytest.mark.parametrize("channels", [4, 7])
def test_more_channels_are_answered_as_their_first_three_and_the_others_can_learn(channels):
    image = torch.randn(1, channels, 64, 96)
    assert same(features(image, channels), features(image[:, :3], 3))
    encoder = create_encoder(LITE0, in_channels=channels, pretrained="package").train()
    encoder(image)[0].square().mean().backward()
    assert encoder.body.conv_stem.weight.grad[:, 3:].any()


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_the_packages_own_trunks_follow_the_same_rule(channels):
    rgb = timm_weights(LITE0, pretrained="package").state["conv_stem.weight"]
    kernel = timm_weights(LITE0, in_channels=channels, pretrained="package").state["conv_stem.weight"]
    assert torch.equal(kernel, first_kernel(rgb, channels))


def test_kernels_of_other_shapes_stay_as_they_are():
    folded = torch.rand(8, 16, 3, 3)  # of 2x2 pixels of 4 channels
    state = {"stem.weight": folded.clone(), "other.weight": torch.ones(3, 4)}
    adapt_kernels(state, {"stem.weight": torch.rand(8, 12, 3, 3), "other.weight": torch.zeros(3, 4)}, 4)
    assert torch.equal(state["stem.weight"], folded)
    assert state["other.weight"].all()


def test_images_are_given_the_level_and_spread_that_photographs_had():
    mean, std = matched_scale([3000.0, 10.0], [400.0, 2.0], ((127.0,) * 3, (128.0,) * 3))
    level = np.mean([(value - 127) / 128 for value in PHOTOGRAPHS[0]])
    spread = np.mean([value / 128 for value in PHOTOGRAPHS[1]])
    for middle, deviation, own_mean, own_std in zip(mean, std, (3000, 10), (400, 2), strict=True):
        assert (own_mean - middle) / deviation == pytest.approx(level)
        assert own_std / deviation == pytest.approx(spread)
    assert matched_scale([5.0], [2.0], PHOTOGRAPHS) == ([pytest.approx(5.0)], [pytest.approx(2.0)])
    assert matched_scale([5.0], [2.0], ((1.0,), (9.0,))) == ([5.0], [2.0])  # trained on images of one channel


@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.uint8, 1), (np.uint16, 1), (np.uint16, 3)])
def test_a_training_sets_the_scale_by_the_kind_of_its_images(dtype, channels, tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for number in range(4):
        noise = rng.normal(0.5, 0.15, (48, 64, channels)).clip(0, 1)
        image = noise * 255 if dtype == np.uint8 else 400 + 2000 * noise
        cv2.imwrite(str(tmp_path / "set" / "images" / f"{number}.png"), image.astype(dtype))
        mask = np.repeat(np.arange(2, dtype=np.uint8), 32)[None].repeat(48, 0)
        cv2.imwrite(str(tmp_path / "set" / "masks" / f"{number}.png"), mask)
    arguments = ["model.pretrained=package", f"model.encoder={LITE0}", "model.decoder_channels=[8,8,8,8,8]"]
    arguments += ["data.crop=32", "data.batch_size=2", "data.workers=0", "training.max_steps=1"]
    atrous.train(tmp_path / "set", recipe="unet", out=tmp_path / "run", overrides=arguments, evaluate=False)
    model = atrous.load_bundle(tmp_path / "run" / "bundle").model
    if (dtype, channels) == (np.uint8, 3):
        assert (model.mean.tolist(), model.std.tolist()) == ([127.0] * 3, [128.0] * 3)
        return
    middle, deviation = (127.5, 38.25) if dtype == np.uint8 else (1400, 300)
    seen = ((middle - model.mean) / model.std, deviation / model.std)
    assert torch.allclose(seen[0], torch.full((channels,), (114.5 - 127) / 128), atol=0.05)
    assert torch.allclose(seen[1], torch.full((channels,), 57.63 / 128), atol=0.03)
