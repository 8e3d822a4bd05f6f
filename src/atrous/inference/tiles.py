"""Tiles as integer algebra: along each axis, the part that is kept, and the part with its margin (halo) that is read.

Why a tiled answer can equal that of one pass, for a network that pads, pools and strides:

- An output pixel sees at most `margin` pixels before and after itself, so what a tile keeps is decided inside what it
  reads. (Padding and mirroring at a border take from inside only, never from farther than they reach outside.)
- Shifting the image by a multiple of `alignment` shifts the output and changes nothing else. So each read part starts
  at a multiple of it: there, strides and poolings fall on the same pixels as in one pass.
- A read part ends where the image ends, or at a multiple of `alignment` too: there is nothing to pad.

Where a tile is kept from has no part in it: any tile side will do.
"""

from itertools import pairwise
from typing import NamedTuple

from atrous.errors import UsageError

__all__ = ["Span", "spans"]


class Span(NamedTuple):
    """One axis of a tile.

    Attributes:
        read: the pixels of the image that the network is given.
        write: the pixels whose scores are kept.
    """

    read: slice
    write: slice

    @property
    def keep(self) -> slice:
        """The kept pixels, counted from the first one read."""
        return slice(self.write.start - self.read.start, self.write.stop - self.read.start)


def spans(length: int, tile: int, margin: tuple[int, int], alignment: int = 1) -> list[Span]:
    """Cover one axis with tiles.

    Args:
        length: pixels of the image along the axis, at least 1.
        tile: pixels that a tile keeps; the last tile keeps what is left. From `length` on, one span is the whole axis.
        margin: pixels that a kept pixel sees before and after itself.
        alignment: read parts start and end at multiples of it, or at the ends of the image.

    Raises:
        UsageError: if a number is too small to make tiles.

    Example:
        >>> [(span.read.start, span.read.stop, span.keep) for span in spans(600, 400, (107, 107), 16)]
        [(0, 512, slice(0, 400, None)), (288, 600, slice(112, 312, None))]
    """
    if length < 1 or tile < 1 or min(margin) < 0 or alignment < 1:
        raise UsageError(
            f"{length} pixels in tiles of {tile} with margins of {margin[0]} and {margin[1]}, aligned to {alignment}: "
            f"give a tile of at least 1 and margins of at least 0"
        )
    before, after = margin
    cover = []
    for start in range(0, length, tile):
        stop = min(start + tile, length)
        first = max(start - before, 0) // alignment * alignment
        last = min(-(-(stop + after) // alignment) * alignment, length)
        cover.append(Span(slice(first, last), slice(start, stop)))
    _check(cover, length, margin, alignment)
    return cover


def _check(cover: list[Span], length: int, margin: tuple[int, int], alignment: int) -> None:
    """What every cover promises."""
    assert cover[0].write.start == 0
    assert cover[-1].write.stop == length
    assert all(a.write.stop == b.write.start for a, b in pairwise(cover))
    for read, write in cover:
        assert 0 <= read.start <= write.start < write.stop <= read.stop <= length
        assert read.start == 0 or write.start - read.start >= margin[0]
        assert read.stop == length or read.stop - write.stop >= margin[1]
        assert read.start % alignment == 0
        assert read.stop == length or read.stop % alignment == 0
