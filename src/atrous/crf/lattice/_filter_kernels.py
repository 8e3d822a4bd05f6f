"""Compiled kernels that run values through a permutohedral lattice, and the softmax of mean field.

Arrays of values are flat: row `i` begins at `i * stride` and is a whole number of vectors wide. `lanes` is a tuple
whose length says how many numbers a vector holds (see `_simd`).
"""

from typing import Any

import numpy as np

from atrous.compilation import inlined, kernel
from atrous.crf.lattice._simd import (
    add,
    at,
    exp,
    fetch,
    fill,
    highest,
    load,
    log,
    maximum,
    multiply,
    multiply_add,
    store,
    total,
)

__all__ = [
    "gather_copies",
    "log_rows",
    "messages",
    "planes_of",
    "scatter",
    "softmax_planes",
    "softmax_rows",
    "spread_copies",
    "update",
]

TILE = 64

SOON = 4
"""How many points before its turn a point's rows are fetched for slicing; splatting gains nothing by it."""


@kernel
def scatter(
    ids: Any, weights: Any, corners: Any, scale: Any, source: Any, stride: Any, channel: Any,
    values: Any, width: Any, span: Any, fresh: Any, lanes: Any,
) -> None:  # fmt: skip
    """Splat the points `span` onto rows that no other span touches.

    Rows are numbered as points meet them, so that they can be cleared right before that: to clear them all beforehand
    would be one more way through the memory.

    Args:
        ids: rows of the vertices around each point, flat.
        weights: barycentric weights, flat.
        corners: how many vertices a point has, d + 1.
        scale: (N,) factor of each point.
        source: what is splatted, `stride` numbers a point, `width` of them from `channel` on.
        stride: see `source`.
        channel: see `source`.
        values: of the lattice, `width` numbers a row.
        width: a multiple of the lanes.
        span: first point and the one after the last.
        fresh: the span's first row.
        lanes: as many entries as a vector has.
    """
    reached = np.int64(fresh)
    for start in range(span[0], span[1], TILE):
        stop, newest = min(start + TILE, span[1]), reached
        for r in range(start * corners, stop * corners):
            newest = max(newest, np.int64(at(ids, r)) + 1)
        values[reached * width : newest * width] = 0
        reached = newest
        for n in range(start, stop):
            whole, own = values.dtype.type(at(scale, n)), n * stride + channel
            _add_point(ids, weights, (n * corners, (n + 1) * corners), whole, source, own, values, width, lanes)


@inlined
def _add_point(
    ids: Any, weights: Any, corners: Any, whole: Any, source: Any, own: Any, values: Any, width: Any, lanes: Any
) -> None:
    """Add the numbers from `own` on, times `whole` and the weights, to the rows of the vertices `corners`."""
    L, number = len(lanes), values.dtype.type
    c = 0
    while c + 3 * L <= width:  # three vectors at once: 21 classes take no second look at the rows and weights
        one, two = load(source, own + c, lanes), load(source, own + c + L, lanes)
        three = load(source, own + c + 2 * L, lanes)
        for r in range(corners[0], corners[1]):
            place, factor = np.int64(at(ids, r)) * width + c, number(at(weights, r)) * whole
            store(values, place, multiply_add(factor, one, load(values, place, lanes)))
            store(values, place + L, multiply_add(factor, two, load(values, place + L, lanes)))
            store(values, place + 2 * L, multiply_add(factor, three, load(values, place + 2 * L, lanes)))
        c += 3 * L
    while c < width:
        one = load(source, own + c, lanes)
        for r in range(corners[0], corners[1]):
            place, factor = np.int64(at(ids, r)) * width + c, number(at(weights, r)) * whole
            store(values, place, multiply_add(factor, one, load(values, place, lanes)))
        c += L


@kernel
def gather_copies(values: Any, width: Any, copies: Any, owners: Any, span: Any, lanes: Any) -> None:
    """Add rows to the rows that they are copies of; no two of a span have the same owner."""
    for n in range(span[0], span[1]):
        copied, owner = np.int64(copies[n]) * width, np.int64(owners[n]) * width
        for c in range(0, width, len(lanes)):
            store(values, owner + c, add(load(values, owner + c, lanes), load(values, copied + c, lanes)))


