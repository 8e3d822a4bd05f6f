"""How much neighbouring tiles disagree where they meet, measured while they pass."""

from typing import NamedTuple

from torch import Tensor

from atrous.inference.tiles import Span

__all__ = ["Seams"]


class Seams:
    """Compares the scores of neighbouring tiles on the two rows or columns of pixels at each seam.

    Both tiles score these pixels: one keeps them, the other has them in its margin. Where the network sees farther than
    the margin, they differ, and by how much is what a picture put together from tiles can be off at its seams. Only the
    strips along the seams are held, never a tile.

    Attributes:
        count: seams that were compared.
        largest: the largest difference of two scores.
    """

    def __init__(self) -> None:
        self.count = 0
        self.largest = 0.0
        self._pixels = self._changed = 0
        self._left: _Strip | None = None
        self._above: dict[int, _Strip] = {}

    @property
    def changed(self) -> float:
        """Share of the compared pixels whose highest score is that of another class."""
        return self._changed / max(self._pixels, 1)

    def see(self, rows: Span, columns: Span, scores: Tensor) -> None:
        """Take note of one tile; tiles come row by row, from left to right.

        Args:
            rows: the tile along the vertical axis.
            columns: the tile along the horizontal axis.
            scores: (K, height read, width read), all that the tile said.
        """
        kept_rows, kept_columns = scores[:, rows.keep], scores[:, :, columns.keep]
        if columns.write.start > 0 and self._left is not None:
            self._compare(self._left, _strip(kept_rows, columns, columns.write.start, -1))
        if rows.write.start > 0 and columns.write.start in self._above:
            self._compare(self._above[columns.write.start], _strip(kept_columns, rows, rows.write.start, -2))
        self._left = _strip(kept_rows, columns, columns.write.stop, -1)
        self._above[columns.write.start] = _strip(kept_columns, rows, rows.write.stop, -2)

    def _compare(self, before: "_Strip", after: "_Strip") -> None:
        start, stop = max(before.place.start, after.place.start), min(before.place.stop, after.place.stop)
        if start >= stop:
            return  # no pixel that both have read
        first, second = (x.scores[start - x.place.start : stop - x.place.start] for x in (before, after))
        self.largest = max(self.largest, float((first - second).abs().max()))
        differing = first.max(1).indices != second.max(1).indices  # (pixels across the seam, K, pixels along it)
        self._pixels, self._changed = self._pixels + differing.numel(), self._changed + int(differing.sum())
        self.count += 1


class _Strip(NamedTuple):
    """A tile's scores on the pixels at a seam: which pixels, and (pixels, ...) scores."""

    place: slice
    scores: Tensor


def _strip(scores: Tensor, span: Span, seam: int, dim: int) -> _Strip:
    """The pixels just before and after a seam, as far as the tile has read them."""
    start, stop = max(seam - 1, span.read.start), min(seam + 1, span.read.stop)
    pixels = scores.narrow(dim, start - span.read.start, stop - start).movedim(dim, 0)
    return _Strip(slice(start, stop), pixels.clone())
