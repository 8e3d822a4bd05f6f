"""The loop that undoes PNG's row filters, compiled at first use."""

from typing import Any

import numpy as np

from atrous.compilation import kernel

__all__ = ["unfilter"]


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
