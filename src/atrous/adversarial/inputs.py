"""What a discriminator is shown: a segmenter's maps or the ground truth's, alone or together with the image.

Ignored pixels are zero in every map of both sides, so that they tell nothing and learn nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt, Le
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from atrous.types import IGNORE_INDEX

__all__ = [
    "INPUTS",
    "InputForm",
    "basic",
    "beside_image",
    "conditioned",
    "one_hot",
    "product",
    "scaling",
    "soft_maps",
    "soften",
    "times_image",
]


@dataclass(frozen=True)
class InputForm:
    """How ground truth becomes maps, and how maps become what a discriminator reads.

    Attributes:
        truth: (one-hot maps, the segmenter's maps) to the maps of the ground truth.
        arrange: (maps, image) to the discriminator's input. Both sides go through it.
        channels: (number of maps, channels of the image) to channels of the input.
    """

    truth: Callable[[Tensor, Tensor], Tensor]
    arrange: Callable[[Tensor, Tensor], Tensor]
    channels: Callable[[int, int], int]


def basic() -> InputForm:
    """The maps alone: probabilities against zeros and ones. The values themselves give the outputs away."""
    return InputForm(lambda hard, soft: hard, lambda maps, image: maps, lambda maps, image: maps)


def product() -> InputForm:
    """Each map times each channel of the image: 63 for 21 classes and RGB. The zeros and ones show less."""
    return InputForm(lambda hard, soft: hard, times_image, lambda maps, image: maps * image)


def scaling(*, tau: Annotated[float, Gt(0), Le(1)] = 0.9) -> InputForm:
    """The maps alone, those of the ground truth as soft as the outputs are.

    Args:
        tau: least probability of the true class in the ground truth's maps.
    """
    return InputForm(lambda hard, soft: soften(hard, soft, tau=tau), lambda maps, image: maps, lambda maps, image: maps)


def conditioned() -> InputForm:
    """The maps with the image behind them, as in pix2pix."""
    return InputForm(lambda hard, soft: hard, beside_image, lambda maps, image: maps + image)


def soft_maps(logits: Float[Tensor, "B K H W"], labelled: Bool[Tensor, "B 1 H W"]) -> Float[Tensor, "B K H W"]:
    """The softmax over the classes in float32 at least; zeros where nothing is labelled.

    Example:
        >>> logits = torch.zeros(1, 2, 1, 2)
        >>> soft_maps(logits, torch.tensor([[[[True, False]]]]))[0, :, 0]
        tensor([[0.5000, 0.0000],
                [0.5000, 0.0000]])
    """
    exact = torch.promote_types(logits.dtype, torch.float32)
    return torch.where(labelled, logits.softmax(1, dtype=exact), 0.0)


def one_hot(
    mask: Integer[Tensor, "B H W"], num_classes: int, *, ignore_index: int = IGNORE_INDEX
) -> Float[Tensor, "B K H W"]:
    """1 in the map of the true class, 0 elsewhere, and in all maps where the pixel is ignored.

    Example:
        >>> one_hot(torch.tensor([[[1, 255]]]), 2)[0, :, 0]
        tensor([[0., 0.],
                [1., 0.]])
    """
    classes = torch.arange(num_classes, device=mask.device)[:, None, None]
    return ((mask[:, None] == classes) & (mask != ignore_index)[:, None]).float()


def soften(
    hard: Float[Tensor, "B K H W"], soft: Float[Tensor, "B K H W"], *, tau: float = 0.9
) -> Float[Tensor, "B K H W"]:
    r"""Ground truth as close to the segmenter's maps as it can be with at least `tau` for the true class.

    With the segmenter's probabilities `s` and the true class `l`:

    .. math:: \bar y_l = \max(\tau, s_l), \qquad \bar y_c = s_c \frac{1 - \bar y_l}{1 - s_l} \quad (c \neq l)

    Where `s` has at least `tau` already, it is taken as it is.

    Args:
        hard: one-hot maps; pixels without a class stay zero.
        soft: the segmenter's probabilities.
        tau: least probability of the true class, in 0..1.

    Reference:
        Luc et al., 2016, https://arxiv.org/abs/1611.08408, "scaling".

    Example:
        >>> hard = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
        >>> soften(hard, torch.tensor([0.5, 0.3, 0.2]).view(1, 3, 1, 1)).flatten()       # 0.5 and 0.2 share 0.1
        tensor([0.0714, 0.9000, 0.0286])
        >>> soften(hard, torch.tensor([0.01, 0.95, 0.04]).view(1, 3, 1, 1)).flatten()    # sure enough
        tensor([0.0100, 0.9500, 0.0400])
    """
    own = (hard * soft).sum(1, keepdim=True)
    unsure = own < tau
    # Where the segmenter is sure, its 1 - s_l may be 0: divided by 1 there, so that no NaN reaches the gradient.
    factor = torch.where(unsure, (1 - tau) / torch.where(unsure, 1 - own, 1.0), 1.0)
    true = hard > 0
    mixed = torch.where(true, own.clamp(min=tau), soft * factor)
    return torch.where(hard.sum(1, keepdim=True) > 0, mixed, 0.0)


def times_image(maps: Float[Tensor, "B K H W"], image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K*C H W"]:
    """Every map times every channel of the image: all maps times the first channel, then times the second, ...

    Example:
        >>> maps, image = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1), torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1)
        >>> times_image(maps, image).flatten()
        tensor([10., 20., 20., 40., 30., 60.])
    """
    return (image[:, :, None] * maps[:, None]).flatten(1, 2)


def beside_image(maps: Float[Tensor, "B K H W"], image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K+C H W"]:
    """The maps, then the channels of the image.

    Example:
        >>> beside_image(torch.ones(1, 2, 1, 1), torch.tensor([[[[7.0]]]])).flatten()
        tensor([1., 1., 7.])
    """
    return torch.cat([maps, image], 1)


INPUTS: dict[str, Callable[..., InputForm]] = {
    "basic": basic,
    "product": product,
    "scaling": scaling,
    "conditioned": conditioned,
}
