"""Compiled kernels that sort a lattice's rows by sheets and find each row's neighbours.

A sheet is the set of lattice points of one value of (x_0 - x_d) / (d + 1), a whole number. A step along the first axis
changes it by one, a step along the last axis by minus one, a step along any other not at all. So the neighbours of a
row along all axes lie in its own sheet and the two beside it, and all that is done to a row finds its neighbours in
a small part of memory: this holds for the search for them as for the blur.

Inside a sheet, (x_1 - x_{d-1}) / (d + 1) does the same once more: it makes the cells of a sheet. Rows are sorted by
cells too, so that neighbours are near.
"""

from typing import Any

import numpy as np

from atrous.compilation import kernel
from atrous.crf.lattice._build_kernels import find, first_slot
from atrous.crf.lattice._simd import at

__all__ = ["adopt_rows", "link_sheets", "sheet_of", "sort_rows"]


@kernel
def sheet_of(keys: Any, low: Any, word_of: Any, shift: Any, bits: Any, sheet: Any, cell: Any, first: Any) -> None:
    """Write the sheet of each key, and its cell in there, from the place `first` on.

    Args:
        keys: (rows of a strip, words).
        low: (d,) smallest value of each coordinate.
        word_of: the word of each coordinate's field.
        shift: (d,) its lowest bit.
        bits: (d,) how many bits it has.
        sheet: (rows,) receives whole numbers.
        cell: (rows,) receives whole numbers; zero up to two dimensions.
        first: the strip's first row.
    """
    d = low.shape[0]
    for row in range(keys.shape[0]):
        total, inner = np.int64(0), np.int64(0)
        for j in range(d):
            mask = (np.uint64(1) << np.uint64(bits[j])) - np.uint64(1)
            x = np.int64((keys[row, word_of[j]] >> np.uint64(shift[j])) & mask) + low[j]
            total += 2 * x if j == 0 else x  # x_d is minus the sum of the others, so that x_0 counts twice
            if d > 2 and j == 1:
                inner += x
            if d > 2 and j == d - 1:
                inner -= x
        sheet[first + row] = total // (d + 1)
        cell[first + row] = inner // (d + 1)


@kernel
def sort_rows(keys: Any, cell: Any, free: Any, rows: Any, ordered: Any, first: Any) -> None:
    """Put the rows of one strip and their keys, in their order, into the next free places of their cells.

    Args:
        keys: (rows of the strip, words).
        cell: cells of all rows, numbered through all sheets.
        free: for each cell, the next free place of this strip.
        rows: (rows,) receives rows.
        ordered: (rows, words) receives keys.
        first: the strip's first row.
    """
    for row in range(keys.shape[0]):
        own = cell[first + row]
        place = free[own]
        free[own] = place + 1
        rows[place] = first + row
        for word in range(keys.shape[1]):
            ordered[place, word] = keys[row, word]


@kernel
def adopt_rows(keys: Any, words: Any, starts: Any, slots: Any, table: Any, owner: Any, span: Any) -> None:
    """Enter the rows of some sheets into their hash tables; `owner` receives the first row of the same key.

    Args:
        keys: (rows, words), by sheets.
        words: as many entries as a key has words.
        starts: first row of each sheet, and the number of rows.
        slots: where each sheet's table begins in `table`, and the end; each one's length is a power of two.
        table: all tables, -1 where empty.
        owner: (rows,) receives rows.
        span: first sheet and the one after the last.
    """
    flat = keys.reshape(-1)
    for sheet in range(span[0], span[1]):
        origin, size = slots[sheet], slots[sheet + 1] - slots[sheet]
        for row in range(starts[sheet], starts[sheet + 1]):
            slot = first_slot(flat, row * len(words), words, origin, size)
            slot = find(slot, flat, row * len(words), words, flat, table, origin, size)
            if table[slot] < 0:
                table[slot] = row
            owner[row] = table[slot]


