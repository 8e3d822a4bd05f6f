"""How a soft map and the truth overlap, class by class: what Dice and Tversky are made of."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.autograd.function import once_differentiable

from atrous.losses.base import exact_in_order, softmax_probabilities

__all__ = ["Overlap"]


class Overlap(NamedTuple):
    """Sums per class, over the batch.

    Attributes:
        both: of the probabilities where the class is true.
        predicted: of all its probabilities.
        pixels: how often it is true.
    """

    both: Float[Tensor, " K"]
    predicted: Float[Tensor, " K"]
    pixels: Integer[Tensor, " K"]

    @classmethod
    def of(cls, probability: Float[Tensor, "B K H W"], truth: Bool[Tensor, "B K H W"]) -> "Overlap":
        """Sums over images and pixels."""
        axes = (0, 2, 3)
        return cls(torch.where(truth, probability, 0.0).sum(axes), probability.sum(axes), truth.sum(axes))

    @classmethod
    def of_softmax(
        cls,
        logits: Float[Tensor, "B K H W"],
        mask: Integer[Tensor, "B H W"],
        ignore_index: int,
        *,
        squared: bool = False,
    ) -> "Overlap":
        """Sums of the softmax over exclusive classes, computed in float32 at least; ignored pixels count for nothing.

        Args:
            logits: unnormalised scores.
            mask: class of every pixel, or `ignore_index`.
            ignore_index: of pixels that count for nothing.
            squared: let `predicted` sum the squares.
        """
        if logits.device.type == "cpu":
            return cls(*_SoftmaxOverlap.apply(exact_in_order(logits), mask, ignore_index, squared))  # type: ignore[no-untyped-call]
        probability, truth = softmax_probabilities(logits, mask, ignore_index)
        overlap = cls.of(probability, truth)
        return overlap._replace(predicted=probability.square().sum((0, 2, 3))) if squared else overlap


class _SoftmaxOverlap(torch.autograd.Function):
    """The sums without a map of truth for every class, and their gradient in two passes over the logits.

    With p the softmax, and a_k and b_k the gradients of the sums of all probabilities and of those at the class's own
    pixels, the gradient of logit k at a pixel of class t is p_k (a_k + [k = t] b_t - s), s = sum_j a_j p_j + b_t p_t.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, mask: Tensor, ignore_index: int, squared: bool) -> tuple[Tensor, ...]:
        probability, classes = logits.softmax(1), logits.shape[1]
        labelled = mask != ignore_index
        if not bool(labelled.all()):
            probability.masked_fill_(~labelled[:, None], 0.0)
        known = labelled & (mask >= 0) & (mask < classes)
        place = torch.where(known, mask, 0).long()
        own = torch.where(known, probability.gather(1, place[:, None])[:, 0], 0.0)
        # In float64: a sum in order, of hundreds of thousands of numbers.
        both = torch.bincount(place.flatten(), own.flatten().double(), classes).to(own.dtype)
        predicted = (probability.square() if squared else probability).sum((0, 2, 3))
        pixels = torch.bincount(torch.where(known, mask, classes).flatten().long(), minlength=classes + 1)[:classes]
        ctx.save_for_backward(probability, place, own)
        ctx.squared = squared
        ctx.mark_non_differentiable(pixels)
        return both, predicted, pixels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        probability, place, own = ctx.saved_tensors
        of_both, of_predicted = gradients[0], gradients[1]
        batch, classes, height, width = probability.shape
        of_own = of_both[place] * own
        if ctx.squared:
            slope = probability * (2 * of_predicted[:, None, None])
            mean = (probability * slope).sum(1)
        else:
            slope = of_predicted[:, None, None]
            mean = torch.matmul(of_predicted, probability.view(batch, classes, -1)).view(batch, height, width)
        result = (slope - (mean + of_own)[:, None]).mul_(probability)
        return result.scatter_add_(1, place[:, None], of_own[:, None]), None, None, None
