"""How a network trains on a processor: channels last where kernels compute rightly so, by gradients that are quick."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from atrous.layers.quick import QuickGradients

__all__ = ["channels_last", "keep_order", "quick_gradients"]

_VECTOR = 16  # channels that the kernels below take at a time


def channels_last(model: nn.Module) -> None:
    """Turn a network's weights to channels last, in place, but for the convolutions of `keep_order`."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    keep_order(model)


def keep_order(model: nn.Module) -> None:
    """Let convolutions whose gradients would be wrong channels last train in contiguous memory.

    torch 2.15 on processors with avx512_bf16: the weight gradient of a dilated convolution in bfloat16 holds memory
    that nobody wrote, where the input has more than 16 channels, no multiple of 16, and it or the weights lie channels
    last.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and _is_affected(module):
            module.weight.data = module.weight.data.contiguous()
            if _in_order not in module._forward_pre_hooks.values():
                module.register_forward_pre_hook(_in_order)


def quick_gradients(device: torch.device) -> AbstractContextManager[Any]:
    """What a training step's forward pass runs in: see `QuickGradients`. On an accelerator nothing is changed."""
    return QuickGradients() if device.type == "cpu" else nullcontext()


def _is_affected(convolution: nn.Conv2d) -> bool:
    """Whether its weight gradient may be wrong, by a margin: which remainders of 16 fail differs between shapes."""
    wide = convolution.in_channels > _VECTOR and convolution.in_channels % _VECTOR != 0
    return wide and max(convolution.dilation) > 1 and max(convolution.kernel_size) > 1


def _in_order(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The input in contiguous memory, where a processor computes in bfloat16 and gradients will be asked for."""
    image = inputs[0]
    if isinstance(image, Tensor) and image.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        return (image.contiguous(), *inputs[1:]) if module.training else inputs
    return inputs
