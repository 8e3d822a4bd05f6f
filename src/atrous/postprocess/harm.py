"""What a setting of post-processing costs single classes, which a mean over classes hides."""

import torch
from jaxtyping import Int
from torch import Tensor

from atrous.metrics import class_iou

__all__ = ["LARGEST_LOSS", "harmed_classes"]

LARGEST_LOSS = 0.01
"""Of IoU: what any class may lose so that the mean gains."""


def harmed_classes(
    before: Int[Tensor, "K K"], after: Int[Tensor, "K K"], *, largest_loss: float = LARGEST_LOSS
) -> list[int]:
    """The classes that lose more than so much IoU, or vanish. Classes that the truth does not have cannot be judged.

    Args:
        before: counts of the masks as they were.
        after: of the same images, post-processed.
        largest_loss: of IoU; 1 allows everything.

    Example:
        >>> before = torch.tensor([[90, 2, 0], [3, 5, 0], [9, 0, 1]])
        >>> harmed_classes(before, torch.tensor([[92, 0, 0], [2, 6, 0], [10, 0, 0]]))     # the last one was found once
        [2]
    """
    if largest_loss >= 1:
        return []
    was, now = class_iou(before), class_iou(after)
    vanished = (before.diagonal() > 0) & (after.diagonal() == 0)
    harmed = (before.sum(1) > 0) & ((was - now > largest_loss) | vanished)
    return torch.nonzero(harmed).flatten().tolist()
