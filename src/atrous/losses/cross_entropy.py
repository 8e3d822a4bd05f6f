"""Cross-entropy per pixel, with classes and pixels weighted and pixels left out; all pixels, or the hardest alone."""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from atrous.losses.base import exact, exact_in_order
from atrous.types import IGNORE_INDEX

__all__ = ["cross_entropy", "ohem_cross_entropy", "topk_cross_entropy"]


def cross_entropy(
    logits: Float[Tensor, "B K H W"],
    mask: Integer[Tensor, "B H W"],
    *,
    weights: Float[Tensor, " K"] | None = None,
    pixel_weights: Float[Tensor, "B H W"] | None = None,
    ignore_index: int = IGNORE_INDEX,
    label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean",
) -> Float[Tensor, ""]:
    r"""The negative log-probability of the true class, over the labelled pixels.

    .. math:: \frac{-\sum_i v_i w_{t_i} \log \mathrm{softmax}(x_i)_{t_i}}{\sum_i w_{t_i}}

    The mean divides by the *sum of the class weights* of the labelled pixels, as torch does, not by their number:
    scaling all weights by one factor changes nothing. It does not divide by the pixels' own weights v: a map of them
    multiplies the energy of each pixel, as U-Net's does, and 1 everywhere is the plain loss. The sum divides by
    nothing, as the Caffe networks did; their learning rates (1e-10 and the like) belong to it.

    Args:
        logits: unnormalised scores of any floating type; computed in float32 at least.
        mask: class of every pixel, 0 to K - 1, or `ignore_index`.
        weights: of the classes; all 1 where None.
        pixel_weights: of the pixels; all 1 where None. At ignored pixels they are not looked at.
        ignore_index: pixels of this value count neither above nor below the line.
        label_smoothing: share of the target, in 0..1, that is spread evenly over all classes.
        reduction: "mean" over the labelled pixels as above, or their "sum".

    Returns:
        The loss in nats; 0 with a zero gradient if no pixel is labelled, or if all that are have weight 0.

    Reference:
        The weight map: Ronneberger et al., U-Net, MICCAI 2015, https://arxiv.org/abs/1505.04597.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])[None, :, None]     # two classes, one row of two pixels
        >>> -torch.log_softmax(logits, 1)[0, [0, 1], 0, [0, 1]]
        tensor([0.1269, 0.3133])
        >>> cross_entropy(logits, torch.tensor([[[0, 1]]]))                   # their mean
        tensor(0.2201)
        >>> weights = torch.tensor([3.0, 1.0])                                # (3 * .1269 + .3133) / 4
        >>> cross_entropy(logits, torch.tensor([[[0, 1]]]), weights=weights)
        tensor(0.1735)
        >>> border = torch.tensor([[[1.0, 11.0]]])                            # (.1269 + 11 * .3133) / 2
        >>> cross_entropy(logits, torch.tensor([[[0, 1]]]), pixel_weights=border)
        tensor(1.7864)
        >>> cross_entropy(logits, torch.tensor([[[0, 255]]]))                 # the second pixel is unlabelled
        tensor(0.1269)
    """
    logits = exact_in_order(logits)
    mask = mask.long()
    if weights is not None:
        weights = weights.to(logits)
    total = F.cross_entropy(
        logits,
        mask,
        weights,
        ignore_index=ignore_index,
        reduction="sum" if pixel_weights is None else "none",
        label_smoothing=label_smoothing,
    )
    labelled = mask != ignore_index
    if pixel_weights is not None:
        total = torch.where(labelled, total * pixel_weights.to(total), 0.0).sum()
    if reduction == "sum":
        return total
    divisor = labelled.sum().to(total.dtype) if weights is None else class_weights(mask, labelled, weights).sum()
    return total / torch.where(divisor > 0, divisor, 1.0)


