"""Fine-tuning: starting from the weights of another model, everything whose name and shape fit."""

import torch
from torch import Tensor, nn

from atrous.errors import BundleError
from atrous.surgery.loaded import Loaded

__all__ = ["Loaded", "load_matching"]

INSIDE = ("network.mean", "network.std")  # follow the normalisation of the model around it


def load_matching(model: nn.Module, weights: dict[str, Tensor], *, source: str) -> Loaded:
    """Load the weights whose names and shapes fit, and say which did not.

    Weights of a network also fit the one inside a model that is built around it, its `network`. The buffers of the
    input normalisation are left to the caller.

    Args:
        model: to be changed.
        weights: a state dict.
        source: where they come from, for the message.

    Raises:
        BundleError: if not one kernel fits; biases of equal length fit by chance.
    """
    own = {name: value for name, value in model.state_dict().items() if name not in ("mean", "std")}
    weights = {name: value for name, value in weights.items() if name not in ("mean", "std")}
    if not weights.keys() & own.keys():
        inside = {f"network.{name}": value for name, value in weights.items()}
        weights = inside if inside.keys() & own.keys() else weights
    taken = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    kernels = {name for name, parameter in model.named_parameters() if parameter.ndim > 1}
    if not kernels & taken.keys():
        raise BundleError(
            f"{source}: not one of its kernels fits the model of the recipe (for example "
            f"{next(iter(weights), 'none')!r} there, {next(iter(own), 'none')!r} here); "
            "choose the model that the bundle was made with, for example model=unet model.encoder=resnet18."
        )
    with torch.no_grad():
        for name, value in taken.items():
            own[name].copy_(value)
    return Loaded(
        taken=tuple(taken),
        fresh=tuple(name for name in own if name not in taken and name not in INSIDE),
        unused=tuple(name for name in weights if name not in taken),
    )
