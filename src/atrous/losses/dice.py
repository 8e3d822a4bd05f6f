"""Soft Dice overlaps of every class, over the whole batch: plain, with squares, weighted by size, and of sigmoids."""

from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float, Integer
from torch import Tensor

from atrous.losses.base import Target, map_probabilities
from atrous.losses.overlap import Overlap
from atrous.types import IGNORE_INDEX

__all__ = ["binary_dice_loss", "dice_loss", "dice_loss_squared", "generalized_dice_loss", "mean_of_present"]


def dice_loss(
    logits: Float[Tensor, "B K H W"],
    mask: Integer[Tensor, "B H W"],
    *,
    ignore_index: int = IGNORE_INDEX,
    smooth: Annotated[float, Ge(0)] = 0.0,
) -> Float[Tensor, ""]:
    r"""One minus the soft Dice overlap, averaged over the classes that are in the mask.

    .. math:: 1 - \frac{1}{|C|} \sum_{k \in C} \frac{2 \sum_i p_{ik} t_{ik} + s}{\sum_i p_{ik} + \sum_i t_{ik} + s}

    Sums run over all labelled pixels of the batch together. Classes absent from the mask are skipped: their overlap is
    0 whatever the network says, so without `smooth` they would add a constant 1 and nothing to learn from.

    Args:
        logits: unnormalised scores of any floating type; their softmax `p` is computed in float32 at least.
        mask: class of every pixel, 0 to K - 1, or `ignore_index`.
        ignore_index: pixels of this value count neither in `p` nor in `t`.
        smooth: added to both sides of every fraction; softens classes of few pixels. Twice the value is what
            segmentation_models_pytorch, which adds to (I + s) / (I + FP/2 + FN/2 + s), calls s.

    Returns:
        The loss, 0..1; 0 with a zero gradient if no pixel is labelled.

    Reference:
        Milletari et al., V-Net, 3DV 2016, https://arxiv.org/abs/1606.04797, there with squares below the line:
        `dice_loss_squared`.

    Example:
        >>> logits = torch.tensor([[9.0, -9.0], [-9.0, 9.0]])[None, :, None]   # sure of class 0, then of class 1
        >>> dice_loss(logits, torch.tensor([[[0, 1]]])) < 1e-6                # right
        tensor(True)
        >>> dice_loss(logits, torch.tensor([[[0, 0]]]))    # class 0: 2 * 1 / (1 + 2); class 1 is not in the mask
        tensor(0.3333)
    """
    return _dice(Overlap.of_softmax(logits, mask, ignore_index), smooth)


def dice_loss_squared(
    logits: Float[Tensor, "B K H W"],
    mask: Integer[Tensor, "B H W"],
    *,
    ignore_index: int = IGNORE_INDEX,
    smooth: Annotated[float, Ge(0)] = 0.0,
) -> Float[Tensor, ""]:
    r"""V-Net's Dice loss, with squares below the line; else as `dice_loss`.

    .. math:: 1 - \frac{1}{|C|} \sum_{k \in C}
              \frac{2 \sum_i p_{ik} t_{ik} + s}{\sum_i p_{ik}^2 + \sum_i t_{ik}^2 + s}

    A probability of 1/2 costs less below the line than in `dice_loss`, so that a network may stay unsure for longer.

    Args:
        logits: unnormalised scores of any floating type; their softmax `p` is computed in float32 at least.
        mask: class of every pixel, 0 to K - 1, or `ignore_index`.
        ignore_index: pixels of this value count neither in `p` nor in `t`.
        smooth: added to both sides of every fraction.

    Returns:
        The loss, 0..1; 0 with a zero gradient if no pixel is labelled.

    Reference:
        Milletari et al., V-Net, 3DV 2016, https://arxiv.org/abs/1606.04797; there of the one foreground.

    Example:
        >>> logits = torch.zeros(1, 2, 1, 2)                                  # 1/2 everywhere
        >>> dice_loss_squared(logits, torch.tensor([[[0, 1]]]))               # 1 - 2 * .5 / (2 * .25 + 1)
        tensor(0.3333)
        >>> dice_loss(logits, torch.tensor([[[0, 1]]]))                       # 1 - 2 * .5 / (2 * .5 + 1)
        tensor(0.5000)
    """
    return _dice(Overlap.of_softmax(logits, mask, ignore_index, squared=True), smooth)


