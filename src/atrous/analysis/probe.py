"""A copy of a model without weights, whose operations can be watched one by one at no cost."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from atrous.errors import ModelError

__all__ = ["BlankRun", "in_channels_of", "main_output", "meta_image", "run_blank", "skeleton", "watch_modules"]


def skeleton(model: nn.Module) -> nn.Module:
    """The model's structure on the meta device, in evaluation; no weight is copied and the model is not changed."""
    memo: dict[int, Tensor] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
        for buffer in module._buffers.values():
            if buffer is not None:
                memo[id(buffer)] = buffer.detach().to("meta")
    return copy.deepcopy(model, memo).eval()  # type: ignore[arg-type]


def in_channels_of(model: nn.Module) -> int:
    """The channels of the image: the model's own word, or those of its first convolution."""
    declared = getattr(model, "in_channels", None)
    if isinstance(declared, int):
        return declared
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    raise ModelError(f"{type(model).__name__} does not say how many channels its image has; pass in_channels=...")


def main_output(outputs: object, model: nn.Module) -> Tensor:
    """The output that the pixels are decided by: a tensor, or `out` of a dict."""
    found = outputs.get("out") if isinstance(outputs, dict) else outputs
    if not isinstance(found, Tensor):
        raise ModelError(
            f"{type(model).__name__} returns {type(outputs).__name__}; a tensor or a dict with a tensor 'out' is needed"
        )
    return found


@contextmanager
def watch_modules(model: nn.Module, on_leave: Callable[[str, object], None] | None = None) -> Iterator[list[str]]:
    """The path of the module at work, as a stack that grows and shrinks while the model runs.

    Args:
        model: what runs.
        on_leave: called with the path and the outputs of every module that has finished.
    """
    stack: list[str] = []
    handles = []
    for name, module in model.named_modules():

        def enter(_module: nn.Module, _inputs: object, name: str = name) -> None:
            stack.append(name)

        def leave(_module: nn.Module, _inputs: object, outputs: object, name: str = name) -> None:
            stack.pop()
            if on_leave is not None:
                on_leave(name, outputs)

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()


def run_blank(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None) -> Any:
    """An operation on tensors without numbers; a norm by its shapes alone, for PyTorch takes it to pieces in Python."""
    if func is not torch.ops.aten.native_batch_norm.default:
        return func(*args, **(kwargs or {}))
    channels = args[0].shape[1] if args[5] else 0
    statistics = [args[0].new_empty(channels, dtype=torch.float32) for _ in range(2)]
    return (torch.empty_like(args[0]), *statistics)


class BlankRun(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs everything by `run_blank`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run_blank(func, args, kwargs)


def meta_image(model: nn.Module, in_channels: int | None, size: tuple[int, int]) -> Tensor:
    """One image of the right channels, without memory."""
    return torch.empty(1, in_channels or in_channels_of(model), *size, device="meta")
