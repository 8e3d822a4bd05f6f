"""Rules of the operations that move along the image: convolution, pooling, resizing, padding, picking positions."""

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from atrous.analysis.call import Call, Rule, mix_channels
from atrous.analysis.footprint import Taps, scaled, shifted, stretched, transposed, window
from atrous.analysis.layout import Factor, Layout, combine, constant

__all__ = [
    "adaptive_pooling",
    "columns_to_image",
    "convolution",
    "gather",
    "image_to_columns",
    "interpolation",
    "mirrored_offset",
    "padding",
    "pixel_shuffle",
    "pixel_unshuffle",
    "pooling",
    "unfold",
    "unpooling",
]


_SMALL_RATIO = 8  # 7/8 may be meant; 63/127 is the accident of one size


def _slide(call: Call, taps: Callable[[int], Taps], *, dims: int = 2, start: Layout | None = None) -> Layout:
    """An operation that slides along the last dimensions; `taps` says how along the first, the second, ... of them."""
    layout, rank = call.first if start is None else start, len(call.shape)
    for axis in range(dims):
        dim = rank - dims + axis
        layout = layout.through(dim, lambda axis=axis: taps(axis), call.shape[dim], call.where)  # type: ignore[misc]
    return layout


def _pair(values: int | Sequence[int], axis: int) -> int:
    values = [values] if isinstance(values, int) else list(values)
    return values[axis] if len(values) > 1 else values[0]


def convolution(call: Call) -> Layout:
    """Plain and transposed, strided, dilated, grouped."""
    weight, rank = call["weight"], len(call.shape)
    if call.layout_of(weight).tracked:
        return call.first.forget((0, 1), f"{call.where}: a kernel made from the image")
    if rank != 4:
        layout = call.first.forget((0, 1), f"{call.where}: not along both axes of the image")
        return layout.with_dims(constant(call.shape).dims)

    def taps(axis: int) -> Taps:
        kernel = weight.shape[2 + axis]
        stride, padding, dilation = (_pair(call[key], axis) for key in ("stride", "padding", "dilation"))
        if call["transposed"]:
            return transposed(kernel, stride, padding, dilation)
        return window(kernel, stride, padding, dilation)

    return mix_channels(_slide(call, taps), 1, call.shape[1], call.where)


def _windows(call: Call, axis: int) -> tuple[int, int, int, int]:
    """Kernel, stride, padding and dilation of a pooling along one of the dimensions that it slides over."""
    stride, dilation = call["stride"] or call["kernel_size"], call.arguments.get("dilation", 1)
    given = (call["kernel_size"], stride, call["padding"], dilation)
    return tuple(_pair(values, axis) for values in given)  # type: ignore[return-value]


def pooling(dims: int = 2) -> Rule:
    """Largest or mean value of windows; whether the last window is cut at the border (ceil mode) does not matter."""

    def rule(call: Call) -> Layout:
        return _slide(call, lambda axis: window(*_windows(call, axis)), dims=dims)

    return rule


def unpooling(call: Call) -> Layout:
    """Pooled values put back to where they came from: a pixel reads the cells that it was pooled into.

    Which pixel of its cell a value goes to depends on the map that was pooled, and so do the positions.
    """
    values, positions = call.layout_of(call["self"]), call.layout_of(call["indices"])
    layout = combine([values, positions], values.shape, call.where)
    pooled = call.made_by(call["indices"])
    if pooled is None or pooled.first.shape[-2:] != call.shape[-2:]:
        why = "positions of another map" if pooled else "positions that no max pooling made"
        layout = layout.forget((0, 1), f"{call.where}: {why}")
        return layout.with_dims(constant(call.shape).dims)
    return _slide(call, lambda axis: transposed(*_windows(pooled, axis)), start=layout)


def unfold(call: Call) -> Layout:
    """Windows along one dimension, their pixels in a dimension of their own."""
    dim = call.dims("dimension")[0]
    layout = call.first.through(dim, lambda: window(call["size"], call["step"]), call.shape[dim], call.where)
    return layout.with_dims((*layout.dims, (Factor(call["size"]),)))


