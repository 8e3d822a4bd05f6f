"""A 3x3 convolution of a map that was doubled by its nearest values, computed on the map before it was doubled.

Each of the four pixels that came from one sees 2x2 pixels of the small map, some of them through several taps. So four
kernels of 2x2, whose taps are sums of those of the 3x3, give the four from the small map: 16 multiplications in the
place of 36, the doubled map need not be kept for the way back, and its gradient need not be gathered. What is joined to
the doubled map is convolved by its own part of the kernel.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["conv_of_doubled", "mark_doubled", "mark_joined"]

_MARK = "_doubled_from"
_FEWEST = 512
"""Pixels of a batch's small maps from which on the multiplications cost more than summing the kernels' taps."""


class _Doubled(NamedTuple):
    """What a map was made of, on the condition that neither was changed since.

    Attributes:
        small: the map before it was doubled, and its version.
        joined: the maps before and behind it, and their versions.
        version: of the result.
    """

    small: tuple[Tensor, int]
    joined: tuple[tuple[tuple[Tensor, int], ...], tuple[tuple[Tensor, int], ...]]
    version: int


def mark_doubled(small: Tensor, large: Tensor) -> None:
    """Remember where a map comes from that was enlarged by its nearest values, if it was doubled."""
    if large.ndim == 4 and large.shape[2:] == (2 * small.shape[2], 2 * small.shape[3]):
        setattr(large, _MARK, _Doubled((small, small._version), ((), ()), large._version))


def mark_joined(parts: Sequence[Tensor], whole: Tensor) -> None:
    """Remember what a map was joined from along its channels, if one part was doubled."""
    origins = [_origin(part) for part in parts]
    found = [at for at, origin in enumerate(origins) if origin is not None and origin.joined == ((), ())]
    if len(found) != 1:
        return
    with_versions = [(part, part._version) for part in parts]
    joined = (tuple(with_versions[: found[0]]), tuple(with_versions[found[0] + 1 :]))
    origin = origins[found[0]]
    assert origin is not None
    setattr(whole, _MARK, _Doubled(origin.small, joined, whole._version))


def conv_of_doubled(image: Tensor, weight: Tensor, bias: Tensor | None) -> Float[Tensor, "B O H W"] | None:
    """The padded 3x3 convolution of a map that was marked; None for one that was not, or too small to gain."""
    origin = _origin(image)
    if origin is None:
        return None
    small, (before, behind) = origin.small[0], [[part for part, _ in side] for side in origin.joined]
    if small.shape[0] * small.shape[2] * small.shape[3] < _FEWEST:
        return None
    begin = sum(part.shape[1] for part in before)
    end = begin + small.shape[1]
    kernels = _of_phases(weight[:, begin:end])
    others = [*before, *behind]
    if not others:
        four = torch.conv2d(small, kernels, None if bias is None else bias.repeat(4), 1, 1)
        return _Interleaved.apply(four, None)  # type: ignore[no-any-return, no-untyped-call]
    rest = others[0] if len(others) == 1 else torch.cat(others, 1)
    parts = [part for part in (weight[:, :begin], weight[:, end:]) if part.shape[1]]
    beside = torch.conv2d(rest, parts[0] if len(parts) == 1 else torch.cat(parts, 1), bias, 1, 1)
    return _Interleaved.apply(torch.conv2d(small, kernels, None, 1, 1), beside)  # type: ignore[no-any-return, no-untyped-call]


def _origin(image: Tensor) -> _Doubled | None:
    """Where a map comes from, if all that belongs to it is as it was."""
    origin: _Doubled | None = getattr(image, _MARK, None)
    if origin is None or origin.version != image._version:
        return None
    others = (origin.small, *origin.joined[0], *origin.joined[1])
    return origin if all(part._version == version for part, version in others) else None


def _of_phases(weight: Float[Tensor, "O I 3 3"]) -> Float[Tensor, "O4 I 2 2"]:
    """The kernels of the four pixels: columns before rows, and each as many as there are results.

    Example:
        >>> _of_phases(torch.arange(9.0).view(1, 1, 3, 3))[:, 0]          # top left, bottom left, top right, ...
        tensor([[[ 0.,  3.],
                 [ 9., 24.]],
        <BLANKLINE>
                [[ 3., 12.],
                 [ 6., 15.]],
        <BLANKLINE>
                [[ 1.,  2.],
                 [20., 13.]],
        <BLANKLINE>
                [[ 8.,  7.],
                 [13.,  8.]]])
    """
    top, middle, bottom = weight.unbind(2)
    rows = torch.stack([torch.stack([top, middle + bottom], 2), torch.stack([top + middle, bottom], 2)])
    left, centre, right = rows.unbind(-1)
    both = torch.stack([torch.stack([left, centre + right], -1), torch.stack([left + centre, right], -1)])
    return both.reshape(4 * weight.shape[0], weight.shape[1], 2, 2)


class _Interleaved(torch.autograd.Function):
    """The four pixels of each in their places, added to what is there.

    The convolution of the small map was padded by one on all sides, so that its result has a row and a column more than
    there are pixels: pixels of the first phase read from the first on, those of the second from the second.
    """

    @staticmethod
    def forward(ctx: Any, four: Tensor, beside: Tensor | None) -> Tensor:
        ctx.four = four.shape
        batch, channels, height, width = four.shape
        if beside is None:
            size = (batch, channels // 4, 2 * height - 2, 2 * width - 2)
            result = torch.empty(size, dtype=four.dtype, memory_format=torch.channels_last)
        else:
            ctx.mark_dirty(beside)
            result = beside
        for place, part in _phases(result, four):
            if beside is None:
                place.copy_(part)
            else:
                place.add_(part)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        gradient = gradients[0]
        four = torch.empty(ctx.four, dtype=gradient.dtype, memory_format=torch.channels_last)
        for edge in (four[:, :, 0], four[:, :, -1], four[:, :, :, 0], four[:, :, :, -1]):
            edge.zero_()  # a row and a column of each phase are nobody's
        for place, part in _phases(gradient, four):
            part.copy_(place)
        return four, gradient if ctx.needs_input_grad[1] else None


def _phases(large: Tensor, four: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each phase, its pixels in the large map, and where they are computed."""
    channels, height, width = large.shape[1], four.shape[2] - 1, four.shape[3] - 1
    for at, (column, row) in enumerate(product((0, 1), (0, 1))):
        part = four[:, at * channels : (at + 1) * channels, row : row + height, column : column + width]
        yield large[:, :, row::2, column::2], part
