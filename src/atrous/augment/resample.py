"""Images and labels read at another size: the whole, or the window of it that is needed.

Pixel areas correspond (not corner centres). Images are read bilinearly, and by a triangle as wide as the new pixels
where they shrink, so that nothing aliases: the numbers of torch's `interpolate` with `antialias=True`. A window costs
what its own pixels cost, which is why a crop after a change of size is asked for here: of 3x512x512 at 768x768, the
256x256 that are kept take 0.5 ms on one thread, and the whole by torch 11 ms.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

__all__ = ["WindowSlices", "resample_image", "resample_labels"]

WindowSlices = tuple[slice, slice]
"""The rows and the columns of the window that is needed."""


def resample_image(
    image: Num[Tensor, "C H W"], height: int, width: int, window: WindowSlices | None = None
) -> Float[Tensor, "C h w"]:
    """Bring an image to a size, or only the (rows, columns) of it that lie in `window`.

    Example:
        >>> resample_image(torch.tensor([[[0.0, 4.0]]]), 1, 4)
        tensor([[[0., 1., 3., 4.]]])
        >>> resample_image(torch.tensor([[[0.0, 4.0]]]), 1, 4, (slice(0, 1), slice(1, 3)))
        tensor([[[1., 3.]]])
    """
    from atrous.augment._kernels import resample  # compiles at first use

    rows, columns = window or (slice(0, height), slice(0, width))
    out = np.empty((image.shape[0], rows.stop - rows.start, columns.stop - columns.start), np.float32)
    if not out.size:
        return torch.from_numpy(out)
    top, down = _taps(image.shape[1], height)
    left, across = _taps(image.shape[2], width)
    top, down, left, across = top[rows], down[:, rows], left[columns], across[:, columns]
    # Only what is read is turned into float32: of bytes, that takes longer than the sums.
    part = image.numpy()[:, top[0] : top[-1] + len(down), left[0] : left[-1] + len(across)]
    source = np.ascontiguousarray(part, dtype=np.float32)
    resample(source, top - top[0], np.ascontiguousarray(down), left - left[0], np.ascontiguousarray(across), out)
    return torch.from_numpy(out)


def resample_labels(
    labels: Int[Tensor, "H W"], height: int, width: int, window: WindowSlices | None = None
) -> Int[Tensor, "h w"]:
    """Bring whole numbers to a size by the nearest pixel, or only the (rows, columns) of it that lie in `window`.

    Example:
        >>> resample_labels(torch.tensor([[7, 8, 9]]), 1, 6)
        tensor([[7, 7, 8, 8, 9, 9]])
    """
    from atrous.augment._kernels import pick

    rows, columns = window or (slice(0, height), slice(0, width))
    source = np.ascontiguousarray(labels.numpy())
    y, x = (
        # The pixel that holds the centre of the new one, in whole numbers: no rounding decides.
        (2 * np.arange(part.start, part.stop) + 1) * old // (2 * new)
        for part, old, new in ((rows, source.shape[0], height), (columns, source.shape[1], width))
    )
    out = np.empty((len(y), len(x)), source.dtype)
    pick(source, y, x, out)
    return torch.from_numpy(out)


@lru_cache(maxsize=256)
def _taps(old: int, new: int) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, "T N"]]:
    """The first of the old pixels that each new one is made of, and the weights of those from there on."""
    scale = old / new
    reach = max(scale, 1.0)
    center = scale * (np.arange(new) + 0.5)
    first = np.maximum(np.floor(center - reach - 0.5) + 1, 0).astype(np.int64)
    count = int((np.minimum(np.ceil(center + reach - 0.5), old).astype(np.int64) - first).max())
    distance = np.abs(first + np.arange(count)[:, None] + 0.5 - center)
    weights = np.maximum(1.0 - distance / reach, 0.0)
    weights[first + np.arange(count)[:, None] >= old] = 0.0
    weights = (weights / weights.sum(0)).astype(np.float32)
    for array in (first, weights):
        array.setflags(write=False)
    return first, weights
