"""While a network trains on a processor: operations whose gradients, or who themselves, can be had faster than torch's.

Modules, weights and their names stay as they are; nothing of this is seen outside the training step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from atrous.layers.depthwise import conv_depthwise, is_depthwise
from atrous.layers.doubled import conv_of_doubled, mark_doubled, mark_joined

__all__ = ["QuickGradients"]

_DTYPES = (torch.float32, torch.bfloat16)


class QuickGradients(TorchFunctionMode):
    """While it is entered, some operations in two dimensions compute their gradients in quicker ways.

    These are depthwise convolutions, 3x3 convolutions of maps that were doubled by their nearest values, and
    interpolations. It acts where a processor computes in float32 or bfloat16 and gradients are asked for; everything
    else is torch's. Numbers are those of torch to rounding, and gradients can be differentiated again.

    Example:
        >>> layer = torch.nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8)
        >>> image = torch.ones(1, 8, 6, 7)
        >>> with QuickGradients():
        ...     layer(image).sum().backward()
        >>> layer.weight.grad[0, 0, 2]                  # how often each tap of the middle row lies on the image
        tensor([ 9.,  9., 12.,  9.,  9.])
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Hand on all calls but a few."""
        return _OURS.get(func, func)(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    if isinstance(padding, str) or not (_is_plain(input) and _is_plain(weight) and _trains(input, weight)):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    if is_depthwise(input, weight, groups):
        return conv_depthwise(input, weight, bias, _two(stride), _two(padding), _two(dilation))
    if groups == 1 and weight.shape[2:] == (3, 3) and (_two(stride), _two(padding), _two(dilation)) == _KEEPS_SIZE:
        found = conv_of_doubled(input, weight, bias)
        if found is not None:
            return found
    return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)


_KEEPS_SIZE = ((1, 1), (1, 1), (1, 1))


def _interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    found = F.interpolate(input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    if not _is_plain(input) or not found.requires_grad:
        return found
    if mode == "nearest":
        mark_doubled(input, found)
    if input.is_contiguous(memory_format=torch.channels_last):
        # Losses send back gradients in another order, for which torch's kernel takes up to ten times as long.
        found.register_hook(_channels_last)  # type: ignore[no-untyped-call]
    return found


def _channels_last(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)


def _cat(tensors: list[Tensor] | tuple[Tensor, ...], dim: int = 0, **options: Any) -> Tensor:
    found = torch.cat(tensors, dim, **options)
    if not options and dim in (1, -3) and found.ndim == 4 and all(_is_plain(part) for part in tensors):
        mark_joined(tensors, found)
    return found


def _is_plain(image: Any) -> bool:
    """Four axes of numbers that a processor holds, or a kernel of them."""
    plain = type(image) in (Tensor, torch.nn.Parameter) and image.ndim == 4
    return plain and image.device.type == "cpu" and image.dtype in _DTYPES


def _trains(image: Tensor, weight: Tensor) -> bool:
    alike = image.dtype == weight.dtype or torch.is_autocast_enabled("cpu")
    return torch.is_grad_enabled() and alike and not (image.requires_grad is weight.requires_grad is False)


def _two(value: Any) -> tuple[int, int]:
    rows, columns = (value, value) if isinstance(value, int) else value if len(value) == 2 else (value[0], value[0])
    return int(rows), int(columns)


_OURS: dict[Any, Callable[..., Any]] = {torch.conv2d: _conv2d, F.interpolate: _interpolate, torch.cat: _cat}
