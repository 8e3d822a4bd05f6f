"""Rules of the operations that move elements between dimensions and compute nothing."""

from atrous.analysis.call import Call, mix_channels
from atrous.analysis.footprint import shifted
from atrous.analysis.layout import Factor, Layout, combine

__all__ = [
    "concatenation", "expand", "halves", "permute", "pieces", "repeat", "select", "slice_", "stack", "transpose",
    "unbind", "unsqueeze", "view",
]  # fmt: skip


def view(call: Call) -> Layout:
    """The same elements under another shape."""
    return call.first.view(call.shape, call.where)


def permute(call: Call) -> Layout:
    """Dimensions in another order."""
    return call.first.with_dims(tuple(call.first.dims[dim] for dim in call.dims("dims")))


def transpose(call: Call) -> Layout:
    """Two dimensions exchanged."""
    dims = list(call.first.dims)
    if len(dims) > 1:
        a, b = call.arguments.get("dim0", 0), call.arguments.get("dim1", 1)
        dims[a], dims[b] = dims[b], dims[a]
    return call.first.with_dims(tuple(dims))


def unsqueeze(call: Call) -> Layout:
    """A new dimension of size 1."""
    dims = list(call.first.dims)
    dims.insert(call["dim"] % (len(dims) + 1), (Factor(1),))
    return call.first.with_dims(tuple(dims))


def expand(call: Call) -> Layout:
    """Dimensions of size 1 repeated without copying."""
    dims, extra = list(call.first.dims), len(call.shape) - len(call.first.dims)
    kept = [
        [(Factor(size),), dim][old == size]
        for dim, old, size in zip(dims, call.first.shape, call.shape[extra:], strict=True)
    ]
    return call.first.with_dims((*((Factor(size),) for size in call.shape[:extra]), *kept))  # type: ignore[arg-type]


def repeat(call: Call) -> Layout:
    """Copies of the whole side by side; along an axis of the image positions lose their place."""
    extra = len(call.shape) - len(call.first.dims)
    copied = [dim for dim, times in enumerate(call["repeats"][extra:]) if times != 1]
    layout = call.first.forget(call.first.axes(copied), f"{call.where}: copies of the whole image")
    kept = [(Factor(size),) if i in copied else layout.dims[i] for i, size in enumerate(call.shape[extra:])]
    return layout.with_dims((*((Factor(size),) for size in call.shape[:extra]), *kept))


def select(call: Call) -> Layout:
    """One position of a dimension; along an axis of the image everything then depends on that place."""
    (dim,) = call.dims()
    layout = call.first.forget(call.first.axes([dim]), call.where)
    return layout.with_dims(layout.dims[:dim] + layout.dims[dim + 1 :])


def slice_(call: Call) -> Layout:
    """A range of positions."""
    (dim,) = call.dims()
    size = call.first.shape[dim]
    start, step = call["start"] or 0, call["step"]
    start = min(max(start + size if start < 0 else start, 0), size)
    return call.first.through(dim, lambda: shifted(start, step), call.shape[dim], call.where)


def pieces(call: Call) -> Layout:
    """A tensor cut along a dimension: the pieces share the dependence, unless an axis of the image was cut."""
    (dim,) = call.dims()
    return mix_channels(call.first, dim, call.shape[dim] if call.name != "unbind" else 1, call.where)


def halves(call: Call) -> Layout:
    """One half of a dimension gates the other."""
    (dim,) = call.dims()
    return mix_channels(call.first, dim, call.shape[dim], call.where)


def unbind(call: Call) -> Layout:
    """A tensor taken apart along a dimension, which goes away."""
    layout, (dim,) = pieces(call), call.dims()
    return layout.with_dims(layout.dims[:dim] + layout.dims[dim + 1 :])


def concatenation(call: Call) -> Layout:
    """Maps put one behind the other; along an axis of the image positions lose their place."""
    layouts = [call.layout_of(t) for t in call.tensors() if t.numel()]
    dim = call["dim"] % len(call.shape)
    cut = [mix_channels(x, dim, 1, f"{call.where}: along an axis of the image") for x in layouts if x.tracked]
    # A constant beside the maps is a channel of its own; it matters only if it varies along the image.
    cut += [x.with_dims((*x.dims[:dim], (Factor(1),), *x.dims[dim + 1 :])) for x in layouts if not x.tracked]
    shape = [1 if i == dim else size for i, size in enumerate(call.shape)]
    layout = combine(cut, shape, call.where)
    return layout.with_dims((*layout.dims[:dim], (Factor(call.shape[dim]),), *layout.dims[dim + 1 :]))


def stack(call: Call) -> Layout:
    """Maps put side by side along a new dimension."""
    dim = call["dim"] % len(call.shape)
    shape = call.shape[:dim] + call.shape[dim + 1 :]
    layout = combine([call.layout_of(t) for t in call.tensors()], shape, call.where)
    return layout.with_dims((*layout.dims[:dim], (Factor(call.shape[dim]),), *layout.dims[dim:]))