@kernel
def link_sheets(
    keys: Any, words: Any, owner: Any, starts: Any, slots: Any, table: Any, steps: Any,
    following: Any, preceding: Any, order: Any, ends: Any, span: Any,
) -> None:  # fmt: skip
    """Find the neighbours of all rows of some sheets.

    Args:
        keys: see `adopt_rows`; so are `words`, `starts`, `slots` and `table`.
        words: of a key.
        owner: (rows,) rows that are copies of an earlier row have no neighbours.
        starts: of sheets.
        slots: of tables.
        table: of rows.
        steps: for each axis, what a step adds to a key, flat; along the first axis a step back, into the next sheet.
        following: (2, rows) receives the neighbour in the next sheet along the first and the last axis; -1 is none.
        preceding: (2, rows) receives the neighbour in the sheet before, and holds -1 until then.
        order: (d - 1, rows) receives the chains of the axes between: rows end to end, the last of each as its
            complement. A chain is an unbroken run of lattice points, each one step further along the axis. Points
            without neighbours are left out: a blur leaves them as they are.
        ends: (d - 1, sheets, 2) receives where each sheet's chains begin and end.
        span: first sheet and the one after the last.
    """
    d = ends.shape[0] + 1
    flat, sought = keys.reshape(-1), np.empty(len(words), np.uint64)
    largest = 0
    for sheet in range(span[0], span[1]):
        largest = max(largest, starts[sheet + 1] - starts[sheet])
    successor, is_first = np.empty(largest, np.int32), np.empty(largest, np.bool_)
    for side in range(d - 1):
        used = starts[span[0]]
        for sheet in range(span[0], span[1]):
            first, last = starts[sheet], starts[sheet + 1]
            slots_of = slots[sheet], slots[sheet + 1]
            _seek(flat, words, owner, (first, last), steps, side + 1, sought, table, slots_of, successor)
            ends[side, sheet, 0] = used
            used = _chain(first, last, successor, is_first, order[side], used)
            ends[side, sheet, 1] = used
    for side in range(2):
        for sheet in range(span[0], min(span[1], starts.shape[0] - 2)):
            first, last = starts[sheet], starts[sheet + 1]
            slots_of = slots[sheet + 1], slots[sheet + 2]
            beside = following[side, first:last]
            _seek(flat, words, owner, (first, last), steps, side * d, sought, table, slots_of, beside)
            for row in range(first, last):
                if beside[row - first] >= 0:
                    preceding[side, beside[row - first]] = row


@kernel
def _seek(
    keys: Any, words: Any, owner: Any, span: Any, steps: Any, axis: Any, sought: Any, table: Any, slots: Any, found: Any
) -> None:
    """Write the neighbours along an axis of the rows `span`, as far as they are in one sheet's table; -1 is none."""
    origin, size = slots[0], slots[1] - slots[0]
    for row in range(span[0], span[1]):
        neighbour = -1
        if at(owner, row) == row:
            for word in range(len(words)):
                sought[word] = at(keys, row * len(words) + word) + at(steps, axis * len(words) + word)
            slot = first_slot(sought, 0, words, origin, size)
            neighbour = at(table, find(slot, sought, 0, words, keys, table, origin, size))
        found[row - span[0]] = neighbour


@kernel
def _chain(first: Any, last: Any, successor: Any, is_first: Any, order: Any, used: Any) -> Any:
    """Write the chains of one sheet along one axis into `order`, from `used` on; returns where they end."""
    is_first[: last - first] = True
    for place in range(last - first):
        if successor[place] >= 0:
            is_first[successor[place] - first] = False
    for start in range(first, last):
        if not is_first[start - first] or successor[start - first] < 0:
            continue
        place = start
        while successor[place - first] >= 0:
            order[used] = place
            used += 1
            place = int(successor[place - first])
        order[used] = ~place
        used += 1
    return used
