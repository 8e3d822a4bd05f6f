"""One search over the settings of post-processing, by the score of labelled images.

`search` tries all combinations of some values for one method, then finer ones around the best. It takes arrays: scores,
images and masks. Those of an image are asked for once in each round and shared by all settings of that round, so a
sequence that makes them when it is asked needs the memory of one image.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from math import inf, isnan
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Int64, Integer
from torch import Tensor

from atrous.errors import UsageError
from atrous.types import IGNORE_INDEX, Progress

__all__ = ["LabelledScores", "Method", "SearchResult", "Setting", "Trial", "count_pixels", "search"]

Setting = Mapping[str, float]
"""A value for each argument of a method, by name."""


class LabelledScores(NamedTuple):
    """An image as the network leaves it, and what it should become.

    Attributes:
        scores: (K, H, W) probabilities, an array or a tensor.
        image: (H, W, C) its own numbers, without NaN.
        mask: (H, W) the true classes; 255 and what lies outside 0..K-1 count for nothing.
        instances: (H, W) the numbers of its objects, 0 for none; None where they are not numbered.
    """

    scores: Any
    image: Any
    mask: Any
    instances: Any = None


class Method(Protocol):
    """A kind of post-processing with arguments to choose."""

    def check(self, axes: Mapping[str, Sequence[float]]) -> None:
        """Refuse values that cannot be tried.

        Raises:
            UsageError: always then.
        """

    def decide(
        self, sample: LabelledScores, settings: Sequence[Setting]
    ) -> Iterator[tuple[int, Integer[np.ndarray, "H W"]]]:
        """The number of each setting and the classes that it gives one image, in the order that shares most work."""


class Trial(NamedTuple):
    """One setting that was tried, and its score."""

    setting: dict[str, float]
    score: float


class SearchResult(NamedTuple):
    """What a search found.

    Attributes:
        setting: the best.
        score: of its masks.
        plain: of the masks as they come from the scores. Where it is the higher one, the method does harm.
        trials: all settings in the order of the grid, round by round.
        allowed: whether the setting may be chosen; False where none may, and this is only the best.
        counts: of the setting.
        plain_counts: of the masks as they come from the scores.
    """

    setting: dict[str, float]
    score: float
    plain: float
    trials: tuple[Trial, ...]
    allowed: bool
    counts: Any
    plain_counts: Any


def count_pixels(classes: Any, sample: LabelledScores) -> Int64[Tensor, "K K"]:
    """The confusion matrix of one image: rows the true classes, columns the decided ones."""
    K = len(sample.scores)
    decided, truth = _flat(classes), _flat(sample.mask)
    counted = (truth >= 0) & (truth < K) & (truth != IGNORE_INDEX)
    return torch.bincount(truth[counted] * K + decided[counted], minlength=K * K).view(K, K)


def search(
    samples: Sequence[LabelledScores],
    method: Method,
    axes: Mapping[str, Sequence[float]],
    score: Callable[[Any], float],
    *,
    refinements: int = 0,
    count: Callable[[Any, LabelledScores], Any] = count_pixels,
    allows: Callable[[Any, Any], bool] = lambda plain, counted: True,
    progress: Progress | None = None,
) -> SearchResult:
    """Try all combinations of the values; then, around the best, steps of half the size.

    Args:
        samples: labelled images. Each is asked for once in a round.
        method: what is done to them.
        axes: for each argument of the method the values to try. Whole numbers stay whole.
        score: of the counts of all images together; larger is better. With `count_pixels` the counts are a confusion
            matrix, and this may be `atrous.metrics.mean_iou`.
        refinements: how many times the steps are halved around the best.
        count: what one image with these classes adds to the counts.
        allows: says of the counts without and with a setting whether it may be chosen.
        progress: is called after each image and setting.

    Returns:
        The first of the best settings that may be chosen, or of all where none may, and the scores of all.

    Raises:
        UsageError: no images, no values to try, or values and images that the method cannot take.
    """
    if not len(samples) or not axes or not all(axes.values()):
        given = {name: list(values) for name, values in axes.items()}
        raise UsageError(f"A search needs images and values to try, got {len(samples)} images and {given}.")
    method.check(axes)
    rounds = _Rounds(samples, method, count, progress)
    values = {name: sorted(set(given)) for name, given in axes.items()}
    scores: dict[tuple[float, ...], float] = {}
    counts: dict[tuple[float, ...], Any] = {}
    allowed: list[tuple[float, ...]] = []
    best: tuple[float, ...] = ()
    for _ in range(refinements + 1):
        fresh = [setting for setting in product(*values.values()) if setting not in scores]
        found = rounds.counts([dict(zip(values, setting, strict=True)) for setting in fresh])
        counts |= dict(zip(fresh, found, strict=True))
        scores |= {setting: score(counts[setting]) for setting in fresh}
        allowed += [setting for setting in fresh if allows(rounds.plain, counts[setting])]
        best = max(allowed or scores, key=lambda setting: -inf if isnan(scores[setting]) else scores[setting])
        values = {name: _finer(values[name], value) for name, value in zip(values, best, strict=True)}
    trials = tuple(Trial(dict(zip(values, setting, strict=True)), found) for setting, found in scores.items())
    setting = dict(zip(values, best, strict=True))
    plain = score(rounds.plain)
    return SearchResult(setting, scores[best], plain, trials, bool(allowed), counts[best], rounds.plain)


class _Rounds:
    """Goes through all images once for each round of settings."""

    def __init__(
        self,
        samples: Sequence[LabelledScores],
        method: Method,
        count: Callable[[Any, LabelledScores], Any],
        progress: Progress | None,
    ) -> None:
        self.samples, self.method, self.count, self.progress = samples, method, count, progress
        self.plain: Any = None
        self.done = self.planned = 0

    def counts(self, settings: list[Setting]) -> list[Any]:
        """The counts of all images by each of the settings; the first round also those without post-processing."""
        self.planned += len(self.samples) * len(settings)
        totals: list[Any] = [None] * len(settings)
        first = self.plain is None
        for sample in self.samples if settings else ():
            _check(sample)
            if first:
                self.plain = _add(self.plain, self.count(sample.scores.argmax(0), sample))
            for number, classes in self.method.decide(sample, settings):
                totals[number] = _add(totals[number], self.count(classes, sample))
                self.done += 1
                if self.progress is not None:
                    self.progress(self.done, self.planned)
        return totals


def _add(total: Any, counted: Any) -> Any:
    return counted if total is None else total + counted


def _finer(values: Sequence[float], best: float) -> list[float]:
    """The best value and those half-way to its neighbours, or as far beyond the end; one value alone stays."""
    gap = min((abs(value - best) for value in values if value != best), default=0)
    step = gap // 2 if all(isinstance(value, int) for value in values) else gap / 2
    return sorted({value for value in (best - step, best, best + step) if value > 0 or value == best})


def _check(sample: LabelledScores) -> None:
    shapes = [tuple(array.shape) for array in sample[:3]]
    scores, image, mask = shapes
    if len(scores) != 3 or len(image) != 3 or mask != scores[1:]:
        raise UsageError(
            f"A sample is probabilities (K, H, W), image (H, W, C) and mask (H, W); got {scores}, {image} and {mask}."
        )


def _flat(classes: Any) -> Int64[Tensor, " N"]:
    if not isinstance(classes, Tensor):
        classes = torch.from_numpy(np.ascontiguousarray(classes, np.int64))
    return classes.cpu().long().flatten()
