"""HRNetV2: the four branches of an HRNet, brought to the finest grid and classified together.

Sun, Zhao, Jiang, Cheng, Xiao, Liu, Mu, Wang, Liu, Wang, "High-Resolution Representations for Labeling Pixels and
Regions", 2019, https://arxiv.org/abs/1904.04514.

As in the paper
    The branches at a quarter to a 32nd of the image are interpolated to a quarter and stacked; a 1x1 convolution keeps
    their channels, batch normalisation and ReLU follow, and a 1x1 convolution classifies. The logits are interpolated
    to the image. One output, no auxiliary loss. W48 by default; `encoder` names W18, W32, and the small forms.

Different from the paper
    - Interpolation keeps pixel centres (`align_corners=False`), as in the authors' Cityscapes setting; the branch of
      their code that holds OCR has True elsewhere.
    - An image whose sides are no multiples of 32 is padded and the logits cropped; the authors stretch the maps.
    - The trunk's kernels start as its own file says; the head's keep PyTorch's initialisation.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders import EncoderSection, Pretrained, create_encoder
from atrous.layers import BatchNorm
from atrous.layers.ocr import StackedMaps
from atrous.models.base import DenseModel, EncoderDecoder, Paper
from atrous.types import Level

__all__ = ["PAPERS", "HRNetDecoder", "hrnet"]

PAPERS = {
    "hrnet": Paper(
        year=2019,
        title="High-Resolution Representations for Labeling Pixels and Regions",
        url="https://arxiv.org/abs/1904.04514",
        idea="Keeps a fine map throughout: coarser ones run beside it, and all exchange what they know, many times.",
        num_classes=19,
        parameters=65_859_379,
        facts=(
            "branches at strides 4, 8, 16, 32 with 48, 96, 192, 384 channels",
            "1, 4 and 3 exchanges",
            "Cityscapes val mean IoU 81.1 (W48), 76.2 (small-v2), 70.3 (small-v1)",
        ),
    ),
}


def hrnet(
    num_classes: int, in_channels: int = 3, encoder: EncoderSection = "hrnet_w48", pretrained: Pretrained = False
) -> DenseModel:
    """HRNetV2 for segmentation.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: hrnet_w18, hrnet_w32 or hrnet_w48, or a section with options (small-v1 is `{name: hrnet_w18, width: 16,
            modules: [1, 1, 1], blocks: 2, bottlenecks: 1, bottleneck_width: 32}`); or any other encoder.
        pretrained: start the encoder from ImageNet weights.

    Raises:
        ModelError: if the encoder is unknown or its weights cannot be fetched.
    """
    trunk = create_encoder(encoder, in_channels=in_channels, pretrained=pretrained)
    return EncoderDecoder(trunk, HRNetDecoder(trunk.levels), num_classes)


class HRNetDecoder(nn.Module):
    """All maps of stride 4 and coarser stacked on the finest grid: 1x1 convolution, normalisation, ReLU.

    Args:
        levels: the encoder's maps, finest first.
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        super().__init__()
        self.stack = StackedMaps(levels)
        self.out_channels = self.stack.out_channels
        self.conv = nn.Conv2d(self.out_channels, self.out_channels, 1)
        self.norm = BatchNorm(self.out_channels)

    def forward(self, features: list[Tensor]) -> Float[Tensor, "B C H W"]:
        """A map of all channels on the finest grid."""
        return F.relu(self.norm(self.conv(self.stack(features))))
