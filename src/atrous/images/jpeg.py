"""JPEG: what its header says, and whether its data is sound.

libjpeg decodes damaged data with a line to stderr that names no file, and the libraries above it do not tell either. So
the codes are followed here, without computing a pixel, in half the time that decoding takes; of a file once in a
process. A damaged byte is found where the codes that follow do not fit the image any more; one after which they do is
found by nobody.

Reference:
    ITU T.81 (1992): baseline, extended and progressive Huffman coding. Arithmetic coding is not followed.
"""

import struct
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from atrous.images.exif import block_orientation

__all__ = ["JPEG", "JpegHead", "check_jpeg", "check_jpeg_file", "jpeg_head"]

JPEG = b"\xff\xd8\xff"
"""How a JPEG begins."""

_HUFFMAN = (0xC0, 0xC1, 0xC2)
_TABLES = 8  # four of DC, four of AC
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length


_known: dict[tuple[str, int, int], str] = {}
"""What was odd about files that were followed to their ends, by name, size and time of the last change."""


class JpegHead(NamedTuple):
    """The frame of a JPEG: size, components, bits, and the orientation that its EXIF block names."""

    height: int
    width: int
    components: int
    bits: int
    orientation: int


def jpeg_head(file: BinaryIO) -> JpegHead | None:
    """Read a JPEG's header up to its frame; None where there is none."""
    file.seek(2)
    exif = b""
    while True:
        marker = _next_marker(file)
        if marker is None or marker in (0xD9, 0xDA):
            return None
        if marker in _ALONE:
            continue
        size = file.read(2)
        if len(size) < 2:
            return None
        length = int.from_bytes(size, "big") - 2
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame, not a table
            body = file.read(6)
            if len(body) < 6:
                return None
            bits, height, width, components = struct.unpack(">BHHB", body)
            return JpegHead(height, width, components, bits, block_orientation(exif))
        if marker == 0xE1 and not exif:
            body = file.read(length)
            exif = body if body.startswith(b"Exif\0\0") else b""
        else:
            file.seek(max(length, 0), 1)


def _next_marker(file: BinaryIO) -> int | None:
    """The next marker; 0xFF may fill, and other bytes are passed over as libjpeg does."""
    byte = file.read(1)
    while byte and byte != b"\xff":
        byte = file.read(1)
    while byte == b"\xff":
        byte = file.read(1)
    return byte[0] if byte else None


def check_jpeg(data: bytes, tables: bytes | None = None) -> str:
    """Follow a JPEG's codes to the end.

    Args:
        data: the file, or the strip or tile of a TIFF.
        tables: those that all tiles of a TIFF share, as its tag holds them.

    Returns:
        What is odd about it although all of the image is there, or nothing.

    Raises:
        ValueError: if its data is damaged.
    """
    walker = _Walker()
    if tables:
        walker.read(tables)
    walker.read(data)
    return walker.odd


def check_jpeg_file(data: bytes, file: Path | bytes) -> str:
    """Check the content of a file as `check_jpeg`; of one that was found sound, not again until it changes.

    Raises:
        ValueError: as `check_jpeg`.
    """
    if isinstance(file, bytes):
        return check_jpeg(data)
    state = file.stat()
    key = (str(file), state.st_size, state.st_mtime_ns)
    if key not in _known:
        _known[key] = check_jpeg(data)
    return _known[key]


class _Component(NamedTuple):
    """One component of a frame: its sampling, and its size in blocks."""

    across: int
    down: int
    wide: int
    tall: int


