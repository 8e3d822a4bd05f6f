"""Mean-field updates on the processor: pixels in rows of classes, streamed through the lattices' kernels."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Float32

from atrous.crf.lattice.permutohedral import STRIP, lanes_for
from atrous.errors import UsageError
from atrous.threads import run, split_evenly, workers

__all__ = ["FLOOR", "MeanField", "PairwiseTerm", "check_probabilities"]

FLOOR = np.float32(1e-5)
"""Smallest probability: below it, a class would be ruled out for good."""

MEMORY_LIMIT = 512 * 2**20
"""Bytes of an image's values, or of its lattices', above which memory is saved at the cost of time."""

NARROW = 4
"""How many classes at a time, at least."""

SLACK = 1e-2
"""How far from 1 the probabilities of a pixel may sum: half precision and 8-bit scores round that much."""


class PairwiseTerm(Protocol):
    """What an update needs of a pairwise term, see `atrous.crf.Pairwise`.

    Attributes:
        kernel: a lattice, with what its values are multiplied by before and after.
        weights: of all classes, or of each.
        matrix: (K, K) penalties, or None.
    """

    kernel: Any
    weights: Any
    matrix: Any


class MeanField:
    """The state of one image: scores Q in rows, the values of each lattice, and the update.

    Attributes:
        rows: (N, width) the scores; classes beyond K are there to fill a vector, and zero.
        frugal: the image is large, and logarithms are taken anew each time instead of being kept.
        step: how many classes are filtered at a time: all, unless the lattices' values would be large.
    """

    def __init__(self, planes: Float32[np.ndarray, "K N"], terms: Sequence[PairwiseTerm]) -> None:
        self.K, self.N = planes.shape
        self.planes, self.terms = planes, terms
        self.lanes, self.width = lanes_for(self.K)
        lattices = [term.kernel.lattice for term in terms]
        self.frugal = 4 * self.width * 2 * self.N > MEMORY_LIMIT
        self.step, self.step_lanes = self.width, self.lanes
        if 4 * self.width * sum(lattice.rows for lattice in lattices) > MEMORY_LIMIT:
            self.step, self.step_lanes = NARROW, (0,) * NARROW
        self.held = tuple(lattice.empty_values(self.step) for lattice in lattices)
        self.mixed = any(term.matrix is not None for term in terms)
        self.rows = np.empty((self.N, self.width), np.float32)
        self._spans = split_evenly(self.N, 4 * workers(), least=STRIP)
        self._logs = self._take_logs()

    def _take_logs(self) -> Float32[np.ndarray, "N width"]:
        """Logarithms of the probabilities, checked; and the first scores."""
        from atrous.crf.lattice._filter_kernels import log_rows, softmax_planes, softmax_rows

        logs = self.rows if self.frugal else np.empty_like(self.rows)
        flat = self.rows.reshape(-1)

        def take(first: int, last: int) -> tuple[float, float, float]:
            own, span = logs[first:last].reshape(-1), (first, last)
            found: tuple[float, float, float] = log_rows(self.planes, FLOOR, own, self.width, span, self.lanes)
            self.rows[first:last] = 0
            if self.frugal:
                softmax_planes(self.planes, FLOOR, flat, self.width, span, self.lanes)
            else:
                softmax_rows(own, first, flat, self.width, span, self.lanes)
            return found

        check_probabilities(run(take, self._spans))
        return logs

    def update(self) -> None:
        """One parallel update of all pixels."""
        from atrous.crf.lattice._filter_kernels import softmax_planes, softmax_rows, update

        if self.step == self.width and not self.frugal and not self.mixed:
            ids, weights, corners, scales, factors = self._spread(0)
            state = self._logs.reshape(-1), self.rows.reshape(-1), self.width
            run(
                update,
                [(ids, weights, corners, scales, self.held, factors, *state, span, self.lanes) for span in self._spans],
            )
            return
        self.rows = self.messages(in_place=not self.mixed)
        flat = self.rows.reshape(-1)
        if self.frugal:
            run(softmax_planes, [(self.planes, FLOOR, flat, self.width, span, self.lanes) for span in self._spans])
        else:
            logs = self._logs.reshape(-1)
            run(softmax_rows, [(logs, 0, flat, self.width, span, self.lanes) for span in self._spans])

    def messages(self, *, in_place: bool = False) -> Float32[np.ndarray, "N width"]:
        """What all terms say to each pixel and class; in place, it takes the place of the scores."""
        from atrous.crf.lattice._filter_kernels import messages

        target = self.rows if in_place else np.empty_like(self.rows)
        for channel in range(0, self.width, self.step):
            ids, weights, corners, scales, factors = self._spread(channel)
            given = (
                ids,
                weights,
                corners,
                scales,
                self.held,
                self.step,
                factors,
                target.reshape(-1),
                self.width,
                channel,
            )
            run(messages, [(*given, span, self.step_lanes) for span in self._spans])
        return target

    def _spread(self, channel: int) -> tuple[tuple, ...]:
        """Splat and blur some channels of the scores in each lattice; what slicing needs."""
        factors = []
        for term, held in zip(self.terms, self.held, strict=True):
            lattice, scale = term.kernel.lattice, term.kernel.scale_in
            if term.matrix is None:
                source, stride, first = self.rows, self.width, channel
                factor = np.zeros(self.width, np.float32)
                factor[: self.K] = term.weights
                factors.append(factor[channel : channel + self.step] * np.float32(lattice.gain))
            else:  # filtering and mixing classes commute; mixed beforehand, each term may have a matrix of its own
                mixing = np.zeros((self.width, self.step), np.float32)
                part = term.matrix[channel : channel + self.step]
                mixing[: self.K, : len(part)] = -part.T
                source, stride, first = self.rows @ mixing, self.step, 0
                factors.append(np.full(self.step, lattice.gain, np.float32))
            lattice.spread(source.reshape(-1), stride, first, held, self.step, scale, self.step_lanes)
        kernels = [term.kernel for term in self.terms]
        return (
            tuple(kernel.lattice.ids.reshape(-1) for kernel in kernels),
            tuple(kernel.lattice.weights.reshape(-1) for kernel in kernels),
            tuple(kernel.lattice.dimensions + 1 for kernel in kernels),
            tuple(kernel.scale_out for kernel in kernels),
            tuple(factors),
        )

    def energy(self) -> float:
        """The mean-field free energy of the scores: sum Q log Q + sum Q U + 1/2 sum Q (compatibility of filtered Q)."""
        scores = self.rows[:, : self.K].astype(np.float64)
        unary = -np.log(np.maximum(self.planes.T, FLOOR), dtype=np.float64)
        entropy = (scores * np.log(np.maximum(scores, 1e-20))).sum()
        return float(entropy + (scores * unary).sum() - 0.5 * (scores * self.messages()[:, : self.K]).sum())

    def change(self, before: Float32[np.ndarray, "N width"]) -> float:
        """The largest difference of a score from an earlier state, which is used up."""
        return float(np.abs(np.subtract(self.rows, before, out=before), out=before).max())

    def scores(self) -> Float[np.ndarray, "K N"]:
        """The scores as planes; the state is used up."""
        from atrous.crf.lattice._filter_kernels import planes_of

        self.held, self._logs, self.terms = (), self.rows, ()
        planes = np.empty((self.K, self.N), np.float32)
        run(planes_of, [(self.rows.reshape(-1), self.width, planes, span) for span in self._spans])
        return planes


def check_probabilities(found: Sequence[tuple[float, ...]]) -> None:
    """Refuse what cannot be probabilities, by the smallest number and the least and largest sum of a pixel, in parts.

    Raises:
        UsageError: NaN, negative numbers, or sums far from 1.
    """
    lowest = min(low for low, _, _ in found)
    if not all(low >= 0 for low, _, _ in found):  # NaN compares as false
        what = "NaN" if any(np.isnan(low) for low, _, _ in found) else f"negative numbers, down to {lowest:.4g}"
        raise UsageError(f"The probabilities hold {what}: they must lie in 0..1. Pass the softmax, not the logits.")
    least, most = min(least for _, least, _ in found), max(most for _, _, most in found)
    if least < 1 - SLACK or most > 1 + SLACK:
        raise UsageError(
            f"The probabilities of a pixel sum to {least:.4g}..{most:.4g}, but must sum to 1 over the classes. Pass "
            "the softmax over all classes; for one sigmoid score p, stack 1 - p and p."
        )
