"""The rows of a lattice by sheets (see `_sheet_kernels`), and the neighbours of each: what a blur needs to know."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Int32, Int64, UInt64

from atrous.crf.lattice.keys import KeyLayout
from atrous.crf.lattice.sweep import BUFFERS, Steps, Sweep, shares
from atrous.threads import Interval, run, workers

__all__ = ["Sheets"]

Copies = tuple[Int32[np.ndarray, " copies"], Int32[np.ndarray, " copies"]]


@dataclass(frozen=True)
class Sheets:
    """The rows of a lattice by sheets, and their neighbours.

    A row keeps its number, by which points meet it, as splatting and slicing then find most rows side by side. Its
    place is its number by sheets.

    Attributes:
        starts: first place of each sheet, and the number of rows.
        rows: (rows,) the row at each place.
        following: (2, rows) for each place the neighbour's place in the next sheet, along the first axis and along the
            last; -1 where there is none.
        preceding: (2, rows) the same in the sheet before.
        order: (d - 1, rows) chains of rows along the axes between: see `_sheet_kernels.link_sheets`.
        ends: (d - 1, sheets, 2) where each sheet's chains begin and end in `order`.
        copies: for each strip of points but the first, its rows that are copies and the rows that own the vertex.
        parts: the sheets of each thread.
    """

    starts: Int64[np.ndarray, " sheets_1"]
    rows: Int32[np.ndarray, " rows"]
    following: Int32[np.ndarray, "2 rows"]
    preceding: Int32[np.ndarray, "2 rows"]
    order: Int32[np.ndarray, "d_1 rows"]
    ends: Int64[np.ndarray, "d_1 sheets 2"]
    copies: list[Copies]
    parts: list[Interval]

    @classmethod
    def of(cls, strips: list[UInt64[np.ndarray, "own words"]], layout: KeyLayout, least: int) -> "Sheets":
        """Sort the rows of all strips and find their neighbours.

        Args:
            strips: keys of each strip's rows; emptied.
            layout: of the keys.
            least: fewest rows that a thread is worth.
        """
        from atrous.crf.lattice._sheet_kernels import adopt_rows, link_sheets

        edges = list(pairwise(np.cumsum([0, *map(len, strips)]).tolist()))
        keys, rows, starts = _by_sheets(strips, layout, edges)
        strips.clear()
        count, sheets, between = len(rows), len(starts) - 1, len(layout.low) - 1
        parts, words = shares(starts, workers(), least), (0,) * layout.words
        sizes = [1 << (2 * own - 1).bit_length() for own in np.diff(starts).tolist()]
        slots = np.cumsum([0, *sizes])
        table, owner = np.full(slots[-1], -1, np.int32), np.empty(count, np.int32)
        run(adopt_rows, [(keys, words, starts, slots, table, owner, part) for part in parts])
        following, preceding = np.full((2, 2, count), -1, np.int32)
        order, ends = np.empty((between, count), np.int32), np.empty((between, sheets, 2), np.int64)
        steps = layout.steps
        steps[0] = 0 - steps[0]
        known = keys, words, owner, starts, slots, table, steps.reshape(-1)
        run(link_sheets, [(*known, following, preceding, order, ends, part) for part in parts])
        copies = _copies(rows, owner, edges)
        return cls(starts, rows, following, preceding, order, ends, copies, parts)

    @property
    def buffer_rows(self) -> int:
        """How many rows of values a blur needs beside the lattice's own."""
        return BUFFERS * len(self.parts) * int(np.diff(self.starts).max())

    def phases(self, *, reverse: bool) -> list[list[Steps]]:
        """The steps of a blur: see `Sweep`."""
        return Sweep(self.starts, self.ends, self.parts, reverse).phases()


def _by_sheets(
    strips: list[UInt64[np.ndarray, "own words"]], layout: KeyLayout, edges: list[Interval]
) -> tuple[UInt64[np.ndarray, "rows words"], Int32[np.ndarray, " rows"], Int64[np.ndarray, " sheets_1"]]:
    """All keys by sheets, the row at each place, and where each sheet starts."""
    from atrous.crf.lattice._sheet_kernels import sheet_of, sort_rows

    count = edges[-1][1]
    (sheet, cell), rows = np.empty((2, count), np.int32), np.empty(count, np.int32)
    numbered = [(own, first) for own, (first, _) in zip(strips, edges, strict=True)]
    fields = layout.low, layout.word_of, layout.shift, layout.bits
    run(sheet_of, [(own, *fields, sheet, cell, first) for own, first in numbered])
    sheet -= sheet.min()
    cell -= cell.min()
    sheets = int(sheet.max()) + 1
    while sheets * (int(cell.max()) + 1) > max(count, sheets):  # more cells than rows: they may be coarser
        cell >>= 1
    cells = int(cell.max()) + 1
    sheet *= np.int32(cells)
    sheet += cell
    counts = np.stack([np.bincount(sheet[first:stop], minlength=sheets * cells) for first, stop in edges])
    total = counts.sum(0)
    free = np.cumsum(counts, 0) - counts + np.cumsum(total) - total  # where each strip's rows of each cell go
    keys = np.empty((count, layout.words), np.uint64)
    run(sort_rows, [(own, sheet, free[n], rows, keys, first) for n, (own, first) in enumerate(numbered)])
    own = total.reshape(sheets, cells).sum(1)
    return keys, rows, np.append(0, np.cumsum(own[own > 0]))  # no row has a neighbour beyond an empty sheet


def _copies(rows: Int32[np.ndarray, " rows"], owner: Int32[np.ndarray, " rows"], edges: list[Interval]) -> list[Copies]:
    places = np.flatnonzero(owner != np.arange(len(owner)))
    copied, owners = rows[places], rows[owner[places]]
    order = np.argsort(copied)
    copied, owners = copied[order], owners[order]
    pieces = np.searchsorted(copied, edges[1:])
    return [(copied[first:stop], owners[first:stop]) for first, stop in pieces.reshape(-1, 2)]
