"""The loops of resampling, fields, colours and PNG rows, compiled at first use."""

from typing import Any

import numpy as np

from atrous.compilation import kernel

__all__ = ["pick", "recolor", "resample", "smooth", "stretch", "unfilter"]


@kernel
def resample(
    source: np.ndarray, top: np.ndarray, down: np.ndarray, left: np.ndarray, across: np.ndarray, out: np.ndarray
) -> None:
    """Sums of `down` along columns from row `top`, then of `across` along rows from column `left`."""
    begin, end = left[0], min(left[-1] + len(across), source.shape[2])
    line = np.zeros(end - begin + len(across), np.float32)
    place = (left - begin).astype(np.uint32)  # of the first in `line`
    for channel in range(len(source)):
        for y in range(out.shape[1]):
            line[:] = 0.0
            for tap in range(len(down)):
                weight = down[tap, y]
                if weight != 0.0:  # the last rows of an image have fewer
                    row = source[channel, top[y] + tap]
                    for x in range(begin, end):
                        line[x - begin] += weight * row[x]
            target = out[channel, y]
            target[:] = 0.0
            for tap in range(len(across)):  # outside, so that the inner loop runs over many pixels at once
                weights, values = across[tap], line[tap:]
                for x in range(len(target)):
                    target[x] += weights[x] * values[place[x]]


@kernel
def pick(source: np.ndarray, rows: np.ndarray, columns: np.ndarray, out: np.ndarray) -> None:
    """The pixels where these rows and columns meet."""
    for y in range(len(rows)):
        line, target = source[rows[y]], out[y]
        for x in range(len(columns)):
            target[x] = line[columns[x]]


@kernel
def recolor(pixels: np.ndarray, matrix: np.ndarray, offset: float, lowest: float, out: np.ndarray) -> None:
    """The product of a 3x3 matrix with each pixel of (3, N), plus `offset`, but at least `lowest`."""
    add, floor = np.float32(offset), np.float32(lowest)
    red, green, blue = pixels[0], pixels[1], pixels[2]
    for channel in range(3):
        a, b, c = matrix[channel, 0], matrix[channel, 1], matrix[channel, 2]
        target = out[channel]
        for x in range(len(target)):
            target[x] = max(a * red[x] + b * green[x] + c * blue[x] + add, floor)


@kernel
def stretch(
    rows: np.ndarray, columns: np.ndarray, own_row: np.ndarray, own_column: np.ndarray, out: np.ndarray
) -> None:
    """The product of `rows` and `columns`, in double precision, and to each entry those of its row and column.

    Not a call of BLAS: in a loader's worker that would start a thread on every core.
    """
    line = np.empty(out.shape[1])
    for y in range(len(out)):
        line[:] = own_row[y]
        for k in range(rows.shape[1]):
            weight = rows[y, k]
            for x in range(len(line)):
                line[x] += weight * columns[k, x]
        for x in range(len(line)):
            out[y, x] = line[x] + own_column[x]


@kernel
def smooth(source: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Sums of `weights` along columns: out[y] is made of the rows of `source` from y on, one for each weight."""
    for y in range(len(out)):
        line = out[y]
        line[:] = 0.0
        whole = len(weights) - len(weights) % 4
        for k in range(0, whole, 4):  # four rows at a time, so that the sum is read and written less often
            a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
            one, two, three, four = source[y + k], source[y + k + 1], source[y + k + 2], source[y + k + 3]
            for x in range(len(line)):
                line[x] += a * one[x] + b * two[x] + c * three[x] + d * four[x]
        for k in range(whole, len(weights)):
            one, a = source[y + k], weights[k]
            for x in range(len(line)):
                line[x] += a * one[x]


@kernel
def unfilter(rows: Any, step: int, out: Any) -> bool:
    """Undo the row filters of a PNG (its specification, section 9.2); False where a filter does not exist.

    Channel by channel, so that what was just computed stays in a register.

    Args:
        rows: (H, 1 + bytes) as stored: each row begins with the number of its filter.
        step: bytes of a pixel.
        out: (H, bytes) receives the bytes of the pixels.
    """
    length = out.shape[1]
    above = np.zeros(length, np.uint8)
    for y in range(len(out)):
        kind, raw, line = rows[y, 0], rows[y, 1:], out[y]
        if y:
            above = out[y - 1]
        if kind == 0:
            for x in range(length):
                line[x] = raw[x]
        elif kind == 2:
            for x in range(length):
                line[x] = raw[x] + above[x]
        elif kind == 1:
            for channel in range(step):
                before = np.uint8(0)
                for x in range(channel, length, step):
                    before = np.uint8(before + raw[x])
                    line[x] = before
        elif kind == 3:
            for channel in range(step):
                before = np.uint8(0)
                for x in range(channel, length, step):
                    before = np.uint8(raw[x] + ((np.int32(before) + np.int32(above[x])) >> 1))
                    line[x] = before
        elif kind == 4:
            for channel in range(step):
                left, corner = np.int32(0), np.int32(0)
                for x in range(channel, length, step):
                    up = np.int32(above[x])
                    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
                    guess = (
                        left if to_left <= to_up and to_left <= to_corner else (up if to_up <= to_corner else corner)
                    )
                    left, corner = np.int32(np.uint8(raw[x] + guess)), up
                    line[x] = np.uint8(left)
        else:
            return False
    return True
