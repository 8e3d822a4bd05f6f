"""Transforms of numbers: what brightness, colour, noise and blur do to a known image."""

import numpy as np
import pytest
import torch

from atrous.augment import TRANSFORMS, ChannelGain, ColorJitter, GaussianNoise, Intensity
from atrous.augment.intensity import adjust_color, adjust_intensity, blur, robust_ranges
from atrous.errors import RecipeError


@pytest.mark.parametrize("scale", [1.0, 257.0, 1 / 255])
def test_intensity_follows_the_range_of_the_image(scale):
    image = torch.from_numpy(np.random.default_rng(0).uniform(20, 230, (1, 64, 64))).float()
    changed = Intensity()({"image": image}, np.random.default_rng(8))["image"]
    scaled = Intensity()({"image": image * scale}, np.random.default_rng(8))["image"]
    torch.testing.assert_close(scaled / scale, changed, rtol=1e-3, atol=1e-2)


def unlike(seed=0):
    """One channel of 20000 +- 6000, another of 100 to 500, as a camera of two wavelengths gives them."""
    rng = np.random.default_rng(seed)
    channels = [rng.normal(20000, 6000, (64, 64)).clip(0, 65535), rng.uniform(100, 500, (64, 64))]
    return torch.from_numpy(np.stack(channels)).float()


@pytest.mark.parametrize("name", ["intensity", "gaussian_noise", "gaussian_blur", "channel_gain"])
def test_each_channel_is_changed_within_its_own_range(name):
    image = unlike()
    for seed in range(20):
        out = TRANSFORMS[name]()({"image": image}, np.random.default_rng(seed))["image"]
        for before, after in zip(image, out, strict=True):
            assert (after - before).abs().mean() < 0.35 * robust_ranges(before[None]).item()
            assert after.std() > 0.15 * before.std()


@pytest.mark.parametrize("name", ["intensity", "gaussian_noise"])
def test_the_units_of_a_channel_do_not_matter(name):
    """A channel beside another of any size comes out as it does alone with its like."""
    image = unlike()
    factors = torch.tensor([1.0, 50.0])[:, None, None]
    out, scaled = (
        TRANSFORMS[name]()({"image": x}, np.random.default_rng(3))["image"] for x in (image, image * factors)
    )
    torch.testing.assert_close(scaled / factors, out, rtol=1e-3, atol=0.1)


def test_a_flat_channel_stays_and_the_others_change():
    image = unlike()
    image[1] = 7.0
    out = Intensity()({"image": image}, np.random.default_rng(0))["image"]
    assert torch.equal(out[1], image[1])
    assert not torch.equal(out[0], image[0])


def test_brightness_contrast_and_gamma_do_what_they_say():
    image = torch.linspace(100, 200, 101).reshape(1, 1, 101)
    span = robust_ranges(image)
    assert span.item() == 98.0
    torch.testing.assert_close(adjust_intensity(image, brightness=0.1), image + 0.1 * span)
    torch.testing.assert_close(adjust_intensity(image, contrast=1.5), 150 + 1.5 * (image - 150))
    torch.testing.assert_close(adjust_intensity(image, gamma=2.0), 100 + span * ((image - 100) / span) ** 2)


def test_numbers_below_zero_come_only_from_numbers_below_zero():
    image = torch.linspace(0, 100, 101).reshape(1, 1, 101)
    assert adjust_intensity(image, brightness=-0.5).min() == 0
    assert adjust_intensity(image - 50, brightness=-0.5).min() < -90


def test_a_flat_image_stays_flat_and_finite():
    sample = {"image": torch.full((3, 8, 8), 12.0)}
    for name in ("intensity", "gaussian_noise", "gaussian_blur"):
        out = TRANSFORMS[name]()(sample, np.random.default_rng(0))["image"]
        torch.testing.assert_close(out, sample["image"])


def test_color_of_grey_is_grey_and_saturation_zero_is_grey():
    image = torch.rand(3, 9, 9) * 255
    grey = adjust_color(image, saturation=0.0)
    torch.testing.assert_close(grey[0], grey[1])
    torch.testing.assert_close(grey[0], 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2])
    torch.testing.assert_close(adjust_color(grey, hue=0.25, saturation=1.7), grey, rtol=1e-4, atol=1e-3)


def test_a_third_of_a_turn_exchanges_the_colours():
    image = torch.rand(3, 5, 5) * 255
    turned = adjust_color(image, hue=1 / 3)
    torch.testing.assert_close(turned, image[[2, 0, 1]], rtol=1e-4, atol=1e-3)


def test_color_jitter_refuses_grey_images():
    with pytest.raises(RecipeError, match=r"needs RGB images, but these have 1 channel.*use intensity"):
        ColorJitter()({"image": torch.zeros(1, 4, 4)}, np.random.default_rng(0))


def test_noise_has_the_drawn_strength():
    image = torch.from_numpy(np.random.default_rng(0).uniform(-500, 500, (1, 128, 128))).float()
    strengths = [
        (GaussianNoise(0.1)({"image": image}, np.random.default_rng(s))["image"] - image).std() for s in range(30)
    ]
    assert 0.08 < max(strengths) / robust_ranges(image).item() < 0.11
    assert min(strengths) < 0.3 * max(strengths)


def test_each_channel_has_a_gain_of_its_own():
    image = torch.rand(4, 6, 6) * 1000
    gains = [ChannelGain()({"image": image}, np.random.default_rng(seed))["image"] / image for seed in range(100)]
    assert all(torch.allclose(gain, gain[:, :1, :1].expand(4, 6, 6), rtol=1e-5) for gain in gains)
    values = torch.stack([gain[:, 0, 0] for gain in gains])
    assert 0.8 <= values.min() < 0.82
    assert 1.18 < values.max() <= 1.2001
    assert values.std(1).min() > 0.005


def test_blur_keeps_the_mean_and_takes_the_detail():
    image = torch.zeros(2, 41, 41)
    image[:, 20, 20] = 100.0
    out = blur(image, 2.0)
    torch.testing.assert_close(out.sum((1, 2)), torch.full((2,), 100.0), rtol=1e-3, atol=0.1)
    assert abs(out[0, 20, 20].item() - 100 / (2 * np.pi * 4)) < 0.1
