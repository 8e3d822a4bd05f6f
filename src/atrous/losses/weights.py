"""Weights that let rare classes speak, from how often the classes occur in the training images."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from jaxtyping import Float
from torch import Tensor

from atrous.errors import UsageError

__all__ = ["ClassFrequencies", "effective_number", "enet", "inverse", "median_frequency"]


class ClassFrequencies(TypedDict):
    """How often each class occurs in a data set.

    Attributes:
        pixels: labelled pixels of each class.
        totals: for each class, all labelled pixels of the images in which it occurs.
    """

    pixels: Sequence[int]
    totals: Sequence[int]


def median_frequency(pixels: Sequence[int], totals: Sequence[int]) -> Float[Tensor, " K"]:
    r"""Median frequency balancing: the median frequency over the class's own.

    .. math:: w_k = \frac{\mathrm{median}_j f_j}{f_k}, \quad f_k = \frac{\text{pixels}_k}{\text{totals}_k}

    The median is over the classes that occur, its middle two averaged where their number is even; a class that never
    occurs gets weight 0. Unlabelled pixels are in none of the counts.

    Args:
        pixels: of each class, over all images.
        totals: for each class, the pixels of the images in which it occurs.

    Reference:
        Eigen and Fergus, ICCV 2015, https://arxiv.org/abs/1411.4734; used by SegNet.

    Example:
        >>> median_frequency([11, 3, 2], [16, 8, 8])
        tensor([0.5455, 1.0000, 1.5000])
    """
    count, total = torch.tensor(list(pixels)).double(), torch.tensor(list(totals)).double()
    present = count > 0
    if not present.any():
        return torch.zeros(len(count))
    frequency = torch.where(present, count / total.clamp(min=1), 1.0)
    median = frequency[present].quantile(0.5)
    return torch.where(present, median / frequency, 0.0).float()


def enet(pixels: Sequence[int], *, constant: float = 1.02) -> Float[Tensor, " K"]:
    r"""ENet's bounded weights: no class weighs more than about 50.

    .. math:: w_k = \frac{1}{\ln(c + p_k)}, \quad p_k = \frac{\text{pixels}_k}{\sum_j \text{pixels}_j}

    With c = 1.02 the weights lie in 1.42..50.5. A class that never occurs gets weight 0, as in the authors' code.

    Args:
        pixels: of each class, over all images; unlabelled pixels are not counted.
        constant: the c above. The authors' code has 1.2 while the encoder alone is trained.

    Reference:
        Paszke et al., ENet, 2016, https://arxiv.org/abs/1606.02147.

    Example:
        >>> enet([11, 3, 2])
        tensor([1.8691, 5.3036, 7.3853])
    """
    count = torch.tensor(list(pixels)).double()
    share = count / count.sum().clamp(min=1)
    return torch.where(count > 0, 1 / torch.log(constant + share), 0.0).float()


def inverse(pixels: Sequence[int]) -> Float[Tensor, " K"]:
    r"""Inverse frequency: a class that is twice as rare weighs twice as much.

    .. math:: w_k = |C| \frac{1 / \text{pixels}_k}{\sum_{j \in C} 1 / \text{pixels}_j}

    Normalised over the classes C that occur, whose weights have the mean 1; a class that never occurs gets weight 0.

    Args:
        pixels: of each class, over all images; unlabelled pixels are not counted.

    Example:
        >>> inverse([8, 2, 0])                             # 2 * (1/8) / (5/8), 2 * (1/2) / (5/8)
        tensor([0.4000, 1.6000, 0.0000])
    """
    count = torch.tensor(list(pixels)).double()
    return _normalised(1 / count.clamp(min=1), count)


def effective_number(pixels: Sequence[int], *, beta: float | None = None) -> Float[Tensor, " K"]:
    r"""The inverse of the effective number of samples: classes of plenty are not turned down without end.

    .. math:: w_k \propto \frac{1 - \beta}{1 - \beta^{n_k}}, \quad \sum_{k \in C} w_k = |C|

    A class of n samples is worth as many as are different from each other, :math:`(1 - \beta^n) / (1 - \beta)`, and
    never more than :math:`N = 1 / (1 - \beta)`. The paper counts images and takes beta from 0.9 to 0.9999. Pixels are
    counted in millions, of which any such beta makes N alike for all classes and all weights 1. So by default N is
    the *mean number of pixels* of the classes that occur: classes far below the mean weigh as by `inverse`, and those
    far above it alike, whatever the size of the images.

    Args:
        pixels: n, of each class, over all images; unlabelled pixels are not counted.
        beta: in 0..1, below 1; None takes 1 - 1 / N with the N above. 0 weighs all classes alike; near 1 it is
            `inverse`.

    Raises:
        UsageError: if beta is not in 0..1, or 1.

    Reference:
        Cui et al., Class-balanced loss based on effective number of samples, CVPR 2019,
        https://arxiv.org/abs/1901.05555.

    Example:
        >>> effective_number([3, 1], beta=0.5)             # 1 / (1 - 1/8) : 1 / (1 - 1/2) = 8/7 : 2
        tensor([0.7273, 1.2727])
        >>> effective_number([9000, 900, 100, 0])          # N = 3333: 1 / (1 - e^-2.7) : 1 / (1 - e^-.27) : ...
        tensor([0.0822, 0.3240, 2.5938, 0.0000])
    """
    if beta is not None and not 0 <= beta < 1:
        raise UsageError(f"effective_number: beta is {beta}, but it must be at least 0 and below 1; choose another.")
    count = torch.tensor(list(pixels)).double()
    if beta is None:
        beta = 1 - float((count > 0).sum().clamp(min=1) / count.sum().clamp(min=1))
    remaining = -torch.expm1(count * torch.tensor(beta, dtype=torch.float64).log())  # 1 - beta^n without cancellation
    return _normalised(1 / torch.where(count > 0, remaining, 1.0), count)


def _normalised(weights: Float[Tensor, " K"], count: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    """Weights of mean 1 over the classes that occur, and 0 for the others."""
    present = count > 0
    weights = torch.where(present, weights, 0.0)
    total = weights.sum()
    return (weights * present.sum() / torch.where(total > 0, total, 1.0)).float()
