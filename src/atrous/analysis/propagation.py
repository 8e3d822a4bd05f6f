"""How each operation of PyTorch moves the dependence on the image from its inputs to its outputs.

`RULES` names every operation that is understood; an operation that is missing is an error, never a guess. Where
everything depends on everything (attention, global pooling), the rule says so by forgetting the axis.
"""

import torch

from atrous.analysis.call import Call, Rule, mix_channels
from atrous.analysis.layout import Factor, Layout, combine, constant
from atrous.analysis.rearranging import (
    concatenation,
    expand,
    halves,
    permute,
    pieces,
    repeat,
    select,
    slice_,
    stack,
    transpose,
    unbind,
    unsqueeze,
    view,
)  # fmt: skip
from atrous.analysis.sliding import (
    adaptive_pooling,
    columns_to_image,
    convolution,
    gather,
    image_to_columns,
    interpolation,
    padding,
    pixel_shuffle,
    pixel_unshuffle,
    pooling,
    unfold,
    unpooling,
)  # fmt: skip

__all__ = ["RULES", "elementwise", "is_elementwise", "is_even"]


def is_elementwise(operation: torch._ops.OpOverload) -> bool:
    """Whether PyTorch itself declares that the operation, or what it does in place, works element by element."""
    namespace, name = operation._schema.name.split("::")
    packet = getattr(getattr(torch.ops, namespace), name.removesuffix("_"), None)
    twin = getattr(packet, operation._overloadname, operation)
    return torch.Tag.pointwise in operation.tags or torch.Tag.pointwise in twin.tags


def is_even(operation: torch._ops.OpOverload, call: Call) -> bool:
    """Whether what an operation makes of constants is the same at every position, or noise that is drawn anew."""
    if call.name in _EVEN or torch.Tag.nondeterministic_seeded in operation.tags:
        return True
    given = [call.layout_of(tensor).even for tensor in call.tensors()]
    return bool(given) and all(given) and (call.name in _RESHAPES or is_elementwise(operation))


def elementwise(call: Call) -> Layout:
    """Each element of the result from the same element of each argument, broadcast."""
    return combine([call.layout_of(t) for t in call.tensors()], call.shape, call.where)


def same(call: Call) -> Layout:
    """The result holds the elements of the first argument, in place."""
    return call.first


def fresh(call: Call) -> Layout:
    """The result takes the shape of its argument, not its values."""
    return constant(call.shape, even=True)


def everything(call: Call) -> Layout:
    """Every element of the result from the whole image."""
    return call.first.forget((0, 1), call.where)


def reduction(call: Call) -> Layout:
    """A sum, mean or maximum over dimensions."""
    dims = call.dims()
    layout = call.first.forget(call.first.axes(dims), call.where)
    if call.arguments.get("keepdim"):
        return layout.with_dims(tuple((Factor(1),) if i in dims else dim for i, dim in enumerate(layout.dims)))
    return layout.with_dims(tuple(dim for i, dim in enumerate(layout.dims) if i not in dims))


def along(name: str) -> Rule:
    """Elements are mixed along some dimensions, which keep their size: softmax, sums so far, rolling, flipping."""

    def rule(call: Call) -> Layout:
        return call.first.forget(call.first.axes(call.dims(name)), call.where)

    return rule


def best(call: Call) -> Layout:
    """The largest elements along a dimension, as many as are asked for."""
    (dim,) = call.dims()
    return mix_channels(call.first, dim, call.shape[dim], call.where)


def batch_norm(call: Call) -> Layout:
    """Elementwise with running statistics; over the whole image with its own (instance norm in evaluation)."""
    own = call.arguments.get("training", call.arguments.get("use_input_stats"))
    return call.first.forget(call.first.axes([0, *range(2, len(call.shape))]) if own else (), call.where)


def group_norm(call: Call) -> Layout:
    """Statistics of the whole image."""
    return call.first.forget(call.first.axes(range(1, len(call.first.dims))), call.where)


def layer_norm(call: Call) -> Layout:
    """Statistics over the last dimensions."""
    rank = len(call.first.dims)
    return call.first.forget(call.first.axes(range(rank - len(call["normalized_shape"]), rank)), call.where)


