"""The confusion matrix and FCN's four measures.

A matrix is (K, K), rows the true class, columns the predicted one, summed over a *whole data set*: averaging a measure
over images gives a different number. A class that is neither in the truth nor predicted is undefined (NaN) and is left
out of the means; a class that is predicted but never true has IoU 0 and counts.

Reference:
    Long, Shelhamer and Darrell, Fully Convolutional Networks, CVPR 2015, https://arxiv.org/abs/1411.4038, section 5.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from atrous.metrics.overlapping import summarize_labels
from atrous.types import IGNORE_INDEX

__all__ = [
    "class_accuracy",
    "class_dice",
    "class_iou",
    "class_precision",
    "confusion_matrix",
    "frequency_weighted_iou",
    "mean_accuracy",
    "mean_iou",
    "pixel_accuracy",
    "summarize",
]


def confusion_matrix(
    classes: Integer[Tensor, "*size"],
    mask: Integer[Tensor, "*size"],
    num_classes: int,
    *,
    ignore_index: int = IGNORE_INDEX,
) -> Int[Tensor, "K K"]:
    """Count the pixels of every true class (rows) by the class they were given (columns).

    Args:
        classes: decided class of every pixel, 0 to K - 1.
        mask: true class of every pixel; any other value than 0 to K - 1 counts for nothing.
        num_classes: K.
        ignore_index: true pixels of this value count for nothing, even where it is below K.

    Returns:
        int64 counts, on the device of `mask`.

    Raises:
        ValueError: if a decided class is not in 0 to K - 1.

    Example:
        >>> confusion_matrix(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 255]), 2)
        tensor([[1, 1],
                [0, 1]])
    """
    decided, truth = classes.flatten(), mask.flatten()
    if decided.numel():
        low, high = (int(value) for value in torch.aminmax(decided))
        if low < 0 or high >= num_classes:
            raise ValueError(f"decided classes run from {low} to {high}, but there are {num_classes} classes")
    counted = (truth >= 0) & (truth < num_classes) & (truth != ignore_index)
    row = torch.where(counted, truth.long(), num_classes)  # a last row takes what does not count
    counts = torch.bincount(row * num_classes + decided, minlength=(num_classes + 1) * num_classes)
    return counts.view(num_classes + 1, num_classes)[:num_classes]


def pixel_accuracy(matrix: Int[Tensor, "K K"]) -> float:
    """Share of the labelled pixels that are decided right; NaN without any.

    Example:
        >>> pixel_accuracy(torch.tensor([[6, 2], [1, 1]]))          # 7 of 10
        0.7
    """
    counts = matrix.double()
    return float(counts.diag().sum() / counts.sum())


def class_accuracy(matrix: Int[Tensor, "K K"]) -> Float[Tensor, " K"]:
    """Share of each class's pixels that are decided right (recall); NaN for a class that is never true.

    Example:
        >>> class_accuracy(torch.tensor([[6, 2], [1, 1]]))
        tensor([0.7500, 0.5000], dtype=torch.float64)
    """
    counts = matrix.double()
    return counts.diag() / counts.sum(1)


def class_iou(matrix: Int[Tensor, "K K"]) -> Float[Tensor, " K"]:
    r"""Intersection over union of each class.

    .. math:: \mathrm{IoU}_k = \frac{n_{kk}}{\sum_j n_{kj} + \sum_j n_{jk} - n_{kk}}

    NaN for a class that is neither true nor predicted anywhere, 0 for one that is only predicted.

    Example:
        >>> class_iou(torch.tensor([[6, 2], [1, 1]]))               # 6 / (8 + 7 - 6), 1 / (2 + 3 - 1)
        tensor([0.6667, 0.2500], dtype=torch.float64)
    """
    counts = matrix.double()
    right = counts.diag()
    return right / (counts.sum(1) + counts.sum(0) - right)


def class_precision(matrix: Int[Tensor, "K K"]) -> Float[Tensor, " K"]:
    """Share of the pixels given to each class that are of it; NaN for a class that is never decided.

    Example:
        >>> class_precision(torch.tensor([[6, 2], [1, 1]]))
        tensor([0.8571, 0.3333], dtype=torch.float64)
    """
    counts = matrix.double()
    return counts.diag() / counts.sum(0)


def class_dice(matrix: Int[Tensor, "K K"]) -> Float[Tensor, " K"]:
    r"""Dice coefficient of each class, which is its F1: the harmonic mean of precision and recall.

    .. math:: \mathrm{Dice}_k = \frac{2 n_{kk}}{\sum_j n_{kj} + \sum_j n_{jk}}

    It is :math:`2 \mathrm{IoU} / (1 + \mathrm{IoU})`, and undefined (NaN) where the IoU is.

    Example:
        >>> class_dice(torch.tensor([[6, 2], [1, 1]]))              # 12 / (8 + 7), 2 / (2 + 3)
        tensor([0.8000, 0.4000], dtype=torch.float64)
    """
    counts = matrix.double()
    return 2 * counts.diag() / (counts.sum(1) + counts.sum(0))


def mean_accuracy(matrix: Int[Tensor, "K K"]) -> float:
    """Mean of `class_accuracy` over the classes that occur in the truth.

    Example:
        >>> mean_accuracy(torch.tensor([[6, 2], [1, 1]]))
        0.625
    """
    return float(class_accuracy(matrix).nanmean())


def mean_iou(matrix: Int[Tensor, "K K"]) -> float:
    """Mean of `class_iou` over the classes that are true or predicted anywhere.

    Example:
        >>> mean_iou(torch.tensor([[6, 2, 0], [1, 1, 0], [0, 0, 0]]))    # (2/3 + 1/4) / 2; the third class is nowhere
        0.4583333333333333
    """
    return float(class_iou(matrix).nanmean())


def frequency_weighted_iou(matrix: Int[Tensor, "K K"]) -> float:
    """Mean of `class_iou` weighted by each class's share of the labelled pixels.

    Example:
        >>> round(frequency_weighted_iou(torch.tensor([[6, 2], [1, 1]])), 4)          # .8 * 2 / 3 + .2 / 4
        0.5833
    """
    counts = matrix.double()
    share = counts.sum(1) / counts.sum()
    return float(torch.where(share > 0, share * class_iou(matrix), share).sum())


def summarize(matrix: Int[Tensor, "*counts"], class_names: Sequence[str]) -> dict[str, Any]:
    """All measures of a matrix, in the words of the tables and reports.

    Args:
        matrix: (K, K); or (K, 2, 2) where classes may overlap, see `summarize_labels`.
        class_names: K.

    Returns:
        "pixel_accuracy", "mean_accuracy", "mean_iou" and "frequency_weighted_iou" as floats, and "iou", "dice",
        "precision" and "accuracy" (the recall) as dicts from class name to float. What is undefined is NaN.

    Example:
        >>> summarize(torch.tensor([[6, 2], [2, 0]]), ["soil", "crop"])["iou"]
        {'soil': 0.6, 'crop': 0.0}
    """
    if len(class_names) != len(matrix):
        raise ValueError(f"{len(class_names)} class names for a matrix of {len(matrix)} classes")
    if matrix.ndim == 3:
        return summarize_labels(matrix, class_names)
    return {
        "pixel_accuracy": pixel_accuracy(matrix),
        "mean_accuracy": mean_accuracy(matrix),
        "mean_iou": mean_iou(matrix),
        "frequency_weighted_iou": frequency_weighted_iou(matrix),
        "iou": dict(zip(class_names, class_iou(matrix).tolist(), strict=True)),
        "dice": dict(zip(class_names, class_dice(matrix).tolist(), strict=True)),
        "precision": dict(zip(class_names, class_precision(matrix).tolist(), strict=True)),
        "accuracy": dict(zip(class_names, class_accuracy(matrix).tolist(), strict=True)),
    }
