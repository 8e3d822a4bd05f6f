"""The `training` section of a recipe, and what follows from it for a data set of a given size."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from atrous.errors import RecipeError

__all__ = ["TrainingOptions", "parse_budget"]

FEWEST, MOST = 50, 500
"""Bounds on the steps between two validations where the recipe does not say."""
VALIDATIONS = 20
"""At most about this many validations in a run where the recipe does not say."""


@dataclass(frozen=True)
class TrainingOptions:
    """How long and how to train.

    Attributes:
        max_steps: optimiser steps of the run; null where `max_epochs` counts.
        max_epochs: passes over the training images instead of steps.
        precision: "auto" takes bfloat16 where the device computes it fast, else float32; on such a processor, a few
            steps of each are timed before a run of 100 steps or a minute, and the faster is taken.
        validate_every: steps between validations; null chooses about one epoch.
        patience: early stopping after this many validations in which the task's `monitor` got no better; null trains to
            the end.
        log_every: steps between rows of `log.csv`.
        clip: largest norm of the gradient; null leaves it alone.
        checkpoint_every: steps between checkpoints; null writes one a minute. One is written at every validation too.
        device: "auto" takes the accelerator where there is one.
        accumulate: batches whose gradients are averaged before each optimiser step, weighed by their labelled pixels.
        ema: decay, per step, of an exponential moving average of the weights, which is then what is validated and kept.
        swa: share of the run, at its end, over whose steps the weights are averaged evenly; validated and kept, too.
        budget: wall-clock time to train for, as 90s, 10m or 1h30m; takes the place of `max_steps`.
        strategy: how several processes share the work: each a copy of the model (ddp), or a part of it (fsdp).
        sync_batchnorm: whether batch normalisation sees the batches of all processes; "auto" does so where there are
            several.
    """

    max_steps: Annotated[int, Ge(1)] | None = 2000
    max_epochs: Annotated[int, Ge(1)] | None = None
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    validate_every: Annotated[int, Ge(1)] | None = None
    patience: Annotated[int, Ge(1)] | None = None
    log_every: Annotated[int, Ge(1)] = 10
    clip: Annotated[float, Gt(0)] | None = None
    checkpoint_every: Annotated[int, Ge(1)] | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    accumulate: Annotated[int, Ge(1)] = 1
    ema: Annotated[float, Gt(0), Lt(1)] | None = None
    swa: Annotated[float, Gt(0), Le(1)] | None = None
    budget: str | None = None
    strategy: Literal["ddp", "fsdp"] = "ddp"
    sync_batchnorm: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.ema is not None and self.swa is not None:
            raise RecipeError("training: ema and swa are two averages of the weights; set one of them to null.")
        if self.swa is not None and self.budget is not None:
            raise RecipeError("training: swa needs a run of known length, which budget has not; use ema instead.")
        parse_budget(self.budget)

    @property
    def seconds(self) -> float | None:
        """The budget in seconds, or None where steps count."""
        return parse_budget(self.budget)

    def steps(self, images: int, batch_size: int) -> int:
        """Optimiser steps of the whole run.

        Args:
            images: number of training images.
            batch_size: images per step.

        Raises:
            RecipeError: if neither steps nor epochs are given.

        Example:
            >>> TrainingOptions(max_epochs=3).steps(images=10, batch_size=4)
            9
        """
        if self.max_epochs is not None:
            return self.max_epochs * -(-images // batch_size)
        if self.max_steps is None:
            raise RecipeError("training: neither max_steps nor max_epochs is set, so the run would not end; set one.")
        return self.max_steps

    def validation_interval(self, images: int, batch_size: int, *, cost: float = 0.0) -> int:
        """Steps between two validations.

        By default an epoch, between 50 and 500 steps, but no more than about 20 validations in the run and no more
        than a fifth of its time.

        Args:
            images: number of training images.
            batch_size: images per step.
            cost: time of one validation, in training steps.

        Example:
            >>> TrainingOptions(max_steps=600).validation_interval(images=40, batch_size=8)
            50
        """
        steps = self.steps(images, batch_size)
        if self.validate_every is not None:
            return min(self.validate_every, steps)
        epoch = -(-images // batch_size)
        return min(steps, max(min(max(epoch, FEWEST), MOST), steps // VALIDATIONS, round(4 * cost)))


def parse_budget(text: str | None) -> float | None:
    """Seconds of a span such as 90s, 10m or 1h30m; None stays None.

    Raises:
        RecipeError: if it is no such span, or no time at all.

    Example:
        >>> parse_budget("10m"), parse_budget("1h30m"), parse_budget("45s")
        (600.0, 5400.0, 45.0)
    """
    if text is None:
        return None
    found = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip().lower())
    seconds = (
        sum(float(part) * unit for part, unit in zip(found.groups("0"), (3600, 60, 1), strict=True)) if found else 0
    )
    if not seconds:
        raise RecipeError(f"training.budget: got {text!r}, but a budget is a time such as 90s, 10m or 1h30m.")
    return seconds
