"""Mean field that gradients flow through: each update a few torch operations, its messages one custom operation.

The messages are `Kernel.filter` of a spatial and of a bilateral kernel; their gradient is the exact transpose, on the
processor and on a GPU. Being one operation with a known shape, they stand in a compiled or an exported graph like any
other. The kernels of an image are built once: all updates and the way back find them, as long as the image is there.
"""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atrous.crf.dense import Kernel, KernelNormalization

__all__ = ["Mix", "messages", "unroll"]

Mix = Callable[[Float[Tensor, "B H W K"], Float[Tensor, "B H W K"]], Float[Tensor, "B H W K"]]
"""What the spatial and the bilateral messages add to the logits."""


def unroll(
    logits: Float[Tensor, "B K H W"],
    colours: Float[Tensor, "B C H W"],
    mix: Mix,
    *,
    gamma: float,
    alpha: float,
    iterations: int,
    normalization: KernelNormalization = "after",
) -> Float[Tensor, "B K H W"]:
    """So many updates `logits + mix(messages of softmax)`; the last one keeps its logits.

    Computed in float32, whatever autocast says, or in float64 for logits of that type.

    Args:
        logits: of the network, larger where a class is more likely.
        colours: of the image in units of their bandwidth. No gradient flows to them. Kernels are remembered for as
            long as this tensor lives.
        mix: weighs the messages.
        gamma: bandwidth of the spatial kernel in pixels.
        alpha: bandwidth of the bilateral kernel in pixels.
        iterations: the number of updates.
        normalization: of both kernels, one of `NORMALIZATIONS`.
    """
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    device = logits.device.type
    with torch.autocast("cpu" if device == "meta" else device, enabled=False):  # a blank run has no autocast of its own
        unary = logits.to(dtype).permute(0, 2, 3, 1).contiguous()  # B H W K: the kernels filter rows of classes
        places = colours.detach().float().permute(0, 2, 3, 1)
        current = unary
        for _ in range(iterations):
            spatial, bilateral = messages(current.softmax(3), places, gamma, alpha, normalization)
            current = unary + mix(spatial, bilateral)
        return current.permute(0, 3, 1, 2).contiguous()


@torch.library.custom_op("atrous::crf_messages", mutates_args=())
def messages(scores: Tensor, colours: Tensor, gamma: float, alpha: float, normalization: str) -> tuple[Tensor, Tensor]:
    """What all pixels say to each: scores (B, H, W, K) filtered by position, and by position and colours (B, H, W, C).

    An operation of torch (`torch.ops.atrous.crf_messages`); see `unroll` for the arguments.
    """
    kernels = _kernels(colours, gamma, alpha, normalization)
    rows = scores.detach().flatten(1, 2)
    spatial = [_call(kernels.spatial.filter, own) for own in rows]
    bilateral = [_call(kernel.filter, own) for kernel, own in zip(kernels.bilateral, rows, strict=True)]
    return torch.stack(spatial).view(scores.shape), torch.stack(bilateral).view(scores.shape)


@torch.library.custom_op("atrous::crf_messages_back", mutates_args=())
def messages_back(
    spatial: Tensor, bilateral: Tensor, colours: Tensor, gamma: float, alpha: float, normalization: str
) -> Tensor:
    """The transpose of `messages`: gradients of both results become that of the scores."""
    kernels = _kernels(colours, gamma, alpha, normalization)
    pairs = zip(spatial.detach().flatten(1, 2), bilateral.detach().flatten(1, 2), kernels.bilateral, strict=True)
    rows = [_call(kernels.spatial.transpose, place) + _call(kernel.transpose, both) for place, both, kernel in pairs]
    return torch.stack(rows).view(spatial.shape)


@messages.register_fake
def _(scores: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return scores.new_empty(scores.shape), scores.new_empty(scores.shape)


@messages_back.register_fake
def _(spatial: Tensor, *_: Any) -> Tensor:
    return spatial.new_empty(spatial.shape)


def _keep_scores(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _, colours, *ctx.bandwidths = inputs
    ctx.save_for_backward(colours)


def _back(ctx: Any, spatial: Tensor, bilateral: Tensor) -> tuple[Tensor | None, ...]:
    return messages_back(spatial, bilateral, *ctx.saved_tensors, *ctx.bandwidths), None, None, None, None


def _keep_gradients(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _, _, colours, *ctx.bandwidths = inputs
    ctx.save_for_backward(colours)


def _forth(ctx: Any, scores: Tensor) -> tuple[Tensor | None, ...]:
    return *messages(scores, *ctx.saved_tensors, *ctx.bandwidths), None, None, None, None


messages.register_autograd(_back, setup_context=_keep_scores)
messages_back.register_autograd(_forth, setup_context=_keep_gradients)


class _Kernels(NamedTuple):
    """The colours of a batch, the spatial kernel, which its images share, and the bilateral one of each."""

    colours: Float[Tensor, "B H W C"]
    spatial: Kernel
    bilateral: tuple[Kernel, ...]


_KNOWN: dict[tuple[Any, ...], _Kernels] = {}


def _kernels(colours: Float[Tensor, "B H W C"], gamma: float, alpha: float, normalization: Any) -> _Kernels:
    """The kernels of a batch of images, built when they are first asked for.

    They are known by where the colours lie in memory, and forgotten when that memory is freed. Comparing the numbers
    takes next to no time, and is safe where memory is written over: tensors in inference mode have no version, and
    compilers reuse what they need no more.
    """
    storage = colours.untyped_storage()
    layout = colours.storage_offset(), tuple(colours.shape), colours.stride()
    key = storage._cdata, *layout, gamma, alpha, normalization
    found = _KNOWN.get(key)
    if found is None or not torch.equal(found.colours, colours):
        if found is None:
            weakref.finalize(storage, _KNOWN.pop, key, None).atexit = False
        found = _KNOWN[key] = _build(colours.detach().clone(), gamma, alpha, normalization)
    return found


def _build(colours: Float[Tensor, "B H W C"], gamma: float, alpha: float, normalization: Any) -> _Kernels:
    _, height, width, _ = colours.shape
    spatial = _kernel(_positions(height, width, gamma, colours.device), normalization)
    positions = _positions(height, width, alpha, colours.device)
    features = (torch.cat([positions, own], 1) for own in colours.float().flatten(1, 2))
    return _Kernels(colours, spatial, tuple(_kernel(own, normalization) for own in features))


def _positions(height: int, width: int, spread: float, device: torch.device) -> Float[Tensor, "N 2"]:
    """Positions of all pixels as x and y, row by row, in units of the bandwidth."""
    rows, columns = (torch.arange(length, dtype=torch.float32, device=device) for length in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1) / spread


def _kernel(features: Float[Tensor, "N d"], normalization: Any) -> Kernel:
    return Kernel(features.numpy() if features.device.type == "cpu" else features, normalization)


def _call(apply: Callable[[Any], Any], values: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """A kernel's method on a tensor: the processor's kernels take arrays."""
    if values.device.type == "cpu":
        return torch.from_numpy(apply(values.numpy()))
    filtered: Tensor = apply(values)
    return filtered
