"""Pretrained kernels for images that are not red, green and blue in 8-bit numbers: which first kernel, which scale.

The rules are those that did best in `python -m benchmarks.first_kernel`; docs/pretrained.md has its table.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from atrous.encoders.base import MeanStd

__all__ = ["RGB", "adapt_kernels", "first_kernel", "matched_scale"]

RGB = 3
# Mean and deviation of ImageNet's photographs in 0..255, channel by channel.
PHOTOGRAPHS = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def first_kernel(rgb: Float[Tensor, "O 3 h w"], channels: int) -> Float[Tensor, "O C h w"]:
    """A first kernel for other channels, from the one for red, green and blue.

    One channel gets the sum: the answers to a grey image are those to the same image in three equal channels. Two get
    half of it each, so that sums stay as large. Of more, the first three keep their kernels and the others start at
    zero: the answers are those to the first three, until training makes use of the rest.

    Args:
        rgb: of the pretrained network.
        channels: of the images.

    Example:
        >>> kernel = torch.tensor([1.0, 2.0, 6.0]).reshape(1, 3, 1, 1)
        >>> [first_kernel(kernel, channels).flatten().tolist() for channels in (1, 2, 4)]
        [[9.0], [4.5, 4.5], [1.0, 2.0, 6.0, 0.0]]
    """
    if channels < RGB:
        return rgb.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels
    rest = rgb.new_zeros(rgb.shape[0], channels - RGB, *rgb.shape[2:])
    return torch.cat([rgb, rest], 1)


def adapt_kernels(state: Mapping[str, Tensor], rgb: Mapping[str, Tensor], channels: int) -> None:
    """Write the first kernels of a network for other channels: those whose shape differs by them alone.

    Stems that fold the image before they look at it have kernels of other shapes, and keep what they were given.

    Args:
        state: of the network for `channels`; changed.
        rgb: of the same network for three channels.
        channels: of the images.
    """
    with torch.no_grad():
        for name, kernel in rgb.items():
            if kernel.ndim == 4 and kernel.shape[1] == RGB and state[name].shape[1] == channels != RGB:
                state[name].copy_(first_kernel(kernel, channels))


def matched_scale(mean: list[float], std: list[float], trained_on: MeanStd) -> tuple[list[float], list[float]]:
    """The normalisation that gives images the mean and deviation that photographs had when the weights were trained.

    Weights that were trained on images of mean 0 and deviation 1 see just that; those of images scaled to -1..1, or
    with their mean taken off alone, see what they know.

    Args:
        mean: measured, of each channel, in the images' own numbers.
        std: measured, of each channel.
        trained_on: the weights' own normalisation of 8-bit photographs.

    Example:
        >>> mean, std = matched_scale([1000.0], [200.0], ((127.0,) * 3, (128.0,) * 3))
        >>> round(mean[0], 1), round(std[0], 1)  # 200 / (57.63 / 128)
        (1043.4, 444.2)
    """
    if len(trained_on[0]) != RGB:  # images of other kinds: nothing is known of them
        return mean, std
    own = list(zip(*PHOTOGRAPHS, *trained_on, strict=True))
    level = sum((photo - shift) / scale for photo, _, shift, scale in own) / RGB
    spread = sum(deviation / scale for _, deviation, _, scale in own) / RGB
    wanted = [deviation / spread for deviation in std]
    return [middle - level * scale for middle, scale in zip(mean, wanted, strict=True)], wanted
