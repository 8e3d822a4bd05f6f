"""What must be said loudly of a result: that it is no better than no network, or that hardly anything was learned."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["FEW_STEPS", "caution_of_result", "caution_of_steps", "constant_answer"]

FEW_STEPS = 100
"""With fewer optimiser steps than about this, a network has hardly begun to learn."""
MARGIN = 0.01
"""A mean IoU within this of that of a constant answer is not better."""


def constant_answer(matrix: Any) -> float:
    """The mean IoU of whoever gives the same answer at every pixel, the best there is; NaN without labelled pixels.

    That is the commonest class everywhere: its IoU is its share of the pixels, and that of the other classes is 0.
    Where classes may overlap, it is all of them everywhere.

    Args:
        matrix: as `Evaluation` has it.

    Example:
        >>> constant_answer([[80, 0], [15, 5]])
        0.4
        >>> round(constant_answer([[[5, 1], [1, 3]], [[4, 4], [1, 1]]]), 3)
        0.3
    """
    counts = np.asarray(matrix, dtype=np.float64)
    if not counts.size or not counts.sum():
        return math.nan
    if counts.ndim == 3:
        shares = counts[:, 1].sum(1) / np.maximum(counts.sum((1, 2)), 1)
        return float(shares[shares > 0].mean()) if shares.any() else math.nan
    rows = counts.sum(1)
    return float(rows.max() / rows.sum() / np.count_nonzero(rows))


def caution_of_result(matrix: Any, summary: Mapping[str, Any]) -> str:
    """A sentence where an evaluation is no better than a constant answer, else "".

    Args:
        matrix: of an evaluation.
        summary: of the same; nothing is said without a mean IoU.
    """
    reached, trivial = summary.get("mean_iou", math.nan), constant_answer(matrix)
    # Where the truth is the same at every pixel, nobody can be better than a constant.
    if not (math.isfinite(reached) and math.isfinite(trivial)) or trivial > 1 - MARGIN or reached > trivial + MARGIN:
        return ""
    same = "all classes" if np.ndim(matrix) == 3 else "the commonest class"
    return (
        f"THE NETWORK HAS LEARNED NOTHING OF USE: its mean IoU is {reached:.3f}, and {same} everywhere would have "
        f"{trivial:.3f}. Train longer (--budget, training.max_steps), look at the masks with `atrous check`, or try a "
        "tenth of optimizer.lr."
    )


def caution_of_steps(steps: int, *, ahead: bool = False) -> str:
    """A sentence where a training has fewer than about a hundred steps, else "".

    Args:
        steps: that were taken, or that fit into the time.
        ahead: whether the training is still to come.
    """
    if steps >= FEW_STEPS:
        return ""
    count = f"{steps} STEP{'' if steps == 1 else 'S'}"
    what = f"ONLY ABOUT {count} FIT INTO THE TIME" if ahead else f"HARDLY TRAINED, {count} IN ALL"
    return (
        f"{what}: a network needs {FEW_STEPS} to begin with and thousands to be good, so its masks will say nothing. "
        "Give it more time (--budget, training.max_steps), or make a step cheaper: a smaller data.crop or "
        "data.batch_size, or a smaller network."
    )
