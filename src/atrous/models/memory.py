"""Weights for which there is no memory are refused before they are asked for."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from atrous.errors import ModelError
from atrous.memory import free_memory, in_bytes

__all__ = ["WithinMemory"]

_MAKERS = (torch.empty, torch.zeros, torch.ones)  # what layers make their weights with
_NUMBER = 4  # bytes


class WithinMemory(TorchFunctionMode):
    """While a model is built, adds up what its layers ask for.

    A system that gives out more memory than it has would end the process later, without a word.

    Args:
        name: of the model.

    Raises:
        ModelError: (inside) if there is less memory than that.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.total = 0
        self.free = free_memory() if torch.empty(0).device.type == "cpu" else None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in _MAKERS and self.free is not None and torch.device(given.get("device") or "cpu").type == "cpu":
            size = given.get("size", args[0] if args and isinstance(args[0], Sequence) else args)
            self.total += math.prod(size) * _NUMBER
            if self.total > self.free:
                raise ModelError(
                    f"the weights of this {self.name} take {in_bytes(self.total)} and more, and {in_bytes(self.free)} "
                    "of memory are free: give smaller arguments, such as its width or encoder, or choose another model"
                )
        return func(*args, **given)
