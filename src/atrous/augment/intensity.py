"""Transforms that change an image's numbers and leave its geometry, and so the mask, alone.

Images come in their own numbers (8 bit, 16 bit, floats of any unit), so amounts are fractions of a channel's own range:
the distance between its 1st and 99th percentile in this image. An 8-bit photograph has ranges near 255, a dim 16-bit
scan one of a few hundred, and the same recipe suits both; so it does an image of which one channel holds tens of
thousands and another a few hundred. Results are not clipped from above; a channel without negative numbers keeps none.

Deterministic functions first, then the classes that draw their arguments.
"""

from dataclasses import dataclass
from math import cos, log, pi, sin
from typing import Annotated

import cv2
import numpy as np
import torch
from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor

from atrous.augment.base import (
    Fraction,
    NotNegative,
    Positive,
    Probability,
    chance,
    check_positive,
    check_probability,
    check_range,
    with_image,
)
from atrous.errors import RecipeError
from atrous.types import Sample

__all__ = [
    "ChannelGain",
    "ColorJitter",
    "GaussianBlur",
    "GaussianNoise",
    "Intensity",
    "adjust_color",
    "adjust_intensity",
    "blur",
    "robust_ranges",
]

# Deterministic acts


def robust_ranges(image: Float[Tensor, "C H W"]) -> Float[Tensor, "C 1 1"]:
    """Distance between the 1st and the 99th percentile of each channel, from about 10 000 pixels.

    Example:
        >>> robust_ranges(torch.stack([torch.linspace(0, 100, 101), torch.linspace(5, 6, 101)])[:, None]).flatten()
        tensor([98.0000,  0.9800])
    """
    step = max(1, int((image.shape[-2] * image.shape[-1] / 10_000) ** 0.5))
    seen = image[:, ::step, ::step].flatten(1).numpy()
    low, high = np.percentile(seen, (1, 99), axis=1)
    return torch.from_numpy((high - low).astype(np.float32))[:, None, None]


def adjust_intensity(
    image: Float[Tensor, "C H W"], *, brightness: float = 0.0, contrast: float = 1.0, gamma: float = 1.0
) -> Float[Tensor, "C H W"]:
    """Shift, stretch and bend the numbers of an image: by the same amounts in every channel, each in its own range.

    With a channel's lowest number a, range r and mean m of the bent channel: x becomes a + r ((x - a) / r)^gamma, then
    m + contrast (x - m) + brightness r. A channel without a range stays as it is.

    Args:
        image: in its own numbers.
        brightness: shift, as a fraction of the channel's range.
        contrast: factor about the mean; 1 changes nothing.
        gamma: exponent; below 1 lifts the dark parts.

    Example:
        >>> adjust_intensity(torch.tensor([[[0.0, 100.0]], [[7.0, 9.0]]]), contrast=0.5).tolist()
        [[[25.0, 75.0]], [[7.5, 8.5]]]
    """
    spans, lowest = robust_ranges(image), image.amin((1, 2), keepdim=True)
    out, varies = image, spans > 0
    if gamma != 1.0:
        unit = torch.where(varies, spans, 1.0)
        rows = ((out - lowest) / unit).numpy().reshape(-1, image.shape[-1])
        # OpenCV: 0.3 ms against 1.2 ms of torch's pow for 3x256x256.
        out = lowest + unit * torch.from_numpy(cv2.pow(rows, gamma)).reshape(image.shape)
    mean = out.mean((1, 2), keepdim=True)
    changed = _keep_sign(out * contrast + (mean * (1.0 - contrast) + brightness * spans), lowest)
    return changed if bool(varies.all()) else torch.where(varies, changed, image)


