"""Which input pixels a position of a feature map depends on, along one axis, as exact periodic intervals.

Position `i` of a map depends on the input pixels `lo(i)` to `hi(i)`. Along an axis without end, every operation of a
convolutional network repeats itself: `lo(i + period) = lo(i) + shift`. A pair of integer arrays of one period therefore
says everything, and an operation acts on it through the positions that it reads, its `Taps`, which repeat too.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Self

import numpy as np

__all__ = ["IDENTITY", "Footprint", "PeriodError", "Taps", "scaled", "shifted", "stretched", "transposed", "window"]

_FAR = 1 << 40  # stands for "nothing": farther than any pixel, and sums with any shift stay far
_LONGEST_PERIOD = 1 << 14  # beyond it two grids do not fit together in any useful sense


class PeriodError(Exception):
    """Two grids whose common period is too long to be followed."""


@dataclass(frozen=True, eq=False)
class Taps:
    """The positions that an operation reads: output `o` reads `positions[o % P] + (o // P) * shift`, P phases.

    Attributes:
        shift: how far the reading moves in one period of the output.
        positions: (P, taps) integers.
        used: (P, taps), False where a phase reads fewer positions.
    """

    shift: int
    positions: np.ndarray
    used: np.ndarray


@dataclass(frozen=True, eq=False)
class Footprint:
    """The input pixels `lo` to `hi` (inclusive) of each phase of a map; `lo > hi` where a phase depends on nothing."""

    shift: int
    lo: np.ndarray
    hi: np.ndarray

    @property
    def period(self) -> int:
        """Positions after which the pattern repeats, `shift` input pixels further."""
        return len(self.lo)

    def at(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last input pixel of any positions."""
        turns, phase = np.divmod(positions, self.period)
        return self.lo[phase] + turns * self.shift, self.hi[phase] + turns * self.shift

    def through(self, taps: Taps) -> Self:
        """The footprint of what an operation makes of this map."""
        phases = len(taps.positions)
        repeats = self.period // gcd(self.period, taps.shift)
        _check_period(phases * repeats)
        turns = np.repeat(np.arange(repeats), phases)[:, None] * taps.shift
        lo, hi = self.at(np.tile(taps.positions, (repeats, 1)) + turns)
        used = np.tile(taps.used, (repeats, 1))
        return type(self)(
            shift=taps.shift * repeats // self.period * self.shift,
            lo=np.where(used, lo, _FAR).min(axis=1),
            hi=np.where(used, hi, -_FAR).max(axis=1),
        )

    def hull(self, other: Self) -> Self | None:
        """The footprint of a sum of two maps, or None where the maps lie on grids of different density."""
        if self.shift * other.period != other.shift * self.period:
            return None
        period = lcm(self.period, other.period)
        _check_period(period)
        positions = np.arange(period)
        lo, hi = self.at(positions)
        other_lo, other_hi = other.at(positions)
        shift = self.shift * (period // self.period)
        return type(self)(shift, np.minimum(lo, other_lo), np.maximum(hi, other_hi))

    def reach(self) -> tuple[int, int, int]:
        """How far a position looks before and after its own pixel, and at how many pixels, at most over the phases.

        The own pixel of position `i` is `i * shift // period`.
        """
        own = np.arange(self.period) * self.shift // self.period
        some = self.lo <= self.hi
        if not some.any():
            return 0, 0, 0
        left, right = (own - self.lo)[some].max(), (self.hi - own)[some].max()
        return max(int(left), 0), max(int(right), 0), int((self.hi - self.lo)[some].max()) + 1


IDENTITY = Footprint(1, np.zeros(1, np.int64), np.zeros(1, np.int64))
"""The footprint of the image itself: each pixel depends on itself."""


def _check_period(period: int) -> None:
    if period > _LONGEST_PERIOD:
        raise PeriodError


def _taps(shift: int, rows: list[list[int]]) -> Taps:
    width = max(1, *(len(row) for row in rows))
    positions = np.array([row + [0] * (width - len(row)) for row in rows], dtype=np.int64)
    used = np.array([[column < len(row) for column in range(width)] for row in rows])
    return Taps(shift, positions, used)


def shifted(offset: int, step: int = 1) -> Taps:
    """Output `o` reads position `offset + o * step`: a crop, a pad, a slice."""
    return _taps(step, [[offset]])


def window(kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Taps:
    """A convolution or a pooling."""
    return _taps(stride, [[tap * dilation - padding for tap in range(kernel)]])


def transposed(kernel: int, stride: int, padding: int, dilation: int) -> Taps:
    """A transposed convolution: output `o` reads `i` where `o = i * stride - padding + tap * dilation`."""
    reads = [[output + padding - tap * dilation for tap in range(kernel)] for output in range(stride)]
    return _taps(1, [[read // stride for read in row if read % stride == 0] for row in reads])


def scaled(ratio: Fraction, method: str) -> Taps:
    """An interpolation to another size that keeps the corners of the outer pixels (`align_corners=False`).

    Args:
        ratio: input pixels per output pixel.
        method: `nearest`, `nearest-exact`, `bilinear` or `bicubic`.
    """
    rows = []
    for output in range(ratio.denominator):
        if method == "nearest":
            rows.append([int(output * ratio // 1)])
            continue
        centre = (output + Fraction(1, 2)) * ratio
        if method == "nearest-exact":
            rows.append([int(centre // 1)])
        else:
            rows.append(_neighbours(centre - Fraction(1, 2), method))
    return _taps(ratio.numerator, rows)


def stretched(ratio: Fraction, method: str) -> Taps:
    """An interpolation that keeps the centres of the outer pixels (`align_corners=True`).

    Args:
        ratio: input steps per output step, (input size - 1) / (output size - 1).
        method: `bilinear` or `bicubic`.
    """
    rows = [_neighbours(output * ratio, method) for output in range(ratio.denominator)]
    return _taps(ratio.numerator, rows)


def _neighbours(place: Fraction, method: str) -> list[int]:
    """The positions that the value at a place between them is made of."""
    first = int(place // 1)
    if place == first:
        return [first]
    return [first, first + 1] if method == "bilinear" else [first - 1, first, first + 1, first + 2]
