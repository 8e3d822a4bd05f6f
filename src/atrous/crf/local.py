"""A conditional random field over a window around each pixel: the approximate choice that trains and runs in torch.

Teichmann and Cipolla, Convolutional CRFs for Semantic Segmentation, BMVC 2019, https://arxiv.org/abs/1805.04777

As in the paper: the pairwise kernels are exact Gaussians, cut off outside a square window, so that message passing is a
convolution with weights of its own at each pixel.

Different from the paper:
- the arguments, the normalizations and the order of an update are those of `dense_crf`, so that one stands in for the
  other; the first message is that of the softmax, where the authors' code sends the logarithms;
- the window may be dilated, which reaches farther for the same work.

What lies outside the window is not seen: with a wide `sxy` messages stay local, and large smooth regions of wrong class
survive that the fully connected field would win over.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from atrous.crf._features import Bandwidths, ImageFeatures
from atrous.crf._images import Arrays, to_batches
from atrous.crf.dense import KernelNormalization, check_normalization
from atrous.crf.lattice import FLOOR
from atrous.errors import UsageError

__all__ = ["local_crf"]


def local_crf(
    probabilities: Arrays,
    image: Arrays,
    *,
    gaussian: tuple[Bandwidths, float] | None = (3.0, 3.0),
    bilateral: tuple[Bandwidths, Bandwidths, float] | None = (80.0, 13.0, 10.0),
    iterations: int = 5,
    normalization: KernelNormalization = "symmetric",
    window: int = 7,
    dilation: int = 1,
) -> Any:
    """`dense_crf` with a view of `window` x `window` pixels; gradients flow back to the probabilities.

    Args:
        probabilities: (K, H, W) or (B, K, H, W), an array or a tensor on any device.
        image: (H, W, C) or (B, H, W, C); its numbers as in `dense_crf`.
        gaussian: (sxy, weight), or None.
        bilateral: (sxy, srgb, weight), or None.
        iterations: the number of updates.
        normalization: one of `NORMALIZATIONS`.
        window: pixels along a side of the window, odd.
        dilation: distance of neighbours in the window, in pixels.

    Returns:
        The refined scores, float32, in the form of `probabilities`.

    Raises:
        UsageError: arguments that do not go together.

    Example:
        >>> image = np.zeros((6, 8, 3), np.uint8)
        >>> image[:, 4:] = 200
        >>> p = np.full((2, 6, 8), 0.5)
        >>> p[:, :, :2], p[:, :, 5:] = [[[0.8]], [[0.2]]], [[[0.3]], [[0.7]]]
        >>> local_crf(p, image)[0, 2].astype(float).round(1).tolist()
        [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    check_normalization(normalization)
    if window < 1 or window % 2 == 0 or dilation < 1 or iterations < 0:
        raise UsageError(
            f"A window is odd, a dilation at least 1, iterations 0 or more; got {window}, {dilation} and {iterations}."
        )
    batch = to_batches(probabilities, image)
    scores = _as_tensor(probabilities).float()
    images = _as_tensor(image).to(scores.device)
    if batch.single:
        scores, images = scores[None], images[None]
    sums = scores.detach().sum(1)
    if not bool((scores.detach() >= 0).all()) or not bool(((sums - 1).abs() < 1e-2).all()):
        raise UsageError("The probabilities must lie in 0..1 and sum to 1 over the classes: pass the softmax.")
    terms = []
    if gaussian is not None:
        terms.append((gaussian[1], _features(images, gaussian[0], None)))
    if bilateral is not None:
        terms.append((bilateral[2], _features(images, bilateral[0], bilateral[1])))
    reach = window // 2
    steps = range(-reach * dilation, reach * dilation + 1, dilation)
    offsets = [(dy, dx) for dy in steps for dx in steps]
    weights = _window_weights(terms, offsets, normalization, tuple(scores.shape[-2:]))
    refined = _mean_field(scores, weights, offsets, iterations)
    refined = refined[0] if batch.single else refined
    return refined if batch.tensors else refined.numpy()


def _as_tensor(array: Arrays) -> Tensor:
    if isinstance(array, Tensor):
        return array
    return torch.from_numpy(np.ascontiguousarray(array))


def _features(images: Tensor, sxy: Bandwidths, srgb: Bandwidths | None) -> Float[Tensor, "B d H W"]:
    """Features of all pixels of a batch, as maps."""
    _, H, W, _ = images.shape
    maps = []
    for image in images.detach():
        source = ImageFeatures(H, W, sxy=sxy, image=None if srgb is None else image, srgb=1.0 if srgb is None else srgb)
        maps.append(source.tensor(images.device).T.reshape(-1, H, W))
    return torch.stack(maps)


def _shifted(maps: Float[Tensor, "B C H W"], offset: tuple[int, int]) -> Float[Tensor, "B C H W"]:
    """What lies `offset` further, zero outside."""
    dy, dx = offset
    return F.pad(maps, (-dx, dx, -dy, dy))


def _window_weights(
    terms: list[tuple[float, Tensor]], offsets: list[tuple[int, int]], normalization: str, size: tuple[int, ...]
) -> list[Float[Tensor, "#B 1 H W"]]:
    """For every offset, how much each pixel listens to the one there: all terms, normalized and weighted."""
    total: list[Tensor] = []
    for weight, features in terms:
        inside = torch.ones_like(features[:, :1])
        kernels = [
            torch.exp(-0.5 * (features - _shifted(features, offset)).square().sum(1, keepdim=True))
            * _shifted(inside, offset)
            for offset in offsets
        ]
        mass = torch.stack(kernels).sum(0)
        power_in, power_out = {"none": (0.0, 0.0), "before": (1.0, 0.0), "after": (0.0, 1.0)}.get(
            normalization, (0.5, 0.5)
        )
        before, after = mass**-power_in, weight * mass**-power_out
        parts = [after * kernel * _shifted(before, offset) for kernel, offset in zip(kernels, offsets, strict=True)]
        total = [own + part for own, part in zip(total, parts, strict=True)] if total else parts
    return total


def _mean_field(
    scores: Float[Tensor, "B K H W"], weights: list[Tensor], offsets: list[tuple[int, int]], iterations: int
) -> Float[Tensor, "B K H W"]:
    logs = scores.clamp(min=float(FLOOR)).log()
    state = logs.softmax(1)
    for _ in range(iterations if weights else 0):
        logits = logs
        for weight, offset in zip(weights, offsets, strict=True):
            logits = logits + weight * _shifted(state, offset)
        state = logits.softmax(1)
    return state
