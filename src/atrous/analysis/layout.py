"""Where the image's two axes run in a tensor, through views, permutations and sums.

A dimension of a tensor is a product of factors: `(B, H, W, C)` seen as `(B * H * W, C)` has the factors B, H and W in
its first dimension, and gets them back when it is seen as `(B, H, W, C)` again. A factor that carries an axis of the
image also carries the footprint of its positions.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod

from atrous.analysis.footprint import IDENTITY, Footprint, PeriodError, Taps, scaled

__all__ = ["Factor", "Layout", "combine", "constant"]

VERTICAL, HORIZONTAL = 0, 1


@dataclass(frozen=True)
class Factor:
    """A part of a dimension: its size, and the image axis that runs along it, if one does."""

    size: int
    axis: int | None = None
    footprint: Footprint = IDENTITY


Dims = tuple[tuple[Factor, ...], ...]


@dataclass(frozen=True)
class Layout:
    """How a tensor depends on the image.

    Attributes:
        dims: the factors of each dimension.
        everywhere: for each image axis the operation that made every element depend on all of it, or None.
        tracked: False for a constant, which does not depend on the image at all.
        even: for a constant: no position differs from its neighbours by design; zeros, or noise.
    """

    dims: Dims
    everywhere: tuple[str | None, str | None] = (None, None)
    tracked: bool = True
    even: bool = False

    @classmethod
    def of_image(cls, shape: Sequence[int]) -> "Layout":
        """The layout of the image (B, C, H, W) itself."""
        batch, channels, height, width = shape
        return cls(((Factor(batch),), (Factor(channels),), (Factor(height, VERTICAL),), (Factor(width, HORIZONTAL),)))

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the dimensions."""
        return tuple(prod(factor.size for factor in dim) for dim in self.dims)

    def axes(self, dims: Iterable[int]) -> set[int]:
        """The image axes that run along some dimensions."""
        return {factor.axis for dim in dims for factor in self.dims[dim] if factor.axis is not None}

    def forget(self, axes: Iterable[int], reason: str) -> "Layout":
        """Every element depends on all of these axes from here on."""
        lost = set(axes)
        dims = tuple(tuple(Factor(f.size) if f.axis in lost else f for f in dim) for dim in self.dims)
        vertical, horizontal = (known or (reason if a in lost else None) for a, known in enumerate(self.everywhere))
        return replace(self, dims=dims, everywhere=(vertical, horizontal))

    def with_dims(self, dims: Dims) -> "Layout":
        """The same dependence in dimensions rearranged by the caller."""
        return replace(self, dims=dims)

    def through(self, dim: int, taps: Callable[[], Taps], size: int, reason: str) -> "Layout":
        """An operation slides along one dimension and leaves it with another size."""
        axes = self.axes([dim])
        joined = self.with_dims((*self.dims[:dim], _joined(self.dims[dim]), *self.dims[dim + 1 :]))
        layout = joined if len(joined.dims[dim]) == 1 else self.forget(axes, reason)
        factor = layout.dims[dim][0]
        if len(layout.dims[dim]) == 1 and factor.axis is not None:
            try:
                slid = Factor(size, factor.axis, factor.footprint.through(taps()))
            except PeriodError:
                layout, slid = layout.forget(axes, f"{reason}: sizes without a common grid"), Factor(size)
        else:
            slid = Factor(size)
        return layout.with_dims((*layout.dims[:dim], (slid,), *layout.dims[dim + 1 :]))

    def joined(self) -> "Layout":
        """Axes whose positions are repeated, (H, 2) in one dimension, as axes of so many positions more."""
        return self.with_dims(tuple(_joined(dim) for dim in self.dims))

    def view(self, shape: Sequence[int], reason: str) -> "Layout":
        """The same elements in the same order under another shape; an axis that is cut in pieces is forgotten."""
        # An axis of size 1 has one position: it cannot be told from a batch dimension, and sees what it saw everywhere.
        layout = self.forget({f.axis for d in self.dims for f in d if f.axis is not None and f.size == 1}, reason)
        while True:
            dims, cut = _regroup([factor for dim in layout.dims for factor in dim], shape)
            if cut is None:
                return layout.with_dims(dims)
            layout = layout.forget([cut], reason)