def generalized_dice_loss(
    logits: Float[Tensor, "B K H W"], mask: Integer[Tensor, "B H W"], *, ignore_index: int = IGNORE_INDEX
) -> Float[Tensor, ""]:
    r"""One minus a single Dice overlap of all classes, in which each counts by the inverse square of its size.

    .. math:: 1 - 2 \frac{\sum_k w_k \sum_i p_{ik} t_{ik}}{\sum_k w_k \sum_i (p_{ik} + t_{ik})}, \quad
              w_k = \Big(\sum_i t_{ik}\Big)^{-2}

    A class that is not in the mask would weigh infinitely; it takes the largest weight of those that are, so that
    predicting it anywhere still costs something.

    Args:
        logits: unnormalised scores of any floating type; their softmax `p` is computed in float32 at least.
        mask: class of every pixel, 0 to K - 1, or `ignore_index`.
        ignore_index: pixels of this value count neither in `p` nor in `t`.

    Returns:
        The loss, 0..1; 0 with a zero gradient if no pixel is labelled.

    Reference:
        Sudre et al., DLMIA 2017, https://arxiv.org/abs/1707.03237.

    Example:
        >>> logits = torch.zeros(1, 2, 1, 4)                                  # 1/2 everywhere
        >>> generalized_dice_loss(logits, torch.tensor([[[0, 0, 0, 1]]]))
        tensor(0.6250)
        >>> 1 - 2 * (1 / 9 * 1.5 + 1 * 0.5) / (1 / 9 * (2 + 3) + 1 * (2 + 1))
        0.625
    """
    both, predicted, pixels = Overlap.of_softmax(logits, mask, ignore_index)
    inverse = torch.where(pixels > 0, 1 / pixels.clamp(min=1).to(both), 0.0)
    largest = inverse.max()
    # Scaled so that the largest is 1: the square of a large class's inverse is no number for float32.
    weights = torch.where(pixels > 0, inverse / torch.where(largest > 0, largest, 1.0), 1.0).square()
    below = (weights * (predicted + pixels)).sum()
    ratio = 2 * (weights * both).sum() / torch.where(largest > 0, below, 1.0)
    return torch.where(largest > 0, 1 - ratio, 0.0)


def binary_dice_loss(
    logits: Float[Tensor, "B K H W"],
    target: Target,
    *,
    ignore_index: int = IGNORE_INDEX,
    smooth: Annotated[float, Ge(0)] = 0.0,
) -> Float[Tensor, ""]:
    """`dice_loss` of K independent maps: sigmoids instead of a softmax.

    Args:
        logits: unnormalised scores of any floating type; their sigmoid is computed in float32 at least.
        target: 0 or 1 for every map (B, K, H, W), or the class of every pixel (B, H, W): see `one_versus_rest`.
        ignore_index: entries or pixels of this value count for nothing.
        smooth: added to both sides of every fraction.

    Returns:
        The loss, 0..1, averaged over the maps that are true anywhere; 0 with a zero gradient if nothing is labelled.

    Example:
        >>> logits = torch.tensor([[[[0.0, 9.0]], [[0.0, -9.0]]]])            # two maps of two pixels
        >>> target = torch.tensor([[[[0, 1]], [[1, 255]]]])
        >>> binary_dice_loss(logits, target)        # 1 - 2 * 1 / (1.5 + 1) = .2, and 1 - 2 * .5 / (.5 + 1) = .3333
        tensor(0.2667)
    """
    return _dice(Overlap.of(*map_probabilities(logits, target, ignore_index)), smooth)


def mean_of_present(losses: Float[Tensor, " K"], pixels: Integer[Tensor, " K"]) -> Float[Tensor, ""]:
    """The mean over the classes that are true anywhere; 0 where none is."""
    present = pixels > 0
    return torch.where(present, losses, 0.0).sum() / present.sum().clamp(min=1)


def _dice(overlap: Overlap, smooth: float) -> Float[Tensor, ""]:
    both, predicted, pixels = overlap
    # An absent class divides by 1 and not by what may be 0, so that no NaN reaches the gradient.
    below = torch.where(pixels > 0, predicted + pixels + smooth, 1.0)
    return mean_of_present(1 - (2 * both + smooth) / below, pixels)
