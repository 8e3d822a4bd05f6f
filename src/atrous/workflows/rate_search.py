"""Which learning rate a recipe should have on some data: the range test, in words and as a curve."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atrous.disk import write_bytes
from atrous.errors import UsageError
from atrous.recipe import load_recipe
from atrous.training.inputs import open_inputs
from atrous.training.preparation import prepare
from atrous.training.range_test import RatePoint, range_test
from atrous.training.resolved import resolve_run

__all__ = ["RateSearch", "find_lr", "steepest"]

DEFAULT = "unet"
"""The recipe where none is named."""
PICTURES = (".png", ".svg")
ROWS = 12
"""Lines of the table."""


@dataclass(frozen=True)
class RateSearch:
    """What a range test found; `str()` of it is the text of `atrous find-lr`.

    Attributes:
        points: rate, loss and smoothed loss of every step.
        suggestion: the rate at which the smoothed loss falls fastest, or None where it never falls.
        written: the rate that the recipe has.
    """

    points: tuple[RatePoint, ...]
    suggestion: float | None
    written: float

    def __str__(self) -> str:
        step = max(1, -(-len(self.points) // ROWS))
        shown = sorted({*range(0, len(self.points), step), len(self.points) - 1})
        lines = ["      rate      loss"]
        lines += [f"{self.points[i].rate:>10.2e}  {self.points[i].smooth:>8.4f}" for i in shown]
        if self.suggestion is None:
            lines += ["", "The loss never falls: train longer (--steps 300), or look at the data and the loss."]
        else:
            lines += ["", f"The loss falls fastest at {self.suggestion:.2g}; the recipe has {self.written:.2g}."]
            lines.append(f"Train with: optimizer.lr={self.suggestion:.2g}")
        return "\n".join(lines)


def find_lr(
    data: str | Path,
    *,
    recipe: str | Path | None = None,
    overrides: Sequence[str] = (),
    classes: str | Path | None = None,
    out: str | Path | None = None,
    steps: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> RateSearch:
    """Train for a moment while the learning rate grows from 1e-7 to 10, and say where the loss falls fastest.

    The model is the one that a training would start from, and is thrown away. Of a recipe of several stages the first
    is tried. See `atrous.training.range_test`.

    Args:
        data: a data folder.
        recipe: a recipe's name or file; "unet" where None.
        overrides: "KEY=VALUE" entries of the recipe.
        classes: a classes.yaml to use instead of the folder's own.
        out: where to draw the curve: a file that ends in .png or .svg.
        steps: of the test.
        progress: called with the number of steps done and of all.

    Raises:
        UsageError: if the file has another ending or cannot be written, or the steps are too few.
        RecipeError: if the recipe does not fit.
        DataError: if the data has an error.
    """
    target = None if out is None else Path(out)
    if target is not None and target.suffix.lower() not in PICTURES:
        raise UsageError(f"{target}: a picture ends in {' or '.join(PICTURES)}; give -o {target.stem or 'curve'}.png.")
    if steps < 20:
        raise UsageError(f"--steps {steps}: a curve needs at least 20 steps; 100 is usual.")
    run = resolve_run(load_recipe(recipe or DEFAULT, overrides))
    nowhere = Path("find-lr")  # nothing is written there: no check runs, and there is no checkpoint
    plan = prepare(run.stages[0].recipe, open_inputs(data, run, nowhere, classes), nowhere, None).plan
    points = range_test(plan, steps=steps, progress=progress)
    found = RateSearch(tuple(points), steepest(points), float(plan.optimizer.defaults["lr"]))
    if target is not None:
        from atrous.reports.range_curve import draw_range_curve

        rates, losses, smooth = zip(*points, strict=True)
        kind: Any = target.suffix[1:].lower()
        write_bytes(target, draw_range_curve(rates, losses, smooth, suggestion=found.suggestion, kind=kind))
    return found


def steepest(points: Sequence[RatePoint]) -> float | None:
    r"""The rate at which the smoothed loss falls fastest, over the logarithm of the rate.

    The slope at a step is half the difference of its two neighbours, :math:`(s_{t+1} - s_{t-1}) / 2`; rates are evenly
    spaced in their logarithm. Only steps before the least loss count, and the first tenth is left out, where the
    running mean is of too few losses to have a slope. None where no slope is negative.

    Example:
        >>> from atrous.training.range_test import RatePoint
        >>> losses = [4.0, 4.0, 3.9, 3.0, 2.9, 2.8, 5.0]
        >>> steepest([RatePoint(10.0**i, 0.0, loss) for i, loss in enumerate(losses)])
        100.0
    """
    smooth = [point.smooth for point in points]
    least = smooth.index(min(smooth))
    slopes = {t: (smooth[t + 1] - smooth[t - 1]) / 2 for t in range(max(1, len(points) // 10), least)}
    best = min(slopes, key=lambda t: slopes[t], default=None)
    if best is None or not (slopes[best] < 0 and math.isfinite(slopes[best])):
        return None
    return points[best].rate
