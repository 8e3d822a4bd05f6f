"""Tables for a terminal."""

from collections.abc import Sequence
from textwrap import wrap

__all__ = ["columns"]

LEAST = 24  # letters of the last column
INDENT = 6  # of what stands below its row


def columns(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, right: set[int] | None = None, width: int | None = None
) -> str:
    """Columns two spaces apart, those in `right` flush right; the last one broken to the width, if there is one.

    Where the width leaves no room beside the others, what the last one says stands below its row, and has no heading.
    """
    last = len(head) - 1
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(last)]
    begin = sum(widths) + 2 * last
    lines = []
    for row in (head, *rows):
        cells = [row[i].rjust(widths[i]) if i in (right or set()) else row[i].ljust(widths[i]) for i in range(last)]
        if width is not None and width < begin + LEAST:
            below = [] if row is head else wrap(row[last], max(width - INDENT, LEAST))
            lines += ["  ".join(cells).rstrip(), *(" " * INDENT + piece for piece in below)]
            continue
        pieces = [row[last]] if width is None else wrap(row[last], width - begin - 1) or [""]
        lines.append("  ".join([*cells, pieces[0]]).rstrip())
        lines += [" " * begin + piece for piece in pieces[1:]]
    return "\n".join(lines)
