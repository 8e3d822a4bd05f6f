"""Random changes of a training sample: image, mask, instances and weight together.

A recipe names them in `data.augment`. They run in the order given, each drawing from the generator it is handed, so
that a sample is a pure function of (seed, step, position).
"""

from collections.abc import Callable

from atrous.data.transforms.base import Compose, Transform, compose
from atrous.data.transforms.geometry import (
    CenterCrop,
    Elastic,
    HorizontalFlip,
    RandomCrop,
    RandomScale,
    Resize,
    Rotate90,
    Rotation,
    VerticalFlip,
)
from atrous.data.transforms.intensity import ColorJitter, GaussianBlur, GaussianNoise, Intensity
from atrous.data.transforms.objects import ObjectCrop

__all__ = [
    "TRANSFORMS",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "Elastic",
    "GaussianBlur",
    "GaussianNoise",
    "HorizontalFlip",
    "Intensity",
    "ObjectCrop",
    "RandomCrop",
    "RandomScale",
    "Resize",
    "Rotate90",
    "Rotation",
    "Transform",
    "VerticalFlip",
    "compose",
]

TRANSFORMS: dict[str, Callable[..., Transform]] = {
    "random_scale": RandomScale,
    "random_crop": RandomCrop,
    "center_crop": CenterCrop,
    "resize": Resize,
    "horizontal_flip": HorizontalFlip,
    "vertical_flip": VerticalFlip,
    "rotate90": Rotate90,
    "rotation": Rotation,
    "elastic": Elastic,
    "intensity": Intensity,
    "color_jitter": ColorJitter,
    "gaussian_noise": GaussianNoise,
    "gaussian_blur": GaussianBlur,
    "object_crop": ObjectCrop,
}
"""What a recipe's `augment` list may name."""
