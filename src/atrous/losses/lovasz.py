"""Lovász losses: the mean intersection over union itself, made differentiable.

The Jaccard loss of a set of wrong pixels is submodular, and Lovász's extension of it to soft errors is convex: sort the
errors, and weigh each by how much the Jaccard loss grows when its pixel joins the wrong ones before it.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from atrous.losses.base import Target, exact, one_versus_rest, softmax_probabilities
from atrous.types import IGNORE_INDEX

__all__ = ["lovasz_gradient", "lovasz_hinge", "lovasz_softmax"]


def lovasz_softmax(
    logits: Float[Tensor, "B K H W"],
    mask: Integer[Tensor, "B H W"],
    *,
    ignore_index: int = IGNORE_INDEX,
    per_image: bool = False,
) -> Float[Tensor, ""]:
    r"""Lovász's extension of the Jaccard loss of every class, averaged over the classes that are in the mask.

    .. math:: \frac{1}{|C|} \sum_{k \in C} \sum_j e_{k (j)} g_{kj}, \quad e_{ki} = |t_{ik} - p_{ik}|

    where :math:`e_{k (j)}` is the j-th largest error of class k and g the `lovasz_gradient` of the truth in that order.

    Args:
        logits: unnormalised scores of any floating type; their softmax `p` is computed in float32 at least.
        mask: class of every pixel, 0 to K - 1, or `ignore_index`.
        ignore_index: pixels of this value count for nothing.
        per_image: take the loss of each image, and the mean over images with labelled pixels, rather than the loss of
            the batch as if it were one image.

    Returns:
        The loss, 0..1; 0 with a zero gradient if no pixel is labelled.

    Reference:
        Berman et al., CVPR 2018, https://arxiv.org/abs/1705.08790.

    Example:
        >>> logits = torch.tensor([[4.0, 0.6, -0.4], [0.0, 0.0, 0.0]])[None, :, None]
        >>> logits.softmax(1)[0, 0, 0]
        tensor([0.9820, 0.6457, 0.4013])
        >>> lovasz_softmax(logits, torch.tensor([[[0, 1, 1]]]))
        tensor(0.4596)

        Of class 0 the errors are .6457, .4013 and .0180, and the last of them is true; of class 1 the first two are:

        >>> (0.6457 * 1 / 2 + 0.4013 * 1 / 6 + 0.0180 * 1 / 3 + 0.6457 * 1 / 2 + 0.4013 * 1 / 2 + 0.0180 * 0) / 2
        0.459...
    """
    probability, truth = softmax_probabilities(logits, mask, ignore_index)
    errors = torch.where(truth, 1 - probability, probability)
    labelled = (mask != ignore_index)[:, None].expand_as(truth)
    losses = _jaccard(*(_rows(maps, per_image) for maps in (errors, truth, labelled)))
    return _mean(losses, _rows(truth, per_image).any(2))


def lovasz_hinge(
    logits: Float[Tensor, "B K H W"],
    target: Target,
    *,
    ignore_index: int = IGNORE_INDEX,
    per_image: bool = False,
) -> Float[Tensor, ""]:
    r"""Lovász's extension of the Jaccard loss with hinge errors, of K independent maps.

    .. math:: \frac{1}{K} \sum_k \sum_j \max(e_{k (j)}, 0) g_{kj}, \quad e_{ki} = 1 - x_{ik} (2 t_{ik} - 1)

    A map that is true nowhere counts as well: its loss is its largest error, the worst false alarm.

    Args:
        logits: signed scores of any floating type; computed in float32 at least.
        target: 0 or 1 for every map (B, K, H, W), or the class of every pixel (B, H, W): see `one_versus_rest`.
        ignore_index: entries or pixels of this value count for nothing.
        per_image: take the loss of each image, and the mean over images with labelled pixels, rather than the loss of
            the batch as if it were one image.

    Returns:
        The loss, from 0; 0 with a zero gradient if nothing is labelled.

    Reference:
        Berman et al., CVPR 2018, https://arxiv.org/abs/1705.08790.

    Example:
        >>> logits = torch.tensor([[[[2.0, 0.5, -0.5]]]])                     # one map
        >>> lovasz_hinge(logits, torch.tensor([[[1, 1, 0]]]))                 # errors -1, .5 and .5: (1 - 1/3) * .5
        tensor(0.3333)
        >>> lovasz_hinge(logits, torch.tensor([[[0, 0, 0]]]))                 # the worst of 3, 1.5 and .5
        tensor(3.)
    """
    truth, labelled = one_versus_rest(target, logits.shape[1], ignore_index=ignore_index)
    scores = exact(logits)
    errors = torch.relu(1 - torch.where(truth, scores, -scores))
    labelled = labelled.expand_as(truth)
    losses = _jaccard(*(_rows(maps, per_image) for maps in (errors, truth, labelled)))
    return _mean(losses, _rows(labelled, per_image).any(2))


def lovasz_gradient(truth: Bool[Tensor, "*R N"]) -> Float[Tensor, "*R N"]:
    r"""How much each pixel adds to the Jaccard loss when it joins the wrong ones, in the order given.

    With G true pixels in all, the loss after the first j is :math:`J_j = 1 - I_j / U_j`, where the intersection
    :math:`I_j` is G less the true ones so far, and the union :math:`U_j` is G and the false ones so far. The
    differences are written out, because subtracting neighbours would lose them in rounding:

    .. math:: J_j - J_{j-1} = \frac{1}{U_j} \text{ where true}, \quad
              \frac{I_j}{U_{j-1} U_j} \text{ where false}

    Args:
        truth: of the pixels, by falling error.

    Returns:
        The differences in float32, whose sum is 1.

    Example:
        >>> lovasz_gradient(torch.tensor([True, False, True, True]))
        tensor([0.3333, 0.1667, 0.2500, 0.2500])
    """
    number = torch.arange(1, truth.shape[-1] + 1, device=truth.device, dtype=torch.int32)
    so_far = truth.cumsum(-1, dtype=torch.int32)
    total = so_far[..., -1:]
    union = total + number - so_far
    before = union - 1  # where false
    # Without any true pixel the loss is 1 from the first one on.
    share = torch.where(before > 0, (total - so_far) / before.clamp(min=1), 1.0)
    return torch.where(truth, 1.0, share) / union


def _rows(maps: Tensor, per_image: bool) -> Tensor:
    """(B, K, H, W) as groups of pixels that are sorted together: (B, K, H W), or (1, K, B H W)."""
    return maps.flatten(2) if per_image else maps.transpose(0, 1).flatten(1)[None]


def _jaccard(
    errors: Float[Tensor, "G K N"], truth: Bool[Tensor, "G K N"], labelled: Bool[Tensor, "G K N"]
) -> Float[Tensor, "G K"]:
    """The extension at the errors, which are at least 0."""
    # Ignored pixels come last, after every true one: there the gradient is 0.
    order = _falling(torch.where(labelled, errors.detach(), -1.0))
    growth = lovasz_gradient(truth.gather(-1, order)).to(errors)
    # The weights go to the pixels rather than the errors to the weights: then nothing of the sorting is kept.
    weights = torch.zeros_like(errors).scatter(-1, order, growth)
    return torch.where(labelled, errors * weights, 0.0).sum(-1)


def _falling(errors: Float[Tensor, "*S N"]) -> Integer[Tensor, "*S N"]:
    """The order of falling errors along the last axis."""
    if errors.device.type != "cpu":
        return errors.argsort(-1, descending=True)
    return torch.from_numpy(np.argsort(-errors.numpy(), -1))  # in about a third of the time that torch takes


def _mean(losses: Float[Tensor, "G K"], counted: Bool[Tensor, "G K"]) -> Float[Tensor, ""]:
    """The mean over the counted maps of each group, then over the groups that have any."""
    each = torch.where(counted, losses, 0.0).sum(1) / counted.sum(1).clamp(min=1)
    return each.sum() / counted.any(1).sum().clamp(min=1)
