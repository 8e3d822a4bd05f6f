"""PNG, JPEG and what else Pillow reads, as stored: no rule about alpha, nodata or orientation is applied here.

A PNG's chunks are checked first, because OpenCV returns half an image from a truncated file without a word. Most, those
of 8 bits whose rows follow each other, are then inflated by libdeflate, in half the time of zlib; the others go through
OpenCV, which keeps 16 bits per channel where Pillow does not.
"""

import struct
from io import BytesIO
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from imagecodecs import DeflateError, deflate_crc32, deflate_decode
from PIL import Image

from atrous.images.stored import File, Header, Stored, content, stream

__all__ = ["JPEG", "PNG", "decode_other", "decode_pillow", "decode_png", "other_header", "png_header", "png_palette"]

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
_ORIENTATION = 0x0112
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # colour type -> channels; 3 is the palette


class _Png(NamedTuple):
    """The fields of a PNG's header chunk, its EXIF block, and its compressed pixels if they were checked."""

    width: int
    height: int
    depth: int
    color: int
    interlaced: bool
    exif: bytes
    pixels: list[bytes]


def png_header(file: File) -> Header:
    """Read the header of a PNG, and see that its chunks are all there, without its pixels."""
    with stream(file) as opened:
        png = _walk(opened, check=False)
    dtype = np.dtype(np.uint16 if png.depth == 16 else np.uint8)
    return Header(
        png.height, png.width, _PNG_CHANNELS[png.color], dtype, png.color in (4, 6), _exif_orientation(png.exif)
    )


def decode_png(file: File, *, indices: bool) -> Stored:
    """Decode a PNG; with `indices`, a palette image gives its indices instead of its colours."""
    data = content(file)
    png = _walk(BytesIO(data), check=True)
    orientation = _exif_orientation(png.exif)
    if png.color != 3 or indices:
        plain = _plain(png)
        if plain is not None:
            return Stored(plain, alpha=png.color in (4, 6), orientation=orientation)
    if png.color == 3:
        image = Image.open(BytesIO(data))
        pixels = np.array(image if indices else image.convert("RGB"))
        return Stored(np.atleast_3d(pixels), orientation=orientation)
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError("its pixels do not decode")
    # A transparent colour (tRNS) is not an alpha channel: OpenCV adds one, and we do not keep it.
    array = array[..., [0, -1]] if png.color == 4 else _rgb(array)[..., : _PNG_CHANNELS[png.color]]
    step = 255 // (2**png.depth - 1) if png.color == 0 and png.depth < 8 else 1
    return Stored(array, alpha=png.color in (4, 6), orientation=orientation, step=step)


def other_header(file: File) -> Header:
    """Read the header of a JPEG or another file that Pillow knows."""
    with stream(file) as opened, Image.open(opened) as image:
        mode = _plain_mode(image)
        orientation = image.getexif().get(_ORIENTATION, 1)
        height, width = image.height, image.width
    channels = len(Image.new(mode, (1, 1)).getbands())
    return Header(height, width, channels, _mode_dtype(mode), mode in ("LA", "RGBA"), orientation)


def decode_other(file: File, *, indices: bool) -> Stored:
    """Decode a JPEG or another file that Pillow knows; with `indices`, palette images give their indices."""
    data = content(file)
    # OpenCV is twice as fast and gives the same numbers, but takes a cut-off file for a whole one; so it reads only
    # files that end with the end-of-image marker.
    if data.startswith(JPEG) and data.endswith(b"\xff\xd9"):
        components, exif = _jpeg_head(data)
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if components in (1, 3) else None
        if array is not None:
            return Stored(_rgb(array), orientation=_exif_orientation(exif))
    with Image.open(BytesIO(data)) as image:
        return decode_pillow(image, indices=indices)


def decode_pillow(image: Image.Image, *, indices: bool = False) -> Stored:
    """What an opened Pillow image holds; with `indices`, a palette image gives its indices instead of its colours."""
    orientation = image.getexif().get(_ORIENTATION, 1)
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a phone's JPEG with a second view
        raise ValueError(f"it is an animation of {getattr(image, 'n_frames', 'several')} frames")
    if indices and image.mode == "P":
        return Stored(np.array(image)[..., None], orientation=orientation)
    bilevel, mode = image.mode == "1", _plain_mode(image)
    pixels = np.atleast_3d(np.array(image.convert("L") if bilevel else image.convert(mode)))
    return Stored(pixels, alpha=mode in ("LA", "RGBA"), orientation=orientation, step=255 if bilevel else 1)


