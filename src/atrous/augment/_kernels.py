"""The loops of resampling, fields and colours, compiled at first use.

Imported by the functions that run them: numba takes half a second to import, and recipes are checked without it.
"""

import numpy as np

from atrous.compilation import kernel

__all__ = ["pick", "recolor", "resample", "smooth", "stretch"]


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