def image_to_columns(call: Call) -> Layout:
    """The pixels of each window as channels, the windows (H', W') as one dimension (`F.unfold`)."""
    sizes = [
        (call.first.shape[2 + axis] + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for axis in (0, 1)
        for kernel, stride, padding, dilation in [_windows(call, axis)]
    ]
    layout = call.first
    for axis in (0, 1):
        taps = window(*_windows(call, axis))
        layout = layout.through(2 + axis, lambda taps=taps: taps, sizes[axis], call.where)  # type: ignore[misc]
    layout = mix_channels(layout, 1, call.shape[1], call.where)
    return layout.with_dims((*layout.dims[:2], (*layout.dims[2], *layout.dims[3])))


def columns_to_image(call: Call) -> Layout:
    """The sum of windows put back to their places (`F.fold`)."""
    sizes = [
        (call.shape[2 + axis] + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for axis in (0, 1)
        for kernel, stride, padding, dilation in [_windows(call, axis)]
    ]
    layout = mix_channels(call.first, 1, call.shape[1], call.where).view((*call.shape[:2], *sizes), call.where)
    return _slide(call, lambda axis: transposed(*_windows(call, axis)), start=layout)


def adaptive_pooling(call: Call) -> Layout:
    """Windows whose size follows the image; only the pooling that keeps the size is local."""
    before = call.first.shape
    lost = [axis for dim in (-2, -1) if before[dim] != call.shape[dim] for axis in call.first.axes([len(before) + dim])]
    return call.first.forget(lost, call.where).with_dims(
        tuple(old if a == b else (Factor(b),) for old, a, b in zip(call.first.dims, before, call.shape, strict=True))
    )


def interpolation(method: str) -> Rule:
    """Resizing by the ratio of the sizes, or by the factor that was given."""

    def rule(call: Call) -> Layout:
        before, after = call.first.shape[-2:], call.shape[-2:]
        if call.arguments.get("align_corners") and before != after:
            return _align_corners(call, before, after, method)
        factors = call.arguments.get("scale_factors") or (
            call.arguments.get("scales_h"),
            call.arguments.get("scales_w"),
        )

        def taps(axis: int) -> Taps:
            factor = factors[axis]
            exact = Fraction(factor).limit_denominator(1024) if factor else Fraction(after[axis], before[axis])
            return scaled(1 / exact, method)

        return _slide(call, taps)

    return rule


def _align_corners(call: Call, before: tuple[int, ...], after: tuple[int, ...], method: str) -> Layout:
    """Outer pixels on outer pixels: a regular grid only where the ratio of the steps is one of small numbers.

    Maps of k * 8 + 1 pixels brought to k + 1 and back are so, or 4 k + 1 brought to 3 k + 1; all others follow the size
    of the image, and tell it by another ratio along each axis.
    """
    layout = call.first
    ratios = [Fraction(old - 1, max(new - 1, 1)) for old, new in zip(before, after, strict=True)]
    changed = {ratio for ratio, old, new in zip(ratios, before, after, strict=True) if old != new}
    regular = len(changed) == 1 and all(1 in _parts(x) or max(_parts(x)) <= _SMALL_RATIO for x in changed)
    for axis, ratio in enumerate(ratios):
        if before[axis] != after[axis] and not regular:
            why = f"{call.where} with align_corners=True: the grid follows the image's size"
            layout = layout.forget(layout.axes([2 + axis]), why)
        taps = stretched(ratio, method)
        layout = layout.through(2 + axis, lambda taps=taps: taps, after[axis], call.where)  # type: ignore[misc]
    return layout


def _parts(ratio: Fraction) -> tuple[int, int]:
    return ratio.numerator, ratio.denominator


def padding(call: Call) -> Layout:
    """Rows and columns put around, or taken away where the number is negative; what they hold does not matter."""
    pad, layout = call.arguments.get("pad", call.arguments.get("padding")), call.first
    for step in range(len(pad) // 2):
        before, dim = pad[2 * step], len(call.shape) - 1 - step
        if before or pad[2 * step + 1]:
            taps = shifted(-before)
            layout = layout.through(dim, lambda taps=taps: taps, call.shape[dim], call.where)  # type: ignore[misc]
    return layout


def pixel_shuffle(call: Call) -> Layout:
    """Channels become pixels."""
    factor = call["upscale_factor"]
    layout = _slide(call, lambda axis: scaled(Fraction(1, factor), "nearest"))
    return mix_channels(layout, 1, call.shape[1], call.where)


def pixel_unshuffle(call: Call) -> Layout:
    """Pixels become channels."""
    factor = call["downscale_factor"]
    return mix_channels(_slide(call, lambda axis: window(factor, factor)), 1, call.shape[1], call.where)


def gather(call: Call) -> Layout:
    """Positions picked by constant indices, one dimension at a time: the mirrored border."""
    given = call.arguments.get("indices")
    indices = {call.dims()[0]: call["index"]} if given is None else {i: x for i, x in enumerate(given) if x is not None}
    layout = call.first
    for dim, index in indices.items():
        size, axes, values = layout.shape[dim], layout.axes([dim]), call.value_of(index)
        if index.ndim - 1 > len(indices) or (index.numel() != max(index.shape) or call.layout_of(index).tracked):
            layout = layout.forget((0, 1), f"{call.where}: positions picked by a map")
            return layout.with_dims(constant(call.shape).dims)
        offset = None if values is None else mirrored_offset(values.flatten().numpy(), size)
        if axes and offset is None:
            layout = layout.forget(axes, f"{call.where}: positions picked in no regular order")
        taps = shifted(offset or 0)
        layout = layout.through(dim, lambda taps=taps: taps, index.numel(), call.where)  # type: ignore[misc]
    if len(layout.dims) != len(call.shape) or layout.shape != call.shape:
        return layout.forget((0, 1), call.where).with_dims(constant(call.shape).dims)
    return layout


def mirrored_offset(index: np.ndarray, size: int) -> int | None:
    """By how much a gather shifts positions, if it only shifts, crops, and continues the border from inside.

    Continued positions must read no farther inside than they lie outside: only then is a pixel decided by what lies
    within its reach at the border too, be it the border of the image or of a tile.

    Example:
        >>> mirrored_offset(np.array([2, 1, 0, 1, 2, 3, 2]), size=4)  # position 0 stands for -2
        -2
        >>> mirrored_offset(np.array([3, 2, 1, 0]), size=4) is None
        True
    """
    index = np.where(index < 0, index + size, index)
    breaks = np.flatnonzero(np.diff(index) != 1) + 1
    starts = np.concatenate([[0], breaks])
    lengths = np.diff(np.concatenate([starts, [len(index)]]))
    if (lengths == lengths.max()).sum() > 1:
        return None  # the image appears twice, or not at all
    # The longest climb is the image itself, or what is left of it.
    start = starts[lengths.argmax()]
    offset = int(index[start] - start)
    wanted = np.arange(len(index)) + offset
    outside = np.maximum(np.maximum(-wanted, wanted - (size - 1)), 0)
    inside = np.where(wanted < 0, index, size - 1 - index)
    regular = np.where(outside > 0, inside <= outside, index == wanted)
    return offset if regular.all() else None
