"""Tversky's overlap, which weighs false alarms and misses apart: plain, focal, and of sigmoids."""

from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float, Integer
from torch import Tensor

from atrous.losses.base import Target, map_probabilities
from atrous.losses.dice import mean_of_present
from atrous.losses.focal import focal_factor
from atrous.losses.overlap import Overlap
from atrous.types import IGNORE_INDEX

__all__ = ["binary_tversky_loss", "focal_tversky_loss", "tversky_loss"]

Share = Annotated[float, Ge(0)]


def tversky_loss(
    logits: Float[Tensor, "B K H W"],
    mask: Integer[Tensor, "B H W"],
    *,
    ignore_index: int = IGNORE_INDEX,
    alpha: Share = 0.3,
    beta: Share = 0.7,
    smooth: Share = 0.0,
) -> Float[Tensor, ""]:
    r"""One minus Tversky's index, averaged over the classes that are in the mask.

    .. math:: 1 - \frac{1}{|C|} \sum_{k \in C} T_k, \quad
              T_k = \frac{I_k + s}{I_k + \alpha \mathrm{FP}_k + \beta \mathrm{FN}_k + s}

    with :math:`I = \sum_i p_i t_i`, :math:`\mathrm{FP} = \sum_i p_i (1 - t_i)`,
    :math:`\mathrm{FN} = \sum_i (1 - p_i) t_i` over all labelled pixels of the batch. Both 0.5 is Dice; a beta above
    alpha makes misses dearer than false alarms. Classes absent from the mask are skipped, as in `dice_loss`.

    Args:
        logits: unnormalised scores of any floating type; their softmax `p` is computed in float32 at least.
        mask: class of every pixel, 0 to K - 1, or `ignore_index`.
        ignore_index: pixels of this value count neither in `p` nor in `t`.
        alpha: weight of false alarms.
        beta: weight of misses.
        smooth: added to both sides of every fraction.

    Returns:
        The loss, 0..1; 0 with a zero gradient if no pixel is labelled.

    Reference:
        Salehi et al., MLMI 2017, https://arxiv.org/abs/1706.05721, who found 0.3 and 0.7 best.

    Example:
        >>> logits = torch.zeros(1, 2, 1, 4)                                  # 1/2 everywhere
        >>> mask = torch.tensor([[[0, 0, 0, 1]]])
        >>> tversky_loss(logits, mask)
        tensor(0.5299)
        >>> 1 - (1.5 / (1.5 + 0.3 * 0.5 + 0.7 * 1.5) + 0.5 / (0.5 + 0.3 * 1.5 + 0.7 * 0.5)) / 2
        0.52991...
    """
    overlap = Overlap.of_softmax(logits, mask, ignore_index)
    return mean_of_present(1 - _index(overlap, alpha, beta, smooth), overlap.pixels)


def focal_tversky_loss(
    logits: Float[Tensor, "B K H W"],
    mask: Integer[Tensor, "B H W"],
    *,
    ignore_index: int = IGNORE_INDEX,
    alpha: Share = 0.3,
    beta: Share = 0.7,
    gamma: Annotated[float, Ge(1)] = 4 / 3,
    smooth: Share = 0.0,
) -> Float[Tensor, ""]:
    r"""`tversky_loss` of each class to a power below 1, which turns to the classes that are nearly right.

    .. math:: \frac{1}{|C|} \sum_{k \in C} (1 - T_k)^{1 / \gamma}

    Args:
        logits: unnormalised scores of any floating type; their softmax is computed in float32 at least.
        mask: class of every pixel, 0 to K - 1, or `ignore_index`.
        ignore_index: pixels of this value count for nothing.
        alpha: weight of false alarms.
        beta: weight of misses.
        gamma: 1 is `tversky_loss`; the paper has 4/3.
        smooth: added to both sides of every fraction.

    Returns:
        The loss, 0..1; 0 with a zero gradient if no pixel is labelled.

    Reference:
        Abraham and Khan, ISBI 2019, https://arxiv.org/abs/1810.07842.

    Example:
        >>> logits = torch.zeros(1, 2, 1, 4)
        >>> focal_tversky_loss(logits, torch.tensor([[[0, 0, 0, 1]]]))
        tensor(0.6196)
        >>> ((1 - 1.5 / 2.7) ** 0.75 + (1 - 0.5 / 1.3) ** 0.75) / 2
        0.61956...
    """
    overlap = Overlap.of_softmax(logits, mask, ignore_index)
    missing = 1 - _index(overlap, alpha, beta, smooth)
    return mean_of_present(focal_factor(missing, 1 / gamma), overlap.pixels)


def binary_tversky_loss(
    logits: Float[Tensor, "B K H W"],
    target: Target,
    *,
    ignore_index: int = IGNORE_INDEX,
    alpha: Share = 0.3,
    beta: Share = 0.7,
    smooth: Share = 0.0,
) -> Float[Tensor, ""]:
    """`tversky_loss` of K independent maps: sigmoids instead of a softmax.

    Args:
        logits: unnormalised scores of any floating type; their sigmoid is computed in float32 at least.
        target: 0 or 1 for every map (B, K, H, W), or the class of every pixel (B, H, W): see `one_versus_rest`.
        ignore_index: entries or pixels of this value count for nothing.
        alpha: weight of false alarms.
        beta: weight of misses.
        smooth: added to both sides of every fraction.

    Returns:
        The loss, 0..1, averaged over the maps that are true anywhere; 0 with a zero gradient if nothing is labelled.

    Example:
        >>> logits = torch.zeros(1, 1, 1, 4)                                  # one map, 1/2 everywhere
        >>> binary_tversky_loss(logits, torch.tensor([[[0, 0, 0, 1]]]))       # 1 - .5 / (.5 + .3 * 1.5 + .7 * .5)
        tensor(0.6154)
    """
    overlap = Overlap.of(*map_probabilities(logits, target, ignore_index))
    return mean_of_present(1 - _index(overlap, alpha, beta, smooth), overlap.pixels)


def _index(overlap: Overlap, alpha: float, beta: float, smooth: float) -> Float[Tensor, " K"]:
    """Tversky's index of each class; of absent ones a number that nobody reads."""
    both, predicted, pixels = overlap
    below = both + alpha * (predicted - both) + beta * (pixels - both) + smooth
    # With beta = 0 a class that is predicted nowhere divides 0 by 0.
    return (both + smooth) / torch.where(pixels > 0, below, 1.0).clamp(min=torch.finfo(both.dtype).tiny)
