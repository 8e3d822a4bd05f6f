"""The parameters of a dense CRF, found on labelled images.

Two ways, which go together:

- `search_bandwidths` tries bandwidths and weights on a grid, then on a finer one around the best, by the score of the
  refined masks. Chen, Papandreou, Kokkinos, Murphy, Yuille, DeepLab, https://arxiv.org/abs/1606.00915: the weight w1
  and the bandwidths sigma_alpha and sigma_beta of the bilateral term are searched, the Gaussian term is given.
- `learn_compatibility` learns weights, for each class or for each pair of classes where wanted, by the gradient of the
  cross entropy through the updates. Bandwidths stay as they are.

Both give the arguments that `dense_crf` takes. Nothing is kept between calls, and calls may run side by side.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, product
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from atrous.crf._features import Bandwidths, ImageFeatures
from atrous.crf._images import Arrays, to_batches
from atrous.crf._mean_field import FLOOR
from atrous.crf.dense import Kernel, KernelNormalization, Pairwise, check_normalization, mean_field
from atrous.crf.unrolled import unroll
from atrous.errors import UsageError, did_you_mean
from atrous.types import IGNORE_INDEX

__all__ = ["CompatibilityForm", "Learned", "Sample", "Search", "Tried", "learn_compatibility", "search_bandwidths"]

Sample = tuple[Arrays, Arrays, Arrays]
"""Probabilities (K, H, W), image (H, W, C) and mask (H, W); classes outside 0..K-1 count for nothing."""

CompatibilityForm = Literal["potts", "diagonal", "matrix"]
"""A weight for each term, a weight for each class, or a penalty for each pair of classes."""

Progress = Callable[[int, int], None]
"""Is called with the number of steps done, and of all steps as far as they are known."""


class Tried(NamedTuple):
    """One setting of the bilateral term, and the score of the masks that it gives."""

    sxy: float
    srgb: float
    weight: float
    score: float


class Search(NamedTuple):
    """What a search found.

    Attributes:
        settings: arguments for `dense_crf`.
        score: of the masks refined with them.
        plain: of the masks as they come from the probabilities. Where it is the higher one, the CRF does harm.
        tried: all settings in the order in which they were tried.
    """

    settings: dict[str, Any]
    score: float
    plain: float
    tried: tuple[Tried, ...]


class Learned(NamedTuple):
    """What was learnt.

    Attributes:
        settings: arguments for `dense_crf`.
        losses: mean cross entropy of each epoch, of every image before its own step.
    """

    settings: dict[str, Any]
    losses: tuple[float, ...]


def search_bandwidths(
    samples: Iterable[Sample],
    score: Callable[[Int64[Tensor, "K K"]], float],
    *,
    sxy: Sequence[float] = (30, 40, 50, 60, 70, 80, 90, 100),
    srgb: Sequence[float] = (3, 4, 5, 6),
    weight: Sequence[float] = (3, 4, 5, 6),
    refinements: int = 1,
    gaussian: tuple[Bandwidths, float] = (3.0, 3.0),
    iterations: int = 10,
    normalization: KernelNormalization = "symmetric",
    progress: Progress | None = None,
) -> Search:
    """Try all combinations of the bilateral term's numbers; then, around the best, steps of half the size.

    The ranges are those of DeepLab v2, whose authors took 100 images; v1 had `weight=(5, 10)`, `sxy=range(50, 101, 10)`
    and `srgb=range(3, 11)`. A lattice is built once for all weights. The time is that of one `dense_crf` for each image
    and combination: begin with few of both.

    Args:
        samples: labelled images; gone through once for each round, so pass a sequence that reads them when asked, or
            they are all kept in memory.
        score: of a confusion matrix over all images, rows the true classes; larger is better. For example
            `atrous.metrics.mean_iou`.
        sxy: bandwidths of position to try, in pixels.
        srgb: bandwidths of colour to try, in 8-bit units.
        weight: weights to try.
        refinements: how many times the steps are halved.
        gaussian: the other term's bandwidth and weight.
        iterations: the number of updates.
        normalization: as in `dense_crf`.
        progress: is called after each image and combination.

    Raises:
        UsageError: no samples, no values to try, or values that are not positive.
    """
    check_normalization(normalization)
    kept = samples if isinstance(samples, Sequence) else list(samples)
    axes = [sorted({float(value) for value in values}) for values in (sxy, srgb, weight)]
    if not kept or not all(axes) or min(values[0] for values in axes) <= 0:
        raise UsageError(
            f"A search needs images and positive numbers to try, got {len(kept)} images, sxy {list(sxy)}, srgb "
            f"{list(srgb)} and weight {list(weight)}."
        )
    trial = _Trial(kept, gaussian, iterations, normalization, progress)
    plain = score(trial.plain())
    scores: dict[_Setting, float] = {}
    best: _Setting = (axes[0][0], axes[1][0], axes[2][0])
    for _ in range(refinements + 1):
        matrices = trial.refined([setting for setting in product(*axes) if setting not in scores])
        scores |= {setting: score(matrix) for setting, matrix in matrices.items()}
        best = max(scores, key=lambda setting: -np.inf if np.isnan(scores[setting]) else scores[setting])
        axes = [_finer(values, value) for values, value in zip(axes, best, strict=True)]
    settings = {
        "gaussian": gaussian,
        "bilateral": best,
        "iterations": iterations,
        "normalization": normalization,
    }
    return Search(settings, scores[best], plain, tuple(Tried(*setting, found) for setting, found in scores.items()))


_Setting = tuple[float, float, float]


def _finer(values: Sequence[float], best: float) -> list[float]:
    """The best value and those half-way to its neighbours, or as far beyond the end; one value alone stays."""
    gap = min((abs(value - best) for value in values if value != best), default=0.0)
    return sorted({value for value in (best - gap / 2, best, best + gap / 2) if value > 0})


class _Trial:
    """Refines all images by many settings, and counts what comes out."""

    def __init__(
        self,
        samples: Sequence[Sample],
        gaussian: tuple[Bandwidths, float],
        iterations: int,
        normalization: KernelNormalization,
        progress: Progress | None,
    ) -> None:
        self.samples, self.gaussian = samples, gaussian
        self.iterations, self.normalization = iterations, normalization
        self.progress = progress
        self.done = self.planned = 0

    def plain(self) -> Int64[Tensor, "K K"]:
        """The matrix of the masks without a CRF."""
        parts = (_read(sample) for sample in self.samples)
        return sum((_confusion(part.planes, part.mask) for part in parts), torch.zeros((), dtype=torch.int64))

    def refined(self, settings: list[tuple[float, ...]]) -> dict[_Setting, Int64[Tensor, "K K"]]:
        """The matrix of each setting of the bilateral term."""
        found: dict[Any, Tensor] = {}
        self.planned += len(self.samples) * len(settings)
        for sample in self.samples:
            part = _read(sample)
            sxy, smooth = self.gaussian
            near = Pairwise(self._kernel(part, sxy=sxy), smooth)
            for bandwidths, group in groupby(sorted(settings), key=lambda setting: setting[:2]):
                kernel = self._kernel(part, sxy=bandwidths[0], image=part.picture, srgb=bandwidths[1])
                for setting in group:
                    terms = [near, Pairwise(kernel, setting[2])]
                    scores = mean_field(part.planes, terms, iterations=self.iterations).scores
                    found[setting] = found.get(setting, 0) + _confusion(scores, part.mask)
                    self._tell()
        return {(sxy, srgb, weight): found[sxy, srgb, weight] for sxy, srgb, weight in settings}

    def _kernel(self, part: "_Part", **given: Any) -> Kernel:
        return Kernel(ImageFeatures(*part.size, **given).for_points(part.planes), self.normalization)

    def _tell(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.planned)


def learn_compatibility(
    samples: Iterable[Sample],
    *,
    form: CompatibilityForm = "potts",
    gaussian: tuple[float, float] = (3.0, 3.0),
    bilateral: tuple[float, Bandwidths, float] = (80.0, 13.0, 10.0),
    epochs: int = 10,
    lr: float = 0.1,
    iterations: int = 5,
    normalization: KernelNormalization = "symmetric",
    progress: Progress | None = None,
) -> Learned:
    """Learn weights of both terms by the gradient through the unrolled updates: Adam, one image at a time.

    The refined masks of few images are easily learnt by heart: a matrix of 21 classes has 420 free numbers. `crfrnn`
    learns the same within a network.

    Args:
        samples: labelled images, gone through once for each epoch; see `search_bandwidths`. Tensors are worked on where
            they are.
        form: what is learnt.
        gaussian: (sxy, weight to start from).
        bilateral: (sxy, srgb, weight to start from).
        epochs: how many times all images are gone through.
        lr: rate of Adam, about how much a weight moves in one step.
        iterations: the number of updates.
        normalization: as in `dense_crf`.
        progress: is called after each image.

    Returns:
        Arguments for `dense_crf` with what was learnt as numbers or lists, and the losses.

    Raises:
        UsageError: no samples, or none with a labelled pixel.
    """
    check_normalization(normalization)
    kept = samples if isinstance(samples, Sequence) else list(samples)
    if not kept:
        raise UsageError("Weights are learnt from labelled images, got none.")
    K, device = kept[0][0].shape[0], torch.as_tensor(kept[0][0]).device
    weights = [_start(form, start, K, device) for start in (gaussian[1], bilateral[2])]
    optimizer = torch.optim.Adam(weights, lr=lr)
    losses = []
    for epoch in range(epochs):
        found = []
        for number, sample in enumerate(kept):
            loss = _loss(sample, weights, (gaussian[0], *bilateral[:2]), iterations, normalization)
            if loss is not None:
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                found.append(float(loss.detach()))
            if progress is not None:
                progress(epoch * len(kept) + number + 1, epochs * len(kept))
        if not found:
            raise UsageError(f"Not one of {len(kept)} masks has a pixel of class 0..{K - 1}.")
        losses.append(sum(found) / len(found))
    near, alike = (((w + w.T) / 2 if w.ndim == 2 else w).detach().tolist() for w in weights)
    settings = {
        "gaussian": (gaussian[0], near),
        "bilateral": (*bilateral[:2], alike),
        "iterations": iterations,
        "normalization": normalization,
    }
    return Learned(settings, tuple(losses))


def _start(form: CompatibilityForm, weight: float, classes: int, device: torch.device) -> Tensor:
    """The Potts model of a weight in a form that learns."""
    if form not in get_args(CompatibilityForm):
        raise UsageError(f"There is no form {form!r}. {did_you_mean(form, get_args(CompatibilityForm))}")
    shape = {"potts": torch.ones(()), "diagonal": torch.ones(classes), "matrix": 1 - torch.eye(classes)}[form]
    return (weight * shape).to(device).requires_grad_()


def _loss(
    sample: Sample, weights: list[Tensor], spreads: tuple[float, float, Bandwidths], iterations: int, normalization: Any
) -> Tensor | None:
    """Mean cross entropy of a refined image over its labelled pixels; None where it has none."""
    part = _read(tuple(torch.as_tensor(array) for array in sample))  # type: ignore[arg-type]
    planes = torch.as_tensor(part.planes)
    device, target = planes.device, part.mask.to(planes.device)
    counted = _counted(target, len(planes))
    if not bool(counted.any()):
        return None
    gamma, alpha, srgb = spreads
    picture = torch.as_tensor(part.picture).to(device)
    features = ImageFeatures(*part.size, sxy=alpha, image=picture, srgb=srgb).tensor(device)
    colours = features[:, 2:].T.reshape(1, -1, *part.size)

    def mix(near: Tensor, alike: Tensor) -> Tensor:
        return _message(near, weights[0]) + _message(alike, weights[1])

    logits = planes.float().clamp(min=float(FLOOR)).log().reshape(1, -1, *part.size)
    refined = unroll(logits, colours, mix, gamma=gamma, alpha=alpha, iterations=iterations, normalization=normalization)
    return F.cross_entropy(refined[0].flatten(1).T[counted], target[counted])


def _message(rows: Float[Tensor, "B H W K"], weight: Tensor) -> Float[Tensor, "B H W K"]:
    """What filtered scores add to the logits: `Pairwise` says what the forms of a weight mean."""
    return -(rows @ ((weight + weight.T) / 2)) if weight.ndim == 2 else rows * weight


class _Part(NamedTuple):
    """One image: probabilities (K, N) and colours (H, W, C), arrays or tensors, the true classes (N,), the size."""

    planes: Any
    picture: Any
    mask: Int64[Tensor, " N"]
    size: tuple[int, int]


def _read(sample: Sample) -> _Part:
    probabilities, image, mask = sample
    batch = to_batches(probabilities, image)
    if tuple(mask.shape) != batch.size or not batch.single:
        raise UsageError(
            f"A sample is probabilities (K, H, W), image (H, W, C) and mask (H, W); got {tuple(probabilities.shape)}, "
            f"{tuple(image.shape)} and {tuple(mask.shape)}."
        )
    truth = mask if isinstance(mask, Tensor) else torch.from_numpy(np.ascontiguousarray(mask, np.int64))
    ((planes, picture),) = batch.pairs
    return _Part(planes, picture, truth.long().flatten(), batch.size)


def _counted(mask: Int64[Tensor, " N"], classes: int) -> Tensor:
    return (mask >= 0) & (mask < classes) & (mask != IGNORE_INDEX)


def _confusion(scores: Any, mask: Int64[Tensor, " N"]) -> Int64[Tensor, "K K"]:
    """Rows the true classes, columns those of the largest score."""
    K = len(scores)
    decided = torch.as_tensor(scores.argmax(0)).cpu()
    truth = mask.cpu()
    counted = _counted(truth, K)
    return torch.bincount(truth[counted] * K + decided[counted], minlength=K * K).view(K, K)
