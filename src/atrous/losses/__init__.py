"""What training minimises: functions of raw network outputs and the mask, one number out.

Every loss takes `logits` (B, K, H, W) and `mask` (B, H, W), leaves pixels of class `ignore_index` out, and is exactly 0
with a zero gradient where nothing is labelled. Those whose second argument is a `target` are of sigmoids, one
yes-or-no map per class, and also take the truth of every map (B, K, H, W). All compute in float32 at least.
"""

from collections.abc import Callable

from torch import Tensor

from atrous.losses.base import one_versus_rest
from atrous.losses.binary import binary_cross_entropy, binary_focal_loss
from atrous.losses.boundary import boundary_loss, signed_distances
from atrous.losses.cross_entropy import cross_entropy, ohem_cross_entropy, topk_cross_entropy
from atrous.losses.dice import binary_dice_loss, dice_loss, dice_loss_squared, generalized_dice_loss
from atrous.losses.focal import focal_loss
from atrous.losses.lovasz import lovasz_gradient, lovasz_hinge, lovasz_softmax
from atrous.losses.rmi import region_uncertainty, rmi_loss
from atrous.losses.tversky import binary_tversky_loss, focal_tversky_loss, tversky_loss
from atrous.losses.weights import ClassFrequencies, effective_number, enet, inverse, median_frequency

__all__ = [
    "CLASS_WEIGHTS",
    "LOSSES",
    "ClassFrequencies",
    "binary_cross_entropy",
    "binary_dice_loss",
    "binary_focal_loss",
    "binary_tversky_loss",
    "boundary_loss",
    "cross_entropy",
    "dice_loss",
    "dice_loss_squared",
    "effective_number",
    "enet",
    "focal_loss",
    "focal_tversky_loss",
    "generalized_dice_loss",
    "inverse",
    "lovasz_gradient",
    "lovasz_hinge",
    "lovasz_softmax",
    "median_frequency",
    "ohem_cross_entropy",
    "one_versus_rest",
    "region_uncertainty",
    "rmi_loss",
    "signed_distances",
    "topk_cross_entropy",
    "tversky_loss",
]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "topk_cross_entropy": topk_cross_entropy,
    "ohem": ohem_cross_entropy,
    "focal": focal_loss,
    "dice": dice_loss,
    "dice_squared": dice_loss_squared,
    "generalized_dice": generalized_dice_loss,
    "tversky": tversky_loss,
    "focal_tversky": focal_tversky_loss,
    "lovasz_softmax": lovasz_softmax,
    "lovasz_hinge": lovasz_hinge,
    "boundary": boundary_loss,
    "rmi": rmi_loss,
    "binary_cross_entropy": binary_cross_entropy,
    "binary_focal": binary_focal_loss,
    "binary_dice": binary_dice_loss,
    "binary_tversky": binary_tversky_loss,
}

CLASS_WEIGHTS: dict[str, Callable[[ClassFrequencies], Tensor]] = {
    "median_frequency": lambda frequencies: median_frequency(frequencies["pixels"], frequencies["totals"]),
    "enet": lambda frequencies: enet(frequencies["pixels"]),
    # The authors' constant for their first step, the encoder alone.
    "enet_encoder": lambda frequencies: enet(frequencies["pixels"], constant=1.2),
    "inverse": lambda frequencies: inverse(frequencies["pixels"]),
    "effective_number": lambda frequencies: effective_number(frequencies["pixels"]),
}
