"""Depthwise convolutions that train at the speed of their forward pass, on a processor.

In oneDNN (torch 2.15 on x86) few gradients of a depthwise convolution are quick: that of a 3x3 kernel without dilation,
and in float32 that of the image. The others take 5 to 60 times as long as the forward pass, most of all in bfloat16, so
that a network of such layers loses by training in it. Here each gradient is rewritten as one that is quick, the same
sum of the same products:

- of the image at stride 1: the forward pass itself, with the kernel turned around;
- of the image at a larger stride, in bfloat16: one convolution for every phase of the image's grid;
- of a kernel larger than 3x3, or at a stride: gradients of 3x3 pieces of it, phase by phase;
- of a dilated kernel: the gradient of a plain one, on the image dealt out into dilation x dilation small ones;
- where taps are so far apart that most of them fall outside small maps: tap by tap, in the forward pass too.

Which form serves which convolution was measured, see `benchmarks/depthwise.py`.
"""

import platform
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["conv_depthwise", "is_depthwise"]

Two = tuple[int, int]

_PIECE = 3
"""Side of the kernels whose gradient is quick."""
_FAR = 8
"""From this dilation on, oneDNN's forward pass is slow too."""
_HAS_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


class _Geometry(NamedTuple):
    """Of a convolution, rows before columns."""

    stride: Two
    padding: Two
    dilation: Two

    @property
    def is_far(self) -> bool:
        return max(self.dilation) >= _FAR and self.stride == (1, 1)


_UNPADDED = _Geometry((1, 1), (0, 0), (1, 1))


