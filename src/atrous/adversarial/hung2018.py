"""The fully convolutional discriminator of Hung et al.: one judgement for every pixel.

Hung, Tsai, Liou, Lin, Yang, "Adversarial Learning for Semi-Supervised Semantic Segmentation", BMVC 2018,
https://arxiv.org/abs/1802.07934.

As in the paper
    - Five 4x4 convolutions of stride 2: 64, 128, 256, 512 and 1 channels; LeakyReLU of 0.2 after all but the last; no
      normalisation. 2,783,169 parameters on 21 maps; a cell of 32 pixels is judged by the 94 pixels around it.
    - The map of judgements is brought back to the pixels bilinearly, with aligned corners.
    - The loss is taken at every pixel, ignored ones left out; the discriminator's is the mean over ground truth and
      outputs.

Different from the paper
    - Labelled images only: what the paper adds for unlabelled ones, their adversarial loss and the self-taught labels
      where the discriminator trusts the output, is not here.
    - Maps of less than 32 pixels are filled up with the values of their edge.
"""

from typing import Annotated

from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from atrous.adversarial.base import Discriminator, large_enough
from atrous.adversarial.losses import pix2pix_loss
from atrous.layers import resize

__all__ = ["PixelJudge", "hung2018"]

FACTORS = (1, 2, 4, 8)  # of the channels of the first convolution
SLOPE = 0.2
STRIDE = 32


def hung2018(in_channels: int, *, channels: Annotated[int, Ge(1)] = 64) -> Discriminator:
    """A judgement of every pixel.

    Args:
        in_channels: of the input form.
        channels: of the first convolution; the others have 2, 4 and 8 times as many.
    """
    return PixelJudge(in_channels, channels)


class PixelJudge(Discriminator):
    """Five halvings, and back to the pixels.

    Args:
        in_channels: of the input.
        channels: of the first convolution.
    """

    pixelwise = True
    loss = staticmethod(pix2pix_loss)

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential()
        for factor in FACTORS:
            self.features.append(nn.Conv2d(in_channels, channels * factor, 4, stride=2, padding=1))
            self.features.append(nn.LeakyReLU(SLOPE, inplace=True))
            in_channels = channels * factor
        self.features.append(nn.Conv2d(in_channels, 1, 4, stride=2, padding=1))

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
        """Logits of every pixel, in float32."""
        logits = self.features(large_enough(maps, STRIDE)).float()
        return resize(logits, (maps.shape[-2], maps.shape[-1]), align_corners=True)
