"""The `training` section of a recipe, and what follows from it for a data set of a given size."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from atrous.errors import RecipeError

__all__ = ["TrainingOptions"]

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
        precision: "auto" takes bfloat16 where the device computes it fast, else float32.
        validate_every: steps between validations; null chooses about one epoch.
        patience: stop after this many validations without a better mean IoU; null never stops early.
        log_every: steps between rows of `log.csv`.
        clip: largest norm of the gradient; null leaves it alone.
        checkpoint_every: steps between checkpoints; null writes one a minute. One is written at every validation too.
        device: "auto" takes the accelerator where there is one.
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
