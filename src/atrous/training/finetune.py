"""Starting from the weights of another model: everything whose name and shape fit."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from atrous.errors import BundleError

__all__ = ["Loaded", "load_matching"]


@dataclass(frozen=True)
class Loaded:
    """What was taken over.

    Attributes:
        taken: names of the weights that were loaded.
        fresh: names of the model's own weights that the other model does not have, or has in another shape.
        unused: names of the other model's weights that found no place.
    """

    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        total = len(self.taken) + len(self.fresh)
        fresh = f"; these start fresh: {_list(self.fresh)}" if self.fresh else ""
        unused = f"; these were not used: {_list(self.unused)}" if self.unused else ""
        return f"took over {len(self.taken)} of {total} weights{fresh}{unused}"


def load_matching(model: nn.Module, weights: dict[str, Tensor], *, source: str) -> Loaded:
    """Load the weights whose names and shapes fit, and say which did not.

    The buffers of the input normalisation are left to the caller.

    Args:
        model: to be changed.
        weights: a state dict.
        source: where they come from, for the message.

    Raises:
        BundleError: if not one kernel fits; biases of equal length fit by chance.
    """
    own = {name: value for name, value in model.state_dict().items() if name not in ("mean", "std")}
    weights = {name: value for name, value in weights.items() if name not in ("mean", "std")}
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
        fresh=tuple(name for name in own if name not in taken),
        unused=tuple(name for name in weights if name not in taken),
    )


def _list(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"
