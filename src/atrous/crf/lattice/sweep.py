"""The order in which a lattice is blurred: sheet after sheet, all axes of a sheet while it is in the cache.

Blurred one axis after the other, a lattice larger than the cache travels through it d + 1 times. A step along the
first or the last axis leads from a sheet (see `_sheet_kernels`) into the one beside it, a step along any other stays
inside. So, with the axes in order or in reversed order, sheet `t` can be blurred along all axes but the last as soon as
sheet `t + 1` is there, and sheet `t - 1` along the last axis then: the lattice travels once.

The rows of a sheet, scattered in memory, are first gathered into a buffer of their own, blurred from buffer to buffer,
and put back by the last axis. Where the sheets are shared out between threads, the last axis of the two sheets at each
border has to wait until both threads are done; so each finds the other's first or last sheet as it was.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Int64

from atrous.threads import Interval

__all__ = ["ALONG", "BUFFERS", "ENTER", "GATHER", "LEAVE", "Steps", "Sweep", "shares"]

GATHER, ENTER, ALONG, LEAVE = range(4)
"""Kinds of steps: see `_sweep_kernels.sweep`."""

BUFFERS = 8
"""Buffers of a thread: see `_ThreadPart`."""

LEAST = 4
"""Fewest sheets of a thread: one at each border waits, and others lie between them."""

Steps = Int64[np.ndarray, "steps 8"]
Sheet = Int64[np.ndarray, "*sheets"]


def shares(starts: Int64[np.ndarray, " sheets_1"], parts: int, least: int) -> list[Interval]:
    """Sheets in at most `parts` runs of about as many rows, of at least `least` rows and enough sheets.

    Example:
        >>> shares(np.array([0, 5, 10, 15, 20, 25, 40, 45, 50]), 2, 10)
        [(0, 4), (4, 8)]
    """
    sheets, rows = len(starts) - 1, int(starts[-1])
    parts = max(1, min(parts, sheets // LEAST, rows // least))
    edges = [0]
    for part in range(1, parts):
        wanted = int(np.searchsorted(starts, rows * part // parts))
        edges.append(min(max(wanted, edges[-1] + LEAST), sheets - LEAST * (parts - part)))
    return list(pairwise([*edges, sheets]))


@dataclass(frozen=True)
class Sweep:
    """The steps of one blur.

    Attributes:
        starts: first row of each sheet, and the number of rows.
        ends: (d - 1, sheets, 2) where the chains of each sheet lie, for the axes but the first and the last.
        parts: the sheets of each thread.
        reverse: begin with the last axis.
    """

    starts: Int64[np.ndarray, " sheets_1"]
    ends: Int64[np.ndarray, "d_1 sheets 2"]
    parts: list[Interval]
    reverse: bool

    def phases(self) -> list[list[Steps]]:
        """Steps for each thread, and those at the borders, which begin when all threads are done."""
        threads = [_ThreadPart(self, number, *part) for number, part in enumerate(self.parts)]
        phases = [[thread.main() for thread in threads]]
        if len(threads) > 1:
            phases.append([low.border(high) for low, high in pairwise(threads)])
        return phases


class _ThreadPart:
    """The part of one thread, and its buffers.

    Three buffers in turn are for sheets as they were splatted, three for sheets that are blurred along all axes but the
    last, and two keep such sheets until the end: the first two after a border. Methods take the numbers of many sheets.
    """

    def __init__(self, sweep: Sweep, number: int, first: int, stop: int) -> None:
        self.sweep, self.first, self.stop = sweep, first, stop
        self.sheets, self.rows = len(sweep.starts) - 1, int(sweep.starts[-1])
        self.buffers = self.rows + (BUFFERS * number + np.arange(BUFFERS)) * int(np.diff(sweep.starts).max())

    def main(self) -> Steps:
        """All axes of all sheets, but for the last axis at the borders."""
        axes = len(self.sweep.ends)
        sheets = np.arange(self.first, self.stop)
        steps = np.zeros((len(sheets), axes + 3, 8), np.int64)
        steps[:, 0] = self._gather(sheets + 1)
        steps[:, 1] = self._enter(sheets)
        for place, axis in enumerate(reversed(range(axes)) if self.sweep.reverse else range(axes)):
            chains = axis * self.rows + self.sweep.ends[axis, sheets].T
            steps[:, 2 + place] = self._table(ALONG, *chains, self._blurred(sheets))
        waits = self.first + (self.first > 0)
        steps[:, -1] = self._leave(sheets - 1)
        steps[: waits - self.first + 1, -1] = 0  # of a sheet that is another thread's, or waits: an empty step
        begin = self._gather(np.arange(max(self.first - 1, 0), self.first + 1))
        end = self._leave(np.arange(self.stop - 1, self.stop if self.stop == self.sheets else self.stop - 1))
        return np.concatenate([begin, steps.reshape(-1, 8), end])

    def border(self, other: "_ThreadPart") -> Steps:
        """The last axis of the last sheet, and of the first of the thread that follows."""
        steps = self._leave(np.array([self.stop - 1, self.stop]))
        last, first = self.stop - 1, self.stop
        steps[0, 6] = steps[1, 5] = other._blurred(np.array(first))
        steps[1, 4], steps[1, 6] = self._blurred(np.array(last)), other._blurred(np.array(first + 1))
        return steps

    def _raw(self, sheets: Sheet) -> Sheet:
        """What leads from a place in a sheet to its row in the buffer of the sheet as it was splatted."""
        return self.buffers[sheets % 3] - self._start(sheets)

    def _blurred(self, sheets: Sheet) -> Sheet:
        """The same for the sheet blurred along all axes but the last."""
        kept = (self.first > 0) & (sheets >= self.first) & (sheets < self.first + 2)
        return self.buffers[np.where(kept, 6 + sheets - self.first, 3 + sheets % 3)] - self._start(sheets)

    def _start(self, sheets: Sheet) -> Sheet:
        return self.sweep.starts[np.clip(sheets, 0, self.sheets)]

    def _gather(self, sheets: Sheet) -> Steps:
        return self._table(GATHER, *self._span(sheets), self._raw(sheets))

    def _enter(self, sheets: Sheet) -> Steps:
        shifts = self._raw(sheets - 1), self._raw(sheets), self._raw(sheets + 1), self._blurred(sheets)
        return self._table(ENTER, *self._span(sheets), self._neighbours(last=False), *shifts)

    def _leave(self, sheets: Sheet) -> Steps:
        shifts = self._blurred(sheets - 1), self._blurred(sheets), self._blurred(sheets + 1)
        return self._table(LEAVE, *self._span(sheets), self._neighbours(last=True), *shifts)

    def _span(self, sheets: Sheet) -> tuple[Sheet, Sheet]:
        return self._start(sheets), self._start(sheets + 1)

    def _neighbours(self, *, last: bool) -> int:
        """Where the neighbours along the first axis to be blurred, or the last, begin among those of both."""
        return self.rows * (last != self.sweep.reverse)

    @staticmethod
    def _table(*columns: Any) -> Steps:
        """Steps of one kind, given by what each column holds."""
        table = np.zeros((*np.shape(columns[1]), 8), np.int64)
        for column, values in enumerate(columns):
            table[:, column] = values
        return table
