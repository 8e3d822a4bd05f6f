"""What the numbers of a TIFF page mean: bits, white and black, palettes, nodata, alpha.

An image's numbers follow one rule in every format, see `raster`: 1, 2 and 4 bits are spread over 0 to 255, palettes
give colours, "0 is white" is turned. A mask keeps what is stored.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from atrous.images.exif import orientation
from atrous.images.stored import Stored

__all__ = ["Samples", "colors", "tag"]

ORIENTATION, NODATA, EXTRA = 274, 42113, 338
_MINISWHITE, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 3, 5, 6, 8
_JPEGS = (6, 7)


@dataclass(frozen=True)
class Samples:
    """What the tags of a page say about its numbers.

    Attributes:
        bits: of a number.
        inverted: 0 is white.
        palette: (n, 3) uint8 red, green and blue of each index, or None.
        alpha: the last channel is an alpha channel.
        orientation: EXIF orientation, 1 to 8.
        nodata: the number that stands for "nothing measured here", as stored.
        foreign: its colours are not red, green and blue, but what Pillow turns into these.
    """

    bits: int
    inverted: bool
    palette: np.ndarray | None
    alpha: bool
    orientation: int
    nodata: float | None
    foreign: bool

    @classmethod
    def of(cls, page: Any, channels: int) -> "Samples":
        """The samples of a page, of which so many make a pixel."""
        photometric, kind = int(page.photometric), np.dtype(page.dtype).kind if page.dtype is not None else "V"
        bits = page.bitspersample if isinstance(page.bitspersample, int) else 0
        extra = tag(page, EXTRA, ())
        kinds = extra if isinstance(extra, tuple) else (extra,)
        raw = photometric == _YCBCR and page.compression not in _JPEGS
        return cls(
            bits=bits,
            inverted=photometric == _MINISWHITE and kind in "bu" and bits <= 16,
            palette=colors(page),
            alpha=photometric != _PALETTE and bool(kinds) and int(kinds[-1]) in (1, 2) and channels >= 2,
            orientation=orientation(tag(page, ORIENTATION, 1)),
            nodata=_number(tag(page, NODATA, None)),
            foreign=bits == 8 and (photometric, channels) in {(_CMYK, 4), (_LAB, 3), *([(_YCBCR, 3)] if raw else [])},
        )

    @property
    def channels(self) -> int | None:
        """How many an image has, where that is not what is stored."""
        return 3 if self.palette is not None or self.foreign else None

    def dtype(self, stored: np.dtype) -> np.dtype:
        """The data type of an image whose numbers are stored in this one."""
        return np.dtype(np.uint8) if self.palette is not None else stored

    def stored(self, array: np.ndarray, valid: np.ndarray | None, *, indices: bool) -> Stored:
        """An image of these (H, W, C) numbers; with `indices`, a mask of them."""
        if indices:
            array = array.view(np.uint8) if array.dtype == np.bool_ else array
            return Stored(array, alpha=self.alpha, orientation=self.orientation, nodata=self.nodata, valid=valid)
        nodata = self.nodata
        if self.palette is not None:
            if nodata is not None:
                there = array[..., 0] != nodata
                valid = there if valid is None else there & valid
            array, nodata = self.palette[array[..., 0]], None
        elif self._turned:
            array, nodata = self._shades(array), self._shade(nodata)
        return Stored(array, alpha=self.alpha, orientation=self.orientation, nodata=nodata, valid=valid)

    @property
    def _turned(self) -> bool:
        """Whether its numbers are not shades as they stand."""
        return self.inverted or self.bits in (1, 2, 4)

    def _shades(self, array: np.ndarray) -> np.ndarray:
        """Numbers with 0 as black; 1, 2 and 4 bits over 0 to 255."""
        if array.dtype.kind not in "bu":
            return array
        array = array.view(np.uint8) if array.dtype == np.bool_ else array
        top = array.dtype.type(2**self.bits - 1)
        array = top - array if self.inverted else array
        return array * np.uint8(255 // top) if self.bits in (1, 2, 4) else array

    def _shade(self, nodata: float | None) -> float | None:
        """What a nodata value becomes when numbers are turned."""
        if nodata is None or nodata != nodata // 1 or not 0 <= nodata < 2**self.bits:
            return None
        return float(self._shades(np.array([nodata], np.uint8 if self.bits <= 8 else np.uint16))[0])


def colors(page: Any) -> np.ndarray | None:
    """(n, 3) uint8 of a page with a palette, None of any other."""
    if page.photometric != _PALETTE or page.colormap is None:
        return None
    return (np.asarray(page.colormap).T >> 8).astype(np.uint8)


def tag(page: Any, code: int, default: Any) -> Any:
    """The value of a tag."""
    found = page.tags.get(code)
    return default if found is None else found.value


def _number(nodata: Any) -> float | None:
    """What GDAL's tag says, if it says a number: some writers put "none" there."""
    try:
        return float(str(nodata).strip("\0 "))
    except ValueError:
        return None
