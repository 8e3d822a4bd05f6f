"""Images of other channels than are needed, where a rule brings them there.

- Grey where three channels are needed: the grey is repeated. Collections of photographs (COCO, ADE20K) hold a few grey
  JPEG files among thousands of coloured ones. Only for 8 and 16 bits: floating-point numbers are measurements.
- An alpha channel where it would be one channel more than is needed: it is left out, constant or not. Pixels in which
  it is 0 count as invalid, unless it is 0 all over.

Everything else is refused where the channels are counted.
"""

from dataclasses import replace

import numpy as np

from atrous.images.arrays import ArrayPixels
from atrous.images.raster import with_alpha_as_mask
from atrous.images.stored import Header, Pixels, Stored

__all__ = ["ALPHA", "GREY", "bring_channels", "how_brought"]

_ROWS = 256  # of an image at a time, to look through its alpha channel
GREY = "grey"
ALPHA = "alpha"


def how_brought(channels: int, alpha: bool, dtype: np.dtype | str, needed: int | None) -> str | None:
    """What has to be done with an image so that it has the channels that are needed.

    Args:
        channels: as stored, a declared alpha channel counted.
        alpha: the last of them is an alpha channel.
        dtype: of the numbers.
        needed: how many channels are needed; None takes what is there.

    Returns:
        `GREY` where it is repeated (an alpha channel is then left out too), `ALPHA` where only that is left out; "" if
        nothing has to be done, and None if no rule brings it there.

    Example:
        >>> how_brought(1, False, "uint8", 3), how_brought(4, True, "uint8", 3), how_brought(2, False, "uint8", 3)
        ('grey', 'alpha', None)
    """
    if needed is None or channels == needed:
        return ""
    bare = channels - 1 if alpha else channels
    if bare == needed:
        return ALPHA
    plain = np.dtype(dtype).kind in "bu" and np.dtype(dtype).itemsize <= 2
    return GREY if (bare, needed) == (1, 3) and plain else None


def bring_channels(pixels: Pixels, needed: int | None) -> Pixels:
    """What is read from, with the channels that are needed where a rule brings it there; else as it is."""
    if needed is None:
        return pixels
    if isinstance(pixels, ArrayPixels):  # its header costs nothing, and most arrays stay as they are
        header = pixels.header()
        return _Brought(pixels, needed) if how_brought(*_facts(header), needed) else pixels
    return _Brought(pixels, needed)


def _facts(header: Header) -> tuple[int, bool, np.dtype]:
    return header.channels, header.alpha, header.dtype


class _Brought(Pixels):
    """Pixels whose grey is repeated, or whose alpha channel is left out, where that is needed."""

    def __init__(self, pixels: Pixels, needed: int) -> None:
        self._pixels, self._needed = pixels, needed
        self._shows: bool | None = None

    def header(self) -> Header:
        """Its size, and the channels that are needed where they can be had."""
        header = self._pixels.header()
        if how_brought(*_facts(header), self._needed):
            return header._replace(channels=self._needed, alpha=False)
        return header

    def decode(self) -> Stored:
        """All its pixels."""
        return self._bring(self._pixels.decode(), whole=True)

    def window(self, rows: slice, columns: slice) -> Stored | None:
        """Some rows and columns, where they can be read alone."""
        stored = self._pixels.window(rows, columns)
        return None if stored is None else self._bring(stored, whole=False)

    def close(self) -> None:
        """Let go of the file."""
        self._pixels.close()

    def _bring(self, stored: Stored, *, whole: bool) -> Stored:
        array = stored.array
        how = how_brought(array.shape[2], stored.alpha, array.dtype, self._needed)
        if not how:
            return stored
        hidden = array[..., -1] == 0 if stored.alpha else np.False_
        if hidden.any() and (not hidden.all() or (not whole and self._shows_something())):
            stored = with_alpha_as_mask(stored)
        bare = array[..., :-1] if stored.alpha else array
        full = np.repeat(bare, 3, axis=2) if how == GREY else bare
        return replace(stored, array=np.ascontiguousarray(full), alpha=False)

    def _shows_something(self) -> bool:
        """Whether the alpha channel of an image read by windows is more than 0 anywhere."""
        if self._shows is None:
            header = self._pixels.header()
            bands = (slice(top, min(top + _ROWS, header.height)) for top in range(0, header.height, _ROWS))
            windows = (self._pixels.window(rows, slice(0, header.width)) for rows in bands)
            self._shows = any(band is not None and band.array[..., -1].any() for band in windows)
        return self._shows
