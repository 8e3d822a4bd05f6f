"""In which precision a run computes: what the recipe asks for, or what was settled before it began."""

import torch

from atrous.inference.devices import choose_device, choose_precision
from atrous.training.options import TrainingOptions
from atrous.training.state import RunState

__all__ = ["may_choose", "precision_of"]


def precision_of(options: TrainingOptions, state: RunState) -> torch.dtype:
    """What the recipe asks for, or what was settled for the run, or else what the device is known to be fast in."""
    # A run that goes on on another kind of machine takes what that is fast in.
    if state.precision == "float32" and may_choose(options):
        return torch.float32
    return choose_precision(options.precision, choose_device(options.device))


def may_choose(options: TrainingOptions) -> bool:
    """Whether there are two precisions to choose from."""
    device = choose_device(options.device)
    return options.precision == "auto" and device.type == "cpu" and choose_precision("auto", device) == torch.bfloat16
