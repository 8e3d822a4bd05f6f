"""The confusion matrix as a state that sums over batches, processes and machines."""

import torch
from jaxtyping import Int, Integer
from torch import Tensor
from torchmetrics import Metric

from atrous.metrics.confusion import confusion_matrix
from atrous.types import IGNORE_INDEX

__all__ = ["ConfusionMatrix"]


class ConfusionMatrix(Metric):
    """`confusion_matrix` accumulated over batches.

    Example:
        >>> state = ConfusionMatrix(2)
        >>> for classes, mask in ((0, 0), (1, 0), (1, 1)):
        ...     state.update(torch.full((1, 1, 1), classes), torch.full((1, 1, 1), mask))
        >>> state.compute()
        tensor([[1, 1],
                [0, 1]])
    """

    full_state_update = False
    matrix: Tensor

    def __init__(self, num_classes: int, *, ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.add_state("matrix", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, classes: Integer[Tensor, "*B H W"], mask: Integer[Tensor, "*B H W"]) -> None:
        """Add the pixels of a batch."""
        self.matrix += confusion_matrix(classes, mask, self.num_classes, ignore_index=self.ignore_index)

    def compute(self) -> Int[Tensor, "K K"]:
        """The matrix so far, int64."""
        return self.matrix.clone()
