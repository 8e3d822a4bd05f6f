"""Classes that may overlap: every class of every pixel is a question of its own."""

import inspect
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from atrous.errors import RecipeError, UsageError
from atrous.losses import LOSSES, ClassFrequencies
from atrous.tables import Place
from atrous.tasks.segmentation import Segmentation
from atrous.tasks.terms import LossSection
from atrous.types import IGNORE_INDEX, Outputs, Prediction, Sample

if TYPE_CHECKING:
    from torchmetrics import Metric

__all__ = ["MultiLabel"]

_HERE = Place("task")


class MultiLabel:
    """Sigmoids over K classes, none of which rules out another; with unknown entries left out.

    It learns from masks with a plane for each class, and from masks with one class per pixel, which are planes of which
    one at a time is set.

    Args:
        num_classes: K, at most 255.
        loss: as for `Segmentation`, but of the losses that take a target for every map: `binary_cross_entropy`,
            `binary_dice`, ...
        aux_loss: as for `Segmentation`.
        aux_weight: as for `Segmentation`.
        threshold: from which score on a class is there: a number in 0..1, or one for each class.
        ignore_index: of the entries that count for nothing.
        frequencies: how often the classes occur, as for `Segmentation`.
        place: where the section stands, for messages.

    Raises:
        RecipeError: if the section does not fit, or names a loss of exclusive classes.
    """

    pixelwise = True
    extra_maps = 0

    def __init__(
        self,
        num_classes: int,
        *,
        loss: LossSection = "binary_cross_entropy",
        aux_loss: LossSection | None = None,
        aux_weight: float | dict[str, float] = 0.4,
        threshold: float | list[float] = 0.5,
        ignore_index: int = IGNORE_INDEX,
        frequencies: ClassFrequencies | None = None,
        place: Place = _HERE,
    ) -> None:
        if num_classes > IGNORE_INDEX:
            raise UsageError(f"{place}: {num_classes} classes that may overlap; there can be 255.")
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self._maps = Segmentation(
            num_classes,
            loss=loss,
            aux_loss=aux_loss,
            aux_weight=aux_weight,
            ignore_index=ignore_index,
            frequencies=frequencies,
            place=place,
        )
        independent = [name for name, function in LOSSES.items() if "target" in inspect.signature(function).parameters]
        if wrong := [name for name in self._maps.loss_names() if name not in independent]:
            raise RecipeError(
                f"{place / 'loss'}: {wrong[0]!r} is for classes that rule each other out; task 'multilabel' takes "
                f"{', '.join(independent)}."
            )
        values = [threshold] * num_classes if isinstance(threshold, int | float) else threshold
        if len(values) != num_classes or not all(0 <= value <= 1 for value in values):
            raise RecipeError(
                f"{place / 'threshold'}: got {threshold!r}, but it is a number in 0..1, or {num_classes} of them."
            )
        self._thresholds = torch.tensor(values, dtype=torch.float32)[:, None, None]

    @property
    def needs_frequencies(self) -> bool:
        """Whether a loss waits for class frequencies of the training images."""
        return self._maps.needs_frequencies

    def losses(self, outputs: Outputs, batch: Sample) -> dict[str, Tensor]:
        """Weighted losses of every output, against a target for every map."""
        from atrous.metrics.overlapping import planes_of

        target = planes_of(batch["mask"], self.num_classes, ignore_index=self.ignore_index).to(torch.uint8)
        return self._maps.weigh(outputs, batch, target)

    def scores(self, outputs: Outputs) -> Float[Tensor, "B K H W"]:
        """The sigmoid of `out` in float32."""
        return outputs["out"].float().sigmoid()

    def decide(self, scores: Float[Tensor, "B K H W"]) -> Bool[Tensor, "B K H W"]:
        """Which classes are there."""
        return scores >= self._thresholds.to(scores.device)

    def decode(self, scores: Float[Tensor, "K H W"]) -> Prediction:
        """Which classes are where; of those at a pixel the likeliest, or 255, and how sure that is.

        The confidence is the score of that class; where there is none, one minus the highest score.
        """
        labels = self.decide(scores[None])[0]
        best, index = torch.where(labels, scores, -1.0).max(0)
        some = best >= 0
        classes = torch.where(some, index, IGNORE_INDEX).to(torch.uint8)
        confidence = torch.where(some, best, 1 - scores.amax(0))
        return Prediction(
            classes=classes.cpu().numpy(),
            confidence=confidence.half().cpu().numpy(),
            labels=labels.cpu().numpy().astype(np.bool_),
        )

    def metrics(self) -> "Metric":
        """Fresh counts for each class over a data set."""
        from atrous.metrics import LabelCounts

        return LabelCounts(self.num_classes, ignore_index=self.ignore_index)
