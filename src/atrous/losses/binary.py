"""Losses of K independent yes-or-no maps: sigmoids instead of a softmax."""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from jaxtyping import Bool, Float
from torch import Tensor

from atrous.losses.base import Target, exact, one_versus_rest
from atrous.losses.focal import focal_factor
from atrous.types import IGNORE_INDEX

__all__ = ["binary_cross_entropy", "binary_focal_loss"]


def binary_cross_entropy(
    logits: Float[Tensor, "B K H W"],
    target: Target,
    *,
    pixel_weights: Float[Tensor, "B H W"] | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: Literal["mean", "pixel_mean", "sum"] = "mean",
) -> Float[Tensor, ""]:
    r"""The negative log-probability of the truth of every map.

    .. math:: -\frac{1}{n} \sum_{i, k} v_i \big(t_{ik} \log \sigma(x_{ik}) + (1 - t_{ik}) \log \sigma(-x_{ik})\big)

    Args:
        logits: unnormalised scores of any floating type; computed in float32 at least.
        target: 0 or 1 for every map (B, K, H, W), or the class of every pixel (B, H, W): see `one_versus_rest`.
        pixel_weights: of the pixels, above the line only; all 1 where None.
        ignore_index: entries or pixels of this value count for nothing.
        reduction: what n is: "mean" has the number of labelled entries, "pixel_mean" the number of pixels with any
            (K times as much where all are labelled), "sum" 1.

    Returns:
        The loss in nats; 0 with a zero gradient if nothing is labelled.

    Example:
        >>> logits = torch.tensor([[[[0.0, 2.0]], [[0.0, -2.0]]]])            # two maps of two pixels
        >>> binary_cross_entropy(logits, torch.tensor([[[0, 0]]]))            # (2 * log 2 + 2 * .1269) / 4
        tensor(0.4100)
        >>> binary_cross_entropy(logits, torch.tensor([[[0, 0]]]), reduction="pixel_mean")
        tensor(0.8201)
        >>> binary_cross_entropy(logits, torch.tensor([[[[1, 255]], [[255, 0]]]]))   # (log 2 + .1269) / 2
        tensor(0.4100)
    """
    losses, _, labelled = _entries(logits, target, ignore_index)
    total = _sum(losses, labelled, pixel_weights)
    if reduction == "sum":
        return total
    if reduction == "pixel_mean":
        return total / labelled.any(1).sum().clamp(min=1)
    return total / labelled.expand_as(losses).sum().clamp(min=1)


def binary_focal_loss(
    logits: Float[Tensor, "B K H W"],
    target: Target,
    *,
    pixel_weights: Float[Tensor, "B H W"] | None = None,
    ignore_index: int = IGNORE_INDEX,
    gamma: Annotated[float, Ge(0)] = 2.0,
    alpha: Annotated[float, Ge(0), Le(1)] | None = 0.25,
) -> Float[Tensor, ""]:
    r"""The paper's focal loss, averaged over the labelled entries of all maps.

    .. math:: -\frac{1}{n} \sum_{i, k} v_i a_{ik} (1 - q_{ik})^\gamma \log q_{ik}, \quad
              q = t \sigma(x) + (1 - t) \sigma(-x), \quad a = t \alpha + (1 - t) (1 - \alpha)

    The paper's detector divides by the number of matched anchors instead of n, and starts its last layer with the bias
    :math:`-\log((1 - \pi) / \pi)`, pi = 0.01, so that the many false entries begin nearly right.

    Args:
        logits: unnormalised scores of any floating type; computed in float32 at least.
        target: 0 or 1 for every map (B, K, H, W), or the class of every pixel (B, H, W): see `one_versus_rest`.
        pixel_weights: of the pixels, above the line only; all 1 where None.
        ignore_index: entries or pixels of this value count for nothing.
        gamma: how strongly easy entries are turned down.
        alpha: weight of true entries, whose complement is that of false ones; None weighs both by 1.

    Returns:
        The loss in nats; 0 with a zero gradient if nothing is labelled.

    Reference:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, https://arxiv.org/abs/1708.02002.

    Example:
        >>> logits = torch.zeros(1, 1, 1, 2)                                  # 1/2 twice: .25 * log 2 = .1733 each
        >>> binary_focal_loss(logits, torch.tensor([[[0, 1]]]), alpha=None)
        tensor(0.1733)
        >>> binary_focal_loss(logits, torch.tensor([[[1, 1]]]))
        tensor(0.0433)
    """
    losses, truth, labelled = _entries(logits, target, ignore_index)
    missing = (exact(logits) * (1 - 2 * truth.to(losses))).sigmoid()  # 1 - q, without cancellation where q is near 1
    losses = losses * focal_factor(missing, gamma)
    share = None if alpha is None else torch.where(truth, alpha, 1 - alpha).to(losses)
    return _sum(losses, labelled, pixel_weights, share) / labelled.expand_as(losses).sum().clamp(min=1)


def _entries(
    logits: Float[Tensor, "B K H W"], target: Target, ignore_index: int
) -> tuple[Float[Tensor, "B K H W"], Bool[Tensor, "B K H W"], Bool[Tensor, "B _ H W"]]:
    """Cross-entropy of every entry (a number at ignored ones, too), its truth, and whether it is labelled."""
    truth, labelled = one_versus_rest(target, logits.shape[1], ignore_index=ignore_index)
    scores = exact(logits)
    losses = F.binary_cross_entropy_with_logits(scores, truth.to(scores), reduction="none")
    return losses, truth, labelled


def _sum(
    losses: Float[Tensor, "B K H W"],
    labelled: Bool[Tensor, "B _ H W"],
    pixel_weights: Float[Tensor, "B H W"] | None,
    share: Float[Tensor, "B K H W"] | None = None,
) -> Float[Tensor, ""]:
    """The weighted sum of the labelled entries; weights are joined before they meet what carries a gradient."""
    weights = labelled.to(losses)
    if pixel_weights is not None:
        weights = torch.where(labelled, pixel_weights[:, None].to(losses), 0.0)
    return (losses * (weights if share is None else weights * share)).sum()
