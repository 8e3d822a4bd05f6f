"""Images as their files store them, whatever the camera's orientation (EXIF) says: `exif: raw`."""

from dataclasses import dataclass, replace
from pathlib import Path

from atrous.images.derived import DerivedImage
from atrous.images.opening import open_pixels
from atrous.images.stored import Header, Pixels, Stored

__all__ = ["Unturned", "UnturnedPixels"]


class UnturnedPixels(Pixels):
    """Pixels of which no orientation is told."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels

    def header(self) -> Header:
        """Its size, channels and data type."""
        return self._pixels.header()._replace(orientation=1)

    def decode(self) -> Stored:
        """All its pixels."""
        return replace(self._pixels.decode(), orientation=1)

    def window(self, rows: slice, columns: slice) -> Stored | None:
        """Some rows and columns, where they can be read alone."""
        return self._pixels.window(rows, columns)

    def close(self) -> None:
        """Let go of the file."""
        self._pixels.close()


@dataclass(frozen=True)
class Unturned(DerivedImage):
    """The image of a pair, as its file stores it."""

    file: Path | DerivedImage

    @property
    def place(self) -> Path:
        """The file itself: it is named as any other."""
        return self.file if isinstance(self.file, Path) else self.file.place

    def header(self) -> Header:
        """Its size, channels and data type."""
        return open_pixels(self.file, self.place).header()._replace(orientation=1)

    def decode(self) -> Stored:
        """All its pixels."""
        return replace(open_pixels(self.file, self.place).decode(), orientation=1)

    def window(self, rows: slice, columns: slice) -> Stored | None:
        """Some rows and columns, where they can be read alone."""
        pixels = open_pixels(self.file, self.place)
        try:
            return pixels.window(rows, columns)
        finally:
            pixels.close()
