"""How far a network sees beyond a pixel, and so how much context a tile is read with."""

from typing import Literal

from atrous.errors import ModelError
from atrous.inference.scorer import PixelScorer

__all__ = ["Margin", "context", "reach_of"]

NEAR_MARGIN = 128
"""Context of a tile where the network sees the whole image."""
LARGEST_AUTO_MARGIN = 256

Margin = int | Literal["exact", "auto"]


def reach_of(scorer: PixelScorer, margin: Margin, *, views: bool) -> tuple[tuple[int, int] | None, str]:
    """How far the network sees to either side, None where that is no number, and the same in words.

    Args:
        scorer: the network.
        margin: what context was asked for.
        views: whether the image is also seen from other sides.

    Raises:
        ModelError: if it cannot be known, and a context that depends on it was asked for.
    """
    try:
        reach = scorer.margin
    except ModelError as error:
        if isinstance(margin, int):  # asked for no more than this
            return None, "it is not known how far the network sees"
        raise ModelError(f"{error}; or give the margin in pixels, for example margin={NEAR_MARGIN}") from error
    if reach is None:
        culprit = getattr(scorer, "unbounded_by", None)
        return None, f"the network sees the whole image{f' by {culprit}' if culprit else ''}"
    if views:
        reach = (max(reach), max(reach))  # a flipped image is seen from its other side
    return reach, f"the network sees {reach[0]} pixels before and {reach[1]} after"


def context(reach: tuple[int, int] | None, margin: Margin) -> tuple[int, int]:
    """Pixels that a tile is read with before and after itself."""
    if isinstance(margin, int):
        return margin, margin
    if reach is None:
        return NEAR_MARGIN, NEAR_MARGIN
    if margin == "exact":
        return reach
    near = min(-(-max(reach) // 2), LARGEST_AUTO_MARGIN)
    return near, near