class _Walker:
    """Goes from marker to marker, and through each scan."""

    def __init__(self) -> None:
        self.tables = np.zeros((_TABLES, 1 << 16), np.uint16)
        self.components: dict[int, _Component] = {}
        self.seen: dict[int, np.ndarray] = {}
        self.units = self.restart = 0
        self.progressive = False
        self.odd = ""

    def read(self, data: bytes) -> None:
        """Read a stream of markers.

        Raises:
            ValueError: if it is damaged.
        """
        place, scans = 2, 0
        while place + 4 <= len(data):
            if data[place] != 0xFF or data[place + 1] in (0x00, 0xFF):
                if data[place] != 0xFF or data[place + 1] == 0:
                    self.odd = "its JPEG header holds bytes that are part of nothing, so it may be damaged"
                place += 1
                continue
            marker = data[place + 1]
            if marker == 0xD9:
                break
            if marker in _ALONE:
                place += 2
                continue
            length = int.from_bytes(data[place + 2 : place + 4], "big")
            body, place = data[place + 4 : place + 2 + length], place + 2 + length
            if marker == 0xC4:
                self._huffman(body)
            elif marker == 0xDD and len(body) >= 2:
                self.restart = int.from_bytes(body[:2], "big")
            elif marker in _HUFFMAN:
                self._frame(body, progressive=marker == 0xC2)
            elif marker == 0xDA:
                if not self.components:
                    return  # not coded by Huffman, or nothing that is followed here
                place = self._scan(data, body, place)
                scans += 1
        if self.components and not scans:
            raise ValueError("its JPEG data ends before the image does")

    def _huffman(self, body: bytes) -> None:
        while len(body) >= 17:
            kind, counts = body[0], body[1:17]
            symbols = body[17 : 17 + sum(counts)]
            if kind & 0x0F < 4 and kind >> 4 < 2 and len(symbols) == sum(counts):
                self.tables[(kind >> 4) * 4 + (kind & 3)] = _lookup(counts, symbols)
            body = body[17 + sum(counts) :]

    def _frame(self, body: bytes, *, progressive: bool) -> None:
        bits, height, width, count = struct.unpack(">BHHB", body[:6])
        if bits not in (8, 12) or not height or not width or len(body) < 6 + 3 * count:
            return
        sampling = {body[6 + 3 * i]: (body[7 + 3 * i] >> 4, body[7 + 3 * i] & 15) for i in range(count)}
        if not all(1 <= side <= 4 for pair in sampling.values() for side in pair):
            raise ValueError("its JPEG header is damaged")
        most_across, most_down = (max(pair[side] for pair in sampling.values()) for side in (0, 1))
        for name, (across, down) in sampling.items():
            wide, tall = -(-width * across // most_across), -(-height * down // most_down)
            self.components[name] = _Component(across, down, -(-wide // 8), -(-tall // 8))
        self.units = -(-width // (8 * most_across)) * -(-height // (8 * most_down))
        self.progressive = progressive

    def _scan(self, data: bytes, body: bytes, start: int) -> int:
        """Follow one scan; returns where it ends."""
        from atrous.images._jpeg_kernels import BAD_CODE, LEFT_OVER, PADDING, TOO_SHORT, unstuff, walk  # compiles

        count = body[0] if body else 0
        if len(body) < 4 + 2 * count or not count or any(body[1 + 2 * i] not in self.components for i in range(count)):
            raise ValueError("its JPEG header is damaged")
        names = [body[1 + 2 * i] for i in range(count)]
        first, last, approximation = body[1 + 2 * count], body[2 + 2 * count], body[3 + 2 * count]
        units, blocks = self._blocks(names, body)
        restart = self.restart or units
        raw, out = np.frombuffer(data, np.uint8), np.zeros(len(data) - start + PADDING, np.uint8)
        ends = np.zeros(-(-units // restart), np.int64)
        intervals, end = unstuff(raw, start, out, ends)
        if self.progressive and (first > last or last > 63 or (first and count > 1)):
            raise ValueError("its JPEG header is damaged")
        if intervals < len(ends):
            raise ValueError("its JPEG data ends before the image does")
        seen = self.seen.setdefault(names[0], np.zeros((units if self.progressive and first else 1, 64), np.uint8))
        if first and len(seen) < units:
            seen = self.seen[names[0]] = np.zeros((units, 64), np.uint8)
        refines = int(self.progressive and approximation >> 4 > 0)
        bounds = (first, last) if self.progressive else (0, 63)
        scan = np.array([units, restart, *bounds, refines, int(self.progressive)], np.int64)
        found = walk(out, ends, scan, blocks, self.tables, seen)
        if found in (BAD_CODE, TOO_SHORT):
            what = "is damaged" if found == BAD_CODE else "ends before the image does"
            raise ValueError(f"its JPEG data {what}")
        if found == LEFT_OVER or intervals > len(ends):
            self.odd = "its JPEG data goes on after the image ends, so a part of it may be damaged"
        return int(end)

    def _blocks(self, names: list[int], body: bytes) -> tuple[int, np.ndarray]:
        """Units of a scan, and the tables of each block of one; a component alone has units of one block."""
        blocks = []
        for i, name in enumerate(names):
            part, coding = self.components[name], body[2 + 2 * i]
            tables = (min(coding >> 4, 3), 4 + min(coding & 15, 3))
            blocks += [tables] * (part.across * part.down if len(names) > 1 else 1)
        alone = self.components[names[0]]
        return self.units if len(names) > 1 else alone.wide * alone.tall, np.array(blocks, np.int64)


@lru_cache(maxsize=16)
def _lookup(counts: bytes, symbols: bytes) -> np.ndarray:
    """Length and symbol of the code that 16 bits begin with; 0 where none does."""
    lengths = np.repeat(np.arange(1, 17), list(counts))
    entries = (lengths << 8 | np.frombuffer(symbols, np.uint8)).astype(np.uint16)
    table = np.repeat(entries, 1 << (16 - lengths))
    if len(table) > 1 << 16:
        raise ValueError("its JPEG header is damaged")
    return np.pad(table, (0, (1 << 16) - len(table)))