def adjust_color(
    image: Float[Tensor, "3 H W"],
    *,
    brightness: float = 1.0,
    contrast: float = 1.0,
    saturation: float = 1.0,
    hue: float = 0.0,
) -> Float[Tensor, "3 H W"]:
    """Change the colours of an RGB image: hue, then saturation, contrast and brightness.

    All four are linear, so they are one 3x3 matrix and one offset. (torchvision's hue goes through HSV: 14 ms for
    512x512 against under 1 ms for all of this.) Hue turns the colours about the grey axis: each pixel keeps its mean.

    Args:
        image: red, green, blue in their own numbers.
        brightness: factor.
        contrast: factor about the image's mean grey.
        saturation: factor about each pixel's grey (0.299 R + 0.587 G + 0.114 B); 0 makes a grey image.
        hue: turn, as a fraction of the full circle.

    Example:
        >>> grey = torch.full((3, 1, 1), 50.0)
        >>> adjust_color(grey, hue=0.3, saturation=2.0, brightness=1.5).round(decimals=3).flatten().tolist()
        [75.0, 75.0, 75.0]
    """
    from atrous.augment._kernels import recolor  # compiles at first use

    grey = np.array([0.299, 0.587, 0.114])
    blend = saturation * np.eye(3) + (1.0 - saturation) * np.tile(grey, (3, 1))
    matrix = brightness * contrast * (blend @ _turn_about_grey(hue))
    pixels = np.ascontiguousarray(image.to(torch.float32).numpy()).reshape(3, -1)
    offset = brightness * (1.0 - contrast) * float(grey @ pixels.mean(1))
    lowest = 0.0 if pixels.min() >= 0.0 else -np.inf
    out = np.empty_like(pixels)
    recolor(pixels, matrix.astype(np.float32), offset, lowest, out)
    return torch.from_numpy(out).reshape(image.shape)


def _turn_about_grey(turn: float) -> Float[np.ndarray, "3 3"]:
    # Rodrigues' rotation about (1, 1, 1) / sqrt(3).
    c, s = cos(2 * pi * turn), sin(2 * pi * turn) / 3**0.5
    cross = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    return c * np.eye(3) + (1.0 - c) / 3.0 * np.ones((3, 3)) + s * cross


def blur(image: Float[Tensor, "C H W"], sigma: float) -> Float[Tensor, "C H W"]:
    """Smooth with a Gaussian of `sigma` pixels; the border continues as its mirror image."""
    # OpenCV: torchvision convolves with a full 2-D kernel, 23 ms against 1 ms for 3x512x512 and sigma 1.5.
    out = np.empty(image.shape, np.float32)
    for plane, target in zip(image.to(torch.float32).numpy(), out, strict=True):
        cv2.GaussianBlur(np.ascontiguousarray(plane), (0, 0), sigma, dst=target, borderType=cv2.BORDER_REFLECT_101)
    return torch.from_numpy(out)


def _keep_sign(image: Float[Tensor, "C H W"], lowest_before: Float[Tensor, "C 1 1"]) -> Float[Tensor, "C H W"]:
    """`image` itself, without numbers below 0 in the channels that had none before."""
    return torch.maximum(image, torch.where(lowest_before >= 0.0, 0.0, -torch.inf), out=image)


# Random draws


