"""The patch discriminator of pix2pix: overlapping patches are judged one by one, with the image beside the maps.

Isola, Zhu, Zhou, Efros, "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017,
https://arxiv.org/abs/1611.07004.

As in the paper
    - 4x4 convolutions: `n_layers` of stride 2 and two of stride 1, the channels doubled from 64 up to 512; batch
      normalisation in all but the first and the last; LeakyReLU of 0.2. With three, patches of 70 pixels, 8 apart;
      with 1, 2, 4, 5: 16, 34, 142 and 286.
    - 2,768,705 parameters on 6 channels (two RGB images), 2,787,137 on 24 (RGB and 21 maps). A convolution has a bias
      only where no normalisation follows.
    - Conditional: image and maps are concatenated. Weights start Gaussian with a deviation of 0.02, those of the
      normalisation around 1.
    - The discriminator's loss is the mean over ground truth and outputs.

Different from the paper
    - The segmenter's other loss is the task's, a cross-entropy, where pix2pix takes 100 times the absolute difference.
    - No noise goes into the segmenter: a mask has one right answer.
    - Maps that are too small for a single patch's strides are filled up with the values of their edge.
"""

from itertools import pairwise
from typing import Annotated

from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor, nn

from atrous.adversarial.base import Discriminator, large_enough
from atrous.adversarial.losses import pix2pix_loss
from atrous.layers import BatchNorm

__all__ = ["PatchGAN", "patchgan"]

MOST = 8  # times the channels of the first convolution
SLOPE, DEVIATION = 0.2, 0.02


def patchgan(
    in_channels: int, *, n_layers: Annotated[int, Ge(1), Le(5)] = 3, channels: Annotated[int, Ge(1)] = 64
) -> Discriminator:
    """A judgement of every patch.

    Args:
        in_channels: of the input form.
        n_layers: convolutions of stride 2; the patch has 16, 34, 70, 142 or 286 pixels.
        channels: of the first convolution.
    """
    return PatchGAN(in_channels, n_layers, channels)


class PatchGAN(Discriminator):
    """Convolutions of stride 2, two of stride 1, a logit per patch.

    Args:
        in_channels: of the input.
        n_layers: convolutions of stride 2.
        channels: of the first.
    """

    loss = staticmethod(pix2pix_loss)

    def __init__(self, in_channels: int, n_layers: int, channels: int) -> None:
        super().__init__()
        widths = [channels * min(2**number, MOST) for number in range(n_layers + 1)]
        self.least = 3 * 2**n_layers  # each of the two convolutions of stride 1 takes a cell away
        self.features = nn.Sequential(nn.Conv2d(in_channels, widths[0], 4, stride=2, padding=1))
        for number, (before, width) in enumerate(pairwise(widths), start=1):
            self.features.append(nn.LeakyReLU(SLOPE, inplace=True))
            stride = 2 if number < n_layers else 1
            self.features.append(nn.Conv2d(before, width, 4, stride=stride, padding=1, bias=False))
            self.features.append(BatchNorm(width))
        self.features.append(nn.LeakyReLU(SLOPE, inplace=True))
        self.features.append(nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.apply(_start)

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 h w"]:
        """Logits of patches, in float32."""
        return self.features(large_enough(maps, self.least)).float()


def _start(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | BatchNorm):
        nn.init.normal_(layer.weight, 1.0 if isinstance(layer, BatchNorm) else 0.0, DEVIATION)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