@kernel
def spread_copies(values: Any, width: Any, copies: Any, owners: Any, span: Any, lanes: Any) -> None:
    """Write rows into their copies."""
    for n in range(span[0], span[1]):
        copied, owner = np.int64(copies[n]) * width, np.int64(owners[n]) * width
        for c in range(0, width, len(lanes)):
            store(values, copied + c, load(values, owner + c, lanes))


@kernel
def add_slice(
    ids: Any, weights: Any, corners: Any, scale: Any, values: Any, width: Any, factor: Any,
    target: Any, stride: Any, channel: Any, span: Any, fresh: Any, lanes: Any,
) -> None:  # fmt: skip
    """Slice one lattice at the points `span`: see `messages`. Where `fresh`, the target is written, not added to."""
    L = len(lanes)
    number = target.dtype.type
    zero = fill(number(0), lanes)
    for n in range(span[0], span[1]):
        ahead = min(n + SOON, scale.shape[0] - 1) * corners
        for r in range(ahead, ahead + corners):
            fetch(values, np.int64(at(ids, r)) * width)
        whole, first = number(at(scale, n)), n * corners
        c = np.int64(0)  # a plain zero is a type of its own, and would have `deliver` compiled twice
        while c + 3 * L <= width:
            one, two, three = zero, zero, zero
            for r in range(first, first + corners):
                place, share = np.int64(at(ids, r)) * width + c, number(at(weights, r))
                one = multiply_add(share, load(values, place, lanes), one)
                two = multiply_add(share, load(values, place + L, lanes), two)
                three = multiply_add(share, load(values, place + 2 * L, lanes), three)
            out = n * stride + channel + c
            deliver(one, whole, factor, c, target, out, fresh, lanes)
            deliver(two, whole, factor, c + L, target, out + L, fresh, lanes)
            deliver(three, whole, factor, c + 2 * L, target, out + 2 * L, fresh, lanes)
            c += 3 * L
        while c < width:
            one = zero
            for r in range(first, first + corners):
                place = np.int64(at(ids, r)) * width + c
                one = multiply_add(number(at(weights, r)), load(values, place, lanes), one)
            deliver(one, whole, factor, c, target, n * stride + channel + c, fresh, lanes)
            c += L


@kernel
def deliver(part: Any, scale: Any, factor: Any, c: Any, target: Any, out: Any, fresh: Any, lanes: Any) -> None:
    """Scale what was sliced, and write it or add it."""
    part = multiply(part, load(factor, c, lanes))
    others = fill(target.dtype.type(0), lanes) if fresh else load(target, out, lanes)
    store(target, out, multiply_add(scale, part, others))


@kernel
def messages(
    ids: Any, weights: Any, corners: Any, scales: Any, values: Any, width: Any, factors: Any,
    target: Any, stride: Any, channel: Any, span: Any, lanes: Any,
) -> None:  # fmt: skip
    """Slice one or more lattices at the points `span` and write the sum.

    Args:
        ids: for each lattice, rows of the vertices around each point, flat.
        weights: for each lattice, barycentric weights, flat.
        corners: for each lattice, how many vertices a point has.
        scales: for each lattice, (N,) factor of each point.
        values: for each lattice, its values.
        width: numbers in a row of a lattice.
        factors: for each lattice, (width,) factor of each channel.
        target: where the sum goes, `stride` numbers a point, `width` of them from `channel` on.
        stride: see `target`.
        channel: see `target`.
        span: first point and the one after the last.
        lanes: as many entries as a vector has.
    """
    for start in range(span[0], span[1], TILE):  # a few points at a time, so that what later lattices add to is near
        stop = min(start + TILE, span[1])
        for m in range(len(ids)):
            rows, shares, scale, held, factor = ids[m], weights[m], scales[m], values[m], factors[m]
            add_slice(
                rows,
                shares,
                corners[m],
                scale,
                held,
                width,
                factor,
                target,
                stride,
                channel,
                (start, stop),
                m == 0,
                lanes,
            )


