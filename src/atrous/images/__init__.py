"""Images in and out: every format as windows and whole, their colours, and files written whole or not at all."""

from atrous.images.files import ImageInfo, read_image, read_info, read_mask, read_window
from atrous.images.raster import Raster
from atrous.images.source import ImageSource, Source, open_source
from atrous.images.writing import write_image

__all__ = [
    "ImageInfo",
    "ImageSource",
    "Raster",
    "Source",
    "open_source",
    "read_image",
    "read_info",
    "read_mask",
    "read_window",
    "write_image",
]
