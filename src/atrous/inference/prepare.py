"""A network made ready to predict: a private copy, laid out for the device and folded where that costs no accuracy."""

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from atrous.analysis.probe import meta_image, skeleton
from atrous.layers import BatchNorm

__all__ = ["chains", "prepare"]

_WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def prepare(model: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """A copy of the model for prediction; the model itself may go on training.

    In float32 the copy computes what the model computes. In shorter numbers, batch normalisations are folded into the
    convolutions before them and convolutions hold their weights in the short type; everything else stays float32 and is
    left to autocast.
    """
    ready = copy.deepcopy(model).eval().requires_grad_(False)
    for before, after in chains(model):
        follower = ready.get_submodule(after)
        if isinstance(follower, nn.ReLU):
            follower.inplace = True  # nobody else reads what it overwrites
        elif dtype != torch.float32:
            _fold(ready, before, after)
    if dtype != torch.float32:
        for module in ready.modules():
            if isinstance(module, _WEIGHTED):
                module.to(dtype)
    return ready.to(device=device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def chains(model: nn.Module) -> list[tuple[str, str]]:
    """Which convolution goes into one batch normalisation, and which of both into one ReLU, and nowhere else.

    Found by watching the model run: the order in which parts are declared says nothing.
    """
    bare = skeleton(model)
    made, uses, calls = WeakIdKeyDictionary(), Counter[str](), Counter[str]()
    pairs: dict[str, str] = {}

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            flat = [item for arg in args for item in (arg if isinstance(arg, (list, tuple)) else [arg])]
            uses.update(made[tensor] for tensor in flat if isinstance(tensor, Tensor) and tensor in made)
            return func(*args, **(kwargs or {}))

    def entered(name: str, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0] in made:
            pairs[name] = made[inputs[0]]

    def left(name: str, output: Tensor) -> None:
        made[output] = name
        calls[name] += 1

    roles: dict[str, str] = {}
    for name, module in bare.named_modules():
        if role := _role(module):
            roles[name] = role
            module.register_forward_pre_hook(lambda _, inputs, name=name: entered(name, inputs))  # type: ignore[misc]
            module.register_forward_hook(lambda _, __, output, name=name: left(name, output))  # type: ignore[misc]
    with torch.no_grad(), Watch():  # type: ignore[no-untyped-call]
        bare(meta_image(model, None, (64, 64)))
    links = {("conv", "norm"), ("conv", "relu"), ("norm", "relu")}
    return [
        (before, after)
        for after, before in pairs.items()
        if (roles[before], roles[after]) in links and calls[after] == calls[before] == uses[before] == 1
    ]


def _role(module: nn.Module) -> str | None:
    """`norm` is batch normalisation with running statistics, alone or with its own dropout and activation (timm's)."""
    if type(module) in (nn.Conv2d, nn.ConvTranspose2d):
        return "conv"
    if type(module) is nn.ReLU:
        return "relu"
    if not isinstance(module, nn.BatchNorm2d) or module.running_mean is None:
        return None
    alone = type(module) in (nn.BatchNorm2d, BatchNorm)
    return "norm" if alone or {"drop", "act"} <= dict(module.named_children()).keys() else None


def _fold(model: nn.Module, conv: str, norm: str) -> None:
    before, after = model.get_submodule(conv), model.get_submodule(norm)
    transposed = isinstance(before, nn.ConvTranspose2d)
    if transposed and before.groups > 1:  # type: ignore[operator]
        return
    model.set_submodule(conv, fuse_conv_bn_eval(before, after, transpose=transposed))  # type: ignore[type-var,arg-type]
    rest = [child for name, child in after.named_children() if name in ("drop", "act")]
    model.set_submodule(norm, nn.Sequential(*rest))
