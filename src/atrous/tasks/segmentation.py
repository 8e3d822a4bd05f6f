"""Every pixel belongs to exactly one class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from atrous.errors import DataError
from atrous.tasks.base import Evaluator, Proposal, ProposalFacts, Validator
from atrous.tasks.maps import MapTask
from atrous.types import Outputs, Prediction, Sample

__all__ = ["Segmentation"]

_BAND = 1 << 20  # pixels that are decided at once: bounds what is held besides the result to a few megabytes
RARE = 5.0
"""A class that is so many times rarer than the commonest is rare."""
MANY_RARE = 3
"""From so many rare classes on, classes are weighed; one or two are seen well enough by Dice."""


@dataclass(eq=False)
class Segmentation(MapTask):
    """Semantic segmentation: softmax over K exclusive classes, with unlabelled pixels left out.

    Args and errors are those of `MapTask`; `num_classes` is K.

    Example:
        >>> task = Segmentation(2, loss=["cross_entropy", {"name": "dice", "weight": 0.5}])
        >>> outputs = {"out": torch.zeros(1, 2, 4, 4)}
        >>> losses = task.losses(outputs, {"mask": torch.zeros(1, 4, 4, dtype=torch.int64)})
        >>> {name: round(loss.item(), 4) for name, loss in losses.items()}     # ln 2, and half of 1 - 2 * 8 / (8 + 16)
        {'cross_entropy': 0.6931, 'dice': 0.1667}
    """

    pixelwise = True
    exclusive = True
    probabilities = "softmax"

    def losses(self, outputs: Outputs, batch: Sample) -> dict[str, Tensor]:
        """Weighted losses of every output, as "cross_entropy" and "aux.cross_entropy"; see `weigh`.

        Raises:
            DataError: if the mask has a value that is no class (looked for on the CPU only; elsewhere it would cost a
                synchronisation).
            UsageError: if a loss still waits for class frequencies.
        """
        return self.weigh(outputs, batch, self.target(batch))

    def target(self, batch: Sample) -> Integer[Tensor, "B H W"]:
        """The mask, looked at."""
        check_labels(batch["mask"], batch.get("index"), self.num_classes, self.ignore_index)
        return batch["mask"]

    def scores(self, outputs: Outputs) -> Float[Tensor, "B K H W"]:
        """Probabilities: the softmax of `out` in float32."""
        return outputs["out"].float().softmax(1)

    def decide(self, scores: Float[Tensor, "B K H W"]) -> Int[Tensor, "B H W"]:
        """The class of the highest score at every pixel: what a validation looks at."""
        return scores.max(1).indices  # torch's argmax takes 20 times as long on a CPU

    def decode(self, scores: Float[Tensor, "K H W"]) -> Prediction:
        """The class of the highest score at every pixel (the first of equals), and that score as confidence."""
        K, H, W = scores.shape
        classes = np.empty((H, W), np.uint8 if K <= 256 else np.uint16)
        confidence = np.empty((H, W), np.float16)
        rows = max(_BAND // max(W, 1), 1)
        for top in range(0, H, rows):
            best, index = _highest(scores[:, top : top + rows])
            classes[top : top + rows] = index.cpu().numpy()
            confidence[top : top + rows] = best.half().cpu().numpy()
        return Prediction(classes=classes, confidence=confidence)

    def validator(self) -> Validator:
        """Mean IoU and pixel accuracy from one confusion matrix."""
        from atrous.tasks.validators import PixelValidator  # torchmetrics is slow to import, and prediction needs none

        return PixelValidator(self.decide, self.num_classes, self.ignore_index)

    def evaluator(self, class_names: Sequence[str], *, boundary: bool = True) -> Evaluator:
        """The measures of a confusion matrix, boundary F1, and objects where the data numbers them."""
        from atrous.tasks.evaluators import ClassEvaluator

        return ClassEvaluator(class_names, boundary=boundary)

    @classmethod
    def propose(cls, facts: ProposalFacts) -> Proposal | None:
        """Cross-entropy and Dice; weighed by class where many are rare."""
        cross: Any = {"name": "cross_entropy"}
        why = "every pixel is one class; Dice looks at whole regions"
        if len(facts.rare(RARE)) >= MANY_RARE:
            cross["weights"] = "enet"
            rarest, times = facts.rarest, facts.imbalance
            why += f"; many are rare ({rarest.name} {times:.0f} times rarer than the most common): class weights"
        return Proposal({"name": "segmentation", "loss": [cross, {"name": "dice"}]}, why)


def _highest(scores: Float[Tensor, "K h w"]) -> tuple[Float[Tensor, "h w"], Integer[Tensor, "h w"]]:
    """The highest score at every pixel, and the first class that has it; in a fifth of the time of torch's `max`."""
    if len(scores) > 256 or scores.device.type != "cpu":
        best, index = scores.max(0)
        return best, index.to(torch.uint8 if len(scores) <= 256 else torch.int32)
    best, index = scores[0].clone(), torch.zeros(scores.shape[1:], dtype=torch.uint8)
    for number in range(1, len(scores)):
        higher = (scores[number] > best).view(torch.uint8)
        torch.maximum(index, higher.mul_(number), out=index)  # a later number is the larger one
        torch.maximum(best, scores[number], out=best)
    return best, index


def check_labels(mask: Integer[Tensor, "B H W"], index: Tensor | None, num_classes: int, ignore_index: int) -> None:
    """Refuse values that are no class.

    Raises:
        DataError: naming them, and the images of the split where `index` says which they are.
    """
    if mask.device.type != "cpu" or not mask.numel():
        return
    low, high = (int(value) for value in torch.aminmax(mask))
    if low >= 0 and high < num_classes:
        return
    odd = mask[((mask < 0) | (mask >= num_classes)) & (mask != ignore_index)]
    if not odd.numel():
        return
    wrong = ", ".join(map(str, sorted(set(odd.tolist()))[:8]))
    where = "" if index is None else f" (images {', '.join(map(str, index.flatten().tolist()[:8]))} of the split)"
    raise DataError(
        f"the masks of a batch{where} hold {wrong}, but the {num_classes} classes are 0 to "
        f"{num_classes - 1}, and {ignore_index} is ignored; run `atrous check` on the data."
    )
