"""What a network costs: parameters, multiply-adds, and what training keeps in memory. Nothing is computed for real."""

import torch
from torch import Tensor, nn

from atrous.analysis.probe import main_output, meta_image, skeleton

__all__ = ["activation_memory", "multiply_adds", "parameters"]


def parameters(model: nn.Module, *, trainable: bool = False) -> int:
    """The number of weights, each shared one counted once.

    Args:
        model: any network.
        trainable: count only those that training changes.

    Example:
        >>> parameters(nn.Conv2d(3, 8, 3))
        224
    """
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad or not trainable)


def multiply_adds(model: nn.Module, size: tuple[int, int], *, in_channels: int | None = None) -> int:
    """Multiplications with addition of convolutions and matrix products, in evaluation, for one image.

    What is done element by element (norms, activations, sums, interpolation) is not counted, as is usual.

    Args:
        model: any network.
        size: height and width of the image.
        in_channels: channels of the image; by default what the model or its first convolution says.

    Example:
        >>> multiply_adds(nn.Conv2d(3, 8, 3, padding=1), (10, 20)) == 10 * 20 * 3 * 3 * 3 * 8
        True
    """
    from torch.utils.flop_counter import FlopCounterMode

    bare, image = skeleton(model), meta_image(model, in_channels, size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        bare(image)
    return counter.get_total_flops() // 2


def activation_memory(model: nn.Module, size: tuple[int, int], *, in_channels: int | None = None) -> int:
    """Bytes that one training step keeps between forward and backward, per image, in float32.

    This is what grows with the image and the batch; weights, gradients and the optimizer's state come on top.

    Args:
        model: any network.
        size: height and width of the image.
        in_channels: channels of the image; by default what the model or its first convolution says.

    Example:
        >>> activation_memory(nn.Conv2d(3, 8, 3), (10, 20)) == 4 * 3 * 10 * 20          # the image, for the weights
        True
    """
    bare, image = skeleton(model).train(), meta_image(model, in_channels, size)
    weights = {id(weight.untyped_storage()) for weight in [*bare.parameters(), *bare.buffers()]}
    # A map that several operations need is kept once: its storage is counted, not its uses.
    kept: dict[int, tuple[torch.UntypedStorage, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in weights:
            kept[id(storage)] = (storage, storage.nbytes())  # held, so that its id is not given to another
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = bare(image)
    main_output(outputs, model)
    return sum(size for _, size in kept.values())
