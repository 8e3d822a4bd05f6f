"""Run lengths: COCO's, down the columns, as a list or as text; CVAT's, along the rows of a box; Label Studio's bytes.

References:
    COCO: the mask interface of pycocotools. Label Studio: the `rle-pack` format of thi-ng/umbrella.
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["brush_to_values", "counts_to_mask", "counts_to_text", "mask_to_counts", "rows_to_mask", "text_to_counts"]


def counts_to_mask(counts: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool from the lengths of runs down the columns; the first run is background.

    Raises:
        ValueError: if the runs do not fill the image.

    Example:
        >>> counts_to_mask([1, 2, 1], (2, 2)).astype(int).tolist()
        [[0, 1], [1, 0]]
    """
    return _spread(counts, size[0] * size[1]).reshape(size[::-1]).T


def rows_to_mask(counts: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool from the lengths of runs along the rows; the first run is background.

    Raises:
        ValueError: if the runs do not fill the box.
    """
    return _spread(counts, size[0] * size[1]).reshape(size)


def mask_to_counts(mask: np.ndarray) -> list[int]:
    """The runs down the columns of a mask, background first.

    Example:
        >>> mask_to_counts(np.array([[0, 1], [1, 0]]))
        [1, 2, 1]
    """
    flat = np.asarray(mask, bool).T.ravel()
    if not flat.size:
        return []
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs


def text_to_counts(text: str) -> list[int]:
    """The runs of COCO's compressed text: groups of five bits; from the fourth run on, the change to the last but one.

    Raises:
        ValueError: if the text ends within a number, or holds a character that does not belong there.

    Example:
        >>> text_to_counts(counts_to_text([3, 40, 7, 1000, 5]))
        [3, 40, 7, 1000, 5]
    """
    counts: list[int] = []
    number, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"the character {character!r} belongs to no run length")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number, shift = 0, 0
    if shift:
        raise ValueError("the text of its run lengths is cut off")
    return counts


def counts_to_text(counts: Sequence[int]) -> str:
    """COCO's compressed text of run lengths; `text_to_counts` reads it."""
    text = []
    for index, count in enumerate(counts):
        number = count - (counts[index - 2] if index > 2 else 0)
        while True:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            text.append(chr(48 + (bits | (32 if more else 0))))
            if not more:
                break
    return "".join(text)


def brush_to_values(packed: Sequence[int]) -> np.ndarray:
    """The bytes of an RGBA image from what Label Studio's brush stores.

    A head names the count of values, their bits, and the bits of four lengths; then come runs: one bit tells a repeated
    value from values one by one, two bits choose a length, and the length says how many, less one.

    Raises:
        ValueError: if the data end too early.
    """
    data = np.asarray(packed, dtype=np.uint8)
    bits = np.unpackbits(data)
    reader = _Bits(data.tobytes())
    count, word = reader.read(32), reader.read(5) + 1
    sizes = [reader.read(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    done = 0
    while done < count:
        repeated = reader.read(1)
        length = reader.read(sizes[reader.read(2)]) + 1
        if repeated:
            values[done : done + length] = reader.read(word)
        else:
            chunk = bits[reader.at : reader.at + length * word].reshape(-1, word)
            if len(chunk) < length:
                raise ValueError("its brush data are cut off")
            weights = 1 << np.arange(word - 1, -1, -1)
            values[done : done + length] = (chunk @ weights)[: count - done]
            reader.at += length * word
        done += length
    return values


class _Bits:
    """Reads whole numbers of any width, the first bit being the most significant."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def read(self, width: int) -> int:
        """The next number.

        Raises:
            ValueError: if there are not so many bits left.
        """
        end = self.at + width
        if end > 8 * len(self.data):
            raise ValueError("its brush data are cut off")
        number = int.from_bytes(self.data[self.at // 8 : (end + 7) // 8], "big") >> (-end % 8)
        self.at = end
        return number & ((1 << width) - 1)


def _spread(counts: Sequence[int], total: int) -> np.ndarray:
    """Runs, background first, as bools."""
    try:
        runs = np.asarray(counts, np.int64)
    except OverflowError:
        raise ValueError("its runs are longer than any image") from None
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != total:
        raise ValueError(f"its runs cover {int(runs.sum())} pixels, and the mask has {total}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)
