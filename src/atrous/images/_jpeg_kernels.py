"""The loops that follow the Huffman codes of a JPEG, compiled at first use; no coefficient is computed."""

from typing import Any

import numpy as np

from atrous.compilation import kernel

__all__ = ["BAD_CODE", "LEFT_OVER", "PADDING", "SOUND", "TOO_SHORT", "unstuff", "walk"]

SOUND, BAD_CODE, TOO_SHORT, LEFT_OVER = 0, 1, 2, 3
PADDING = 512
"""Bytes behind the last one that a damaged block may be followed into."""


@kernel
def unstuff(data: Any, start: int, out: Any, ends: Any) -> tuple[int, int]:
    """Copy the bytes of a scan without the zeros that follow 0xFF; note where each restart interval ends.

    Args:
        data: the file.
        start: of the scan's bytes.
        out: receives them.
        ends: receives the ends of the intervals in `out`; as many as it has room for are noted.

    Returns:
        How many intervals there are, and where the marker stands that ends the scan, or the end of the file.
    """
    count, place, length = 0, 0, len(data)
    i = start
    while i < length:
        byte = data[i]
        if byte != 0xFF:
            out[place] = byte
            place += 1
            i += 1
            continue
        j = i + 1
        while j < length and data[j] == 0xFF:  # may fill
            j += 1
        if j >= length:
            break
        if data[j] == 0:
            out[place] = 0xFF
            place += 1
            i = j + 1
        elif 0xD0 <= data[j] <= 0xD7:
            if count < len(ends):
                ends[count] = place
            count += 1
            i = j + 1
        else:
            break
    if count < len(ends):
        ends[count] = place
    return count + 1, i


@kernel
def walk(data: Any, ends: Any, scan: Any, blocks: Any, tables: Any, seen: Any) -> int:
    """Follow the codes of a scan through its restart intervals, see ITU T.81, F.2 and G.2.

    Args:
        data: its bytes as `unstuff` gives them, with `PADDING` behind.
        ends: of the intervals in it.
        scan: units (MCUs), units of an interval, first and last coefficient, 1 where it refines, 1 where the image is
            progressive.
        blocks: (n, 2) number of the DC and of the AC table of each block of a unit.
        tables: (n, 65536) length and symbol of the code that 16 bits begin with; 0 where none does.
        seen: (units, 64) 1 where a coefficient of a block is known not to be zero.

    Returns:
        `SOUND`, or what is wrong.
    """
    units, restart, first, last, refines, progressive = scan
    left_over = False
    for interval in range(len(ends)):
        at = 8 * (ends[interval - 1] if interval else 0)
        end = 8 * ends[interval]
        waiting = 0  # blocks that an end-of-band run leaves empty
        for unit in range(interval * restart, min((interval + 1) * restart, units)):
            known = seen[unit if progressive and first else 0]
            for block in range(len(blocks)):
                if at > end:
                    return TOO_SHORT
                if first == 0:  # the DC coefficient
                    if refines:
                        at += 1
                    else:
                        code = tables[blocks[block, 0], _peek(data, at)]
                        if code == 0 or (code & 255) > 16:
                            return BAD_CODE
                        at += (code >> 8) + (code & 255)
                if first or not progressive:
                    table = tables[blocks[block, 1]]
                    at, waiting = _follow(data, at, waiting, table, known, (max(first, 1), last, refines, progressive))
                    if at < 0:
                        return BAD_CODE
        if at > end:
            return TOO_SHORT
        for place in range((at + 7) // 8, ends[interval]):
            if data[place] != 0 and data[place] != 255:
                left_over = True
    return LEFT_OVER if left_over else SOUND


@kernel
def _follow(
    data: Any, at: int, waiting: int, table: Any, known: Any, band: tuple[int, int, int, int]
) -> tuple[int, int]:
    """Follow the AC coefficients of a block.

    Returns:
        The bit after them, -1 where a code does not exist; and how many blocks are still to be left empty.
    """
    k, last, refines, progressive = band
    if waiting and not refines:
        return at, waiting - 1
    while k <= last and not waiting:
        code = table[_peek(data, at)]
        if code == 0:
            return -1, 0
        at += code >> 8
        run, size = (code >> 4) & 15, code & 15
        if size == 0 and run < 15:  # the rest is empty
            if progressive:
                waiting = (1 << run) + (_peek(data, at) >> (16 - run)) - (0 if refines else 1)
                at += run
            if not refines:
                return at, waiting
            break
        at += size
        while refines and k <= last and (known[k] or run):  # those that are not zero have a bit each
            at += known[k]
            run -= 1 - known[k]
            k += 1
        k += 0 if refines else run
        if size and k > last:
            return -1, 0
        if size and progressive:
            known[k] = 1
        k += 1
    if waiting and refines:
        while k <= last:
            at += known[k]
            k += 1
        waiting -= 1
    return at, waiting


@kernel
def _peek(data: Any, at: int) -> int:
    """16 bits from a bit on."""
    i = at >> 3
    three = np.int64(data[i]) << 16 | np.int64(data[i + 1]) << 8 | np.int64(data[i + 2])
    return int((three >> (8 - (at & 7))) & 0xFFFF)
