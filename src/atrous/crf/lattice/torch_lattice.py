"""The permutohedral lattice in torch operations, for tensors on any device: sorting instead of hashing.

The same arithmetic as `permutohedral.Lattice`, laid out for many small processors: the keys of all vertices are sorted,
equal ones become one row, and splatting gathers the points of a row instead of adding into it, so that the result does
not depend on the order in which processors come along. The host learns how many rows there are, and nothing else.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from atrous.crf.lattice.keys import KeyLayout, elevation_scale
from atrous.errors import UsageError

__all__ = ["TorchLattice"]


class TorchLattice:
    """The lattice of one set of points, on the device of its features.

    Attributes:
        points: how many points there are.
        dimensions: d, how many features each has.
        rows: how many lattice points are touched.
        ids: (N, d + 1) row of each vertex around each point.
        weights: (N, d + 1) barycentric weights.
        gain: the factor 1 / (1 + 2^-d) of the last step.
    """

    def __init__(self, features: Float[Tensor, "N d"], *, bounds: tuple[Tensor, Tensor] | None = None) -> None:
        """Build the lattice.

        Args:
            features: positions in units of the standard deviation.
            bounds: the smallest and largest value of each feature, on the host, where they are known; else they are
                fetched from the device.

        Raises:
            UsageError: features that cannot be used: shape, NaN, or coordinates that are too large.
        """
        if features.ndim != 2 or 0 in features.shape:
            raise UsageError(
                f"Features are (points, dimensions), at least one of each, got shape {tuple(features.shape)}."
            )
        features = features.detach().float()
        self.points, self.dimensions = features.shape
        self.gain = 1.0 / (1.0 + 2.0**-self.dimensions)
        smallest, largest = bounds or torch.stack(torch.aminmax(features, dim=0)).cpu().unbind()
        layout = KeyLayout.of(smallest.numpy(), largest.numpy())
        words, self.weights = _vertices(features, layout)
        index = _Index(words)
        self.rows = index.rows
        self.ids = index.own.view(self.points, self.dimensions + 1)
        self._by_row = torch.argsort(index.own, stable=True)
        self._contributors = self._by_row // (self.dimensions + 1)
        counts = torch.bincount(index.own, minlength=self.rows)
        self._starts = counts.cumsum(0) - counts
        self._followers = [index.follower(step) for step in _steps(layout, features.device)]

    def filter(self, values: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """Each point receives the sum of all points' values, weighted by the lattice's Gaussian, itself included.

        Raises:
            UsageError: values of another number of points.
        """
        return self._apply(values, reverse=False)

    def transpose(self, values: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """The exact transpose of `filter`, for gradients.

        Raises:
            UsageError: values of another number of points.
        """
        return self._apply(values, reverse=True)

    def ones(self) -> Float[Tensor, " N"]:
        """A one for every point."""
        return torch.ones(self.points, device=self.weights.device)

    def _apply(self, values: Float[Tensor, "N K"], *, reverse: bool) -> Float[Tensor, "N K"]:
        if values.ndim != 2 or len(values) != self.points:
            raise UsageError(f"Values are ({self.points}, K) for this lattice, got shape {tuple(values.shape)}.")
        if values.dtype not in (torch.float32, torch.float64):
            values = values.float()
        weights = self.weights.to(values.dtype)
        shares = weights.view(-1)[self._by_row]
        held = F.embedding_bag(self._contributors, values, self._starts, mode="sum", per_sample_weights=shares)
        held = torch.cat([held, held.new_zeros(1, held.shape[1])])  # the last row stands for missing neighbours
        for leader, follower in self._followers[::-1] if reverse else self._followers:
            held = held + 0.5 * (held[leader] + held[follower])
        return F.embedding_bag(self.ids, held, mode="sum", per_sample_weights=weights) * self.gain


def _vertices(features: Float[Tensor, "N d"], layout: KeyLayout) -> tuple[Int64[Tensor, "V words"], Tensor]:
    """Keys and weights of the vertices around each point."""
    N, d = features.shape
    device = features.device
    side = float(d + 1)
    inverse = torch.tensor(1.0 / side, dtype=torch.float32).item()
    scaled = features * torch.from_numpy(elevation_scale(d)).to(device)
    after = scaled.flip(1).cumsum(1).flip(1)  # of each feature and all that follow
    steps = torch.arange(1, d + 1, device=device)
    rest = torch.cat([after[:, 1:], torch.zeros_like(after[:, :1])], 1)
    elevated = torch.cat([after[:, :1], rest - steps * scaled], 1)
    turns = torch.round(elevated * inverse)
    nearest = turns * side
    # Descending and stable: of equal coordinates the earlier comes first.
    rank = torch.argsort(torch.argsort(elevated - nearest, dim=1, descending=True, stable=True), dim=1)
    rank = rank + turns.sum(1, keepdim=True).long()
    wrap = side * ((rank < 0).float() - (rank > d).float())
    nearest, rank = nearest + wrap, rank + wrap.long()
    at_rank = torch.argsort(rank, dim=1)
    t = ((elevated - nearest) * inverse).gather(1, at_rank)  # falling
    upwards = t.flip(1)
    weights = torch.cat([1 + upwards[:, :1] - upwards[:, -1:], upwards[:, 1:] - upwards[:, :-1]], 1)
    low = torch.from_numpy(layout.low).to(device)
    unit = torch.from_numpy(layout.unit.astype("int64")).to(device)
    word_of = torch.from_numpy(layout.word_of).to(device)
    words = torch.zeros(N, d + 1, layout.words, dtype=torch.int64, device=device)
    fields = (nearest[:, :d].long() - low) * unit[:d]
    words[:, 0].index_add_(1, word_of[:d], fields)
    ones = torch.zeros(layout.words, dtype=torch.int64, device=device).index_add_(0, word_of, unit)
    for r in range(1, d + 1):  # one step along the main diagonal, except for one coordinate that falls back by d + 1
        falling = at_rank[:, d + 1 - r]
        words[:, r] = words[:, r - 1] + ones
        words[:, r].scatter_add_(1, word_of[falling][:, None], -(d + 1) * unit[falling][:, None])
    return words.view(N * (d + 1), layout.words), weights


def _steps(layout: KeyLayout, device: torch.device) -> list[Int64[Tensor, " words"]]:
    """What is added to a key to come to the next lattice point along each axis."""
    units, word_of = layout.unit.astype("int64").tolist(), layout.word_of.tolist()
    steps = []
    for axis in range(len(units)):
        step = [0] * layout.words
        for unit, word in zip(units, word_of, strict=True):
            step[word] += unit
        step[word_of[axis]] -= len(units) * units[axis]
        steps.append(torch.tensor(step, dtype=torch.int64, device=device))
    return steps


class _Index:
    """Equal keys numbered as one, in their order; keys of several words become one number, a word at a time.

    Attributes:
        rows: how many keys differ.
        own: (V,) the row of each key that came.
    """

    def __init__(self, words: Int64[Tensor, "V words"]) -> None:
        self._tables: list[tuple[Tensor, Tensor | None]] = []
        code: Tensor | None = None
        for word in words.unbind(1):
            table, number = torch.unique(word, return_inverse=True)
            if code is None:
                code, joint = number, None
            else:
                joint, code = torch.unique(code * len(table) + number, return_inverse=True)
            self._tables.append((table, joint))
        assert code is not None
        table, joint = self._tables[-1]
        self.rows = len(table) if joint is None else len(joint)
        self.own: Int[Tensor, " V"] = code
        self._keys = words.new_empty(self.rows, words.shape[1])
        self._keys[code] = words

    def follower(self, step: Int64[Tensor, " words"]) -> tuple[Tensor, Tensor]:
        """For each row the ones a step back and a step on; `rows`, an extra row, where there is none."""
        found, row = self._find(self._keys + step)
        missing = torch.full((self.rows + 1,), self.rows, dtype=torch.int64, device=step.device)
        on = missing.clone()
        on[:-1] = torch.where(found, row, self.rows)
        back = missing.clone()
        back[on] = torch.arange(self.rows + 1, device=step.device)
        back[-1] = self.rows
        return back, on

    def _find(self, words: Int64[Tensor, "M words"]) -> tuple[Bool[Tensor, " M"], Int64[Tensor, " M"]]:
        code = torch.zeros_like(words[:, 0])
        found = torch.ones_like(code, dtype=torch.bool)
        for word, (table, joint) in zip(words.unbind(1), self._tables, strict=True):
            there, number = _search(table, word.contiguous())
            found &= there
            if joint is None:
                code = number
            else:
                there, code = _search(joint, code * len(table) + number)
                found &= there
        return found, code


def _search(table: Int64[Tensor, " T"], sought: Int64[Tensor, " M"]) -> tuple[Bool[Tensor, " M"], Int64[Tensor, " M"]]:
    place = torch.searchsorted(table, sought).clamp_(max=len(table) - 1)
    return table[place] == sought, place
