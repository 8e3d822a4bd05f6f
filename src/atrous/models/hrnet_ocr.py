"""OCR on HRNet: a first guess at the classes gathers regions, and every pixel is described again by those it resembles.

Yuan, Chen, Wang, "Object-Contextual Representations for Semantic Segmentation", ECCV 2020,
https://arxiv.org/abs/1909.11065.

As in the paper (and the authors' code on HRNetV2)
    The stacked branches give a first guess, which is also the output `aux`. A softmax of it over the pixels (not over
    the classes) weighs them into one vector per class; attention from pixels to these vectors, with queries, keys and
    values of 256 channels, gives each pixel its context, which joins the 512 channels of its own. Dropout of whole maps
    at 0.05, then a 1x1 convolution to the classes.

Different from the paper
    - Interpolation keeps pixel centres (`align_corners=False`), as in NVIDIA's copy; the authors align corners.
    - An image whose sides are no multiples of 32 is padded and the logits cropped; the padding takes part in the
      regions. The authors stretch the maps.
    - The ResNet-101 form of the paper takes its guess from the stage before; here every encoder's maps of stride 4 and
      coarser are stacked.
    - Normalised 1x1 convolutions start Gaussian after He; the others keep PyTorch's initialisation, as the authors'.
    - `aux` stands on the grid of a quarter of the image in training; the authors interpolate it for the loss.
"""

from typing import Annotated

from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders import Encoder, EncoderSection, Pretrained, create_encoder
from atrous.layers import fit, resize, unfit, unfit_grid
from atrous.layers.ocr import OCR
from atrous.models.base import DenseModel, Paper
from atrous.types import CellGrid, Outputs

__all__ = ["PAPERS", "HRNetOCR", "hrnet_ocr"]

PAPERS = {
    "hrnet_ocr": Paper(
        year=2019,
        title="Object-Contextual Representations for Semantic Segmentation",
        url="https://arxiv.org/abs/1909.11065",
        idea="A pixel's context is the object that it belongs to: a first guess gathers each class into one vector.",
        num_classes=19,
        parameters=70_372_678,
        facts=(
            "512 channels, keys of 256, one region per class",
            "loss 1.0 of the output plus 0.4 of the first guess",
            "Cityscapes val mean IoU 81.6 (W48), 80.9 without OCR",
        ),
    ),
}


def hrnet_ocr(
    num_classes: int,
    in_channels: int = 3,
    encoder: EncoderSection = "hrnet_w48",
    pretrained: Pretrained = False,
    *,
    width: Annotated[int, Ge(1)] = 512,
    key_width: Annotated[int, Ge(1)] = 256,
    dropout: Annotated[float, Ge(0), Le(1)] = 0.05,
) -> DenseModel:
    """HRNet with object-contextual representations. In training it also gives `aux`, the first guess.

    Args:
        num_classes: maps in `out` and `aux`, and regions.
        in_channels: channels of the image.
        encoder: hrnet_w18, hrnet_w32 or hrnet_w48, or a section with options; or any other encoder.
        pretrained: start the encoder from ImageNet weights.
        width: channels of pixels and regions.
        key_width: channels of queries, keys and values.
        dropout: share of the maps that are dropped before the classification.

    Raises:
        ModelError: if the encoder is unknown or its weights cannot be fetched.
    """
    trunk = create_encoder(encoder, in_channels=in_channels, pretrained=pretrained)
    context = OCR(trunk.levels, num_classes, width=width, key_width=key_width, dropout=dropout)
    return HRNetOCR(trunk, context, nn.Conv2d(width, num_classes, 1), num_classes)


class HRNetOCR(DenseModel):
    """Encoder, context of objects, classification.

    Args:
        encoder: turns the image into feature maps.
        context: turns them into one map and the first guess.
        head: turns the map into logits.
        num_classes: maps in `out`.
    """

    def __init__(self, encoder: Encoder, context: OCR, head: nn.Module, num_classes: int) -> None:
        super().__init__(num_classes, encoder.in_channels, max(level.stride for level in encoder.levels))
        self.encoder = encoder
        self.context = context
        self.head = head
        self.grids = {"aux": CellGrid.centred(context.stack.stride)}

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`; in training also `aux`, the first guess on the finest map's grid."""
        height, width = image.shape[-2:]
        fitted = fit(self.normalize(image), self.alignment)
        features, regions = self.context(self.encoder.fitted(fitted))
        logits = resize(self.head(features), (fitted.shape[-2], fitted.shape[-1]))
        outputs = {"out": unfit(logits, height, width)}
        if self.training:
            outputs["aux"] = unfit_grid(regions, height, width, self.grids["aux"])
        return outputs
