"""Compiled kernels that blur a lattice's values, sheet by sheet: see `_sweep`.

Each kernel works on some channels of its rows, three vectors from `c` on where `wide` and one otherwise: three at once
take no second look at the tables.
"""

from typing import Any

import numpy as np

from atrous.compilation import kernel
from atrous.crf.lattice._simd import add, at, fetch, fill, known, load, multiply_add, store
from atrous.crf.lattice.sweep import ALONG, GATHER, LEAVE

__all__ = ["sweep"]

AHEAD = 12
"""How many rows before its turn a row is fetched: the rows of a sheet lie scattered in memory."""


@kernel
def sweep(
    values: Any, width: Any, rows: Any, following: Any, preceding: Any, order: Any, steps: Any, lanes: Any
) -> None:
    """Blur by a list of steps (see `_sweep`), each on one sheet and along one axis.

    Args:
        values: of the lattice, with buffers behind its rows.
        width: numbers in a row.
        rows: the row at each place, by sheets.
        following: places of neighbours in the next sheet, flat.
        preceding: places of neighbours in the sheet before, flat.
        order: chains of places, flat.
        steps: (steps, 8) kind, first and last place, and what leads from a place to a row in a buffer:
            GATHER first last shift: into a buffer;
            ENTER first last table before own after target: along the first axis, from three buffers into a fourth;
            ALONG first last shift: along an axis inside a buffer; these are entries of `order`;
            LEAVE first last table before own after: along the last axis, from three buffers back to the rows.
        lanes: as many entries as a vector has.
    """
    L = len(lanes)
    for n in range(steps.shape[0]):
        kind, span, given = steps[n, 0], (steps[n, 1], steps[n, 2]), steps[n, 3:]
        c = np.int64(0)  # a plain zero is a type of its own, and would have all below compiled twice
        while c < width and span[0] < span[1]:
            wide = c + 3 * L <= width
            if kind == GATHER:
                _gather(values, width, c, wide, rows, span, given[0], lanes)
            elif kind == ALONG:
                _along(values, width, c, wide, order, span, given[0], lanes)
            else:
                _across(values, width, c, wide, rows, following, preceding, kind == LEAVE, span, given, lanes)
            c += 3 * L if wide else L


@kernel
def _gather(values: Any, width: Any, c: Any, wide: Any, rows: Any, span: Any, shift: Any, lanes: Any) -> None:
    """Copy the rows at some places into a buffer."""
    L, line = len(lanes), 64 // values.itemsize
    for place in range(span[0], span[1]):
        soon = np.int64(at(rows, min(place + AHEAD, span[1] - 1))) * width
        fetch(values, soon + c)
        fetch(values, soon + c + line)
        row, target = np.int64(at(rows, place)) * width + c, (place + shift) * width + c
        store(values, target, load(values, row, lanes))
        if wide:
            store(values, target + L, load(values, row + L, lanes))
            store(values, target + 2 * L, load(values, row + 2 * L, lanes))


@kernel
def _along(values: Any, width: Any, c: Any, wide: Any, order: Any, span: Any, shift: Any, lanes: Any) -> None:
    """Add half of both neighbours to each row of some chains, in place.

    Each row is read once: as the one that follows; then it is the row itself, then the one before.
    """
    L, half, none = len(lanes), values.dtype.type(0.5), fill(values.dtype.type(0), lanes)
    entry = np.int64(at(order, span[0]))
    goes_on = entry >= 0
    place = ((entry if goes_on else ~entry) + shift) * width + c
    before1, before2, before3 = none, none, none
    own1, own2, own3 = load(values, place, lanes), none, none
    if wide:
        own2, own3 = load(values, place + L, lanes), load(values, place + 2 * L, lanes)
        for n in range(span[0] + 1, span[1]):
            entry = np.int64(at(order, n))
            other = ((entry if entry >= 0 else ~entry) + shift) * width + c
            next1 = load(values, other, lanes)
            next2 = load(values, other + L, lanes)
            next3 = load(values, other + 2 * L, lanes)
            store(values, place, multiply_add(half, add(before1, known(goes_on, next1)), own1))
            store(values, place + L, multiply_add(half, add(before2, known(goes_on, next2)), own2))
            store(values, place + 2 * L, multiply_add(half, add(before3, known(goes_on, next3)), own3))
            before1, before2, before3 = known(goes_on, own1), known(goes_on, own2), known(goes_on, own3)
            own1, own2, own3, place, goes_on = next1, next2, next3, other, entry >= 0
        store(values, place + L, multiply_add(half, before2, own2))
        store(values, place + 2 * L, multiply_add(half, before3, own3))
    else:
        for n in range(span[0] + 1, span[1]):
            entry = np.int64(at(order, n))
            other = ((entry if entry >= 0 else ~entry) + shift) * width + c
            next1 = load(values, other, lanes)
            store(values, place, multiply_add(half, add(before1, known(goes_on, next1)), own1))
            before1 = known(goes_on, own1)
            own1, place, goes_on = next1, other, entry >= 0
    store(values, place, multiply_add(half, before1, own1))


@kernel
def _across(
    values: Any, width: Any, c: Any, wide: Any, rows: Any, following: Any, preceding: Any, leave: Any, span: Any,
    given: Any, lanes: Any,
) -> None:  # fmt: skip
    """Add half of the neighbours in both sheets beside it to each row of a sheet."""
    table, before, here, after, shift = given[0], given[1], given[2], given[3], given[4]
    L, half, line = len(lanes), values.dtype.type(0.5), 64 // values.itemsize
    for place in range(span[0], span[1]):
        target = place + shift
        if leave:
            target = np.int64(at(rows, place))
            soon = np.int64(at(rows, min(place + AHEAD, span[1] - 1))) * width + c
            fetch(values, soon)
            fetch(values, soon + line)
        one, other = np.int64(at(preceding, table + place)), np.int64(at(following, table + place))
        has_before, has_after = one >= 0, other >= 0
        own, target = (place + here) * width + c, target * width + c
        one = (one + before) * width + c if has_before else own
        other = (other + after) * width + c if has_after else own
        both = add(known(has_before, load(values, one, lanes)), known(has_after, load(values, other, lanes)))
        store(values, target, multiply_add(half, both, load(values, own, lanes)))
        if wide:
            one2, other2 = load(values, one + L, lanes), load(values, other + L, lanes)
            one3, other3 = load(values, one + 2 * L, lanes), load(values, other + 2 * L, lanes)
            own2, own3 = load(values, own + L, lanes), load(values, own + 2 * L, lanes)
            store(values, target + L, multiply_add(half, add(known(has_before, one2), known(has_after, other2)), own2))
            store(
                values, target + 2 * L, multiply_add(half, add(known(has_before, one3), known(has_after, other3)), own3)
            )
