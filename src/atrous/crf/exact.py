"""Mean field with true Gaussian kernels over all pairs of points: slow, exact, the oracle of everything else here.

Its time and memory grow with the square of the points: 32 x 32 pixels take a moment, 100 x 100 take 400 MB per term.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from atrous.errors import UsageError

__all__ = ["LIMIT", "ExactTerm", "exact_kernel", "exact_mean_field"]

LIMIT = 20_000
"""Most points that are taken: their kernel has 3.2 GB."""


class ExactTerm(NamedTuple):
    """One pairwise term.

    Attributes:
        features: positions of the points in units of the standard deviation.
        penalties: what class l pays for a neighbour of class l'.
        normalization: "none", "before", "after" or "symmetric".
        self_term: a point receives its own message too, as lattice filters have it; the papers leave it out.
    """

    features: Float[np.ndarray, "N d"]
    penalties: Float[np.ndarray, "K K"]
    normalization: str = "symmetric"
    self_term: bool = True


def exact_kernel(
    features: Float[np.ndarray, "N d"], normalization: str = "none", *, self_term: bool = True
) -> Float64[np.ndarray, "N N"]:
    """exp(-|f_i - f_j|^2 / 2) for all pairs, normalized by its sums.

    Raises:
        UsageError: more than `LIMIT` points.

    Example:
        >>> exact_kernel(np.array([[0.0], [1.0]])).round(4).tolist()
        [[1.0, 0.6065], [0.6065, 1.0]]
    """
    if len(features) > LIMIT:
        raise UsageError(f"The exact kernel of {len(features)} points is too large, at most {LIMIT}: use `dense_crf`.")
    points = np.asarray(features, np.float64)
    squares = (points**2).sum(1)
    distances = squares[:, None] + squares[None] - 2 * points @ points.T
    kernel = np.exp(-0.5 * np.maximum(distances, 0))
    if not self_term:
        np.fill_diagonal(kernel, 0)
    mass = kernel.sum(1) + 1e-20
    before, after = {
        "none": (0.0, 0.0),
        "before": (1.0, 0.0),
        "after": (0.0, 1.0),
        "symmetric": (0.5, 0.5),
    }[normalization]
    return np.asarray(mass[:, None] ** -after * kernel * mass[None] ** -before)


def exact_mean_field(
    probabilities: Float[np.ndarray, "K N"], terms: Sequence[ExactTerm], *, iterations: int = 5
) -> Float64[np.ndarray, "K N"]:
    """Mean field in double precision: Q <- softmax(log P - sum over terms of penalties (Q K)), so many times.

    Raises:
        UsageError: more than `LIMIT` points.
    """
    kernels = [exact_kernel(term.features, term.normalization, self_term=term.self_term) for term in terms]
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), 1e-5))
    scores = _softmax(logs)
    for _ in range(iterations):
        pairs = zip(terms, kernels, strict=True)
        cost = sum(np.asarray(term.penalties, np.float64) @ (scores @ kernel.T) for term, kernel in pairs)
        scores = _softmax(logs - cost)
    return scores


def _softmax(logits: Float64[np.ndarray, "K N"]) -> Float64[np.ndarray, "K N"]:
    raised = np.exp(logits - logits.max(0))
    return np.asarray(raised / raised.sum(0))
