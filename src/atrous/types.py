"""Words shared by all rooms of the house: samples, outputs, levels, predictions."""

from dataclasses import dataclass
from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["IGNORE_INDEX", "KINDS", "Level", "Outputs", "Prediction", "Sample"]

IGNORE_INDEX = 255
"""Class of pixels that count for nothing: unlabelled, nodata, NaN."""

KINDS = ("uint8", "uint16", "float32")
"""What an image's numbers may be. Models receive them unscaled, as float32."""

Outputs = dict[str, Tensor]
"""What a model returns: `out` always, and auxiliary names in training."""


class Sample(TypedDict, total=False):
    """One image and whatever the task supervises; a batch is the same with a leading B.

    `progress`, which a batch of training may have, is the share of the run that is done, 0..1: losses whose weight
    changes over the run read it.
    """

    image: Float[Tensor, "*B C H W"]
    mask: Int[Tensor, "*B H W"]
    weight: Float[Tensor, "*B H W"]
    instances: Int[Tensor, "*B H W"]
    keypoints: Float[Tensor, "*B P 2"]
    visible: Bool[Tensor, "*B P"]
    index: Int[Tensor, "*B"]
    progress: Float[Tensor, ""]


class Level(NamedTuple):
    """A feature map of an encoder: its channels, and how many input pixels one feature pixel stands for (rounded)."""

    channels: int
    stride: int


@dataclass(frozen=True)
class Prediction:
    """What a segmenter says of one image.

    Attributes:
        classes: (H, W) uint8 (uint16 above 256 classes), the decided class of every pixel; where classes may overlap,
            the likeliest of those that are there, and 255 where none is.
        confidence: (H, W) float16 in 0..1, the score of the decided class.
        scores: (K, H, W) float32, or None where they were not kept.
        uncertainty: (H, W) float32, or None.
        instances: (H, W) int32, or None.
        labels: (K, H, W) bool, each class where it is, where classes may overlap; or None.
        keypoints: (P, 3) float32 x, y, score with pixel centres at integers, or None.
    """

    classes: np.ndarray
    confidence: np.ndarray
    scores: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    instances: np.ndarray | None = None
    labels: np.ndarray | None = None
    keypoints: np.ndarray | None = None
