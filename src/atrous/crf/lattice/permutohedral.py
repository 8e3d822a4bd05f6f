"""The permutohedral lattice: a Gaussian filter over points with any number of features, in time linear in the points.

Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics 2010.

As in the paper, and as in the implementation that fully connected CRFs are known by:
- a point is spread (splat) to the d + 1 vertices of the simplex that it lies in, by barycentric weights;
- values are blurred by [1/2, 1, 1/2] along each of the d + 1 axes in turn, among the vertices that some point touches;
- the result is read back (slice) with the same weights, times 1 / (1 + 2^-d).

Different from the paper, with the same result:
- the pixels are divided into strips, one per thread, that never write to the same row: a vertex that a second strip
  touches gets a row of its own there, and such copies are added up before the blur and renewed after it;
- rows are blurred sheet by sheet, along all axes while they are in the cache, so that a lattice larger than the cache
  travels through it once and not d + 1 times (see `_sweep`).

The filter F is linear but not symmetric, as the blur skips the vertices that no point touches: its transpose blurs
along the axes in reversed order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt64

from atrous.crf.lattice.keys import KeyLayout, elevation_scale
from atrous.crf.lattice.sheets import Sheets
from atrous.crf.lattice.sweep import Steps
from atrous.errors import UsageError
from atrous.threads import Interval, run, split_evenly, workers

__all__ = ["FeatureSource", "Lattice", "filter_batch", "lanes_for"]

CHUNK = 1 << 15
"""Points whose features are made and entered at once."""

STRIP = 1 << 12
"""Fewest points in a strip: below, the copies cost more than a thread gains."""


@dataclass(frozen=True)
class FeatureSource:
    """Features that are made a few at a time, so that those of a large image never stand in memory at once.

    Attributes:
        count: how many points there are.
        smallest: a lower bound of each feature.
        largest: an upper bound of each feature.
        read: the features of the points from one number to another, (n, d) float32.
    """

    count: int
    smallest: Float32[np.ndarray, " d"]
    largest: Float32[np.ndarray, " d"]
    read: Callable[[int, int], Float32[np.ndarray, "n d"]]

    @classmethod
    def of(cls, features: Float[np.ndarray, "N d"]) -> "FeatureSource":
        """The source of features that are there already.

        Raises:
            UsageError: features of another shape.
        """
        if features.ndim != 2 or 0 in features.shape:
            raise UsageError(f"Features are (points, dimensions), at least one of each, got shape {features.shape}.")

        def read(first: int, last: int) -> Float32[np.ndarray, "n d"]:
            return np.ascontiguousarray(features[first:last], np.float32)

        smallest, largest = features.min(0).astype(np.float32), features.max(0).astype(np.float32)
        return cls(len(features), smallest, largest, read)


class Lattice:
    """The lattice of one set of points: built once, then applied to any number of values, by any number of threads.

    Attributes:
        ids: (N, d + 1) row of each vertex around each point, numbered in each strip as points meet them.
        weights: (N, d + 1) barycentric weights; they sum to 1.
        gain: the factor 1 / (1 + 2^-d) of the last step.
        rows: how many rows of values the lattice has, copies included.
        strips: for each strip, its points and its first row.
        sheets: the rows' neighbours, in the order of a blur.

    Example:
        >>> lattice = Lattice(np.array([[0.0], [0.5], [1.0], [2.0]], np.float32))
        >>> lattice.filter(np.eye(4)[:, :1]).round(4).ravel().tolist()
        [0.8333, 0.7371, 0.5893, 0.1151]
    """

    def __init__(self, features: FeatureSource | Float[np.ndarray, "N d"], *, strips: int | None = None) -> None:
        """Build the lattice.

        Args:
            features: (N, d) positions in units of the standard deviation, or a source of them.
            strips: into how many parts the points are divided; None takes one per thread.

        Raises:
            UsageError: features that cannot be used: shape, NaN, or coordinates that are too large.
        """
        source = features if isinstance(features, FeatureSource) else FeatureSource.of(np.asarray(features))
        d = len(source.smallest)
        if source.count * (d + 1) >= 2**31:
            raise UsageError(
                f"A lattice holds fewer than {2**31} vertices, but {source.count} points of {d} features may need "
                f"{source.count * (d + 1)}: refine the image in tiles."
            )
        self.points, self.dimensions = source.count, d
        self.gain = 1.0 / (1.0 + 2.0**-d)
        self._layout = KeyLayout.of(source.smallest, source.largest)
        self.ids: Int32[np.ndarray, "N d_1"] = np.empty((source.count, d + 1), np.int32)
        self.weights: Float32[np.ndarray, "N d_1"] = np.empty((source.count, d + 1), np.float32)
        parts = split_evenly(source.count, strips or workers(), least=1 if strips else STRIP)
        keys = run(self._enter, [(source, span) for span in parts])
        *firsts, self.rows = np.cumsum([0, *map(len, keys)]).tolist()
        self.strips = list(zip(parts, firsts, strict=True))
        self.sheets = Sheets.of(keys, self._layout, STRIP)
        run(self._shift_ids, [(*span, first) for span, first in self.strips])
        self._phases: dict[bool, list[list[Steps]]] = {}

    def _enter(self, source: FeatureSource, span: Interval) -> UInt64[np.ndarray, "rows words"]:
        """Enter the points of one strip into a table of its own; `ids` become the strip's own row numbers."""
        from atrous.crf.lattice._build_kernels import insert_points, rehash

        layout, scale = self._layout, elevation_scale(self.dimensions)
        words = (0,) * layout.words
        capacity = 1 << max(12, (span[1] - span[0]).bit_length() - 1)
        table = np.full(capacity, -1, np.int32)
        keys = np.empty((capacity // 2, layout.words), np.uint64)
        count = 0
        for start in range(span[0], span[1], CHUNK):
            stop = min(start + CHUNK, span[1])
            points = source.read(start, stop)
            while start < stop:
                done, count = insert_points(
                    points, scale, layout.low, layout.word_of, layout.unit, keys, words, count, table,
                    self.ids[start:stop], self.weights[start:stop],
                )  # fmt: skip
                start, points = start + done, points[done:]
                if start < stop:
                    capacity *= 4
                    table = np.full(capacity, -1, np.int32)
                    keys = np.concatenate([keys[:count], np.empty((capacity // 2 - count, layout.words), np.uint64)])
                    rehash(keys.reshape(-1), words, count, table)
        return keys[:count]

    def _shift_ids(self, first: int, last: int, offset: int) -> None:
        self.ids[first:last] += np.int32(offset)

    def filter(self, values: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
        """Each point receives the sum of all points' values, weighted by the lattice's Gaussian, itself included.

        Args:
            values: of the points, in single or double precision, which the result has too.

        Raises:
            UsageError: values of another number of points.
        """
        return self._apply(values, reverse=False)

    def transpose(self, values: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
        """The exact transpose of `filter`, for gradients.

        Raises:
            UsageError: values of another number of points.
        """
        return self._apply(values, reverse=True)

    def ones(self) -> Float32[np.ndarray, " N"]:
        """A one for every point."""
        return np.ones(self.points, np.float32)

    def _apply(self, values: Float[np.ndarray, "N K"], *, reverse: bool) -> Float[np.ndarray, "N K"]:
        if values.ndim != 2 or len(values) != self.points:
            raise UsageError(f"Values are ({self.points}, K) for this lattice, got shape {values.shape}.")
        K = values.shape[1]
        lanes, width = lanes_for(K)
        dtype = np.float64 if values.dtype == np.float64 else np.float32
        rows = np.zeros((self.points, width), dtype)
        rows[:, :K] = values
        flat, ones = rows.reshape(-1), np.ones(self.points, np.float32)
        held = self.empty_values(width, dtype)
        self.spread(flat, width, 0, held, width, ones, lanes, reverse=reverse)
        from atrous.crf.lattice._filter_kernels import messages

        factors = (np.full(width, self.gain, dtype),)
        shared = (
            (self.ids.reshape(-1),),
            (self.weights.reshape(-1),),
            (self.dimensions + 1,),
            (ones,),
            (held,),
            width,
            factors,
            flat,
            width,
            0,
        )
        run(messages, [(*shared, span, lanes) for span in split_evenly(self.points, workers(), least=STRIP)])
        return rows[:, :K] if width > K else rows

    def empty_values(self, width: int, dtype: Any = np.float32) -> Float[np.ndarray, " size"]:
        """Room for `width` numbers in every row, and for what a blur keeps."""
        return np.empty((self.rows + self.sheets.buffer_rows) * width, dtype)

    def spread(
        self, source: Float[np.ndarray, " size"], stride: int, channel: int, values: Float[np.ndarray, " held"],
        width: int, scale: Float32[np.ndarray, " N"], lanes: tuple[int, ...], *, reverse: bool = False,
    ) -> None:  # fmt: skip
        """Splat `width` channels of the points' rows, times `scale`, onto the lattice and blur them there."""
        from atrous.crf.lattice._filter_kernels import gather_copies, scatter, spread_copies
        from atrous.crf.lattice._sweep_kernels import sweep

        shared = (
            self.ids.reshape(-1),
            self.weights.reshape(-1),
            self.dimensions + 1,
            scale,
            source,
            stride,
            channel,
            values,
            width,
        )
        run(scatter, [(*shared, span, first, lanes) for span, first in self.strips])
        for copied, owner in self.sheets.copies:
            parts = split_evenly(len(copied), workers(), least=STRIP)
            run(gather_copies, [(values, width, copied, owner, span, lanes) for span in parts])
        if reverse not in self._phases:
            self._phases[reverse] = self.sheets.phases(reverse=reverse)
        tables = (
            self.sheets.rows,
            self.sheets.following.reshape(-1),
            self.sheets.preceding.reshape(-1),
            self.sheets.order.reshape(-1),
        )
        for phase in self._phases[reverse]:
            run(sweep, [(values, width, *tables, steps, lanes) for steps in phase])
        for copied, owner in self.sheets.copies:
            parts = split_evenly(len(copied), workers(), least=STRIP)
            run(spread_copies, [(values, width, copied, owner, span, lanes) for span in parts])


def filter_batch(
    lattices: Sequence[Lattice], values: Float[np.ndarray, "B N K"], *, transpose: bool = False
) -> Float[np.ndarray, "B N K"]:
    """Filter each member of a batch by its own lattice.

    Raises:
        UsageError: another number of lattices than of members.
    """
    if len(lattices) != len(values):
        raise UsageError(f"A batch of {len(values)} needs as many lattices, got {len(lattices)}.")
    pairs = zip(lattices, values, strict=True)
    return np.stack([lattice.transpose(own) if transpose else lattice.filter(own) for lattice, own in pairs])


def lanes_for(channels: int) -> tuple[tuple[int, ...], int]:
    """The vector length that wastes least, as the tuple that kernels take it as, and the channels rounded up to it.

    Example:
        >>> lanes_for(21)
        ((0, 0, 0, 0, 0, 0, 0, 0), 24)
        >>> lanes_for(12)
        ((0, 0, 0, 0), 12)
    """
    width = -(-channels // 4) * 4
    return (0,) * (8 if width % 8 == 0 else 4), width