def _regroup(factors: list[Factor], shape: Sequence[int]) -> tuple[Dims, int | None]:
    """Deal factors out to the dimensions of a shape; the second result is an axis that would have to be cut."""
    queue: list[Factor] = []
    for factor in factors:  # neighbours without an axis are one factor: they may be cut anywhere
        if factor.axis is None and queue and queue[-1].axis is None:
            queue[-1] = Factor(queue[-1].size * factor.size)
        elif factor.axis is not None or factor.size != 1:
            queue.append(factor)
    dims = []
    for size in shape:
        dim: list[Factor] = []
        left = size
        while left != 1:
            head = queue.pop(0)
            if left % head.size == 0:
                dim.append(head)
                left //= head.size
            elif head.axis is None and head.size % left == 0:
                dim.append(Factor(left))
                queue.insert(0, Factor(head.size // left))
                left = 1
            else:
                axes = [f.axis for f in (head, *dim, *queue) if f.axis is not None]
                return (), axes[0]
        dims.append(tuple(dim) or (Factor(1),))
    return tuple(dims), None


def _joined(dim: tuple[Factor, ...]) -> tuple[Factor, ...]:
    first, *rest = dim
    if not rest or first.axis is None or any(factor.axis is not None for factor in rest):
        return dim
    times = prod(factor.size for factor in rest)
    try:
        return (Factor(first.size * times, first.axis, first.footprint.through(scaled(Fraction(1, times), "nearest"))),)
    except PeriodError:
        return dim


def constant(shape: Sequence[int], *, even: bool = False) -> Layout:
    """The layout of a tensor that does not depend on the image."""
    return Layout(tuple((Factor(size),) for size in shape), tracked=False, even=even)


def combine(layouts: Sequence[Layout], shape: Sequence[int], reason: str) -> Layout:
    """The dependence of an elementwise operation on tensors that are broadcast against each other."""
    rank = len(shape)
    lost: dict[int, str] = {}
    dims = []
    for position, size in enumerate(shape):
        present = [(x, x.dims[position - rank + len(x.dims)]) for x in layouts if position - rank + len(x.dims) >= 0]
        full = [(x, dim) for x, dim in present if prod(f.size for f in dim) == size]
        dims.append(_merge(full, size, reason, lost))
    seen: list[int] = [f.axis for dim in dims for f in dim if f.axis is not None]
    lost.update({axis: reason for axis in seen if seen.count(axis) > 1})
    everywhere = tuple(next((x.everywhere[a] for x in layouts if x.everywhere[a]), None) for a in (0, 1))
    result = Layout(tuple(dims), everywhere, any(x.tracked for x in layouts))  # type: ignore[arg-type]
    for axis, why in lost.items():
        result = result.forget([axis], why)
    return result.forget([a for a in (0, 1) if everywhere[a]], reason)


def _merge(
    parts: list[tuple[Layout, tuple[Factor, ...]]], size: int, reason: str, lost: dict[int, str]
) -> tuple[Factor, ...]:
    """One dimension of an elementwise result; axes that cannot be followed are noted in `lost`."""
    carrying = [dim for _, dim in parts if any(f.axis is not None for f in dim)]
    if not carrying:
        return parts[0][1] if parts else (Factor(size),)
    merged = carrying[0]
    for dim in carrying[1:]:
        if len(merged) != len(dim):
            merged, dim = _joined(merged), _joined(dim)
        hulls = [_hull(a, b) for a, b in zip(merged, dim, strict=False)] if len(merged) == len(dim) else [None]
        if any(hull is None for hull in hulls):
            lost.update({f.axis: f"{reason}: maps on different grids" for f in (*merged, *dim) if f.axis is not None})
        else:
            merged = tuple(hull for hull in hulls if hull is not None)
    if size > 1 and any(not layout.tracked and not layout.even for layout, _ in parts):
        why = f"{reason}: a constant that varies along the image"
        lost.update({f.axis: why for f in merged if f.axis is not None})
    return merged


def _hull(a: Factor, b: Factor) -> Factor | None:
    if (a.size, a.axis) != (b.size, b.axis):
        return None
    if a.axis is None or a.footprint is b.footprint:
        return a
    try:
        footprint = a.footprint.hull(b.footprint)
    except PeriodError:
        return None
    return None if footprint is None else replace(a, footprint=footprint)
