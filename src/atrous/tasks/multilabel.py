"""Classes that may overlap: every class of every pixel is a question of its own."""

import inspect
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from atrous.class_names import folder_names
from atrous.drawing import Color
from atrous.errors import RecipeError, UsageError
from atrous.losses import LOSSES
from atrous.metrics import planes_of
from atrous.tasks.base import (
    Evaluator,
    LabelledFolder,
    Output,
    Proposal,
    ProposalFacts,
    Validator,
    must_have_masks,
)
from atrous.tasks.maps import MapTask
from atrous.tasks.outputs import confidence, mask, plane, uncertainty
from atrous.tasks.terms import LossSection
from atrous.types import IGNORE_INDEX, Outputs, Prediction, Sample

__all__ = ["MultiLabel"]


@dataclass(eq=False)
class MultiLabel(MapTask):
    """Sigmoids over K classes, none of which rules out another; with unknown entries left out.

    It learns from masks with a plane for each class, and from masks with one class per pixel, which are planes of which
    one at a time is set.

    Args:
        num_classes: K, at most 255.
        loss: as for `MapTask`, but of the losses that take a target for every map: `binary_cross_entropy`,
            `binary_dice`, ...
        threshold: from which score on a class is there: a number in 0..1, or one for each class.

    The other arguments are those of `MapTask`.

    Raises:
        RecipeError: if the section does not fit, or names a loss of exclusive classes.
    """

    pixelwise = True
    probabilities = "sigmoid"

    _: KW_ONLY
    loss: LossSection = "binary_cross_entropy"
    threshold: float | list[float] = 0.5

    def __post_init__(self) -> None:
        if self.num_classes > IGNORE_INDEX:
            raise UsageError(f"{self.place}: {self.num_classes} classes that may overlap; there can be 255.")
        super().__post_init__()
        independent = [name for name, function in LOSSES.items() if "target" in inspect.signature(function).parameters]
        if wrong := [name for name in self.loss_names() if name not in independent]:
            raise RecipeError(
                f"{self.place / 'loss'}: {wrong[0]!r} is for classes that rule each other out; task 'multilabel' takes "
                f"{', '.join(independent)}."
            )
        given = self.threshold
        values: list[float] = given if isinstance(given, list) else [given] * self.num_classes
        if len(values) != self.num_classes or not all(0 <= value <= 1 for value in values):
            raise RecipeError(
                f"{self.place / 'threshold'}: got {self.threshold!r}, but it is a number in 0..1, or "
                f"{self.num_classes} of them."
            )
        self._thresholds = torch.tensor(values, dtype=torch.float32)[:, None, None]

    def losses(self, outputs: Outputs, batch: Sample) -> dict[str, Tensor]:
        """Weighted losses of every output, against a target for every map."""
        return self.weigh(outputs, batch, self.target(batch))

    def target(self, batch: Sample) -> UInt8[Tensor, "B K H W"]:
        """A map for every class: 1, 0, or 255."""
        return planes_of(batch["mask"], self.num_classes, ignore_index=self.ignore_index).to(torch.uint8)

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
        certain = torch.where(some, best, 1 - scores.amax(0))
        return Prediction(
            classes=classes.cpu().numpy(),
            confidence=certain.half().cpu().numpy(),
            labels=labels.cpu().numpy().astype(np.bool_),
        )

    def validator(self) -> Validator:
        """Mean IoU of the classes, and the share of all answers that are right."""
        from atrous.tasks.validators import LabelValidator

        return LabelValidator(self.decide, self.num_classes, self.ignore_index)

    def evaluator(self, class_names: Sequence[str], *, boundary: bool = True) -> Evaluator:
        """The measures of the counts of each class, and objects where the data numbers them; no outlines."""
        from atrous.tasks.evaluators import LabelEvaluator

        return LabelEvaluator(class_names)

    def files(self, class_names: Sequence[str], colors: Sequence[Color]) -> list[Output]:
        """The likeliest class of every pixel, and a plane for each class."""
        planes = [plane(number, folder) for number, folder in enumerate(folder_names(class_names))]
        return [mask(class_names, colors), confidence(), uncertainty(len(class_names)), *planes]

    @classmethod
    def accepts(cls, data: LabelledFolder) -> None:
        """All masks will do."""
        must_have_masks(data)

    @classmethod
    def propose(cls, facts: ProposalFacts) -> Proposal | None:
        """Binary losses, where the masks have a plane for each class."""
        if not facts.overlapping:
            return None
        losses = [{"name": "binary_cross_entropy"}, {"name": "binary_dice"}]
        return Proposal({"name": "multilabel", "loss": losses}, "a pixel may belong to several classes")
