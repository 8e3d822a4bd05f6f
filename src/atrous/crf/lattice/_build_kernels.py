"""Compiled kernels that build a permutohedral lattice: simplices and the hash table of their vertices.

A lattice point's coordinates are packed into one or more 64-bit words, a field of bits for each, so that they are
compared at once and a neighbour's key is one addition away. A hash table holds row numbers only, -1 where empty; the
keys stand in an array of their own, by row.
"""

from typing import Any

import numpy as np

from atrous.compilation import inlined, kernel
from atrous.crf.lattice._simd import at, below, fetch, fill, load, minus, multiply, nearest, plus, store

__all__ = ["find", "first_slot", "insert_points", "rehash"]

GROUP = 64
"""How many points are looked up side by side."""

LANES = (0,) * 8
"""How many of them are elevated at once (see `_simd`)."""


@inlined
def first_slot(sought: Any, place: Any, words: Any, origin: Any, size: Any) -> Any:
    """Where to begin looking for a key.

    Args:
        sought: keys, flat; the one that is looked for begins at `place`.
        place: see `sought`.
        words: as many entries as a key has words.
        origin: where the table begins: several may share an array.
        size: of the table, a power of two.
    """
    mixed = np.uint64(0)
    for word in range(len(words)):
        mixed = (mixed ^ at(sought, place + word)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return origin + (np.int64(mixed >> np.uint64(31)) & (size - 1))


@inlined
def find(slot: Any, sought: Any, place: Any, words: Any, keys: Any, table: Any, origin: Any, size: Any) -> Any:
    """The slot that holds the row of a key, or the empty slot where it would go.

    Args:
        slot: where to begin: see `first_slot`; so are `sought`, `place`, `words`, `origin` and `size`.
        sought: keys.
        place: of the one that is looked for.
        words: as many entries as a key has words.
        keys: of the rows, flat.
        table: rows, -1 where empty.
        origin: where the table begins.
        size: of the table.
    """
    while True:
        row = np.int64(at(table, slot))
        if row < 0:
            return slot
        same = True
        for word in range(len(words)):
            same &= at(keys, row * len(words) + word) == at(sought, place + word)
        if same:
            return slot
        slot = origin + ((slot - origin + 1) & (size - 1))


@kernel
def rehash(keys: Any, words: Any, count: Any, table: Any) -> None:
    """Enter the first `count` keys, all different, into an empty table."""
    size = table.shape[0]
    for row in range(count):
        slot = first_slot(keys, row * len(words), words, 0, size)
        table[find(slot, keys, row * len(words), words, keys, table, 0, size)] = row


@kernel
def _enclose(features: Any, scale: Any, places: Any, origins: Any, ranks: Any, lanes: Any) -> None:
    """Find the simplices that enclose a group of points, coordinate by coordinate of a few points at once.

    All arrays are flat and hold `GROUP` values for each coordinate.

    Args:
        features: of the points, for d coordinates.
        scale: (d,) of the elevation.
        places: receives each coordinate relative to the simplex's remainder-0 vertex, in units of d + 1.
        origins: receives the coordinates of that vertex.
        ranks: receives how many coordinates are larger, in `places`.
        lanes: as many entries as a vector has.
    """
    d = scale.shape[0]
    side = fill(np.float32(d + 1), lanes)
    inverse = fill(np.float32(1) / np.float32(d + 1), lanes)
    zero, one, last = fill(np.float32(0), lanes), fill(np.float32(1), lanes), fill(np.float32(d), lanes)
    for n in range(0, GROUP, len(lanes)):
        sums = zero
        for j in range(d, 0, -1):
            c = multiply(load(features, (j - 1) * GROUP + n, lanes), fill(at(scale, j - 1), lanes))
            store(places, j * GROUP + n, minus(sums, multiply(fill(np.float32(j), lanes), c)))
            sums = plus(sums, c)
        store(places, n, sums)
        shift = zero
        for i in range(d + 1):
            place = load(places, i * GROUP + n, lanes)
            turn = nearest(multiply(place, inverse))
            shift = plus(shift, turn)
            origin = multiply(turn, side)
            store(origins, i * GROUP + n, origin)
            store(places, i * GROUP + n, minus(place, origin))
            store(ranks, i * GROUP + n, zero)
        for i in range(d + 1):
            place, rank = load(places, i * GROUP + n, lanes), load(ranks, i * GROUP + n, lanes)
            for j in range(i + 1, d + 1):
                behind = below(place, load(places, j * GROUP + n, lanes))
                rank = plus(rank, behind)
                store(ranks, j * GROUP + n, plus(load(ranks, j * GROUP + n, lanes), minus(one, behind)))
            store(ranks, i * GROUP + n, rank)
        for i in range(d + 1):
            rank = plus(load(ranks, i * GROUP + n, lanes), shift)
            turn = minus(below(rank, zero), below(last, rank))
            step = multiply(turn, side)
            store(ranks, i * GROUP + n, plus(rank, step))
            store(origins, i * GROUP + n, plus(load(origins, i * GROUP + n, lanes), step))
            store(places, i * GROUP + n, multiply(minus(load(places, i * GROUP + n, lanes), step), inverse))


@kernel
def insert_points(
    points: Any, scale: Any, low: Any, word_of: Any, unit: Any,
    keys: Any, words: Any, count: Any, table: Any, ids: Any, weights: Any,
) -> tuple[int, int]:  # fmt: skip
    """Find or enter the vertices around each point, until all are done or the table is half full.

    Args:
        points: (n, d) features.
        scale: (d,) of the elevation.
        low: (d,) smallest coordinate that can occur, which a field holds as zero.
        word_of: (d,) the word that holds each coordinate's field.
        unit: (d + 1,) one, at the field's place; the last coordinate is implied by the others, and its unit zero.
        keys: (capacity, words) of the rows so far.
        words: as many entries as a key has words.
        count: how many rows there are.
        table: the hash table.
        ids: (n, d + 1) receives rows, numbered as they are met.
        weights: (n, d + 1) receives barycentric weights.

    Returns:
        How many points are done, and how many rows there are now.
    """
    corners = ids.shape[1]
    sought, slots = np.empty(GROUP * corners * len(words), np.uint64), np.empty(GROUP * corners, np.int64)
    flat, size = keys.reshape(-1), table.shape[0]
    limit = min(size // 2, keys.shape[0]) - GROUP * corners
    for start in range(0, points.shape[0], GROUP):
        if count > limit:
            return start, count
        stop = min(start + GROUP, points.shape[0])
        _vertices(points, start, stop, scale, low, word_of, unit, sought, words, weights)
        used = (stop - start) * corners
        _approach(sought, used, corners, words, flat, table, slots)
        for place in range(used):
            n, r = start + place // corners, place % corners
            slot = slots[place]
            if slot < 0:
                ids[n, r] = ids[n - 1, r]
                continue
            slot = find(slot, sought, place * len(words), words, flat, table, 0, size)
            row = table[slot]
            if row < 0:
                row = count
                table[slot] = row
                for word in range(len(words)):
                    flat[count * len(words) + word] = sought[place * len(words) + word]
                count += 1
            ids[n, r] = row
    return points.shape[0], count


@kernel
def _approach(sought: Any, count: Any, corners: Any, words: Any, keys: Any, table: Any, slots: Any) -> None:
    """Set out for some keys at once: where a table is larger than the cache, their waits then overlap.

    Neighbouring pixels often share a vertex: such a key is not looked up again, and its slot is -1.
    """
    for place in range(count):
        same = place >= corners
        if same:
            for word in range(place * len(words), (place + 1) * len(words)):
                same &= at(sought, word) == at(sought, word - corners * len(words))
        slots[place] = -1
        if not same:
            slots[place] = first_slot(sought, place * len(words), words, 0, table.shape[0])
            fetch(table, slots[place])
    for place in range(count):
        if slots[place] >= 0:
            fetch(keys, np.int64(max(at(table, slots[place]), 0)) * len(words))


@kernel
def _vertices(
    points: Any, start: Any, stop: Any, scale: Any, low: Any, word_of: Any, unit: Any, sought: Any, words: Any,
    weights: Any,
) -> None:  # fmt: skip
    """The keys and weights of the vertices around some points, at most `GROUP`."""
    d = scale.shape[0]
    features, places = np.zeros(d * GROUP, np.float32), np.empty((d + 1) * GROUP, np.float32)
    origins, ranks = np.empty((d + 1) * GROUP, np.float32), np.empty((d + 1) * GROUP, np.float32)
    for n in range(start, stop):
        for j in range(d):
            features[j * GROUP + n - start] = points[n, j]
    _enclose(features, scale, places, origins, ranks, LANES)
    at_rank, parts = np.empty(d + 1, np.int64), np.empty(d + 1, np.float32)
    ones, back = np.zeros(len(words), np.uint64), np.empty(d + 1, np.uint64)
    for j in range(d + 1):
        ones[word_of[j]] += unit[j]
        back[j] = np.uint64(d + 1) * unit[j]
    for n in range(stop - start):
        for j in range(d + 1):
            rank = np.int64(at(ranks, j * GROUP + n))
            at_rank[rank] = j
            parts[rank] = at(places, j * GROUP + n)
        place = n * (d + 1) * len(words)
        for word in range(len(words)):
            sought[place + word] = 0
        for j in range(d):
            sought[place + word_of[j]] += np.uint64(np.int64(at(origins, j * GROUP + n)) - low[j]) * unit[j]
        weights[start + n, 0] = parts[d] + (np.float32(1) - parts[0])
        for r in range(1, d + 1):  # a step along the diagonal, but for one coordinate, which falls back
            for word in range(len(words)):
                sought[place + len(words) + word] = sought[place + word] + ones[word]
            place += len(words)
            j = at_rank[d + 1 - r]
            sought[place + word_of[j]] -= back[j]
            weights[start + n, r] = parts[d - r] - parts[d + 1 - r]
