"""The weights of a dense CRF, learnt on labelled images.

`learn_compatibility` learns weights, for each class or for each pair of classes where wanted, by the gradient of the
cross entropy through the updates, and gives the arguments that `dense_crf` takes. Bandwidths stay as they are:
`atrous.postprocess.search` finds them. Nothing is kept between calls, and calls may run side by side.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from atrous.crf._features import Bandwidths, ImageFeatures
from atrous.crf._images import Arrays, to_batches
from atrous.crf.dense import KernelNormalization, check_normalization
from atrous.crf.lattice import FLOOR
from atrous.crf.unrolled import unroll
from atrous.errors import UsageError, did_you_mean
from atrous.types import IGNORE_INDEX, Progress

__all__ = ["CompatibilityForm", "Learned", "LearningSample", "learn_compatibility"]

LearningSample = tuple[Arrays, Arrays, Arrays]
"""Probabilities (K, H, W), image (H, W, C) and mask (H, W); classes outside 0..K-1 count for nothing."""

CompatibilityForm = Literal["potts", "diagonal", "matrix"]
"""A weight for each term, a weight for each class, or a penalty for each pair of classes."""


class Learned(NamedTuple):
    """What was learnt.

    Attributes:
        settings: arguments for `dense_crf`.
        losses: mean cross entropy of each epoch, of every image before its own step.
    """

    settings: dict[str, Any]
    losses: tuple[float, ...]


def learn_compatibility(
    samples: Iterable[LearningSample],
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
        samples: labelled images, gone through once for each epoch, so pass a sequence that reads them when asked, or
            they are all kept in memory. Tensors are worked on where they are.
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
    sample: LearningSample,
    weights: list[Tensor],
    spreads: tuple[float, float, Bandwidths],
    iterations: int,
    normalization: Any,
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


class _FlatSample(NamedTuple):
    """One image: probabilities (K, N) and colours (H, W, C), arrays or tensors, the true classes (N,), the size."""

    planes: Any
    picture: Any
    mask: Int64[Tensor, " N"]
    size: tuple[int, int]


def _read(sample: LearningSample) -> _FlatSample:
    probabilities, image, mask = sample
    batch = to_batches(probabilities, image)
    if tuple(mask.shape) != batch.size or not batch.single:
        raise UsageError(
            f"A sample is probabilities (K, H, W), image (H, W, C) and mask (H, W); got {tuple(probabilities.shape)}, "
            f"{tuple(image.shape)} and {tuple(mask.shape)}."
        )
    truth = mask if isinstance(mask, Tensor) else torch.from_numpy(np.ascontiguousarray(mask, np.int64))
    ((planes, picture),) = batch.pairs
    return _FlatSample(planes, picture, truth.long().flatten(), batch.size)


def _counted(mask: Int64[Tensor, " N"], classes: int) -> Tensor:
    return (mask >= 0) & (mask < classes) & (mask != IGNORE_INDEX)
