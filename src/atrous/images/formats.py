"""PNG, JPEG and what else Pillow reads, as stored: no rule about alpha, nodata or orientation is applied here.

A PNG's chunks are checked first, because OpenCV returns half an image from a truncated file without a word. Most, those
of 8 bits whose rows follow each other, are then inflated by libdeflate, in half the time of zlib; the others go through
OpenCV, which keeps 16 bits per channel where Pillow does not.
"""

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from imagecodecs import DeflateError, deflate_crc32, deflate_decode
from PIL import Image

from atrous.images.exif import block_orientation, orientation
from atrous.images.jpeg import JPEG, check_jpeg_file, jpeg_head
from atrous.images.limits import must_fit
from atrous.images.stored import File, Header, Stored, content, stream

__all__ = [
    "PALETTES",
    "PNG",
    "decode_other",
    "decode_pillow",
    "decode_png",
    "other_header",
    "other_palette",
    "png_header",
    "png_palette",
]

PNG = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112
PALETTES = (b"GIF8", b"BM")
"""How other files begin that may have a palette."""
_PILLOW = threading.Lock()
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_DEFLATE = 1040
"""Most bytes that a compressed one can become: deflate ends at 1032."""
_OPENCV = 1 << 30
"""Pixels above which OpenCV refuses an image."""
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
        png.height, png.width, _PNG_CHANNELS[png.color], dtype, png.color in (4, 6), block_orientation(png.exif)
    )


def decode_png(file: File, *, indices: bool) -> Stored:
    """Decode a PNG; with `indices`, a palette image gives its indices instead of its colours."""
    data = content(file)
    png = _walk(BytesIO(data), check=True)
    shape = (png.height, png.width, _PNG_CHANNELS[png.color])
    must_fit(shape[0] * shape[1] * shape[2] * (2 if png.depth == 16 else 1), file, shape)
    held = block_orientation(png.exif)
    if png.color != 3 or indices:
        plain = _plain(png)
        if plain is not None:
            return Stored(plain, alpha=png.color in (4, 6), orientation=held)
    if png.color == 3:
        with _image(BytesIO(data)) as image:
            pixels = np.array(image if indices else image.convert("RGB"))
        return Stored(np.atleast_3d(pixels), orientation=held)
    if png.height * png.width > _OPENCV:
        return _decode_large(png, data, held)
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError("its pixels do not decode")
    # A transparent colour (tRNS) is not an alpha channel: OpenCV adds one, and we do not keep it.
    array = array[..., [0, -1]] if png.color == 4 else _rgb(array)[..., : _PNG_CHANNELS[png.color]]
    step = 255 // (2**png.depth - 1) if png.color == 0 and png.depth < 8 else 1
    return Stored(array, alpha=png.color in (4, 6), orientation=held, step=step)


def _decode_large(png: _Png, data: bytes, held: int) -> Stored:
    """Decode what OpenCV refuses, as far as Pillow keeps its bits."""
    if png.depth == 16 and png.color != 0:
        raise ValueError("16 bits of several channels are read up to 2^30 pixels; write it as a tiled TIFF")
    with _image(BytesIO(data)) as image:
        stored = decode_pillow(image)
    return replace(stored, orientation=held)


def other_header(file: File) -> Header:
    """Read the header of a JPEG or another file that Pillow knows."""
    with stream(file) as opened:
        head = jpeg_head(opened) if opened.read(len(JPEG)) == JPEG else None
        if head is not None and head.bits == 8 and head.components in (1, 3) and head.height and head.width:
            return Header(head.height, head.width, head.components, np.dtype(np.uint8), False, head.orientation)
        opened.seek(0)
        with _image(opened) as image:
            mode = _plain_mode(image)
            held = _held_orientation(image)
            height, width = image.height, image.width
    channels = len(Image.new(mode, (1, 1)).getbands())
    return Header(height, width, channels, _mode_dtype(mode), mode in ("LA", "RGBA"), held)


