"""How the camera was held: the orientation in an EXIF block or a TIFF tag.

Reference:
    CIPA DC-008 (Exif 2.32), tag 274: 1 as it stands, 2 to 8 mirrored or turned; other numbers do not exist.
"""

import struct
from typing import Any

__all__ = ["block_orientation", "orientation"]

_ORIENTATION, _SHORT = 0x0112, 3


def orientation(number: Any) -> int:
    """The orientation that a tag names; 1 where it names none that exists."""
    return int(number) if isinstance(number, int) and 2 <= number <= 8 else 1


def block_orientation(block: bytes) -> int:
    """The orientation in an EXIF block, 1 where it names none or is damaged: pixels do not depend on it."""
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return 1
    (start,) = struct.unpack(f"{order}I", block[4:8])
    count = struct.unpack(f"{order}H", block[start : start + 2])[0] if start + 2 <= len(block) else 0
    for place in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        tag, kind, _, number = struct.unpack(f"{order}HHIH", block[place : place + 10])
        if tag == _ORIENTATION:
            return orientation(number) if kind == _SHORT else 1
    return 1
