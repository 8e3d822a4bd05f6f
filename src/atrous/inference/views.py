"""Test-time augmentation: views of an image besides the way it came, over which scores are averaged.

Flips and turns show the image from another side. `mc:N` asks the network N times with its dropouts drawing, and how
much the answers differ is the uncertainty: Gal, Ghahramani, ICML 2016, https://arxiv.org/abs/1506.02142; Kendall,
Badrinarayanan, Cipolla, "Bayesian SegNet", 2015, https://arxiv.org/abs/1511.02680.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atrous.errors import UsageError, did_you_mean

__all__ = [
    "AS_IT_IS",
    "VIEWS",
    "Passes",
    "View",
    "average_passes",
    "average_scores",
    "check_views",
    "looking",
    "read_views",
]

Look = Callable[[Tensor, slice, slice], tuple[Tensor, Tensor | None]]
WindowOrigin = Callable[[slice, slice, tuple[int, int]], tuple[int, int]]


class View(NamedTuple):
    """One way to look.

    Attributes:
        turn: what is done to the image.
        back: what takes it back from the scores.
        origin: rows and columns of a window, and the size of the image -> where the window begins in the turned image.
        mirrors: whether left becomes right; a turn leaves it left.
    """

    turn: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]
    origin: WindowOrigin
    mirrors: bool = False


class Passes(NamedTuple):
    """How often a network is asked with its dropouts drawing, and the seed; none at 0."""

    number: int = 0
    seed: int = 0

    def __str__(self) -> str:
        return f"mc:{self.number}:{self.seed}" if self.seed else f"mc:{self.number}"


def _same(x: Tensor) -> Tensor:
    return x


def _flipped(x: Tensor) -> Tensor:
    return x.flip(-1)


def _upside_down(x: Tensor) -> Tensor:
    return x.flip(-2)


def _turned(quarters: int) -> Callable[[Tensor], Tensor]:
    """Turned against the clock by quarters of a circle."""
    return lambda x: torch.rot90(x, quarters, (-2, -1))


AS_IT_IS = View(_same, _same, lambda rows, columns, size: (rows.start, columns.start))

VIEWS: dict[str, View] = {
    "hflip": View(_flipped, _flipped, lambda rows, columns, size: (rows.start, size[1] - columns.stop), mirrors=True),
    "vflip": View(
        _upside_down, _upside_down, lambda rows, columns, size: (size[0] - rows.stop, columns.start), mirrors=True
    ),
    "rot90": View(_turned(1), _turned(-1), lambda rows, columns, size: (size[1] - columns.stop, rows.start)),
    "rot180": View(_turned(2), _turned(-2), lambda rows, columns, size: (size[0] - rows.stop, size[1] - columns.stop)),
    "rot270": View(_turned(3), _turned(-3), lambda rows, columns, size: (columns.start, size[0] - rows.stop)),
}
"""Name -> the view."""


def check_views(views: Iterable[str]) -> tuple[str, ...]:
    """The names of flips and turns, each once.

    Raises:
        UsageError: if a name is unknown.
    """
    if isinstance(views, str):
        views = (views,)
    names = tuple(dict.fromkeys(views))
    for name in names:
        if name not in VIEWS:
            raise UsageError(f"unknown view {name!r}. {did_you_mean(name, (*VIEWS, 'mc:20'))}")
    return names


def read_views(views: Iterable[str]) -> tuple[tuple[str, ...], Passes]:
    """Flips and turns, and the passes that `mc:N` or `mc:N:SEED` asks for.

    Raises:
        UsageError: if a name is unknown, or the passes are fewer than 2, no number, or asked for twice.

    Example:
        >>> read_views(["hflip", "mc:20"])
        (('hflip',), Passes(number=20, seed=0))
    """
    if isinstance(views, str):
        views = (views,)
    given = tuple(dict.fromkeys(views))
    sampled = [name for name in given if name == "mc" or name.startswith("mc:")]
    if len(sampled) > 1:
        raise UsageError(f"views {sampled[0]} and {sampled[1]}: give the number of passes once")
    names = check_views(name for name in given if name not in sampled)
    return names, _read_passes(sampled[0]) if sampled else Passes()


def _read_passes(text: str) -> Passes:
    numbers = text.split(":")[1:]
    if not 1 <= len(numbers) <= 2 or not all(n.isascii() and n.isdigit() for n in numbers) or int(numbers[0]) < 2:
        raise UsageError(f"view {text!r}: say mc:N with at least 2 passes, or mc:N:SEED, for example mc:20 or mc:20:1")
    return Passes(*map(int, numbers))


def looking(
    scorer: Any,
    names: Sequence[str],
    passes: Passes,
    flip_pairs: Sequence[tuple[int, int]],
    size: tuple[int, int],
) -> Look:
    """What gives the scores of a window of an image, and their uncertainty where there are passes.

    Args:
        scorer: a `PixelScorer`; with passes one that can be `sampled`.
        names: flips and turns to average over.
        passes: with dropouts drawing.
        flip_pairs: see `average_scores`.
        size: height and width of the image.
    """
    if not passes.number:
        return lambda image, *_: (average_scores(lambda turned, _: scorer(turned), image, names, flip_pairs)[0], None)
    sampled = scorer.sampled(passes.seed)

    def look(image: Tensor, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
        def one(number: int) -> Tensor:
            def score(turned: Tensor, view: View) -> Tensor:
                return sampled(turned, number, view.origin(rows, columns, size))

            return average_scores(score, image, names, flip_pairs)[0]

        return average_passes(one, passes.number)

    return look


def average_scores(
    score: Callable[[Tensor, View], Tensor],
    image: Tensor,
    views: Iterable[str],
    flip_pairs: Sequence[tuple[int, int]] = (),
) -> Tensor:
    """The mean of the scores of the image as it is and of its views, all turned back.

    Args:
        score: gives the scores of a turned image; told also which view it is.
        image: (B, C, H, W).
        views: names in `VIEWS`.
        flip_pairs: maps that are each other's mirror image, such as left and right hand: those of a mirrored view are
            exchanged.

    Example:
        >>> average_scores(lambda image, view: image.cumsum(-1), torch.ones(1, 1, 1, 3), ["hflip"])
        tensor([[[[2., 2., 2.]]]])
    """
    total, count = score(image, AS_IT_IS), 1
    for name in views:
        view = VIEWS[name]
        scores = view.back(score(view.turn(image), view))
        total = total + (_exchanged(scores, flip_pairs) if view.mirrors and flip_pairs else scores)
        count += 1
    return total if count == 1 else total / count


def _exchanged(scores: Float[Tensor, "B K H W"], pairs: Sequence[tuple[int, int]]) -> Float[Tensor, "B K H W"]:
    order = list(range(scores.shape[1]))
    for one, other in pairs:
        order[one], order[other] = other, one
    return scores[:, order]


def average_passes(
    score: Callable[[int], Float[Tensor, "K H W"]], number: int
) -> tuple[Float[Tensor, "K H W"], Float[Tensor, "H W"]]:
    """The mean of the scores over passes, and their uncertainty: the variance over the passes, mean over the classes.

    The variance divides by N. Where the scores are probabilities of K classes, the mean variance lies between 0 (all
    passes agree) and (1 - 1 / K) / K (each is certain, of all classes equally often).

    Args:
        score: gives the scores of one pass.
        number: of passes.

    Example:
        >>> scores, uncertainty = average_passes(lambda n: torch.tensor([[[float(n)]], [[1.0 - n]]]), 2)
        >>> scores.flatten(), uncertainty
        (tensor([0.5000, 0.5000]), tensor([[0.2500]]))
    """
    mean = score(0)
    squares = torch.zeros_like(mean)
    for n in range(1, number):  # Welford: as exact for the thousandth pass as for the second
        change = (scores := score(n)) - mean
        mean = mean + change / (n + 1)
        squares += change * (scores - mean)
    return mean, squares.mean(0) / number
