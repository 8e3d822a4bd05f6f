"""Dropout whose choice belongs to the place, so that windows of one image agree where they overlap.

Dropout that goes on at prediction time samples networks from the one that was trained: Gal, Ghahramani, "Dropout as a
Bayesian Approximation", ICML 2016, https://arxiv.org/abs/1506.02142. A mask drawn number by number would differ between
a tile and the whole image, and every tile would show in the result. Here a feature is kept or not by a hash of
(key, channel, row, column), and rows and columns are counted in the whole image.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["placed_dropout", "placed_mask"]

_LOW = (1 << 31) - 1


def placed_dropout(
    x: Float[Tensor, "B C H W"], p: float, key: int, origin: tuple[int, int] = (0, 0)
) -> Float[Tensor, "B C H W"]:
    """Set features to zero with probability `p` and divide the others by 1 - p, by key and place.

    Args:
        x: a map, or a window of one.
        p: how often a feature is left out, 0 <= p < 1.
        key: another key leaves out other features.
        origin: row and column of the whole map that the first of `x` is.

    Example:
        >>> x = torch.ones(1, 2, 8, 8)
        >>> whole = placed_dropout(x, 0.5, key=7)
        >>> whole.unique()
        tensor([0., 2.])
        >>> torch.equal(placed_dropout(x[:, :, 3:, 5:], 0.5, key=7, origin=(3, 5)), whole[:, :, 3:, 5:])
        True
    """
    keep = placed_mask(x.shape[1], (x.shape[2], x.shape[3]), p, key, origin=origin, device=x.device)
    return torch.where(keep, x / (1 - p), 0.0)


def placed_mask(
    channels: int,
    size: tuple[int, int],
    p: float,
    key: int,
    *,
    origin: tuple[int, int] = (0, 0),
    device: torch.device | str = "cpu",
) -> Bool[Tensor, "C H W"]:
    """True with probability 1 - p, as a function of key, channel and place.

    Args:
        channels: maps.
        size: height and width.
        p: how often False.
        key: any whole number.
        origin: row and column of the first position.
        device: where the mask is needed; it is the same on each.

    Example:
        >>> round(placed_mask(64, (64, 64), 0.25, key=1).float().mean().item(), 2)
        0.75
    """
    (top, left), (height, width) = origin, size
    channel, row, column = (
        torch.arange(start, start + count, dtype=torch.int32, device=device)
        for start, count in ((0, channels), (top, height), (left, width))
    )
    keyed = _hash(channel + _hash(torch.tensor(key & _LOW, dtype=torch.int32, device=device)))
    noise = _hash(_hash(keyed[:, None] ^ row)[:, :, None] ^ column)
    return (noise & _LOW) >= int(p * (_LOW + 1))


def _hash(x: Tensor) -> Tensor:
    """Every bit of the result depends on every bit of a 32-bit number: C. Wellons, "Prospecting for Hash Functions"."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - (1 << 32))):
        x = (x ^ _shifted(x, shift)) * factor
    return x ^ _shifted(x, 16)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """To the right with zeros coming in; torch repeats the sign."""
    return (x >> bits) & ((1 << (32 - bits)) - 1)
