"""Focal loss: cross-entropy that looks away from the pixels that are right already."""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Float, Integer
from torch import Tensor

from atrous.losses.base import exact
from atrous.losses.cross_entropy import class_weights
from atrous.types import IGNORE_INDEX

__all__ = ["focal_factor", "focal_loss"]


def focal_loss(
    logits: Float[Tensor, "B K H W"],
    mask: Integer[Tensor, "B H W"],
    *,
    weights: Float[Tensor, " K"] | None = None,
    pixel_weights: Float[Tensor, "B H W"] | None = None,
    ignore_index: int = IGNORE_INDEX,
    gamma: Annotated[float, Ge(0)] = 2.0,
) -> Float[Tensor, ""]:
    r"""Cross-entropy times a power of what is still missing, over the labelled pixels.

    .. math:: \frac{-\sum_i v_i w_{t_i} (1 - p_i)^\gamma \log p_i}{\sum_i w_{t_i}}, \quad
              p_i = \mathrm{softmax}(x_i)_{t_i}

    With gamma = 0 it is `cross_entropy`, and it divides as that does. The paper's alpha is a class weight; its detector
    divides by the number of matched anchors, which pixels have none of.

    Args:
        logits: unnormalised scores of any floating type; computed in float32 at least.
        mask: class of every pixel, 0 to K - 1, or `ignore_index`.
        weights: of the classes; all 1 where None.
        pixel_weights: of the pixels, above the line only; all 1 where None.
        ignore_index: pixels of this value count neither above nor below the line.
        gamma: how strongly easy pixels are turned down; the paper has 2.

    Returns:
        The loss in nats; 0 with a zero gradient if no pixel is labelled.

    Reference:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, https://arxiv.org/abs/1708.02002.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])[None, :, None]     # true classes at .8808 and .5
        >>> focal_loss(logits, torch.tensor([[[0, 0]]]))                      # (.1192^2 * .1269 + .5^2 * .6931) / 2
        tensor(0.0875)
    """
    mask = mask.long()
    labelled = mask != ignore_index
    losses = F.cross_entropy(exact(logits), mask, ignore_index=ignore_index, reduction="none")
    losses = losses * focal_factor(-torch.expm1(-losses), gamma)  # 1 - p, without cancellation where p is near 1
    weight = labelled.to(losses) if weights is None else class_weights(mask, labelled, weights.to(losses))
    divisor = weight.sum()
    if pixel_weights is not None:
        weight = weight * torch.where(labelled, pixel_weights.to(weight), 0.0)
    return (losses * weight).sum() / torch.where(divisor > 0, divisor, 1.0)


def focal_factor(missing: Float[Tensor, "*S"], gamma: float) -> Float[Tensor, "*S"]:
    """What is missing of a probability, 1 - p, to the power of gamma, with a finite slope at 0.

    Example:
        >>> focal_factor(torch.tensor([0.5, 0.1]), 2.0)
        tensor([0.2500, 0.0100])
    """
    if gamma < 1:  # then the slope at 0 is infinite, and infinity times log(1) would be NaN
        missing = missing.clamp(min=torch.finfo(missing.dtype).tiny)
    return missing**gamma
