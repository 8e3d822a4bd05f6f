"""Transforms that change every image: training would see nothing of what a prediction sees.

What a recipe's `augment` names happens in training alone. An image of a validation or a prediction comes as it is, so a
transform has to be able to leave one as it is, or nearly. One that never does is preprocessing, and that belongs to the
model, which takes it along to wherever it runs, or to the files.
"""

from typing import Any

from atrous.augment.geometry import DiscreteScale, HorizontalFlip, RandomScale, Resize, VerticalFlip
from atrous.augment.intensity import ChannelGain, GaussianBlur

__all__ = ["never_spares"]

SHARP = 0.5
"""Sigma of a blur, in pixels, below which next to nothing is smoothed."""
_SIZES = (
    "Let the model do it: model: {name: downscaled, network: NETWORK, factor: 2} looks at images of half the size, in "
    "training and in prediction; or resize the files of both"
)


def never_spares(transform: Any) -> str:
    """What a transform does to every image, and what to do instead; "" where it may leave one as it is.

    Example:
        >>> never_spares(RandomScale(0.5, 2.0))
        ''
        >>> never_spares(HorizontalFlip(p=1.0))
        'mirrors every image of the training and none of a prediction. Give a p below 1, or mirror the files of both'
    """
    does, instead = _find(transform)
    return f"{does} every image of the training and none of a prediction. {instead}" if does else ""


def _find(transform: Any) -> tuple[str, str]:
    if isinstance(transform, Resize):
        return "resizes", _SIZES
    if isinstance(transform, RandomScale | DiscreteScale):
        scales = (transform.low, transform.high) if isinstance(transform, RandomScale) else transform.scales
        word = "shrinks" if max(scales) < 1 else "enlarges" if min(scales) > 1 else ""
        return word, f"Let the scales reach 1. {_SIZES}"
    if isinstance(transform, HorizontalFlip | VerticalFlip) and transform.p == 1:
        return "mirrors", "Give a p below 1, or mirror the files of both"
    if isinstance(transform, GaussianBlur) and transform.p == 1 and transform.low >= SHARP:
        return "blurs", f"Give a p below 1, or a low below {SHARP:g}, or blur the files of both"
    if isinstance(transform, ChannelGain) and transform.p == 1 and not transform.low <= 1 <= transform.high:
        return "brightens" if transform.low > 1 else "darkens", "Let low and high hold 1, or give a p below 1"
    return "", ""
