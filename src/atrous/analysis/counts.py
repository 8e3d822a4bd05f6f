"""What a network costs: parameters, multiply-adds, memory of training and inference. Nothing is computed for real."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from atrous.analysis.probe import BlankRun, meta_image, skeleton
from atrous.analysis.trace import kept_for_backward, trace

__all__ = ["activation_memory", "inference_memory", "multiply_adds", "parameters"]


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
    bare, image = skeleton(model), meta_image(model, in_channels, size)
    with torch.no_grad(), BlankRun(), FlopCounterMode(display=False) as counter:  # type: ignore[no-untyped-call]
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
    return sum(kept_for_backward(model, size, in_channels).values())


def inference_memory(model: nn.Module, size: tuple[int, int], *, in_channels: int | None = None) -> int:
    """Bytes of maps that exist at one time in a forward pass without gradients, at most, for one image in float32.

    The image and every map that the model still holds on to count: what a skip keeps until it is joined is in it.
    Weights, and the scratch space of a convolution, come on top.

    Args:
        model: any network.
        size: height and width of the image.
        in_channels: channels of the image; by default what the model or its first convolution says.

    Example:
        >>> inference_memory(nn.Conv2d(3, 8, 3, padding=1), (10, 20)) == 4 * (3 + 8) * 10 * 20
        True
    """
    return max(operation.live for operation in trace(model, size, in_channels).operations)