@dataclass(frozen=True)
class Intensity:
    """Random brightness, contrast and gamma for images of any kind and channel count.

    One draw serves all channels, and each is changed within its own range.

    Attributes:
        brightness: largest shift either way, as a fraction of each channel's own range.
        contrast: the factor about the mean lies between 1 - contrast and 1 + contrast.
        gamma: the exponent lies between 1 / (1 + gamma) and 1 + gamma, evenly in its logarithm.
        p: how often to change anything.
    """

    brightness: NotNegative = 0.2
    contrast: Fraction = 0.2
    gamma: NotNegative = 0.2
    p: Probability = 1.0

    def __post_init__(self) -> None:
        for key in ("brightness", "contrast", "gamma"):
            check_positive("intensity", key, getattr(self, key), zero=True)
        _check_factor("intensity", "contrast", self.contrast)
        check_probability("intensity", self.p)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw three amounts and perhaps apply them."""
        change = chance(rng, self.p)
        brightness = rng.uniform(-self.brightness, self.brightness)
        contrast = rng.uniform(1 - self.contrast, 1 + self.contrast)
        gamma = float(np.exp(rng.uniform(-1, 1) * log(1 + self.gamma)))
        if not change:
            return sample
        image = adjust_intensity(sample["image"], brightness=brightness, contrast=contrast, gamma=gamma)
        return with_image(sample, image)


@dataclass(frozen=True)
class ColorJitter:
    """Random colours of an RGB image: each factor lies between 1 - amount and 1 + amount, hue between -hue and hue.

    Saturation and hue mix the channels, which are taken for red, green and blue on one scale. Where three channels
    measure three things, use `intensity` and `channel_gain`.

    Attributes:
        brightness: largest change of the overall factor.
        contrast: largest change of the factor about the mean grey.
        saturation: largest change of the factor about each pixel's grey.
        hue: largest turn of the colour circle either way, as a fraction of the full circle.
        p: how often to change anything.
    """

    brightness: NotNegative = 0.2
    contrast: Fraction = 0.2
    saturation: Fraction = 0.2
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.02
    p: Probability = 1.0

    def __post_init__(self) -> None:
        for key in ("brightness", "contrast", "saturation", "hue"):
            check_positive("color_jitter", key, getattr(self, key), zero=True)
        for key in ("brightness", "contrast", "saturation"):
            _check_factor("color_jitter", key, getattr(self, key))
        check_probability("color_jitter", self.p)
        if self.hue > 0.5:
            raise RecipeError(f"color_jitter: hue is {self.hue:g}, but half the colour circle, 0.5, is the most.")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw four amounts and perhaps apply them."""
        channels = sample["image"].shape[0]
        if channels != 3:
            raise RecipeError(
                f"color_jitter: needs RGB images, but these have {channels} channel(s): use intensity instead."
            )
        change = chance(rng, self.p)
        brightness, contrast, saturation = (
            rng.uniform(1 - amount, 1 + amount) for amount in (self.brightness, self.contrast, self.saturation)
        )
        hue = rng.uniform(-self.hue, self.hue)
        if not change:
            return sample
        image = adjust_color(sample["image"], brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
        return with_image(sample, image)


@dataclass(frozen=True)
class ChannelGain:
    """Multiply each channel by a factor of its own, drawn evenly between `low` and `high`, with probability `p`.

    The stacked hourglass's authors draw them between 0.8 and 1.2 for colour images; any number of channels will do.

    Attributes:
        low: the smallest factor, above 0.
        high: the largest.
        p: how often to multiply.
    """

    low: Positive = 0.8
    high: Positive = 1.2
    p: Probability = 1.0

    def __post_init__(self) -> None:
        check_range("channel_gain", self.low, self.high)
        check_probability("channel_gain", self.p)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a factor for each channel and perhaps multiply."""
        change, image = chance(rng, self.p), sample["image"]
        gains = rng.uniform(self.low, self.high, image.shape[0]).astype(np.float32)
        return with_image(sample, image * torch.from_numpy(gains)[:, None, None]) if change else sample


@dataclass(frozen=True)
class GaussianNoise:
    """Add independent Gaussian noise, with probability `p`.

    Attributes:
        sigma: largest standard deviation, as a fraction of each channel's own range; drawn evenly from 0.
        p: how often to add any.
    """

    sigma: NotNegative = 0.05
    p: Probability = 1.0

    def __post_init__(self) -> None:
        check_positive("gaussian_noise", "sigma", self.sigma, zero=True)
        check_probability("gaussian_noise", self.p)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw an amount and perhaps add noise."""
        change, amount, image = chance(rng, self.p), rng.uniform(0.0, self.sigma), sample["image"]
        if not change:
            return sample
        noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32))
        noisy = image + noise * (amount * robust_ranges(image))
        return with_image(sample, _keep_sign(noisy, image.amin((1, 2), keepdim=True)))


@dataclass(frozen=True)
class GaussianBlur:
    """Smooth by a Gaussian whose `sigma` in pixels is drawn evenly between `low` and `high`, with probability `p`.

    Attributes:
        low: the smallest standard deviation, in pixels, above 0.
        high: the largest.
        p: how often to smooth.
    """

    low: Positive = 0.3
    high: Positive = 1.5
    p: Probability = 0.5

    def __post_init__(self) -> None:
        check_range("gaussian_blur", self.low, self.high)
        check_probability("gaussian_blur", self.p)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a sigma and perhaps blur."""
        change, sigma = chance(rng, self.p), rng.uniform(self.low, self.high)
        return with_image(sample, blur(sample["image"], sigma)) if change else sample


def _check_factor(name: str, key: str, amount: float) -> None:
    if amount >= 1.0:
        raise RecipeError(f"{name}: {key} is {amount:g}, but must be less than 1, or nothing of the image may remain.")
