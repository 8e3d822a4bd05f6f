"""The summands of a loss, read from a recipe: which function, with which arguments, weighed by how much and when."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from atrous.errors import RecipeError, UsageError, did_you_mean
from atrous.losses import CLASS_WEIGHTS, LOSSES, ClassFrequencies
from atrous.losses.cross_entropy import class_weights
from atrous.tables import Place, check_value, describe_value, lookup, read_section

__all__ = ["LossSection", "Term", "aux_factor", "read_terms"]

LossSection = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]

_HANDED = ("logits", "mask", "target", "ignore_index", "pixel_weights")  # what the task passes itself


@dataclass(frozen=True)
class Term:
    """One summand of the loss.

    Attributes:
        name: its key in `LOSSES`.
        weight: its factor at the start of the run, and at the end.
        function: of logits and mask, its arguments filled in.
        weighting: name in `CLASS_WEIGHTS` that still waits for frequencies.
        weighs_pixels: whether the function takes `pixel_weights`.
    """

    name: str
    weight: tuple[float, float]
    function: Callable[..., Tensor]
    weighting: str | None
    weighs_pixels: bool

    def factor(self, progress: Float[Tensor, ""] | None) -> float | Float[Tensor, ""]:
        """The weight after that share of the run; where nobody says how much, at its end.

        Example:
            >>> term = Term("dice", (0.0, 2.0), LOSSES["dice"], None, False)
            >>> term.factor(torch.tensor(0.25)), term.factor(None)
            (tensor(0.5000), 2.0)
        """
        start, end = self.weight
        return end if progress is None or start == end else start + (end - start) * progress

    def divisor(self, target: Shaped[Tensor, "*B H W"], ignore_index: int) -> Float[Tensor, ""] | None:
        """What the function's mean over a batch divides by: the labelled pixels, by the weights of their classes.

        A mean over several batches, each weighed by this number, is the mean over all of their pixels. That is exact
        for cross-entropies and the focal losses; ratios such as Dice, and losses that choose pixels, are no means over
        pixels, and have the number of labelled ones for want of a better. None for a sum, which divides by nothing.

        Example:
            >>> weighted = partial(LOSSES["cross_entropy"], weights=torch.tensor([1.0, 3.0]))
            >>> Term("cross_entropy", (1.0, 1.0), weighted, None, True).divisor(torch.tensor([[[0, 1, 1, 255]]]), 255)
            tensor(7., dtype=torch.float64)
        """
        given = self.function.keywords if isinstance(self.function, partial) else {}
        if given.get("reduction") == "sum":
            return None
        labelled = target != ignore_index
        if given.get("reduction") == "pixel_mean" and target.ndim == 4:
            labelled = labelled.any(1)
        if given.get("weights") is None:
            return labelled.sum().double()
        return class_weights(target, labelled, given["weights"].to(target.device)).double().sum()


def read_terms(loss: LossSection, num_classes: int, frequencies: ClassFrequencies | None, place: Place) -> list[Term]:
    """The terms of a name, a section or a list of them, each checked against its function's signature.

    Args:
        loss: see `Segmentation`.
        num_classes: how many class weights are needed.
        frequencies: how often the classes occur, for class weights by name; None if that is still to come.
        place: where the section stands.

    Raises:
        RecipeError: if something is unknown or does not fit, or if no loss is named, or one twice.
    """
    single = isinstance(loss, str | Mapping)
    pairs = [(loss, place)] if single else [(section, place / i) for i, section in enumerate(loss)]
    terms = [_read_term(section, where, num_classes, frequencies) for section, where in pairs]
    names = [term.name for term in terms]
    if not names or len(set(names)) < len(names):
        raise RecipeError(f"{place}: name at least one loss, and each one once; got {names}.")
    return terms


def _read_term(section: Any, place: Place, num_classes: int, frequencies: ClassFrequencies | None) -> Term:
    if isinstance(section, str):
        section = {"name": section}
    if not isinstance(section, Mapping) or "name" not in section:  # let the table complain
        read_section(LOSSES, section, kind="loss", place=place)
    weight = check_value(
        section.get("weight", 1.0), float | tuple[float, float], what="the weight of a loss", place=place / "weight"
    )
    function = lookup(LOSSES, section["name"], kind="loss", place=place / "name")
    parameters = inspect.signature(function).parameters
    takes_weights = "weights" in parameters
    # `weight` is the task's; `weights` is resolved here, because a recipe cannot hold a tensor.
    rest = {
        key: value for key, value in section.items() if key != "weight" and not (key == "weights" and takes_weights)
    }
    given = [name for name in _HANDED if name in parameters]
    _, arguments = read_section(LOSSES, rest, kind="loss", place=place, given=given)
    weighting = None
    if takes_weights and section.get("weights") is not None:
        weights = _read_weights(section["weights"], place / "weights", num_classes, frequencies)
        if isinstance(weights, str):
            weighting = weights
        else:
            arguments["weights"] = weights
    return Term(
        section["name"],
        weight if isinstance(weight, tuple) else (weight, weight),
        partial(function, **arguments),
        weighting,
        "pixel_weights" in parameters,
    )


def _read_weights(value: Any, place: Place, num_classes: int, frequencies: ClassFrequencies | None) -> Tensor | str:
    """A tensor, or the name of the rule where the frequencies are still to come."""
    if isinstance(value, str):
        rule = lookup(CLASS_WEIGHTS, value, kind="class weighting", place=place)
        if frequencies is None:
            return value
        if len(frequencies["pixels"]) != num_classes:
            raise UsageError(f"{place}: frequencies of {len(frequencies['pixels'])} classes for {num_classes} classes.")
        return rule(frequencies)
    numbers = check_value(value, list[float], what="weights (unless the name of a rule)", place=place)
    if len(numbers) != num_classes or min(numbers) < 0:
        raise RecipeError(
            f"{place}: got {describe_value(value)}, but weights are one number >= 0 for each of the "
            f"{num_classes} classes, or one of {', '.join(CLASS_WEIGHTS)}."
        )
    return torch.tensor(numbers)


def aux_factor(weight: float | Mapping[str, float], output: str, place: Place) -> float:
    """The factor of the losses of an auxiliary output.

    Args:
        weight: of all of them, or output name to factor.
        output: its name.
        place: where the weight stands, for messages.

    Raises:
        RecipeError: if the names lack this one.
    """
    if not isinstance(weight, Mapping):
        return float(weight)
    if output not in weight:
        raise RecipeError(
            f"{place}: the model has an output {output!r} without a weight; add it (0 leaves it out). "
            f"{did_you_mean(output, weight)}"
        )
    return float(weight[output])
