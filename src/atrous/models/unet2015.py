"""U-Net as published: valid convolutions, and mirrored context around the image.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, LNCS 9351
pp. 234-241, https://arxiv.org/abs/1505.04597.

As in the paper
    - 23 convolutions: two unpadded 3x3 with ReLU on each of nine levels, four 2x2 up-convolutions, one 1x1. No batch
      normalisation. 31,030,658 parameters for one input channel and two classes; 572 pixels in, 388 out.
    - Skips are the centre of the contracting map, joined as [up-sampled, skip].
    - Context beyond the image's border is its mirror image.
    - Kernels start Gaussian with standard deviation sqrt(2 / N), N incoming connections; biases at zero.
    - Dropout "at the end of the contracting path". The paper gives no place or rate; p = 0.5 after the last ReLU of the
      levels of 512 and 1024 channels is the authors' release, where the skip carries the dropped map.

Different from the paper
    - Any image size: beyond the 92 pixels that the convolutions eat on each side, the mirror is extended on the right
      and at the bottom until all four poolings meet even sizes, and the output is cropped.
    - N of an up-convolution is 4 x its output channels, as in the release. The released network itself differs from the
      paper's figure in two more points (ReLU after each up-convolution, 128 channels after the last); those stay out.
    - The weight map that separates touching cells belongs to the loss, the elastic deformation to the data.
"""

from math import sqrt

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from atrous.errors import ModelError
from atrous.layers import mirror, unfit
from atrous.models.base import DenseModel, Paper
from atrous.types import Outputs

__all__ = ["PAPERS", "UNet2015", "unet2015"]

PAPERS = {
    "unet2015": Paper(
        year=2015,
        title="U-Net: Convolutional Networks for Biomedical Image Segmentation",
        url="https://arxiv.org/abs/1505.04597",
        idea="A path back up, joined at every size to the path down, gives each pixel both detail and context.",
        num_classes=2,
        parameters=31_030_658,
        facts=(
            "23 convolutions, all valid: 572 pixels in, 388 out",
            "context beyond the image is its mirror image",
            "ISBI 2012: warping error 0.0003529, Rand error 0.0382",
            "ISBI cell tracking 2015: IoU 92 % (PhC-U373), 77.5 % (DIC-HeLa)",
        ),
    ),
}

EATEN = 92  # pixels that the valid convolutions take off each side of the image: (572 - 388) / 2
PERIOD = 16  # four poolings: sizes repeat every 16 pixels
REMAINDER = 4  # the sizes that come out are 4, 20, 36, ..., 388, ...


def unet2015(num_classes: int, in_channels: int = 1, *, width: int = 64) -> DenseModel:
    """The network of the paper's figure 1.

    Args:
        num_classes: maps in `out`; the paper has 2.
        in_channels: channels of the image; the paper has 1.
        width: channels of the first level, doubled on each of the four below. 64 is the paper's; 16 has a sixteenth of
            the weights and trains on a laptop.
    """
    return UNet2015(num_classes, in_channels, width=width)


class UNet2015(DenseModel):
    """Four steps down, four steps up, all convolutions valid."""

    def __init__(self, num_classes: int, in_channels: int = 1, *, width: int = 64) -> None:
        super().__init__(num_classes, in_channels, alignment=PERIOD)
        if width < 1:
            raise ModelError(f"unet2015 has width {width}: give at least 1; the paper has 64")
        channels = [width * 2**level for level in range(5)]
        self.contracting = nn.ModuleList(
            _double_conv(before, after) for before, after in zip([in_channels, *channels[:-1]], channels, strict=True)
        )
        self.dropout = nn.Dropout(0.5)
        self.expanding = nn.ModuleList(_CroppedStepUp(coarse, coarse // 2) for coarse in reversed(channels[1:]))
        self.head = nn.Conv2d(width, num_classes, 1)
        self.apply(_initialize)

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`."""
        height, width = image.shape[-2:]
        below, right = _next_size(height) - height, _next_size(width) - width
        # Normalising first and mirroring then is the same, and normalises fewer pixels.
        context = mirror(self.normalize(image), EATEN, EATEN + right, EATEN, EATEN + below)
        return {"out": unfit(self.core(context), height, width)}

    def core(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H2 W2"]:
        """The paper's network itself: an image of 16 k + 60 pixels, k >= 8, gives logits of 16 k - 124.

        Args:
            x: a normalised image with its context around it.

        Example:
            >>> UNet2015(2, width=1).core(torch.zeros(1, 1, 188, 204)).shape
            torch.Size([1, 2, 4, 20])
        """
        skips = []
        for level, convs in enumerate(self.contracting):
            x = convs(x if level == 0 else F.max_pool2d(x, 2))
            if level >= 3:
                x = self.dropout(x)
            skips.append(x)
        for step, skip in zip(self.expanding, reversed(skips[:-1]), strict=True):
            x = step(x, skip)
        return self.head(x)


class _CroppedStepUp(nn.Module):
    """Up-convolution, centre of the skip, two convolutions."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        self.convs = _double_conv(2 * out_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        return self.convs(torch.cat([x, _centre(skip, x)], dim=1))


def _next_size(size: int) -> int:
    """The smallest size of at least `size` that the network can put out."""
    return REMAINDER + (size - REMAINDER + PERIOD - 1) // PERIOD * PERIOD


def _centre(skip: Tensor, like: Tensor) -> Tensor:
    """The middle of a larger map; the difference is even on every level."""
    top, left = (skip.shape[-2] - like.shape[-2]) // 2, (skip.shape[-1] - like.shape[-1]) // 2
    return F.pad(skip, (-left, -left, -top, -top))


def _double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3),
        nn.ReLU(),
    )


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        # A transposed convolution's weight is (in, out, 2, 2): its first slice has 4 x out numbers, as the release.
        nn.init.normal_(module.weight, std=sqrt(2 / module.weight[0].numel()))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