def ohem_cross_entropy(
    logits: Float[Tensor, "B K H W"],
    mask: Integer[Tensor, "B H W"],
    *,
    weights: Float[Tensor, " K"] | None = None,
    ignore_index: int = IGNORE_INDEX,
    threshold: Annotated[float, Gt(0), Le(1)] = 0.9,
    min_kept: Annotated[int, Ge(1)] = 131072,
) -> Float[Tensor, ""]:
    r"""Cross-entropy of the hard pixels: online hard example mining, as HRNet is trained.

    .. math:: \frac{\sum_{i \in S} w_{t_i} (-\log p_i)}{\sum_{i \in S} w_{t_i}}, \quad
              S = \{i : p_i < \max(\theta, p_{(m + 1)})\}, \quad p_i = \mathrm{softmax}(x_i)_{t_i}

    A pixel is hard where its true class has a probability below the threshold. Where these are too few, the threshold
    rises to the (m + 1)-th smallest probability :math:`p_{(m + 1)}` of the batch, so that m pixels stay below it.

    As in the authors' code, the comparison is strict even where the batch has m labelled pixels or fewer: then the
    threshold is the largest probability of all, and the easiest pixel is left out (and its equals with it).
    Different from it: class weights stand below the line too, as in `cross_entropy`.

    Args:
        logits: unnormalised scores of any floating type; computed in float32 at least.
        mask: class of every pixel, 0 to K - 1, or `ignore_index`.
        weights: of the classes; all 1 where None. They do not change which pixels are hard.
        ignore_index: pixels of this value are never kept.
        threshold: theta above; the authors' settings for Cityscapes have 0.9.
        min_kept: m above, over the whole batch; the authors' 131072 belong to crops of 512 x 1024 on each device.

    Returns:
        The loss in nats; 0 with a zero gradient if no pixel is labelled, or if none is kept.

    Reference:
        Shrivastava et al., CVPR 2016, https://arxiv.org/abs/1604.03540; for pixels in the code of
        Wang et al., HRNet, https://arxiv.org/abs/1908.07919.

    Example:
        >>> logits = torch.tensor([[3.0, 0.0, 1.0], [0.0, 0.0, 0.0]])[None, :, None]
        >>> mask = torch.zeros(1, 1, 3, dtype=torch.int64)
        >>> logits.softmax(1)[0, 0, 0]                                        # probabilities of the true class
        tensor([0.9526, 0.5000, 0.7311])
        >>> ohem_cross_entropy(logits, mask, threshold=0.6, min_kept=1)       # -log .5
        tensor(0.6931)
        >>> ohem_cross_entropy(logits, mask, threshold=0.6, min_kept=2)       # (-log .5 - log .7311) / 2
        tensor(0.5032)
    """
    losses, labelled = _pixel_losses(logits, mask, ignore_index)
    probability = (-losses.detach()).exp()
    # Ignored pixels take the largest value, so that they neither lower the threshold nor are counted by it.
    top = torch.where(labelled, probability, 0.0).max()
    ranked = torch.where(labelled, probability, top).flatten()
    bound = ranked.kthvalue(min(min_kept + 1, ranked.numel())).values.clamp(min=threshold)
    kept = labelled & (probability < bound)
    return mean_over(losses, kept, None if weights is None else class_weights(mask, labelled, weights.to(losses)))


def topk_cross_entropy(
    logits: Float[Tensor, "B K H W"],
    mask: Integer[Tensor, "B H W"],
    *,
    weights: Float[Tensor, " K"] | None = None,
    ignore_index: int = IGNORE_INDEX,
    fraction: Annotated[float, Gt(0), Le(1)] = 0.2,
) -> Float[Tensor, ""]:
    r"""Cross-entropy of the hardest fraction of the labelled pixels.

    .. math:: \frac{\sum_{i \in S} w_{t_i} (-\log p_i)}{\sum_{i \in S} w_{t_i}}, \quad
              S = \text{the } \max(1, \mathrm{round}(f n)) \text{ largest of } w_{t_i} (-\log p_i)

    The n labelled pixels of the whole batch compete. A fraction of 1 is the plain `cross_entropy`.

    Args:
        logits: unnormalised scores of any floating type; computed in float32 at least.
        mask: class of every pixel, 0 to K - 1, or `ignore_index`.
        weights: of the classes; all 1 where None.
        ignore_index: pixels of this value are never kept.
        fraction: f above. DeepLab's later code has values of 0.15 to 1.

    Returns:
        The loss in nats; 0 with a zero gradient if no pixel is labelled.

    Reference:
        Wu et al., Bridging category-level and instance-level semantic image segmentation, 2016,
        https://arxiv.org/abs/1605.06885.

    Example:
        >>> logits = torch.tensor([[3.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])[None, :, None]
        >>> mask = torch.zeros(1, 1, 4, dtype=torch.int64)
        >>> -logits.log_softmax(1)[0, 0, 0]
        tensor([0.0486, 0.6931, 0.3133, 1.3133])
        >>> topk_cross_entropy(logits, mask, fraction=0.5)                    # (.6931 + 1.3133) / 2
        tensor(1.0032)
    """
    losses, labelled = _pixel_losses(logits, mask, ignore_index)
    weight = None if weights is None else class_weights(mask, labelled, weights.to(losses))
    ranked = losses.detach() if weight is None else losses.detach() * weight
    order = torch.where(labelled, ranked, -1.0).flatten().argsort(descending=True)
    count = (labelled.sum() * fraction).round().clamp(min=1)
    rank = torch.arange(order.numel(), device=order.device)
    kept = torch.zeros_like(labelled).flatten().scatter(0, order, rank < count).view_as(labelled) & labelled
    return mean_over(losses, kept, weight)


def class_weights(
    mask: Integer[Tensor, "B H W"], labelled: Bool[Tensor, "B H W"], weights: Float[Tensor, " K"]
) -> Float[Tensor, "B H W"]:
    """The weight of each pixel's class, 0 where it has none."""
    return torch.where(labelled, weights[torch.where(labelled, mask.long(), 0)], 0.0)


def mean_over(
    losses: Float[Tensor, "*S"], kept: Bool[Tensor, "*S"], weights: Float[Tensor, "*S"] | None = None
) -> Float[Tensor, ""]:
    """The weighted mean of the kept ones; 0 with a zero gradient where nothing is kept."""
    weights = kept.to(losses.dtype) if weights is None else torch.where(kept, weights, 0.0)
    divisor = weights.sum()
    return torch.where(kept, losses * weights, 0.0).sum() / torch.where(divisor > 0, divisor, 1.0)


def _pixel_losses(
    logits: Float[Tensor, "B K H W"], mask: Integer[Tensor, "B H W"], ignore_index: int
) -> tuple[Float[Tensor, "B H W"], Bool[Tensor, "B H W"]]:
    """Cross-entropy of each pixel, 0 where it is ignored, and whether it is labelled."""
    losses = F.cross_entropy(exact(logits), mask.long(), ignore_index=ignore_index, reduction="none")
    return losses, mask != ignore_index
