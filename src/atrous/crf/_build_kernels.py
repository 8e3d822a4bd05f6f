"""Compiled kernels that build a permutohedral lattice: simplices, hash tables, chains of neighbours.

A lattice point's coordinates are packed into one or more 64-bit words, a field of bits for each, so that they are
compared at once and a neighbour's key is one addition away. A hash table holds row numbers only, -1 where empty; the
keys stand in an array of their own, by row.
"""

from typing import Any

import numpy as np

from atrous.crf._compile import kernel
from atrous.crf._simd import fetch

__all__ = ["adopt_rows", "insert_points", "link_chains", "rehash"]

GROUP = 64
"""How many points, or rows, are looked up side by side."""


@kernel
def _first_slot(sought: Any, place: Any, table: Any) -> Any:
    """Where to begin looking for the key `sought[place]`; the table's length is a power of two."""
    mixed = np.uint64(0)
    for word in range(sought.shape[1]):
        mixed = (mixed ^ sought[place, word]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return np.int64((mixed >> np.uint64(31)) & np.uint64(table.shape[0] - 1))


@kernel
def _find(slot: Any, sought: Any, place: Any, keys: Any, table: Any) -> Any:
    """The slot that holds the row of the key `sought[place]`, or the empty slot where it would go."""
    words = keys.shape[1]
    while True:
        row = table[slot]
        if row < 0:
            return slot
        same = True
        for word in range(words):
            same &= keys[row, word] == sought[place, word]
        if same:
            return slot
        slot = (slot + 1) & (table.shape[0] - 1)


@kernel
def _approach(sought: Any, first: Any, last: Any, flat_keys: Any, table: Any, slots: Any) -> None:
    """Set out for some keys at once: where a table is larger than the cache, their waits then overlap.

    A slot below zero on entry is left out.
    """
    for place in range(first, last):
        if slots[place] >= 0:
            slots[place] = _first_slot(sought, place, table)
            fetch(table, slots[place])
    for place in range(first, last):
        if slots[place] >= 0:
            fetch(flat_keys, np.int64(max(table[slots[place]], 0)) * sought.shape[1])


@kernel
def rehash(keys: Any, count: Any, table: Any) -> None:
    """Enter the first `count` keys, all different, into an empty table."""
    for row in range(count):
        table[_find(_first_slot(keys, row, table), keys, row, keys, table)] = row


@kernel
def _simplex(
    points: Any, n: Any, scale: Any, elevated: Any, nearest: Any, rank: Any, at_rank: Any, weights: Any
) -> None:
    """The enclosing simplex of one point: its remainder-0 vertex, the order of the coordinates, barycentric weights."""
    d = scale.shape[0]
    sum_ = np.float32(0)
    for j in range(d, 0, -1):
        c = points[n, j - 1] * scale[j - 1]
        elevated[j] = sum_ - np.float32(j) * c
        sum_ += c
    elevated[0] = sum_
    side = np.float32(d + 1)
    inverse = np.float32(1) / side
    shift = 0
    for i in range(d + 1):
        turn = np.rint(elevated[i] * inverse)
        shift += int(turn)
        nearest[i] = turn * side
        elevated[i] -= nearest[i]
        rank[i] = 0
    for i in range(d):
        for j in range(i + 1, d + 1):
            behind = int(elevated[i] < elevated[j])
            rank[i] += behind
            rank[j] += 1 - behind
    for i in range(d + 2):
        weights[i] = 0
    for i in range(d + 1):
        place = rank[i] + shift
        if place < 0:
            place += d + 1
            nearest[i] += side
            elevated[i] -= side
        elif place > d:
            place -= d + 1
            nearest[i] -= side
            elevated[i] += side
        at_rank[place] = i
        t = elevated[i] * inverse
        weights[d - place] += t
        weights[d + 1 - place] -= t
    weights[0] += np.float32(1) + weights[d + 1]


@kernel
def insert_points(
    points: Any,
    scale: Any,
    low: Any,
    word_of: Any,
    unit: Any,
    keys: Any,
    count: Any,
    table: Any,
    ids: Any,
    weights: Any,
) -> tuple[int, int]:
    """Find or enter the vertices around each point, until all are done or the table is half full.

    Args:
        points: (n, d) features.
        scale: (d,) of the elevation.
        low: (d,) smallest coordinate that can occur, which a field holds as zero.
        word_of: (d,) the word that holds each coordinate's field.
        unit: (d + 1,) one, at the field's place; the last coordinate is implied by the others, and its unit zero.
        keys: (capacity, words) of the rows so far.
        count: how many rows there are.
        table: the hash table.
        ids: (n, d + 1) receives rows.
        weights: (n, d + 1) receives barycentric weights.

    Returns:
        How many points are done, and how many rows there are now.
    """
    corners, words = ids.shape[1], keys.shape[1]
    sought, slots = np.empty((GROUP * corners, words), np.uint64), np.empty(GROUP * corners, np.int64)
    flat = keys.reshape(-1)
    limit = min(table.shape[0] // 2, keys.shape[0]) - GROUP * corners
    for start in range(0, points.shape[0], GROUP):
        if count > limit:
            return start, count
        stop = min(start + GROUP, points.shape[0])
        _vertices(points, start, stop, scale, low, word_of, unit, sought, weights)
        used = (stop - start) * corners
        for place in range(used):  # neighbouring pixels often share a vertex: those are not looked up again
            same = place >= corners
            for word in range(words):
                same &= sought[place, word] == sought[place - corners, word]
            slots[place] = -1 if same else 0
        _approach(sought, 0, used, flat, table, slots)
        for place in range(used):
            n, r = start + place // corners, place % corners
            if slots[place] < 0:
                ids[n, r] = ids[n - 1, r]
                continue
            slot = _find(slots[place], sought, place, keys, table)
            if table[slot] < 0:
                table[slot] = count
                for word in range(words):
                    keys[count, word] = sought[place, word]
                count += 1
            ids[n, r] = table[slot]
    return points.shape[0], count


@kernel
def _vertices(
    points: Any, start: Any, stop: Any, scale: Any, low: Any, word_of: Any, unit: Any, sought: Any, weights: Any
) -> None:
    """The keys and weights of the vertices around some points."""
    d = scale.shape[0]
    words = sought.shape[1]
    elevated, nearest = np.empty(d + 1, np.float32), np.empty(d + 1, np.float32)
    bary = np.empty(d + 2, np.float32)
    rank, at_rank = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    ones, back = np.zeros(words, np.uint64), np.empty(d + 1, np.uint64)
    for j in range(d + 1):
        ones[word_of[j]] += unit[j]
        back[j] = np.uint64(d + 1) * unit[j]
    for n in range(start, stop):
        _simplex(points, n, scale, elevated, nearest, rank, at_rank, bary)
        place = (n - start) * (d + 1)
        for word in range(words):
            sought[place, word] = 0
        for j in range(d):
            sought[place, word_of[j]] += np.uint64(np.int64(nearest[j]) - low[j]) * unit[j]
        weights[n, 0] = bary[0]
        for r in range(1, d + 1):  # a step along the diagonal, but for one coordinate, which falls back
            for word in range(words):
                sought[place + r, word] = sought[place + r - 1, word] + ones[word]
            j = at_rank[d + 1 - r]
            sought[place + r, word_of[j]] -= back[j]
            weights[n, r] = bary[r]


@kernel
def adopt_rows(keys: Any, table: Any, owner: Any) -> None:
    """Enter all rows into an empty table; `owner` receives for each row the first row of the same key."""
    for row in range(keys.shape[0]):
        slot = _find(_first_slot(keys, row, table), keys, row, keys, table)
        if table[slot] < 0:
            table[slot] = row
        owner[row] = table[slot]


@kernel
def link_chains(
    keys: Any, owner: Any, table: Any, word_of: Any, unit: Any, axis: Any, follower: Any, order: Any
) -> int:
    """Write the rows of all chains along one axis, end to end, the last of each as its complement (a negative number).

    A chain is an unbroken run of lattice points, each one step further along the axis. Points without neighbours are
    left out: a blur leaves them as they are.

    Args:
        keys: (rows, words) of all rows.
        owner: (rows,) rows that are copies of an earlier row lie in no chain.
        table: the hash table of all rows.
        word_of: the word of each coordinate's field.
        unit: one, at each field's place.
        axis: 0..d.
        follower: (rows,) work space.
        order: (rows,) receives the chains.

    Returns:
        How many entries of `order` are used.
    """
    rows, words = keys.shape
    d = unit.shape[0] - 1
    step = np.zeros(words, np.uint64)
    sought, slots = np.empty((GROUP, words), np.uint64), np.empty(GROUP, np.int64)
    flat = keys.reshape(-1)
    for j in range(d):
        step[word_of[j]] += unit[j]
    step[word_of[axis]] -= np.uint64(d + 1) * unit[axis]
    has_leader = np.zeros(rows, np.bool_)
    for start in range(0, rows, GROUP):
        count = min(GROUP, rows - start)
        for n in range(count):
            for word in range(words):
                sought[n, word] = keys[start + n, word] + step[word]
            slots[n] = 0 if owner[start + n] == start + n else -1
        _approach(sought, 0, count, flat, table, slots)
        for n in range(count):
            found = table[_find(slots[n], sought, n, keys, table)] if slots[n] >= 0 else -1
            follower[start + n] = found
            if found >= 0:
                has_leader[found] = True
    used = 0
    for start in range(rows):
        if has_leader[start] or follower[start] < 0:
            continue
        row = start
        while follower[row] >= 0:
            order[used] = row
            used += 1
            row = follower[row]
        order[used] = ~row
        used += 1
    return used
