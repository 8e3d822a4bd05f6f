"""Every pixel belongs to exactly one class."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int, Integer, Shaped
from torch import Tensor

from atrous.errors import DataError, RecipeError, UsageError, did_you_mean
from atrous.layers import shrink
from atrous.losses import ClassFrequencies
from atrous.tables import Place
from atrous.tasks.terms import LossSection, read_terms
from atrous.types import IGNORE_INDEX, Outputs, Prediction, Sample

if TYPE_CHECKING:
    from torchmetrics import Metric

__all__ = ["Segmentation"]

_HERE = Place("task")
_BAND = 1 << 22  # scores that are decided at once: bounds the 8-byte class numbers of a large image to a few megabytes


class Segmentation:
    """Semantic segmentation: softmax over K exclusive classes, with unlabelled pixels left out.

    Args:
        num_classes: K.
        loss: a name in `LOSSES`, or {"name": ..., "weight": ..., its arguments}, or a list of these, which are added
            up. A loss that takes `weights` accepts a list of K numbers or a name in `CLASS_WEIGHTS`. The weight may be
            [from, to]: then it changes evenly over the run with the batch's `progress`, and is `to` where the batch
            has none, as in validation.
        aux_loss: what the auxiliary outputs are trained by, in the same words; `loss` where None.
        aux_weight: factor of every auxiliary output's losses, or output name to factor.
        ignore_index: class of the pixels that count for nothing.
        frequencies: how often the classes occur in the training images, for `weights` by name.
        place: where the section stands, for messages.

    Raises:
        RecipeError: if `loss`, `aux_loss` or `aux_weight` names something unknown or has a value that does not fit.

    Example:
        >>> task = Segmentation(2, loss=["cross_entropy", {"name": "dice", "weight": 0.5}])
        >>> outputs = {"out": torch.zeros(1, 2, 4, 4)}
        >>> losses = task.losses(outputs, {"mask": torch.zeros(1, 4, 4, dtype=torch.int64)})
        >>> {name: round(loss.item(), 4) for name, loss in losses.items()}     # ln 2, and half of 1 - 2 * 8 / (8 + 16)
        {'cross_entropy': 0.6931, 'dice': 0.1667}
    """

    pixelwise = True
    extra_maps = 0

    def __init__(
        self,
        num_classes: int,
        *,
        loss: LossSection = "cross_entropy",
        aux_loss: LossSection | None = None,
        aux_weight: float | Mapping[str, float] = 0.4,
        ignore_index: int = IGNORE_INDEX,
        frequencies: ClassFrequencies | None = None,
        place: Place = _HERE,
    ) -> None:
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.aux_weight = aux_weight
        self._place = place
        self._terms = read_terms(loss, num_classes, frequencies, place / "loss")
        self._aux_terms = self._terms
        if aux_loss is not None:
            self._aux_terms = read_terms(aux_loss, num_classes, frequencies, place / "aux_loss")
        if isinstance(aux_weight, Mapping) and "out" in aux_weight:
            raise RecipeError(
                f"{place / 'aux_weight' / 'out'}: 'out' is the main output and no auxiliary one; remove it here, and "
                "weigh its losses by `weight` in loss."
            )

    @property
    def needs_frequencies(self) -> bool:
        """Whether a loss waits for class frequencies of the training images."""
        return any(term.weighting for term in [*self._terms, *self._aux_terms])

    def losses(self, outputs: Outputs, batch: Sample) -> dict[str, Tensor]:
        """Weighted losses of every output, as "cross_entropy" and "aux.cross_entropy".

        The mask is shrunk to each output's grid by the nearest pixel, and so is the map `weight` of a batch that has
        one, for the losses that take `pixel_weights`; predictions are not enlarged.

        Raises:
            DataError: if the mask has a value that is no class (looked for on the CPU only; elsewhere it would cost a
                synchronisation).
            UsageError: if a loss still waits for class frequencies.
        """
        self._check_labels(batch["mask"], batch.get("index"))
        return self.weigh(outputs, batch, batch["mask"])

    def weigh(self, outputs: Outputs, batch: Sample, target: Shaped[Tensor, "*B H W"]) -> dict[str, Tensor]:
        """The losses of every output against a target at the image's size, whatever the target means."""
        pixel_weights, progress = batch.get("weight"), batch.get("progress")
        result: dict[str, Tensor] = {}
        for output, logits in outputs.items():
            main = output == "out"
            factor = 1.0 if main else self._aux_factor(output)
            if factor == 0:
                continue
            grid = logits.shape[-2:]
            truth = shrink(target, grid)
            for term in self._terms if main else self._aux_terms:
                if term.weighting:
                    raise UsageError(
                        f"{self._place}: loss {term.name!r} weighs classes by {term.weighting!r} and needs the class "
                        "frequencies of the training images; pass frequencies= to the task."
                    )
                extra = {}
                if term.weighs_pixels and pixel_weights is not None:
                    extra["pixel_weights"] = shrink(pixel_weights, grid)
                value = term.function(logits, truth, ignore_index=self.ignore_index, **extra)
                weight = factor * term.factor(progress)
                unweighted = isinstance(weight, float) and weight == 1
                result[term.name if main else f"{output}.{term.name}"] = value if unweighted else weight * value
        return result

    def scores(self, outputs: Outputs) -> Float[Tensor, "B K H W"]:
        """Probabilities: the softmax of `out` in float32."""
        return outputs["out"].float().softmax(1)

    def decide(self, scores: Float[Tensor, "B K H W"]) -> Int[Tensor, "B H W"]:
        """The class of the highest score at every pixel."""
        return scores.max(1).indices  # torch's argmax takes 20 times as long on a CPU

    def decode(self, scores: Float[Tensor, "K H W"]) -> Prediction:
        """The class of the highest score at every pixel (the first of equals), and that score as confidence."""
        K, H, W = scores.shape
        classes = np.empty((H, W), np.uint8 if K <= 256 else np.uint16)
        confidence = np.empty((H, W), np.float16)
        rows = max(_BAND // max(K * W, 1), 1)
        for top in range(0, H, rows):
            best, index = scores[:, top : top + rows].max(0)
            classes[top : top + rows] = index.to(torch.uint8 if K <= 256 else torch.int32).cpu().numpy()
            confidence[top : top + rows] = best.half().cpu().numpy()
        return Prediction(classes=classes, confidence=confidence)

    def metrics(self) -> "Metric":
        """A fresh confusion matrix over a data set."""
        from atrous.metrics import ConfusionMatrix

        return ConfusionMatrix(self.num_classes, ignore_index=self.ignore_index)

    def _aux_factor(self, output: str) -> float:
        if not isinstance(self.aux_weight, Mapping):
            return float(self.aux_weight)
        if output not in self.aux_weight:
            raise RecipeError(
                f"{self._place / 'aux_weight'}: the model has an output {output!r} without a weight; add it "
                f"(0 leaves it out). {did_you_mean(output, self.aux_weight)}"
            )
        return float(self.aux_weight[output])

    def loss_names(self) -> list[str]:
        """The losses of the main output and of the auxiliary ones."""
        return list(dict.fromkeys(term.name for term in [*self._terms, *self._aux_terms]))

    def _check_labels(self, mask: Integer[Tensor, "B H W"], index: Tensor | None) -> None:
        if mask.device.type != "cpu" or not mask.numel():
            return
        low, high = (int(value) for value in torch.aminmax(mask))
        if low >= 0 and high < self.num_classes:
            return
        odd = mask[((mask < 0) | (mask >= self.num_classes)) & (mask != self.ignore_index)]
        if not odd.numel():
            return
        wrong = ", ".join(map(str, sorted(set(odd.tolist()))[:8]))
        where = "" if index is None else f" (images {', '.join(map(str, index.flatten().tolist()[:8]))} of the split)"
        raise DataError(
            f"the masks of a batch{where} hold {wrong}, but the {self.num_classes} classes are 0 to "
            f"{self.num_classes - 1}, and {self.ignore_index} is ignored; run `atrous check` on the data."
        )