def png_palette(file: File) -> list[tuple[int, int, int]] | None:
    """The colours of a palette PNG, or None for any other file."""
    with stream(file) as opened:
        if opened.read(len(PNG)) != PNG:
            return None
        while True:  # no decoder is asked: this is read with every mask of a table that has colours
            start = opened.read(8)
            if len(start) < 8:
                raise ValueError("it is cut off before its end")
            length, kind = struct.unpack(">I4s", start)
            body = opened.read(length + 4) if kind in (b"IHDR", b"PLTE") else b""
            if kind == b"IDAT" or (kind == b"IHDR" and body[9:10] != b"\3"):  # colour type 3 is the palette
                return None
            if kind == b"PLTE":
                return [(body[i], body[i + 1], body[i + 2]) for i in range(0, length - 2, 3)]
            opened.seek(0 if body else length + 4, 1)


def _jpeg_head(data: bytes) -> tuple[int, bytes]:
    """How many 8-bit components a JPEG has, 0 where that cannot be told, and its EXIF block."""
    place, exif = 2, b""
    while place + 9 < len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame, not a table
            return (data[place + 9] if data[place + 4] == 8 else 0), exif
        if marker == 0xE1 and not exif and data[place + 4 : place + 10] == b"Exif\0\0":
            exif = data[place + 4 : place + 2 + length]
        place += 2 + length if marker != 0xFF else 1  # 0xFF may fill
    return 0, exif


def _walk(file: BinaryIO, *, check: bool) -> _Png:
    """Step through the chunks of a PNG up to its end; with `check`, compare each chunk's checksum.

    Raises:
        ValueError: if a chunk is cut off or damaged.
    """
    file.seek(len(PNG))
    head, exif = b"", b""
    pixels: list[bytes] = []
    while True:
        start = file.read(8)
        if len(start) < 8:
            raise ValueError("it is cut off before its end")
        length, kind = struct.unpack(">I4s", start)
        if kind == b"IEND":
            break
        if check or kind in (b"IHDR", b"eXIf"):
            body, tail = file.read(length), file.read(4)
            if len(tail) < 4:
                raise ValueError("it is cut off before its end")
            if check and deflate_crc32(body, deflate_crc32(kind)) != struct.unpack(">I", tail)[0]:
                raise ValueError(f"its {kind.decode('latin1')} chunk is damaged")
            head, exif = (body if kind == b"IHDR" else head), (body if kind == b"eXIf" else exif)
            if kind == b"IDAT":
                pixels.append(body)
        else:
            file.seek(length + 4, 1)
    width, height, depth, color, *_, interlaced = struct.unpack(">IIBBBBB", head[:13])
    if color not in _PNG_CHANNELS:
        raise ValueError(f"colour type {color} does not exist")
    return _Png(width, height, depth, color, bool(interlaced), exif, pixels)


def _plain(png: _Png) -> np.ndarray | None:
    """(H, W, C) of an image of 8 bits whose rows follow each other, as most writers store them; None of any other.

    Half the time that OpenCV takes, and a third of Pillow's for the indices of a mask.
    """
    if png.depth != 8 or png.interlaced:
        return None
    from atrous.images._kernels import unfilter  # compiles at first use

    channels = 1 if png.color == 3 else _PNG_CHANNELS[png.color]
    size = png.height * (png.width * channels + 1)
    try:
        data = deflate_decode(b"".join(png.pixels), out=size + 1)
    except DeflateError:
        return None  # the other decoders say what is wrong
    if len(data) != size:
        return None
    rows = np.frombuffer(data, np.uint8).reshape(png.height, -1)
    pixels = np.empty((png.height, png.width * channels), np.uint8)
    if not unfilter(rows, channels, pixels):
        return None
    return pixels.reshape(png.height, png.width, channels)


def _rgb(array: np.ndarray) -> np.ndarray:
    """From OpenCV's channel order to (H, W, C) with red first."""
    if array.ndim == 2:
        return array[..., None]
    return cv2.cvtColor(array, cv2.COLOR_BGRA2RGBA if array.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _exif_orientation(block: bytes) -> int:
    """The orientation in an EXIF block, 1 where it names none."""
    if not block:
        return 1
    exif = Image.Exif()
    exif.load(block)
    return int(exif.get(_ORIENTATION, 1))


def _plain_mode(image: Image.Image) -> str:
    """The mode in which the numbers of an image are read."""
    if image.mode in ("L", "LA", "RGB", "RGBA", "I", "F", "I;16"):
        return image.mode
    return {"1": "L", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "I;16B": "I", "I;16L": "I"}.get(image.mode, "RGB")


def _mode_dtype(mode: str) -> np.dtype:
    return np.dtype({"I": np.int32, "F": np.float32, "I;16": np.uint16}.get(mode, np.uint8))
