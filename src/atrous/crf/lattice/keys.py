"""What the coordinates of lattice points can be, and how they are packed into 64-bit words."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, UInt64

from atrous.errors import UsageError

__all__ = ["KeyLayout", "elevation_scale"]

EXACT = 2**22
"""Largest coordinate: beyond it single precision cannot tell the points of one simplex apart."""


def elevation_scale(d: int) -> Float32[np.ndarray, " d"]:
    """What each feature is multiplied by on its way into the plane of the lattice; the whole blur then has variance 1.

    (d + 1) sqrt(2/3) / sqrt((i + 1)(i + 2)), after Adams, Baek and Davis, Fast High-Dimensional Filtering Using the
    Permutohedral Lattice, 2010.
    """
    i = np.arange(d, dtype=np.float64)
    return ((d + 1) * math.sqrt(2 / 3) / np.sqrt((i + 1) * (i + 2))).astype(np.float32)


@dataclass(frozen=True)
class KeyLayout:
    """A field of bits for each of the first d coordinates; the last is implied, as they sum to zero.

    Attributes:
        low: the smallest value of each coordinate, neighbours included.
        word: the word that holds its field.
        shift: the field's lowest bit.
        bits: how many bits the field has.
        words: how many words a key has.
    """

    low: Int64[np.ndarray, " d"]
    word: Int64[np.ndarray, " d"]
    shift: Int64[np.ndarray, " d"]
    bits: Int64[np.ndarray, " d"]
    words: int

    @classmethod
    def of(cls, smallest: Float32[np.ndarray, " d"], largest: Float32[np.ndarray, " d"]) -> "KeyLayout":
        """The layout for features between two bounds.

        Raises:
            UsageError: features that are not finite, or so large that their lattice points cannot be told apart.
        """
        d = len(smallest)
        if not (np.isfinite(smallest).all() and np.isfinite(largest).all()):
            raise UsageError("The features of a CRF hold NaN or infinity; replace these pixels before refining.")
        scale = elevation_scale(d).astype(np.float64)
        low, high = smallest * scale, largest * scale  # of the scaled features
        after_low = np.cumsum(low[::-1])[::-1]  # of the sum of feature j and all that follow
        after_high = np.cumsum(high[::-1])[::-1]
        j = np.arange(1, d)
        # Coordinate 0 is the sum of all scaled features, coordinate j the sum from j on less j times feature j - 1.
        lowest = np.concatenate([after_low[:1], after_low[1:] - j * high[:-1]])
        highest = np.concatenate([after_high[:1], after_high[1:] - j * low[:-1]])
        margin = 4 * (d + 1)  # vertices lie up to d + 1 away, their neighbours as far again, and floats round
        first, last = np.floor(lowest) - margin, np.ceil(highest) + margin
        reach = max(np.abs(first).max(), np.abs(last).max(), d * abs(low[-1]), d * abs(high[-1]))
        if reach > EXACT:
            raise UsageError(
                f"The features of a CRF reach lattice coordinate {reach:.3g}, but at most {EXACT} can be told apart: a "
                "bandwidth (sxy or srgb) is far too small for the size or range of the image. Use a larger one."
            )
        return cls._pack(first.astype(np.int64), last.astype(np.int64))

    @classmethod
    def _pack(cls, first: Int64[np.ndarray, " d"], last: Int64[np.ndarray, " d"]) -> "KeyLayout":
        word, shift = np.zeros(len(first), np.int64), np.zeros(len(first), np.int64)
        bits = np.array([int(extent).bit_length() for extent in last - first], np.int64)
        current, used = 0, 0
        for j, own in enumerate(bits):
            if used + own > 63:  # 63: as signed numbers, keys then keep their order and are never negative
                current, used = current + 1, 0
            word[j], shift[j] = current, used
            used += own
        return cls(first, word, shift, bits, current + 1)

    @property
    def unit(self) -> UInt64[np.ndarray, " d_1"]:
        """One at the place of each coordinate's field, and zero for the last coordinate, which has none."""
        return np.append(np.uint64(1) << self.shift.astype(np.uint64), np.uint64(0))

    @property
    def word_of(self) -> Int64[np.ndarray, " d_1"]:
        """The word of each coordinate's field; any for the last, which has none."""
        return np.append(self.word, 0)

    @property
    def steps(self) -> UInt64[np.ndarray, "d_1 words"]:
        """What a step along each axis adds to a key: one to each coordinate but the axis's own, which falls by d."""
        d = len(self.word)
        steps = np.zeros((d + 1, self.words), np.uint64)
        for axis, (word, unit) in enumerate(zip(self.word, self.unit, strict=False)):
            steps[:, word] += unit
            with np.errstate(over="ignore"):  # it wraps around, as the sum of keys does
                steps[axis, word] -= np.uint64(d + 1) * unit
        return steps
