"""Region mutual information: not each pixel alone, but what a neighbourhood says about its truth.

Zhao et al., "Region Mutual Information Loss for Semantic Segmentation", NeurIPS 2019, https://arxiv.org/abs/1910.12037,
in the setting of Tao et al., HMSA, 2020, https://arxiv.org/abs/2005.10821.

As in the paper (and both groups' code)
    Every 3 x 3 neighbourhood of the pooled maps is one vector of 9 numbers, for the truth y and for the probability p.
    If both were Gaussian, what p leaves unknown of y would be half the log-determinant of y's covariance given p. That
    bounds their mutual information from below, up to the entropy of y, which nothing can be done about. Sigmoids of
    each class, pooled 4 x 4 with two pixels of zeros around; covariances are sums rather than means over the
    neighbourhoods, 5e-4 on their diagonals; in float64; divided by 9; summed over classes, averaged over images.

Different from the paper
    - One Cholesky factor of both vectors' joint covariance instead of an inverse, a product and a factor of the rest.
    - The cross-entropy divides by the number n of labelled pixels, not by n + 1, and no probability is raised by 1e-6.
    - Images without a labelled pixel are left out of the mean.
"""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor

from atrous.losses.base import Target, exact, one_versus_rest
from atrous.losses.binary import binary_cross_entropy
from atrous.types import IGNORE_INDEX

__all__ = ["region_uncertainty", "rmi_loss"]

DIAGONAL = 5e-4
"""Added to the variances: keeps regions of one value finite."""


def rmi_loss(
    logits: Float[Tensor, "B K H W"],
    target: Target,
    *,
    ignore_index: int = IGNORE_INDEX,
    radius: Annotated[int, Ge(1), Le(10)] = 3,
    pool: Annotated[int, Ge(1)] = 4,
    pooling: Literal["average", "maximum"] = "average",
    share: Annotated[float, Ge(0), Le(1)] = 0.5,
) -> Float[Tensor, ""]:
    r"""Cross-entropy of K sigmoids, and the region mutual information that they miss.

    .. math:: \lambda \, \mathrm{BCE} + (1 - \lambda) \frac{1}{B} \sum_b \sum_k
              \frac{1}{2 d} \log \det \big(\Sigma_{y} - \Sigma_{y p} (\Sigma_{p} + \varepsilon I)^{-1} \Sigma_{p y}
              + \varepsilon I\big)

    BCE is summed over the maps and averaged over the labelled pixels (`binary_cross_entropy` with "pixel_mean"); the
    second term is `region_uncertainty` of the truth and the sigmoids, whose ignored entries are 0 in both. It may be
    below 0: a map that is constant gives (log 5e-4) / 2 = -3.8. Maps so small that no neighbourhood fits leave it out.

    Args:
        logits: unnormalised scores of any floating type; computed in float32 at least, the covariances in float64.
        target: 0 or 1 for every map (B, K, H, W), or the class of every pixel (B, H, W): see `one_versus_rest`.
        ignore_index: entries or pixels of this value count for nothing.
        radius: side of a neighbourhood, whose square is d.
        pool: side and stride of the pooling; 1 pools nothing.
        pooling: "average" as HMSA, or "maximum".
        share: lambda above; 1 is the cross-entropy alone.

    Returns:
        The loss in nats; 0 with a zero gradient if nothing is labelled.

    Reference:
        Zhao et al., NeurIPS 2019, https://arxiv.org/abs/1910.12037.

    Example:
        >>> mask = torch.zeros(1, 32, 32, dtype=torch.int64)
        >>> mask[:, :, 16:] = 1
        >>> right = 8 * (torch.stack([mask == 0, mask == 1], 1).float() - 0.5) # logits of 4 and -4
        >>> blurred = F.avg_pool2d(right, 17, stride=1, padding=8)
        >>> rmi_loss(right, mask) < rmi_loss(blurred, mask)
        tensor(True)
    """
    loss = binary_cross_entropy(logits, target, ignore_index=ignore_index, reduction="pixel_mean")
    grid = tuple(side if pool == 1 else (side + 2 * (pool // 2) - pool) // pool + 1 for side in logits.shape[-2:])
    if share == 1 or min(grid) < radius:
        return share * loss
    truth, labelled = one_versus_rest(target, logits.shape[1], ignore_index=ignore_index)
    scores = exact(logits)
    probability = torch.where(labelled, scores.sigmoid(), 0.0)
    maps = [_double(_pool(each, pool, pooling)) for each in (truth.to(scores), probability)]
    known = labelled.expand_as(truth).any(3).any(2)
    uncertainty = torch.where(known, region_uncertainty(maps[0], maps[1], radius).to(loss), 0.0).sum()
    return share * loss + (1 - share) * uncertainty / known.any(1).sum().clamp(min=1)


def region_uncertainty(
    truth: Float[Tensor, "B K H W"], probability: Float[Tensor, "B K H W"], radius: int = 3
) -> Float[Tensor, "B K"]:
    r"""What the probabilities around a place leave unknown of the truth around it, per dimension.

    .. math:: \frac{1}{2 d} \log \det \big(\Sigma_{y} - \Sigma_{y p} (\Sigma_{p} + \varepsilon I)^{-1} \Sigma_{p y}
              + \varepsilon I\big)

    over all d = radius x radius neighbourhoods that lie inside the map, with covariances that are sums over them. The
    matrix is the Schur complement of :math:`\Sigma_p + \varepsilon I` in the joint covariance of both, and the last d
    rows of the joint covariance's Cholesky factor are the factor of it: nothing is inverted or subtracted.

    Args:
        truth: y, any numbers; float64 is asked for where neighbourhoods are many.
        probability: p.
        radius: side of a neighbourhood, at most the sides of the maps.

    Example:
        >>> truth = torch.tensor([[[[0.0, 1.0, 0.0, 2.0]]]]).double()         # mean .75, sum of squares 2.75
        >>> region_uncertainty(truth, torch.zeros_like(truth), radius=1)      # log(2.75 + 5e-4) / 2
        tensor([[0.5059]], dtype=torch.float64)
        >>> region_uncertainty(truth, truth, radius=1)                        # log(2.75 - 2.75^2 / 2.7505 + 5e-4) / 2
        tensor([[-3.4539]], dtype=torch.float64)
    """
    d = radius * radius
    vectors = torch.cat([_neighbourhoods(probability, radius), _neighbourhoods(truth, radius)], 2)
    vectors = vectors - vectors.mean(-1, keepdim=True)
    diagonal = DIAGONAL * torch.eye(2 * d, dtype=vectors.dtype, device=vectors.device)
    factor = torch.linalg.cholesky(vectors @ vectors.mT + diagonal)
    return factor.diagonal(dim1=-2, dim2=-1)[..., d:].log().sum(-1) / d


def _neighbourhoods(maps: Float[Tensor, "B K H W"], radius: int) -> Float[Tensor, "B K D N"]:
    """All square neighbourhoods inside the map as columns."""
    rows, columns = (side - radius + 1 for side in maps.shape[-2:])
    shifted = [maps[..., y : y + rows, x : x + columns] for y in range(radius) for x in range(radius)]
    return torch.stack(shifted, 2).flatten(3)


def _pool(maps: Float[Tensor, "B K H W"], size: int, kind: str) -> Float[Tensor, "B K h w"]:
    if size == 1:
        return maps
    pool = F.avg_pool2d if kind == "average" else F.max_pool2d
    return pool(maps, size, stride=size, padding=size // 2)


def _double(maps: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Float64, on the CPU where the device has none."""
    return (maps.cpu() if maps.device.type == "mps" else maps).double()
