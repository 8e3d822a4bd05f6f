"""Where on Earth a TIFF lies: the tags that say so, for the files of its results.

Reference:
    OGC GeoTIFF Standard 1.1, https://docs.ogc.org/is/19-008r4/19-008r4.html; RPC coefficients and nodata as GDAL
    writes them, https://gdal.org/en/stable/drivers/raster/gtiff.html.
"""

import logging
from pathlib import Path
from typing import Any

from atrous.images.tiff import TIFF, page_tags

__all__ = ["georeference", "nodata_tag"]

LOG = logging.getLogger(__name__)
_PLACE = (33550, 33922, 34264, 34735, 34736, 34737, 50844)
"""Pixel scale, tie points, transformation, the keys with their numbers and texts, RPC coefficients."""
_NODATA, _ORIENTATION = 42113, 274
_ASCII = 2


def georeference(path: Path) -> tuple[tuple[Any, ...], ...]:
    """The tags of a file that say where it lies, as tifffile writes them; none where it is no TIFF or says nothing."""
    with path.open("rb") as file:
        if not file.read(4).startswith(TIFF):
            return ()
    try:
        tags = page_tags(path, (*_PLACE, _ORIENTATION))
    except Exception:  # the decoder raises what it likes; whether the image can be read is told when it is
        LOG.warning("%s: its georeference cannot be read, so its results do not get it", path)
        return ()
    _, _, turn = tags.pop(_ORIENTATION, (0, 0, 1))
    if tags and turn != 1:
        LOG.warning("%s: is turned by its orientation tag, so its results do not get its georeference", path)
        return ()
    return tuple((code, *tag, True) for code, tag in tags.items())


def nodata_tag(value: int) -> tuple[Any, ...]:
    """The tag by which GDAL knows the value of pixels without data."""
    return (_NODATA, _ASCII, 0, str(value), True)
