"""States that sum over batches, processes and machines: pixels by class, objects, and landmarks."""

import torch
from jaxtyping import Bool, Float, Int, Integer, Num
from torch import Tensor
from torchmetrics import Metric

from atrous.metrics.confusion import confusion_matrix
from atrous.metrics.matching import average_precision, mean_average_precision
from atrous.metrics.overlapping import label_counts, planes_of
from atrous.types import IGNORE_INDEX

__all__ = ["ConfusionMatrix", "LabelCounts", "LandmarkErrors", "ObjectPrecision"]


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


class LabelCounts(Metric):
    """`label_counts` accumulated over batches, processes and machines."""

    full_state_update = False
    counts: Tensor

    def __init__(self, num_classes: int, *, ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.add_state("counts", torch.zeros(num_classes, 2, 2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, decided: Bool[Tensor, "B K H W"], mask: Num[Tensor, "*size"]) -> None:
        """Add a batch; the mask is (B, K, H, W), or (B, H, W) with one class per pixel."""
        target = planes_of(mask, self.num_classes, ignore_index=self.ignore_index)
        self.counts += label_counts(decided, target, ignore_index=self.ignore_index)

    def compute(self) -> Int[Tensor, "K 2 2"]:
        """The counts so far, int64."""
        return self.counts.clone()


class ObjectPrecision(Metric):
    """`average_precision` of objects, mean over its thresholds and then over images; NaN without any object.

    Example:
        >>> state = ObjectPrecision()
        >>> state.update(torch.tensor([[1, 1, 0, 0]]), torch.tensor([[5, 5, 0, 0]]))
        >>> state.update(torch.tensor([[0, 0, 0, 0]]), torch.tensor([[0, 0, 5, 5]]))
        >>> state.update(torch.tensor([[0, 0, 0, 0]]), torch.tensor([[0, 0, 0, 0]]))        # says nothing
        >>> state.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self,
        predicted_labels: Integer[Tensor, "H W"],
        true_labels: Integer[Tensor, "H W"],
        *,
        void: Bool[Tensor, "H W"] | None = None,
        crowd: Bool[Tensor, "H W"] | None = None,
    ) -> None:
        """Add an image: numbers of objects, 0 where there is none; `void` and `crowd` as in its score."""
        predicted, true = (each.cpu().numpy() for each in (predicted_labels, true_labels))
        unknown, together = (None if each is None else each.cpu().numpy() for each in (void, crowd))
        score = mean_average_precision(average_precision(predicted, true, void=unknown, crowd=together)[None])
        if score == score:
            self.total += score
            self.images += 1

    def compute(self) -> Float[Tensor, ""]:
        """The mean so far."""
        return self.total / self.images


class LandmarkErrors(Metric):
    """The mean error of landmarks, and the share of them that is near enough.

    Example:
        >>> state = LandmarkErrors()
        >>> state.update(torch.tensor([[1.0, 3.0, torch.nan]]), torch.tensor([2.0]))
        >>> state.compute()
        tensor([2.0000, 0.5000], dtype=torch.float64)
    """

    full_state_update = False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        # errors and how many, near ones and how many
        self.add_state("sums", torch.zeros(4, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, distances: Float[Tensor, "N P"], near: Float[Tensor, " N"]) -> None:
        """Add images.

        Args:
            distances: NaN where nobody knows.
            near: distances below this are near enough; NaN where nobody knows.
        """
        known = ~distances.isnan()
        judged = known & ~near.isnan()[:, None]
        parts = [distances[known].sum(), known.sum(), (distances < near[:, None])[judged].sum(), judged.sum()]
        self.sums += torch.stack([part.double() for part in parts]).to(self.sums.device)

    def compute(self) -> Float[Tensor, "2"]:
        """Mean error and share so far; NaN of none."""
        return torch.stack([self.sums[0] / self.sums[1], self.sums[2] / self.sums[3]])