def is_depthwise(image: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether this is a depthwise convolution, on a processor of the kind that was measured."""
    known = platform.machine() in ("x86_64", "AMD64") and _HAS_ONEDNN
    return known and 1 < groups == image.shape[1] == weight.shape[0]


def conv_depthwise(
    image: Tensor, weight: Tensor, bias: Tensor | None, stride: Two, padding: Two, dilation: Two
) -> Float[Tensor, "B C H W"]:
    """The convolution, channels last, with our gradients where they are quicker."""
    if torch.is_autocast_enabled("cpu"):
        image = image.to(torch.get_autocast_dtype("cpu"))
    # Every kernel that is quick is so channels last alone: one copy costs less than any other layout.
    image = image.contiguous(memory_format=torch.channels_last)
    geometry = _Geometry(stride, padding, dilation)
    small = geometry.dilation == (1, 1) and max(weight.shape[2:]) <= _PIECE
    plain = small and (geometry.stride == (1, 1) or image.dtype == torch.float32)
    if plain or image.dtype not in (torch.float32, torch.bfloat16):
        return torch.conv2d(image, weight, bias, *geometry, image.shape[1])
    result: Tensor = _Depthwise.apply(image, weight, bias, geometry)  # type: ignore[no-untyped-call]
    return result


class _Depthwise(torch.autograd.Function):
    """The convolution and its gradients."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.geometry, ctx.bias_dtype = geometry, None if bias is None else bias.dtype
        kernel = weight.to(image.dtype)
        with _exactly():
            if geometry.is_far and any(_meetings(image.shape[2:], kernel.shape[2:], geometry)):
                maps = _tap_by_tap(image, kernel, geometry)
                return maps if bias is None else maps + bias.to(maps.dtype)[:, None, None]
            bias = None if bias is None else bias.to(image.dtype)
            return torch.conv2d(image, kernel, bias, *geometry, image.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        gradient = gradients[0].to(image.dtype).contiguous(memory_format=torch.channels_last)
        of_image = of_weight = of_bias = None
        with _exactly():
            if ctx.needs_input_grad[0]:
                of_image = _image_gradient(gradient, image, weight.to(image.dtype), ctx.geometry)
            if ctx.needs_input_grad[1]:
                of_weight = _weight_gradient(gradient, image, weight, ctx.geometry).to(weight.dtype)
            if ctx.needs_input_grad[2]:
                of_bias = gradient.sum((0, 2, 3), dtype=torch.float32).to(ctx.bias_dtype)
        return of_image, of_weight, of_bias, None


def _exactly() -> Any:
    """In the types that stand here: the backward pass of a step may run where autocast is on."""
    return torch.autocast("cpu", enabled=False)


def _torchs(
    gradient: Tensor, image: Tensor, kernel: Tensor, geometry: _Geometry, *, of_image: bool
) -> Float[Tensor, "..."]:
    """Torch's own gradient, of the image or of the kernel."""
    mask = [of_image, not of_image, False]
    found = torch.ops.aten.convolution_backward(
        gradient, image, kernel, None, *map(list, geometry), False, [0, 0], image.shape[1], mask
    )
    result: Tensor = found[0 if of_image else 1]
    return result


def _image_gradient(gradient: Tensor, image: Tensor, kernel: Tensor, geometry: _Geometry) -> Float[Tensor, "B C H W"]:
    """What a change of the image changes."""
    reach = [dilation * (side - 1) for dilation, side in zip(geometry.dilation, kernel.shape[2:], strict=True)]
    padding = (reach[0] - geometry.padding[0], reach[1] - geometry.padding[1])
    if geometry.stride == (1, 1) and min(padding) >= 0:
        turned, back = kernel.flip(2, 3), geometry._replace(padding=padding)
        if geometry.is_far:
            return _tap_by_tap(gradient, turned, back)
        return torch.conv2d(gradient, turned, None, *back, image.shape[1])
    if geometry.dilation == (1, 1) and geometry.stride != (1, 1) and gradient.dtype == torch.bfloat16:
        return _phases_of_image(gradient, image, kernel, geometry)
    return _torchs(gradient, image, kernel, geometry, of_image=True)


def _phases_of_image(gradient: Tensor, image: Tensor, kernel: Tensor, geometry: _Geometry) -> Float[Tensor, "B C H W"]:
    """The image's gradient at a stride: pixels that lie alike between the results meet the same taps of the kernel.

    Pixel y = s i + r meets the taps k = a + s j with a = (r + p) mod s, in the results i + (r + p - a) / s - j.
    """
    result = torch.zeros_like(image, memory_format=torch.channels_last)
    for phase in product(*map(range, geometry.stride)):
        taps, pads, cuts, places = [], [], [], []
        for axis, rest in enumerate(phase):
            stride, shift = geometry.stride[axis], rest + geometry.padding[axis]
            first = shift % stride
            count = len(range(first, kernel.shape[2 + axis], stride))
            pixels = len(range(rest, image.shape[2 + axis], stride))
            before = count - 1 - shift // stride  # rows of zeros that the first pixel needs before the first result
            after = pixels - 1 + shift // stride - (gradient.shape[2 + axis] - 1)
            pad = max(before, after, 0)
            taps.append(slice(first, None, stride))
            pads.append(pad)
            cuts.append(slice(pad - before, pad - before + pixels))
            places.append(slice(rest, None, stride))
        part = kernel[:, :, taps[0], taps[1]].flip(2, 3)
        if part.numel() and all(cut.stop > cut.start for cut in cuts):
            found = torch.conv2d(gradient, part, None, 1, (pads[0], pads[1]), 1, image.shape[1])
            result[:, :, places[0], places[1]] = found[:, :, cuts[0], cuts[1]]
    return result


def _weight_gradient(gradient: Tensor, image: Tensor, weight: Tensor, geometry: _Geometry) -> Float[Tensor, "C 1 h w"]:
    """What a change of the kernel changes."""
    if geometry.is_far:
        return _weights_by_tap(gradient, image, weight, geometry)
    if geometry.dilation == (1, 1) and min(weight.shape[2:]) >= _PIECE < max(weight.shape[2:]):
        return _pieces_of_weight(gradient, image, weight, geometry.stride, geometry.padding)
    if geometry.dilation != (1, 1):
        if geometry.stride == (1, 1):
            return _dealt_out(gradient, image, weight, geometry)
        gradient, image = gradient.contiguous(), image.contiguous()  # channels last it may be wrong: see `keep_order`
    return _torchs(gradient, image, weight.to(image.dtype), geometry, of_image=False)


def _pieces_of_weight(
    gradient: Tensor, image: Tensor, weight: Tensor, stride: Two, padding: Two
) -> Float[Tensor, "C 1 h w"]:
    """The gradient of an undilated kernel from those of 3x3 pieces: of each phase of its taps, at stride 1."""
    (rows, columns), sides = gradient.shape[2:], weight.shape[2:]
    fringe: list[int] = []
    for axis in (1, 0):  # `F.pad` begins with the columns
        taps = max(-(-sides[axis] // stride[axis]), _PIECE)
        needed = stride[axis] * (gradient.shape[2 + axis] + taps - 1)
        fringe += [padding[axis], needed - image.shape[2 + axis] - padding[axis]]
    padded = F.pad(image, fringe)
    like = image.new_zeros(image.shape[1], 1, _PIECE, _PIECE)
    result = torch.zeros_like(weight, dtype=torch.float32)
    for phase in product(*map(range, stride)):
        part = padded[:, :, phase[0] :: stride[0], phase[1] :: stride[1]]
        taps_of = [len(range(first, side, step)) for first, side, step in zip(phase, sides, stride, strict=True)]
        for top, left in product(*map(_windows, taps_of)):
            window = part[:, :, top : top + rows + _PIECE - 1, left : left + columns + _PIECE - 1]
            window = window.contiguous(memory_format=torch.channels_last)
            found = _torchs(gradient, window, like, _UNPADDED, of_image=False)
            place = (_every(phase[0], top, stride[0], sides[0]), _every(phase[1], left, stride[1], sides[1]))
            found = found[:, :, : len(range(*place[0].indices(sides[0]))), : len(range(*place[1].indices(sides[1])))]
            result[:, :, place[0], place[1]] = found
    return result


def _windows(taps: int) -> list[int]:
    """Where windows of three begin that cover all taps.

    Example:
        >>> _windows(2), _windows(5), _windows(6)
        ([0], [0, 2], [0, 2, 3])
    """
    last = max(taps - _PIECE, 0)
    return [*range(0, last, _PIECE - 1), last]


def _every(phase: int, first: int, stride: int, side: int) -> slice:
    """The taps of a window, among those of the whole kernel."""
    begin = phase + stride * first
    return slice(begin, min(begin + stride * _PIECE, side), stride)


def _dealt_out(gradient: Tensor, image: Tensor, weight: Tensor, geometry: _Geometry) -> Float[Tensor, "C 1 h w"]:
    """The gradient of a dilated kernel: pixels that meet each other make images of their own, where it is plain."""
    steps, fringe, beside = geometry.dilation, list[int](), list[int]()
    for axis in (1, 0):  # `F.pad` begins with the columns
        results, step = gradient.shape[2 + axis], steps[axis]
        missing = -results % step
        needed = results + missing + (weight.shape[2 + axis] - 1) * step
        beside += [0, missing]
        fringe += [geometry.padding[axis], needed - image.shape[2 + axis] - geometry.padding[axis]]
    dealt = [_deal(F.pad(maps, pads), steps) for maps, pads in ((gradient, beside), (image, fringe))]
    return _pieces_of_weight(dealt[0], dealt[1], weight, (1, 1), (0, 0))


def _deal(maps: Float[Tensor, "B C H W"], steps: Two) -> Float[Tensor, "N C h w"]:
    """Every so-manieth row and column as an image of its own, channels last."""
    batch, channels, height, width = maps.shape
    rows = maps.permute(0, 2, 3, 1).reshape(batch, height // steps[0], steps[0], width // steps[1], steps[1], channels)
    alone = rows.permute(2, 4, 0, 1, 3, 5).reshape(-1, height // steps[0], width // steps[1], channels)
    return alone.permute(0, 3, 1, 2)


class _Meeting(NamedTuple):
    """One tap of a kernel at stride 1, and the windows of results and image that it connects."""

    tap: Two
    results: tuple[slice, slice, slice]
    pixels: tuple[slice, slice, slice]


def _meetings(pixels: Sequence[int], sides: Sequence[int], geometry: _Geometry) -> Iterator[_Meeting]:
    """The taps that fall on the image anywhere; windows are of (B, H, W, ...)."""
    axes = []
    for size, side, padding, dilation in zip(pixels, sides, geometry.padding, geometry.dilation, strict=True):
        results = size + 2 * padding - dilation * (side - 1)
        shifts = [(tap, tap * dilation - padding) for tap in range(side)]
        spans = [(tap, max(0, -shift), min(results, size - shift), shift) for tap, shift in shifts]
        axes.append([span for span in spans if span[2] > span[1]])
    for (row, top, bottom, down), (column, left, right, across) in product(*axes):
        yield _Meeting(
            (row, column),
            (slice(None), slice(top, bottom), slice(left, right)),
            (slice(None), slice(top + down, bottom + down), slice(left + across, right + across)),
        )


def _tap_by_tap(image: Tensor, kernel: Tensor, geometry: _Geometry) -> Float[Tensor, "B C H W"]:
    """The convolution as a sum over taps, in float32."""
    pixels, taps = image.permute(0, 2, 3, 1), kernel[:, 0].permute(1, 2, 0).float()
    reach = [dilation * (side - 1) for dilation, side in zip(geometry.dilation, kernel.shape[2:], strict=True)]
    sizes = [size + 2 * pad - far for size, pad, far in zip(image.shape[2:], geometry.padding, reach, strict=True)]
    total = torch.zeros(image.shape[0], *sizes, image.shape[1], device=image.device)
    for meeting in _meetings(image.shape[2:], kernel.shape[2:], geometry):
        total[meeting.results] += pixels[meeting.pixels] * taps[meeting.tap]
    return total.to(image.dtype).permute(0, 3, 1, 2)


def _weights_by_tap(gradient: Tensor, image: Tensor, weight: Tensor, geometry: _Geometry) -> Float[Tensor, "C 1 h w"]:
    """The kernel's gradient, tap by tap, in float32."""
    results, pixels = gradient.permute(0, 2, 3, 1).float(), image.permute(0, 2, 3, 1).float()
    found = torch.zeros_like(weight, dtype=torch.float32)
    for meeting in _meetings(image.shape[2:], weight.shape[2:], geometry):
        row, column = meeting.tap
        found[:, 0, row, column] = (results[meeting.results] * pixels[meeting.pixels]).sum((0, 1, 2))
    return found