@kernel
def log_rows(planes: Any, floor: Any, rows: Any, stride: Any, span: Any, lanes: Any) -> Any:
    """Write log(max(p, floor)) of the planes (K, N), turned into rows; channels beyond K get next to nothing.

    `rows` begins at the span's first point.

    Returns:
        The smallest number, and the smallest and largest sum of a point; a NaN makes the first of them NaN.
    """
    K = planes.shape[0]
    lowest, least, most, broken = np.float32(1), np.float32(3e38), np.float32(-3e38), False
    sums = np.empty(TILE, np.float32)
    for start in range(span[0], span[1], TILE):
        count = min(TILE, span[1] - start)
        base = (start - span[0]) * stride
        sums[:] = 0
        for k in range(K):
            for n in range(count):
                p = planes[k, start + n]
                sums[n] += p
                lowest = min(lowest, p)
                rows[base + n * stride + k] = max(p, floor)
        for n in range(count):
            broken |= sums[n] != sums[n]  # NaN
            least, most = min(least, sums[n]), max(most, sums[n])
            row = base + n * stride
            for k in range(K, stride):
                rows[row + k] = np.float32(1)
            for c in range(0, stride, len(lanes)):
                store(rows, row + c, log(load(rows, row + c, lanes)))
            for k in range(K, stride):
                rows[row + k] = np.float32(-1e30)
    return np.float32(np.nan) if broken else lowest, least, most


@kernel
def softmax_rows(scores: Any, first: Any, target: Any, stride: Any, span: Any, lanes: Any) -> None:
    """Turn messages into new scores: the softmax of each row plus the row of the log-probabilities.

    Args:
        scores: log-probabilities; the row of the point `first` comes first.
        first: see `scores`.
        target: messages in, scores out.
        stride: numbers in a row of both.
        span: first point and the one after the last.
        lanes: as many entries as a vector has.
    """
    for n in range(span[0], span[1]):
        own, other = n * stride, (n - first) * stride
        peaks = fill(np.float32(-3e38), lanes)
        for c in range(0, stride, len(lanes)):
            logits = add(load(target, own + c, lanes), load(scores, other + c, lanes))
            peaks = maximum(peaks, logits)
            store(target, own + c, logits)
        peak = fill(-highest(peaks), lanes)
        sums = fill(np.float32(0), lanes)
        for c in range(0, stride, len(lanes)):
            value = exp(add(load(target, own + c, lanes), peak))
            sums = add(sums, value)
            store(target, own + c, value)
        share = fill(np.float32(1) / total(sums), lanes)
        for c in range(0, stride, len(lanes)):
            store(target, own + c, multiply(load(target, own + c, lanes), share))


@kernel
def softmax_planes(planes: Any, floor: Any, target: Any, stride: Any, span: Any, lanes: Any) -> None:
    """As `softmax_rows`, with the logarithms of `planes` taken anew: they need no memory."""
    scores = np.empty(TILE * stride, np.float32)
    for start in range(span[0], span[1], TILE):
        part = (start, min(start + TILE, span[1]))
        log_rows(planes, floor, scores, stride, part, lanes)
        softmax_rows(scores, start, target, stride, part, lanes)


@kernel
def update(
    ids: Any, weights: Any, corners: Any, scales: Any, values: Any, factors: Any,
    scores: Any, target: Any, stride: Any, span: Any, lanes: Any,
) -> None:  # fmt: skip
    """One mean-field update at the points `span`: messages and softmax of a few points at a time."""
    for start in range(span[0], span[1], TILE):
        part = (start, min(start + TILE, span[1]))
        messages(ids, weights, corners, scales, values, stride, factors, target, stride, 0, part, lanes)
        softmax_rows(scores, 0, target, stride, part, lanes)


@kernel
def planes_of(rows: Any, stride: Any, planes: Any, span: Any) -> None:
    """Turn rows back into planes (K, N)."""
    for start in range(span[0], span[1], TILE):
        stop = min(start + TILE, span[1])
        for k in range(planes.shape[0]):
            for n in range(start, stop):
                planes[k, n] = rows[n * stride + k]