def matrix_product(call: Call) -> Layout:
    """Rows of the first with columns of the second; what is summed over is mixed."""
    left, right = (
        call.layout_of(call[key]) for key in (("mat1", "mat2") if "mat1" in call.arguments else _factors(call))
    )
    left = left.forget(left.axes([len(left.dims) - 1]), call.where)
    right = right.forget(right.axes([len(right.dims) - 2]), call.where)
    rows = left.with_dims((*left.dims[:-1], (Factor(1),)))
    columns = right.with_dims((*right.dims[:-2], (Factor(1),), right.dims[-1]))
    parts = [part for part in (rows, columns) if part.tracked]
    product = combine(parts or [rows], call.shape, call.where)
    bias = call.arguments.get("self") if len(call.tensors()) == 3 else None
    return product if bias is None else combine([product, call.layout_of(bias)], call.shape, call.where)


def _factors(call: Call) -> tuple[str, str]:
    return ("batch1", "batch2") if "batch1" in call.arguments else ("self", "mat2")


_REDUCTIONS = (
    "mean", "sum", "amax", "amin", "max", "min", "var", "std", "var_mean", "prod", "logsumexp", "any", "all", "argmax",
    "argmin", "norm", "linalg_vector_norm",
)  # fmt: skip
_COPIES = (
    "clone", "_to_copy", "alias", "detach", "lift_fresh", "native_dropout", "contiguous", "view_as_real", "positive"
)  # fmt: skip
_LIKE = ("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "new_zeros", "new_ones",
         "new_full", "new_empty", "new_empty_strided", "zero", "fill")  # fmt: skip

_EVEN = {*_LIKE, "zeros", "ones", "full", "empty", "scalar_tensor", "empty_strided"}
_RESHAPES = {*_COPIES, "view", "_unsafe_view", "expand", "permute", "transpose", "unsqueeze", "squeeze", "slice"}

RULES: dict[str, Rule] = {
    "convolution": convolution,
    "max_pool2d_with_indices": pooling(),
    "avg_pool2d": pooling(),
    "max_pool3d_with_indices": pooling(3),
    "avg_pool3d": pooling(3),  # what local response normalisation is made of: its windows run across the channels
    "max_unpool2d": unpooling,
    "unfold": unfold,
    "im2col": image_to_columns,
    "col2im": columns_to_image,
    "_adaptive_avg_pool2d": adaptive_pooling,
    "adaptive_max_pool2d": adaptive_pooling,
    "upsample_nearest2d": interpolation("nearest"),
    "_upsample_nearest_exact2d": interpolation("nearest-exact"),
    "upsample_bilinear2d": interpolation("bilinear"),
    "upsample_bicubic2d": interpolation("bicubic"),
    "constant_pad_nd": padding,
    "reflection_pad2d": padding,
    "replication_pad2d": padding,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "native_batch_norm": batch_norm,
    "cudnn_batch_norm": batch_norm,
    "native_group_norm": group_norm,
    "native_layer_norm": layer_norm,
    "_softmax": along("dim"),
    "_log_softmax": along("dim"),
    "_safe_softmax": along("dim"),
    "sort": along("dim"),
    "topk": best,
    "cumsum": along("dim"),
    "flip": along("dims"),
    "roll": along("dims"),
    "mm": matrix_product,
    "addmm": matrix_product,
    "bmm": matrix_product,
    "baddbmm": matrix_product,
    "view": view,
    "_unsafe_view": view,
    "_reshape_alias": view,
    "squeeze": view,
    "permute": permute,
    "transpose": transpose,
    "t": transpose,
    "unsqueeze": unsqueeze,
    "expand": expand,
    "repeat": repeat,
    "select": select,
    "slice": slice_,
    "split": pieces,
    "unsafe_split": pieces,
    "split_with_sizes": pieces,
    "unbind": unbind,
    "cat": concatenation,
    "stack": stack,
    "index": gather,
    "index_select": gather,
    "glu": halves,
    "crf_messages": everything,
    "hardswish": elementwise,  # elementwise in fact, though PyTorch does not declare it
    "_prelu_kernel": elementwise,
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(_COPIES, same),
    **dict.fromkeys(_LIKE, fresh),
}
"""The rule of each operation that PyTorch does not declare elementwise."""
