"""Cross-entropy per pixel, with classes weighted and pixels left out."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from atrous.types import IGNORE_INDEX

__all__ = ["cross_entropy"]


def cross_entropy(
    logits: Float[Tensor, "B K H W"],
    mask: Integer[Tensor, "B H W"],
    *,
    weights: Float[Tensor, " K"] | None = None,
    ignore_index: int = IGNORE_INDEX,
    label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean",
) -> Float[Tensor, ""]:
    r"""The negative log-probability of the true class, over the labelled pixels.

    .. math:: \frac{-\sum_i w_{t_i} \log \mathrm{softmax}(x_i)_{t_i}}{\sum_i w_{t_i}}

    The mean divides by the *sum of the weights* of the labelled pixels, as torch does, not by their number: scaling all
    weights by one factor changes nothing. The sum divides by nothing, as the Caffe networks did; their learning rates
    (1e-10 and the like) belong to it.

    Args:
        logits: unnormalised scores of any floating type; computed in float32 at least.
        mask: class of every pixel, 0 to K - 1, or `ignore_index`.
        weights: of the classes; all 1 where None.
        ignore_index: pixels of this value count neither above nor below the line.
        label_smoothing: share of the target, in 0..1, that is spread evenly over all classes.
        reduction: "mean" over the labelled pixels as above, or their "sum".

    Returns:
        The loss in nats; 0 with a zero gradient if no pixel is labelled, or if all that are have weight 0.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])[None, :, None]     # two classes, one row of two pixels
        >>> -torch.log_softmax(logits, 1)[0, [0, 1], 0, [0, 1]]
        tensor([0.1269, 0.3133])
        >>> cross_entropy(logits, torch.tensor([[[0, 1]]]))                   # their mean
        tensor(0.2201)
        >>> weights = torch.tensor([3.0, 1.0])                                # (3 * .1269 + .3133) / 4
        >>> cross_entropy(logits, torch.tensor([[[0, 1]]]), weights=weights)
        tensor(0.1735)
        >>> cross_entropy(logits, torch.tensor([[[0, 255]]]))                 # the second pixel is unlabelled
        tensor(0.1269)
    """
    # torch turns channels_last logits for the softmax in any case: here in one pass with the change of type.
    exact = torch.promote_types(logits.dtype, torch.float32)
    logits, mask = logits.to(exact, memory_format=torch.contiguous_format), mask.long()
    if weights is not None:
        weights = weights.to(logits)
    total = F.cross_entropy(
        logits, mask, weights, ignore_index=ignore_index, reduction="sum", label_smoothing=label_smoothing
    )
    if reduction == "sum":
        return total
    labelled = mask != ignore_index
    if weights is None:
        divisor = labelled.sum().to(total.dtype)
    else:
        divisor = torch.where(labelled, weights[torch.where(labelled, mask, 0)], 0.0).sum()
    return total / torch.where(divisor > 0, divisor, 1.0)
