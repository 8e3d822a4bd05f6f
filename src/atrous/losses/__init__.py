"""What training minimises: functions of raw network outputs and the mask, one number out.

Every loss takes `logits` (B, K, H, W) and `mask` (B, H, W), leaves pixels of class `ignore_index` out, and is exactly 0
with a zero gradient where nothing is labelled.
"""

from collections.abc import Callable

from torch import Tensor

from atrous.losses.cross_entropy import cross_entropy
from atrous.losses.dice import dice_loss
from atrous.losses.weights import ClassFrequencies, enet, median_frequency

__all__ = ["CLASS_WEIGHTS", "LOSSES", "ClassFrequencies", "cross_entropy", "dice_loss", "enet", "median_frequency"]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "dice": dice_loss,
}

CLASS_WEIGHTS: dict[str, Callable[[ClassFrequencies], Tensor]] = {
    "median_frequency": lambda frequencies: median_frequency(frequencies["pixels"], frequencies["totals"]),
    "enet": lambda frequencies: enet(frequencies["pixels"]),
    # The authors' constant for their first step, the encoder alone.
    "enet_encoder": lambda frequencies: enet(frequencies["pixels"], constant=1.2),
}
