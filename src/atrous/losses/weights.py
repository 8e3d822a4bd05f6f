"""Weights that let rare classes speak, from how often the classes occur in the training images."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["ClassFrequencies", "enet", "median_frequency"]


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
