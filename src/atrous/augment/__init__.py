"""Random changes of a training sample: image, mask, instances and weight together.

A recipe names them in `data.augment`. They run in the order given, each drawing from the generator it is handed, so
that a sample is a pure function of (seed, step, position).
"""

from collections.abc import Callable

from atrous.augment.base import Mixing, SampleSource, Transform
from atrous.augment.borders import BorderWeights, SeparateTouching
from atrous.augment.chain import Compose, compose
from atrous.augment.crops import BalancedCrop, CenterCrop, ForegroundCrop, RandomCrop
from atrous.augment.geometry import (
    DiscreteScale,
    HorizontalFlip,
    RandomScale,
    Resize,
    Rotate90,
    VerticalFlip,
)
from atrous.augment.intensity import ChannelGain, ColorJitter, GaussianBlur, GaussianNoise, Intensity
from atrous.augment.mixing import CopyPaste, CutMix
from atrous.augment.objects import ObjectCrop
from atrous.augment.warps import Elastic, Rotation, Shift, Simard

__all__ = [
    "TRANSFORMS",
    "BalancedCrop",
    "BorderWeights",
    "CenterCrop",
    "ChannelGain",
    "ColorJitter",
    "Compose",
    "CopyPaste",
    "CutMix",
    "DiscreteScale",
    "Elastic",
    "ForegroundCrop",
    "GaussianBlur",
    "GaussianNoise",
    "HorizontalFlip",
    "Intensity",
    "Mixing",
    "ObjectCrop",
    "RandomCrop",
    "RandomScale",
    "Resize",
    "Rotate90",
    "Rotation",
    "SampleSource",
    "SeparateTouching",
    "Shift",
    "Simard",
    "Transform",
    "VerticalFlip",
    "compose",
]

TRANSFORMS: dict[str, Callable[..., Transform]] = {
    "random_scale": RandomScale,
    "discrete_scale": DiscreteScale,
    "resize": Resize,
    "random_crop": RandomCrop,
    "center_crop": CenterCrop,
    "balanced_crop": BalancedCrop,
    "foreground_crop": ForegroundCrop,
    "object_crop": ObjectCrop,
    "horizontal_flip": HorizontalFlip,
    "vertical_flip": VerticalFlip,
    "rotate90": Rotate90,
    "rotation": Rotation,
    "shift": Shift,
    "elastic": Elastic,
    "simard": Simard,
    "intensity": Intensity,
    "channel_gain": ChannelGain,
    "color_jitter": ColorJitter,
    "gaussian_noise": GaussianNoise,
    "gaussian_blur": GaussianBlur,
    "copy_paste": CopyPaste,
    "cutmix": CutMix,
    "separate_touching": SeparateTouching,
    "border_weights": BorderWeights,
}
"""What a recipe's `augment` list may name."""
