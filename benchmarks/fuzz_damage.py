"""Seeded damage to a file, of the kinds that files meet.

Bits turned, bytes cut off, left out, repeated, overwritten by extreme numbers; in text also values exchanged for
others, lines lost or doubled, deep nesting, foreign encodings. Where a format guards its content by a checksum or a
compression, some of the damage is done below it.
"""

import gzip
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["damage"]

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
VALUES = (
    "0",
    "-1",
    "1e308",
    "NaN",
    "null",
    "true",
    '""',
    '"\\u001b[31mred"',
    "[]",
    "{}",
    "99999999999999999999",
    "0.5",
    "[[1, 2], 3]",
)
ENTRY = re.compile(r"-?\d+(?:\.\d+)?|\"(?:[^\"\\]|\\.)*\"|\b[A-Za-z_]+\b")


def damage(file: Path, rng: np.random.Generator) -> str:
    """Damage a file; returns what was done."""
    content = file.read_bytes()
    text = file.suffix in (".json", ".yaml", ".xml", ".zattrs", ".zarray", ".txt")
    ways = (*_TEXT_WAYS, *_BYTE_WAYS[:3]) if text else _BYTE_WAYS
    packed = _unpacked(file, content) if rng.random() < 0.5 else None
    done = []
    for _ in range(1 if rng.random() < 0.8 else int(rng.integers(2, 5))):
        way = ways[int(rng.integers(len(ways)))]
        done.append(way.__name__.strip("_"))
        if packed is None:
            content = way(content, rng)
        else:
            packed = (way(packed[0], rng), packed[1])
    if packed is not None:
        content, done = packed[1](packed[0]), [*done, "below the checksum"]
    file.write_bytes(content)
    return ", ".join(done)


# ---------- damage to bytes


def _turned_bits(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 9)) if changed else 0):
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _cut_off(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content) + 1))]


def _left_out(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(len(content) + 1, size=2).tolist())
    return content[:start] + content[min(end, start + 200) :]


def _turned_head(content: bytes, rng: np.random.Generator) -> bytes:
    return _turned_bits(content[:96], rng) + content[96:]


def _extreme_number(content: bytes, rng: np.random.Generator) -> bytes:
    if len(content) < 8:
        return content
    width, order = int(rng.choice([1, 2, 4, 8])), "little" if rng.random() < 0.5 else "big"
    last = min(len(content), 256) if rng.random() < 0.7 else len(content)
    place, value = int(rng.integers(last - 7)), int(rng.choice(EXTREMES)) % (1 << 8 * width)
    return content[:place] + value.to_bytes(width, order) + content[place + width :]


def _repeated(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(len(content) + 1, size=2).tolist())
    return content[:end] + content[start:end] + content[end:]


def _foreign_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(content) + 1))
    return content[:place] + rng.bytes(int(rng.integers(1, 64))) + content[place:]


def _zeros(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(len(content) + 1, size=2).tolist())
    return content[:start] + bytes(end - start) + content[end:]


def _emptied(content: bytes, rng: np.random.Generator) -> bytes:
    return b"" if rng.random() < 0.3 else content[: int(rng.integers(1, 64))]


_BYTE_WAYS: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    _turned_bits, _cut_off, _left_out, _turned_head, _extreme_number, _extreme_number, _repeated, _foreign_bytes,
    _zeros, _emptied,
)  # fmt: skip


# ---------- damage to text


def _other_value(content: bytes, rng: np.random.Generator) -> bytes:
    text = content.decode("utf-8", "replace")
    found = list(ENTRY.finditer(text))
    if not found:
        return content
    entry = found[int(rng.integers(len(found)))]
    return (text[: entry.start()] + str(rng.choice(VALUES)) + text[entry.end() :]).encode()


def _lost_line(content: bytes, rng: np.random.Generator) -> bytes:
    lines = content.splitlines(keepends=True)
    if lines:
        del lines[int(rng.integers(len(lines)))]
    return b"".join(lines)


def _doubled_line(content: bytes, rng: np.random.Generator) -> bytes:
    lines = content.splitlines(keepends=True)
    if lines:
        place = int(rng.integers(len(lines)))
        lines.insert(place, lines[place])
    return b"".join(lines)


def _deep(content: bytes, rng: np.random.Generator) -> bytes:
    text = content.decode("utf-8", "replace")
    found = list(ENTRY.finditer(text))
    if not found:
        return content
    entry, depth = found[int(rng.integers(len(found)))], int(rng.choice([20, 5000]))
    return (text[: entry.start()] + "[" * depth + "]" * depth + text[entry.end() :]).encode()


def _other_encoding(content: bytes, rng: np.random.Generator) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode("utf-16") if rng.random() < 0.5 else text.replace("a", "é").encode("latin-1", "replace")


_TEXT_WAYS = (_other_value, _other_value, _other_value, _other_value, _lost_line, _doubled_line, _deep, _other_encoding)


# ---------- content below a checksum


def _unpacked(path: Path, content: bytes) -> tuple[bytes, Callable[[bytes], bytes]] | None:
    """What a checksum guards, and how it is guarded again."""
    if path.name.endswith(".gz"):
        return gzip.decompress(content), lambda inner: gzip.compress(inner, mtime=0)
    if path.suffix == ".png":
        return content, _with_checksums
    return None


def _with_checksums(content: bytes) -> bytes:
    """PNG with the checksum of each chunk made right, as far as its chunks can be followed."""
    fixed, place = bytearray(content), 8
    while place + 12 <= len(fixed):
        length = int.from_bytes(fixed[place : place + 4], "big")
        end = place + 8 + length
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = zlib.crc32(fixed[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(fixed)