def decode_other(file: File, *, indices: bool) -> Stored:
    """Decode a JPEG or another file that Pillow knows; with `indices`, palette images give their indices."""
    data = content(file)
    # OpenCV is twice as fast and gives the same numbers, but takes a cut-off file for a whole one; so it reads only
    # files that end with the end-of-image marker. What is odd would make it write to stderr.
    odd = check_jpeg_file(data, file) if data.startswith(JPEG) else ""
    if data.startswith(JPEG) and data.endswith(b"\xff\xd9") and not odd:
        head = jpeg_head(BytesIO(data))
        plain = head is not None and head.components in (1, 3) and head.bits == 8
        if head is not None:
            must_fit(head.height * head.width * head.components, file, head[:3])
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if plain else None
        if array is not None and head is not None:
            return Stored(_rgb(array), orientation=head.orientation)
    with _image(BytesIO(data)) as image:
        shape = (image.height, image.width, len(image.getbands()))
        must_fit(shape[0] * shape[1] * shape[2] * (4 if image.mode in ("I", "F") else 1), file, shape)
        return replace(decode_pillow(image, indices=indices), odd=odd)


def decode_pillow(image: Image.Image, *, indices: bool = False) -> Stored:
    """What an opened Pillow image holds; with `indices`, a palette image gives its indices instead of its colours."""
    held = _held_orientation(image)
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a phone's JPEG with a second view
        raise ValueError(f"it is an animation of {getattr(image, 'n_frames', 'several')} frames")
    if indices and image.mode == "P" and not _grey_palette(image):
        return Stored(np.array(image)[..., None], orientation=held)
    bilevel, mode = image.mode == "1", _plain_mode(image)
    pixels = np.atleast_3d(np.array(image.convert("L") if bilevel else image.convert(mode)))
    return Stored(pixels, alpha=mode in ("LA", "RGBA"), orientation=held, step=255 if bilevel else 1)


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


def other_palette(file: File) -> list[tuple[int, int, int]] | None:
    """The colours of a GIF or BMP with a palette, None where its numbers are grey levels."""
    with stream(file) as opened, _image(opened) as image:
        flat = (image.getpalette("RGB") or []) if image.mode == "P" and not _grey_palette(image) else []
    return [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat) - 2, 3)] or None


def _grey_palette(image: Image.Image) -> bool:
    """Whether an image is a GIF of greys: GIF has no grey levels of its own, and writers renumber its palette."""
    flat = image.getpalette("RGB") or []
    return image.format == "GIF" and flat[::3] == flat[1::3] == flat[2::3]


@contextmanager
def _image(file: BinaryIO) -> Iterator[Image.Image]:
    """An image opened by Pillow without its limit of pixels: ours follows the memory, see `limits`."""
    with _PILLOW:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with image:
        yield image


def _held_orientation(image: Image.Image) -> int:
    """How the camera was held that took an opened image."""
    if isinstance(block := image.info.get("exif"), bytes):
        return block_orientation(block)
    return orientation(getattr(image, "tag_v2", {}).get(_ORIENTATION, 1))


def _walk(file: BinaryIO, *, check: bool) -> _Png:
    """Step through the chunks of a PNG up to its end; with `check`, compare each chunk's checksum.

    Raises:
        ValueError: if a chunk is cut off or damaged.
    """
    file.seek(len(PNG))
    head, exif, held = b"", b"", 0
    pixels: list[bytes] = []
    while True:
        start = file.read(8)
        if len(start) < 8:
            raise ValueError("it is cut off before its end")
        length, kind = struct.unpack(">I4s", start)
        if kind == b"IEND":
            break
        held += length if kind == b"IDAT" else 0
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
    if len(head) < 13:
        raise ValueError("it has no header")
    width, height, depth, color, *_, interlaced = struct.unpack(">IIBBBBB", head[:13])
    if color not in _PNG_CHANNELS or depth not in _PNG_DEPTHS[color] or not width or not height:
        raise ValueError(f"its header declares {height} x {width} pixels of {depth} bits and colour type {color}")
    needed = height * -(-width * _PNG_SAMPLES[color] * depth // 8)
    if needed > _DEFLATE * held:
        raise ValueError(f"its header declares {height} x {width} pixels, more than its {held} bytes of pixels can be")
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


def _plain_mode(image: Image.Image) -> str:
    """The mode in which the numbers of an image are read."""
    if image.mode == "P" and _grey_palette(image):
        return "L"
    if image.mode in ("L", "LA", "RGB", "RGBA", "I", "F", "I;16", "I;16B", "RGBX"):
        return image.mode
    return {"1": "L", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "I;16L": "I;16", "I;16N": "I;16"}.get(image.mode, "RGB")


def _mode_dtype(mode: str) -> np.dtype:
    return np.dtype({"I": np.int32, "F": np.float32, "I;16": np.uint16, "I;16B": np.uint16}.get(mode, np.uint8))
