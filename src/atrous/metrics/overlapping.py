"""Counts and scores where classes may overlap: every class is a question of its own."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int, Num
from torch import Tensor

from atrous.types import IGNORE_INDEX

__all__ = ["label_counts", "planes_of", "summarize_labels"]


def planes_of(
    mask: Num[Tensor, "*size"], num_classes: int, *, ignore_index: int = IGNORE_INDEX
) -> Num[Tensor, "B K H W"]:
    """A mask as a plane for each class: 1 where it is, 0 where it is not, `ignore_index` where nobody knows.

    Args:
        mask: (B, K, H, W), which stays as it is, or (B, H, W) with the class of every pixel.
        num_classes: K.
        ignore_index: of unknown entries, or pixels.

    Example:
        >>> planes_of(torch.tensor([[[0, 1, 255]]]), 2)[0, :, 0].tolist()
        [[1, 0, 255], [0, 1, 255]]
    """
    if mask.ndim == 4:
        return mask
    classes = torch.arange(num_classes, device=mask.device)[None, :, None, None]
    return torch.where(mask[:, None] == ignore_index, ignore_index, (mask[:, None] == classes).to(mask.dtype))


def label_counts(
    decided: Bool[Tensor, "B K H W"], target: Num[Tensor, "B K H W"], *, ignore_index: int = IGNORE_INDEX
) -> Int[Tensor, "K 2 2"]:
    """For each class a confusion matrix of "is it there?": rows the truth, no and yes, columns what was decided.

    Example:
        >>> decided = torch.tensor([[[[True, True, False, True]]]])
        >>> label_counts(decided, torch.tensor([[[[1, 0, 1, 255]]]])).tolist()
        [[[0, 1], [1, 1]]]
    """
    known, true = target != ignore_index, target == 1
    counts = [
        (known & (true == truth) & (decided == answer)).sum((0, 2, 3))
        for truth in (False, True)
        for answer in (False, True)
    ]
    return torch.stack(counts, 1).view(-1, 2, 2)


def summarize_labels(counts: Int[Tensor, "K 2 2"], class_names: Sequence[str]) -> dict[str, Any]:
    """The measures of `label_counts`, under the names that `summarize` uses.

    Returns:
        "iou", "dice", "precision" and "accuracy" (the recall: the share of a class's pixels that was found) by class,
        "mean_iou" and "mean_accuracy" over the classes where they are defined, and "pixel_accuracy", the share of all
        answers that are right.

    Example:
        >>> found = summarize_labels(torch.tensor([[[5, 1], [1, 3]], [[8, 0], [2, 0]]]), ["nucleus", "cell"])
        >>> found["iou"], found["pixel_accuracy"]
        ({'nucleus': 0.6, 'cell': 0.0}, 0.8)
    """
    table = counts.double()
    found, missed, extra = table[:, 1, 1], table[:, 1, 0], table[:, 0, 1]
    iou, accuracy = found / (found + missed + extra), found / (found + missed)
    right = (table[:, 0, 0] + found).sum() / table.sum()
    return {
        "pixel_accuracy": float(right),
        "mean_accuracy": float(accuracy.nanmean()),
        "mean_iou": float(iou.nanmean()),
        "iou": dict(zip(class_names, iou.tolist(), strict=True)),
        "dice": dict(zip(class_names, (2 * found / (2 * found + missed + extra)).tolist(), strict=True)),
        "precision": dict(zip(class_names, (found / (found + extra)).tolist(), strict=True)),
        "accuracy": dict(zip(class_names, accuracy.tolist(), strict=True)),
    }
