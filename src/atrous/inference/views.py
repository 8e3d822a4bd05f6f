"""Ways to look at an image besides the way it came: scores are averaged over them."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from atrous.errors import UsageError, did_you_mean

__all__ = ["VIEWS", "average_scores", "check_views"]


def _flipped(x: Tensor) -> Tensor:
    return x.flip(-1)


def _upside_down(x: Tensor) -> Tensor:
    return x.flip(-2)


def _turned(quarters: int) -> Callable[[Tensor], Tensor]:
    """Turned against the clock by quarters of a circle."""
    return lambda x: torch.rot90(x, quarters, (-2, -1))


VIEWS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "hflip": (_flipped, _flipped),
    "vflip": (_upside_down, _upside_down),
    "rot90": (_turned(1), _turned(-1)),
    "rot180": (_turned(2), _turned(-2)),
    "rot270": (_turned(3), _turned(-3)),
}
"""Name -> what is done to the image, and what takes it back from the scores."""


def check_views(views: Iterable[str]) -> tuple[str, ...]:
    """The names, each once.

    Raises:
        UsageError: if a name is unknown.
    """
    if isinstance(views, str):
        views = (views,)
    names = tuple(dict.fromkeys(views))
    for name in names:
        if name not in VIEWS:
            raise UsageError(f"unknown view {name!r}. {did_you_mean(name, VIEWS)}")
    return names


def average_scores(score: Callable[[Tensor], Tensor], image: Tensor, views: Iterable[str]) -> Tensor:
    """The mean of the scores of the image as it is and of its views, all turned back.

    Example:
        >>> average_scores(lambda image: image.cumsum(-1), torch.ones(1, 1, 1, 3), ["hflip"])
        tensor([[[[2., 2., 2.]]]])
    """
    total, count = score(image), 1
    for name in views:
        view, back = VIEWS[name]
        total = total + back(score(view(image)))
        count += 1
    return total if count == 1 else total / count
