"""The soft Dice overlap of every class, over the whole batch."""

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from atrous.types import IGNORE_INDEX

__all__ = ["dice_loss"]


def dice_loss(
    logits: Float[Tensor, "B K H W"],
    mask: Integer[Tensor, "B H W"],
    *,
    ignore_index: int = IGNORE_INDEX,
    smooth: float = 0.0,
) -> Float[Tensor, ""]:
    r"""One minus the soft Dice overlap, averaged over the classes that are in the mask.

    .. math:: 1 - \frac{1}{|C|} \sum_{k \in C} \frac{2 \sum_i p_{ik} t_{ik} + s}{\sum_i p_{ik} + \sum_i t_{ik} + s}

    Sums run over all labelled pixels of the batch together. Classes absent from the mask are skipped: their overlap is
    0 whatever the network says, so without `smooth` they would add a constant 1 and nothing to learn from.

    Args:
        logits: unnormalised scores of any floating type; their softmax `p` is computed in float32 at least.
        mask: class of every pixel, 0 to K - 1, or `ignore_index`.
        ignore_index: pixels of this value count neither in `p` nor in `t`.
        smooth: added to both sides of every fraction; softens classes of few pixels.

    Returns:
        The loss, 0..1; 0 with a zero gradient if no pixel is labelled.

    Reference:
        Milletari et al., V-Net, 3DV 2016, https://arxiv.org/abs/1606.04797, there with squares below the line.

    Example:
        >>> logits = torch.tensor([[9.0, -9.0], [-9.0, 9.0]])[None, :, None]   # sure of class 0, then of class 1
        >>> dice_loss(logits, torch.tensor([[[0, 1]]])) < 1e-6                # right
        tensor(True)
        >>> dice_loss(logits, torch.tensor([[[0, 0]]]))    # class 0: 2 * 1 / (1 + 2); class 1 is not in the mask
        tensor(0.3333)
    """
    labelled = (mask != ignore_index)[:, None]
    exact = torch.promote_types(logits.dtype, torch.float32)
    probability = torch.where(labelled, logits.softmax(1, dtype=exact), 0.0)
    classes = torch.arange(logits.shape[1], device=logits.device)[:, None, None]
    truth = (mask[:, None] == classes) & labelled
    overlap = torch.where(truth, probability, 0.0).sum((0, 2, 3))
    pixels = truth.sum((0, 2, 3))
    present = pixels > 0
    # An absent class divides by 1 and not by what may be 0, so that no NaN reaches the gradient.
    below = torch.where(present, probability.sum((0, 2, 3)) + pixels + smooth, 1.0)
    loss = torch.where(present, 1 - (2 * overlap + smooth) / below, 0.0)
    return loss.sum() / present.sum().clamp(min=1)
