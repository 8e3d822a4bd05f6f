"""What tasks share whose maps are trained by the losses of `LOSSES`: the settings, and the weighing of every output."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

from jaxtyping import Shaped
from torch import Tensor

from atrous.errors import RecipeError, UsageError
from atrous.layers import shrink
from atrous.losses import ClassFrequencies
from atrous.losses.base import exact_in_order
from atrous.tables import Place
from atrous.tasks.base import Task
from atrous.tasks.terms import LossSection, aux_factor, read_terms
from atrous.types import IGNORE_INDEX, CellGrid, Outputs, Sample

__all__ = ["MapTask"]


@dataclass(eq=False)
class MapTask(Task):
    """The settings of a task that is trained by `LOSSES`.

    Args:
        num_classes: maps of the network.
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
    """

    num_classes: int
    _: KW_ONLY
    loss: LossSection = "cross_entropy"
    aux_loss: LossSection | None = None
    aux_weight: float | Mapping[str, float] = 0.4
    ignore_index: int = IGNORE_INDEX
    frequencies: ClassFrequencies | None = None
    place: Place = field(default_factory=lambda: Place("task"))

    def __post_init__(self) -> None:
        place = self.place
        self._terms = read_terms(self.loss, self.num_classes, self.frequencies, place / "loss")
        self._aux_terms = self._terms
        if self.aux_loss is not None:
            self._aux_terms = read_terms(self.aux_loss, self.num_classes, self.frequencies, place / "aux_loss")
        if isinstance(self.aux_weight, Mapping) and "out" in self.aux_weight:
            raise RecipeError(
                f"{place / 'aux_weight' / 'out'}: 'out' is the main output and no auxiliary one; remove it here, and "
                "weigh its losses by `weight` in loss."
            )

    @property
    def needs_frequencies(self) -> bool:
        """Whether a loss waits for class frequencies of the training images."""
        return any(term.weighting for term in [*self._terms, *self._aux_terms])

    def loss_names(self) -> list[str]:
        """The losses of the main output and of the auxiliary ones."""
        return list(dict.fromkeys(term.name for term in [*self._terms, *self._aux_terms]))

    def target(self, batch: Sample) -> Shaped[Tensor, "*B H W"]:
        """What the losses compare with, at the image's size: the mask."""
        return batch["mask"]

    def divisors(self, batch: Sample) -> dict[str, Tensor]:
        """See `Task.divisors`. Auxiliary outputs go by the pixels too, to which their coarser grids keep."""
        target = self.target(batch)
        found: dict[str, Tensor] = {}
        for prefix, terms in (("", self._terms), ("aux.", self._aux_terms)):
            for term in terms:
                divisor = term.divisor(target, self.ignore_index)
                if divisor is not None:
                    found[f"{prefix}{term.name}"] = divisor
        return found

    def weigh(self, outputs: Outputs, batch: Sample, target: Shaped[Tensor, "*B H W"]) -> dict[str, Tensor]:
        """The losses of every output against a target at the image's size, whatever the target means.

        Each cell of an output has the label of the pixel that it stands on, and so has the map `weight` of a batch that
        has one, for the losses that take `pixel_weights`; predictions are not enlarged. Where the cells stand is said
        by the batch's `grids`, which are the model's.

        Raises:
            UsageError: if a loss still waits for class frequencies, or nobody says where an output's cells stand.
        """
        pixel_weights, progress = batch.get("weight"), batch.get("progress")
        result: dict[str, Tensor] = {}
        for output, logits in outputs.items():
            main = output == "out"
            factor = 1.0 if main else aux_factor(self.aux_weight, output, self.place / "aux_weight")
            if factor == 0:
                continue
            size = (logits.shape[-2], logits.shape[-1])
            grid = None if main else _grid(output, size, target, batch)
            truth = shrink(target, size, grid)
            terms = self._terms if main else self._aux_terms
            if len(terms) > 1 and logits.device.type == "cpu":
                logits = exact_in_order(logits)  # once for all: each would do it
            for term in terms:
                if term.weighting:
                    raise UsageError(
                        f"{self.place}: loss {term.name!r} weighs classes by {term.weighting!r} and needs the class "
                        "frequencies of the training images; pass frequencies= to the task."
                    )
                extra = {}
                if term.weighs_pixels and pixel_weights is not None:
                    extra["pixel_weights"] = shrink(pixel_weights, size, grid)
                value = term.function(logits, truth, ignore_index=self.ignore_index, **extra)
                weight = factor * term.factor(progress)
                unweighted = isinstance(weight, float) and weight == 1
                result[term.name if main else f"{output}.{term.name}"] = value if unweighted else weight * value
        return result


def _grid(output: str, size: tuple[int, int], target: Tensor, batch: Sample) -> CellGrid | None:
    """Where the cells of a training output stand; None for evenly over the image.

    Raises:
        UsageError: if that is not said, and the cells do not divide the image.
    """
    grids = batch.get("grids", {})
    if output in grids:
        return grids[output]
    height, width = target.shape[-2:]
    if height % size[0] or width % size[1]:
        raise UsageError(
            f"the output {output!r} has {size[0]} x {size[1]} cells for {height} x {width} pixels, and nobody says "
            "where they stand: a model says it in `grids`, which the batch hands on; task.losses(outputs, batch | "
            '{"grids": model.grids}).'
        )
    return None
