"""What several losses share: the precision they compute in, and how a mask becomes one map of truth per class."""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from atrous.errors import UsageError
from atrous.types import IGNORE_INDEX

__all__ = ["Target", "exact", "exact_in_order", "map_probabilities", "one_versus_rest", "softmax_probabilities"]

Target = Integer[Tensor, "B H W"] | Integer[Tensor, "B K H W"] | Bool[Tensor, "B K H W"]
"""What the losses of a sigmoid compare with: a map of 0 and 1 per class, or one class per pixel."""


def exact(logits: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Logits in float32 at least: 16-bit floats are widened, float64 stays.

    Example:
        >>> exact(torch.zeros(1, dtype=torch.bfloat16)).dtype, exact(torch.zeros(1, dtype=torch.float64)).dtype
        (torch.float32, torch.float64)
    """
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def exact_in_order(logits: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """`exact`, and contiguous: torch turns channels_last logits for a softmax in any case, here in one pass."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32), memory_format=torch.contiguous_format)


def one_versus_rest(
    target: Target, num_maps: int, *, ignore_index: int = IGNORE_INDEX
) -> tuple[Bool[Tensor, "B K H W"], Bool[Tensor, "B _ H W"]]:
    """The truth of every map, and where it is known.

    Args:
        target: (B, K, H, W) with 1 where the map is true, 0 where it is false, `ignore_index` where nobody knows; or
            (B, H, W) with the class of every pixel. Then map k asks "is it class k?", and a single map asks "is it
            class 1?", the foreground of two.
        num_maps: K.
        ignore_index: value of entries, or pixels, that count for nothing.

    Returns:
        Whether each entry is true (never where it is unknown), and whether it is known. The latter has one map where
        whole pixels are known or not.

    Raises:
        UsageError: if the target has another number of maps.

    Example:
        >>> truth, labelled = one_versus_rest(torch.tensor([[[0, 2, 255]]]), 3)
        >>> truth[0, :, 0].int()
        tensor([[1, 0, 0],
                [0, 0, 0],
                [0, 1, 0]], dtype=torch.int32)
        >>> labelled[0, :, 0]
        tensor([[ True,  True, False]])
    """
    if target.ndim == 3:
        labelled = (target != ignore_index)[:, None]
        first = 1 if num_maps == 1 else 0
        classes = torch.arange(first, first + num_maps, device=target.device)[:, None, None]
        return (target[:, None] == classes) & labelled, labelled
    if target.shape[1] != num_maps:
        raise UsageError(
            f"the target has {target.shape[1]} maps and the network {num_maps}; give one map of 0 and 1 for each, "
            "or one class per pixel (B, H, W)."
        )
    labelled = target != ignore_index
    return (target == 1) & labelled, labelled


def softmax_probabilities(
    logits: Float[Tensor, "B K H W"], mask: Integer[Tensor, "B H W"], ignore_index: int
) -> tuple[Float[Tensor, "B K H W"], Bool[Tensor, "B K H W"]]:
    """Softmax over exclusive classes, 0 at ignored pixels, and the class of each pixel as K maps of truth."""
    labelled = (mask != ignore_index)[:, None]
    K = logits.shape[1]
    truth = mask[:, None] == torch.arange(K, device=logits.device)[:, None, None]
    if 0 <= ignore_index < K:
        truth = truth & labelled
    return torch.where(labelled, exact(logits).softmax(1), 0.0), truth


def map_probabilities(
    logits: Float[Tensor, "B K H W"], target: Target, ignore_index: int
) -> tuple[Float[Tensor, "B K H W"], Bool[Tensor, "B K H W"]]:
    """Sigmoid of every map, 0 where it is ignored, and its truth."""
    truth, labelled = one_versus_rest(target, logits.shape[1], ignore_index=ignore_index)
    return torch.where(labelled, exact(logits).sigmoid(), 0.0), truth
