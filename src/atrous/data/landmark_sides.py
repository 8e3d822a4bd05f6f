"""Left and right landmarks that somebody exchanged, found by how they lie in all other images of a set.

No rule is built in about which way persons or animals face. For a pair, several signs are looked at: whether the right
one lies to the right of the left one, or below it; and for every other landmark, and the middle of every other pair, on
which side it lies of the way from left to right. Those signs count that are the same in nearly all images of the set,
each by how sure it is.
"""

from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["swapped_sides"]

_LEAST = 10
"""Images in which a sign must be known before it says anything."""

_OTHERWISE = 0.1
"""Share of them in which it may be the other one."""

_CLEAR = 0.25
"""Sine of the angle below which a sign is not told: the three points lie almost in a line."""


def swapped_sides(points: np.ndarray, pairs: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
    """Images in which left and right lie the other way round than in nearly all others.

    Args:
        points: (N, P, 2) x and y, NaN where absent.
        pairs: the left and the right landmark of each pair.

    Returns:
        by image, the pairs that are exchanged in it, by their numbers.
    """
    found: dict[int, list[int]] = {}
    for number, pair in enumerate(pairs):
        votes = np.zeros(len(points))
        for sign in _signs(points, pair, pairs):
            known = sign != 0
            count, usual = int(known.sum()), np.sign(sign.sum())
            others = int((sign == -usual).sum())
            if usual and count >= _LEAST and others <= max(_OTHERWISE * count, 1):
                share = (others + 0.5) / (count + 1)
                votes += np.log(1 / share - 1) * sign * usual
        for image in np.flatnonzero(votes < 0).tolist():
            found.setdefault(image, []).append(number)
    return dict(sorted(found.items()))


def _signs(points: np.ndarray, pair: tuple[int, int], pairs: Sequence[tuple[int, int]]) -> Iterator[np.ndarray]:
    """(N,) of -1, 0 and 1 for each thing that is looked at; 0 where it is not known or not clear."""
    left, right = points[:, pair[0]], points[:, pair[1]]
    way, middle = right - left, (left + right) / 2
    yield from (_clear(way[:, axis], _length(way)) for axis in (0, 1))
    paired = {number for both in pairs for number in both}
    others = [points[:, number] for number in range(points.shape[1]) if number not in paired]
    others += [(points[:, one] + points[:, other]) / 2 for one, other in pairs if (one, other) != pair]
    for other in others:
        to = other - middle
        yield _clear(way[:, 0] * to[:, 1] - way[:, 1] * to[:, 0], _length(way) * _length(to))


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.hypot(vectors[:, 0], vectors[:, 1])


def _clear(value: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The sign of a value where it is not small beside its scale."""
    clear = np.abs(np.nan_to_num(value)) > _CLEAR * np.nan_to_num(scale)
    return np.where(clear, np.sign(np.nan_to_num(value)), 0.0)
