"""The adversaries of Luc et al.: a few convolutions, and the average of what they say about every place.

Luc, Couprie, Chintala, Verbeek, "Semantic Segmentation using Adversarial Networks", NIPS workshop on adversarial
training 2016, https://arxiv.org/abs/1611.08408.

As in the paper
    - Four networks for VOC 2012, by the side of what they see and by their width: 34 cells (`large_fov`,
      `large_fov_light`) or 18 (`small_fov`, `small_fov_light`). 3x3 convolutions, in the small ones partly 1x1; ReLU;
      two poolings of 2x2; no normalisation.
    - One output through a sigmoid: the probability that the maps are ground truth. A port with two outputs and a
      softmax has 4,609 parameters more in `large_fov`.
    - `two_branch`, made for Stanford Background: convolutions of the maps (64) and of the image (16, 64) apart,
      concatenated to 128, then a common network.

Where the paper is silent, or was not at hand
    - The logits are averaged over all places and then squashed, as in the port.
    - Weights start Gaussian with variance 2 / incoming connections, those of the last layer with a deviation of 0.01,
      so that every judgement starts at one half.
    - `two_branch` has 5x5 convolutions in its branches, as ports have, and its poolings after 128 and 256 channels.
    - One cell is 8 x 8 pixels, the usual stride of `read_adversary` and that of a dilated segmenter's scores.

Different from the paper
    - A port pads its 1x1 convolutions, so that the map grows by 2 at each; here they leave it as it is.
    - `two_branch` gets its image on the grid of the maps, so that the branch of the image needs no poolings.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrous.adversarial.base import Discriminator, large_enough

__all__ = [
    "LARGE_FOV",
    "LARGE_FOV_LIGHT",
    "SMALL_FOV",
    "SMALL_FOV_LIGHT",
    "WholeMap",
    "large_fov",
    "large_fov_light",
    "small_fov",
    "small_fov_light",
    "two_branch",
]

Stages = tuple[tuple[tuple[int, int], ...], ...]
"""Channels and kernel of each convolution; a pooling stands between two stages."""

LARGE_FOV: Stages = (((96, 3), (128, 3), (128, 3)), ((256, 3), (256, 3)), ((512, 3),))
LARGE_FOV_LIGHT: Stages = (((96, 3), (128, 3), (128, 3)), ((128, 3), (128, 3)), ((256, 3),))
SMALL_FOV: Stages = (((96, 3), (128, 1)), ((256, 3), (256, 1)), ((512, 3),))
SMALL_FOV_LIGHT: Stages = (((96, 3), (128, 1)), ((128, 3), (128, 1)), ((256, 3),))
JOINED: Stages = (((128, 3),), ((256, 3),), ((512, 3),))
MAP_CHANNELS, IMAGE_CHANNELS = 64, (16, 64)


def large_fov(in_channels: int) -> Discriminator:
    """Sees 34 x 34 cells; 2,382,849 parameters for 63 channels (21 maps times RGB).

    Args:
        in_channels: of the input form.
    """
    return WholeMap(in_channels, LARGE_FOV)


def large_fov_light(in_channels: int) -> Discriminator:
    """Sees 34 x 34 cells with about a third of the parameters of `large_fov`: 905,473 for 63 channels.

    Args:
        in_channels: of the input form.
    """
    return WholeMap(in_channels, LARGE_FOV_LIGHT)


def small_fov(in_channels: int) -> Discriminator:
    """Sees 18 x 18 cells; 1,608,577 parameters for 63 channels.

    Args:
        in_channels: of the input form.
    """
    return WholeMap(in_channels, SMALL_FOV, kernel=1)


def small_fov_light(in_channels: int) -> Discriminator:
    """Sees 18 x 18 cells; 526,465 parameters for 63 channels.

    Args:
        in_channels: of the input form.
    """
    return WholeMap(in_channels, SMALL_FOV_LIGHT, kernel=1)


def two_branch(in_channels: int, image_channels: int = 3) -> Discriminator:
    """Maps and image go through convolutions of their own first, so that neither drowns the other.

    Args:
        in_channels: of maps and image together.
        image_channels: of these the image's, which are the last.
    """
    return TwoBranch(in_channels - image_channels, image_channels)


class WholeMap(Discriminator):
    """One logit for the whole: the average over all places.

    Args:
        in_channels: of the input.
        stages: channels and kernels, a pooling of 2x2 between two stages.
        kernel: of the last convolution.
        out_channels: 1; the port has 2.
    """

    def __init__(self, in_channels: int, stages: Stages, *, kernel: int = 3, out_channels: int = 1) -> None:
        super().__init__()
        self.least = 2 ** (len(stages) - 1)
        self.features = _convolutions(in_channels, stages)
        last = nn.Conv2d(stages[-1][-1][0], out_channels, kernel, padding=kernel // 2)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.features.append(last)

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K 1 1"]:
        """The average logit, in float32."""
        return self.features(large_enough(maps, self.least)).float().mean((2, 3), keepdim=True)


class TwoBranch(Discriminator):
    """Two branches, concatenated, and a `WholeMap` on both.

    Args:
        num_maps: channels of the maps.
        image_channels: of the image, which comes after the maps.
    """

    def __init__(self, num_maps: int, image_channels: int) -> None:
        super().__init__()
        self.num_maps = num_maps
        self.maps = _convolutions(num_maps, (((MAP_CHANNELS, 5),),))
        self.image = _convolutions(image_channels, (tuple((channels, 5) for channels in IMAGE_CHANNELS),))
        self.joined = WholeMap(MAP_CHANNELS + IMAGE_CHANNELS[-1], JOINED)

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 1 1"]:
        """The average logit, in float32."""
        labels, image = maps[:, : self.num_maps], maps[:, self.num_maps :]
        return self.joined(torch.cat([self.maps(labels), self.image(image)], 1))


def _convolutions(in_channels: int, stages: Stages) -> nn.Sequential:
    """Convolutions that keep the size, each with a ReLU; a pooling between two stages."""
    layers: list[nn.Module] = []
    for number, stage in enumerate(stages):
        layers += [nn.MaxPool2d(2)] if number else []
        for channels, kernel in stage:
            conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            layers += [conv, nn.ReLU(inplace=True)]
            in_channels = channels
    return nn.Sequential(*layers)
