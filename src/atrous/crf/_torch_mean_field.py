"""Mean-field updates in torch operations, on the device of the tensors."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from atrous.crf.lattice import FLOOR, PairwiseTerm, check_probabilities

__all__ = ["TorchMeanField"]


class TorchMeanField:
    """The state of one image, as `MeanField` has it: scores in rows of classes.

    Attributes:
        rows: (N, K) the scores.
    """

    def __init__(self, planes: Float32[Tensor, "K N"], terms: Sequence[PairwiseTerm]) -> None:
        sums = planes.sum(0)
        check_probabilities([tuple(torch.stack([planes.min(), sums.min(), sums.max()]).tolist())])
        self._logs = planes.T.clamp(min=float(FLOOR)).log()
        self.terms = terms
        self.rows: Float[Tensor, "N K"] = self._logs.softmax(1)
        device = planes.device
        self._weights = [torch.from_numpy(term.weights).to(device) for term in terms]

    def update(self) -> None:
        """One parallel update of all pixels."""
        self.rows = (self._logs + self.messages()).softmax(1)

    def messages(self) -> Float[Tensor, "N K"]:
        """What all terms say to each pixel and class."""
        total = torch.zeros_like(self.rows)
        for term, weights in zip(self.terms, self._weights, strict=True):
            filtered = term.kernel.filter(self.rows)
            total += filtered @ -weights if term.matrix is not None else filtered * weights
        return total

    def energy(self) -> float:
        """The mean-field free energy of the scores."""
        scores = self.rows.double()
        entropy = (scores * scores.clamp(min=1e-20).log()).sum()
        return float(entropy - (scores * self._logs).sum() - 0.5 * (scores * self.messages()).sum())

    def change(self, before: Float[Tensor, "N K"]) -> float:
        """The largest difference of a score from an earlier state."""
        return float((self.rows - before).abs().max())

    def scores(self) -> Float[Tensor, "K N"]:
        """The scores as planes."""
        return self.rows.T.contiguous()
