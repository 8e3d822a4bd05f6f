"""U-Net's weight map: pixels between two cells that nearly touch weigh most.

As in the paper:
- w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2)) at every pixel x, with w0 = 10 and sigma = 5 pixels; d1 and
  d2 are the distances to the nearest and the second nearest cell;
- cells that touch are first separated by a border of background.

Not said in the paper, decided here:
- a distance is the Euclidean one between pixel centres, to the nearest pixel of a cell, so 0 inside it; where there are
  fewer than two cells the second term is 0;
- the border is one pixel wide: where two cells touch, also by a corner, the one with the larger number gives way;
- w_c(x) = N / (K n_c) for the N labelled pixels, K classes and n_c pixels of class c of this one map, so that its mean
  is 1 and all classes weigh alike in total; but never more than 10, or three pixels of a class would outweigh a crop;
- pixels that are ignored weigh 0.

Reference:
    Ronneberger, Fischer and Brox, U-Net, MICCAI 2015, section 3, https://arxiv.org/abs/1505.04597
"""

from math import ceil, log, sqrt

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from atrous.compilation import kernel
from atrous.types import IGNORE_INDEX

__all__ = ["border_term", "class_balance", "touching"]

SMALLEST = 2.0**-24
"""Second terms below this are taken for 0: beside a first of 1 they vanish in single precision."""
MOST = 10.0
"""No class weighs more."""


def border_term(instances: Int[Tensor, "H W"], *, w0: float = 10.0, sigma: float = 5.0) -> Float[Tensor, "H W"]:
    r"""The second term of the weight map, exact wherever it is at least 2^-24.

    .. math:: w_0 \exp(-(d_1 + d_2)^2 / (2 \sigma^2))

    Args:
        instances: a number above 0 for every cell, 0 elsewhere. Parts with one number are one cell.
        w0: largest value.
        sigma: in pixels.

    Example:
        >>> border_term(torch.tensor([[1, 1, 0, 0, 2]]))
        tensor([[7.2615, 8.3527, 8.3527, 8.3527, 8.3527]])
    """
    if w0 <= SMALLEST:
        return torch.zeros(instances.shape)
    # Beyond this sum of distances the term is taken for 0.
    reach = ceil(sqrt(2.0 * log(w0 / SMALLEST)) * sigma)
    height, width = instances.shape
    most = int(instances.max()) if instances.numel() else 0
    # A squared distance and a cell's number share one integer, so that the nearer of two is their minimum.
    kind, bits = (np.int32, 16) if most < 2**16 and reach < 90 else (np.int64, 32)
    nothing = 2 * (reach + 1) ** 2 << bits
    squares = (np.arange(reach + 1) ** 2 << bits).astype(kind)
    near, far = (np.full((height, width + 2 * reach), nothing, kind) for _ in range(2))
    _columns(instances.numpy().astype(kind), squares, (1 << bits) - 1, near, far)
    out = np.zeros((height, width), np.float32)
    _rows(near, far, squares, np.array([(1 << bits) - 1], kind), bits, (w0, -0.5 / sigma**2), out)
    return torch.from_numpy(out)


def touching(instances: Int[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """The pixels that separate touching cells: those with one of their eight neighbours in a cell of a smaller number.

    Without them no two cells touch, not even by a corner.

    Example:
        >>> touching(torch.tensor([[1, 1, 2, 2, 0, 3]])).long()
        tensor([[0, 0, 1, 0, 0, 0]])
    """
    padded = np.pad(instances.numpy(), 1)
    out = np.zeros(instances.shape, np.bool_)
    _touching(padded, out)
    return torch.from_numpy(out)


def class_balance(mask: Int[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """The first term of the weight map: N / (K n_c), at most 10; 0 where ignored.

    Example:
        >>> class_balance(torch.tensor([[0, 0, 0, 1, 255]]))
        tensor([[0.6667, 0.6667, 0.6667, 2.0000, 0.0000]])
    """
    counts = np.bincount(mask.numpy().ravel(), minlength=IGNORE_INDEX + 1)
    counts[IGNORE_INDEX] = 0
    weights = np.zeros(len(counts), np.float32)
    present = np.flatnonzero(counts)
    weights[present] = np.minimum(counts.sum() / (len(present) * counts[present]), MOST)
    return torch.from_numpy(weights[mask.numpy()])


@kernel
def _touching(labels: np.ndarray, out: np.ndarray) -> None:
    """`labels` has one more pixel on every side than `out`."""
    height, width = out.shape
    for y in range(height):
        label = labels[y + 1, 1:]
        for v in range(y, y + 3):
            for u in range(3):
                beside = labels[v, u:]
                for x in range(width):
                    out[y, x] |= (beside[x] > 0) & (beside[x] < label[x])


@kernel
def _columns(labels: np.ndarray, squares: np.ndarray, low: int, near: np.ndarray, far: np.ndarray) -> None:
    """For each pixel the two nearest cells of its own column, each as one number: squares[distance] + label.

    `near` and `far` come filled with what stands for nothing. They are wider than `labels`, whose columns are in their
    middle.
    """
    height, width = labels.shape
    reach, pad = len(squares) - 1, (near.shape[1] - width) // 2
    last, before = np.zeros(width, labels.dtype), np.zeros(width, labels.dtype)  # two cells met last in each column
    row, row_before = np.full(width, -reach - 1), np.full(width, -reach - 1)  # where they were met
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label > 0:
                if label != last[x]:
                    before[x], row_before[x] = last[x], row[x]
                    last[x] = label
                row[x] = y
            if y - row[x] <= reach:
                near[y, pad + x] = squares[y - row[x]] + last[x]
            if y - row_before[x] <= reach:
                far[y, pad + x] = squares[y - row_before[x]] + before[x]
    row[:], row_before[:] = height + reach, height + reach
    last[:], before[:] = 0, 0
    for y in range(height - 1, -1, -1):
        for x in range(width):
            label = labels[y, x]
            if label > 0:
                if label != last[x]:
                    before[x], row_before[x] = last[x], row[x]
                    last[x] = label
                row[x] = y
            if row[x] - y > reach:
                continue
            # The two best of four that are of different cells: a and b lie above, c and d below.
            a, b, c = near[y, pad + x], far[y, pad + x], squares[row[x] - y] + last[x]
            d = squares[row_before[x] - y] + before[x] if row_before[x] - y <= reach else far[y, 0]
            if c < a:
                a, b, c, d = c, d, a, b
            if (a ^ c) & low == 0:
                c = d
            near[y, pad + x], far[y, pad + x] = a, min(b, c)


@kernel
def _rows(
    near: np.ndarray,
    far: np.ndarray,
    squares: np.ndarray,
    low: np.ndarray,
    bits: int,
    shape: tuple[float, float],
    out: np.ndarray,
) -> None:
    """shape[0] exp(shape[1] (d1 + d2)^2) for each pixel.

    The second nearest cell is among the two nearest of the column that holds its nearest pixel: a cell that is nearer
    in that column is nearer to the pixel too, and only one is. So two cells of each column suffice.
    """
    height, width = out.shape
    reach, nothing = len(squares) - 1, near[0, 0]
    one, two = np.empty(width, near.dtype), np.empty(width, near.dtype)
    for y in range(height):
        a, b = near[y], far[y]
        one[:] = a[reach : reach + width]
        for step in range(1, reach // 2 + 1):  # the nearer cell lies within half the reach, or the sum is beyond it
            left, right, more = a[reach - step :], a[reach + step :], squares[step]
            for x in range(width):
                one[x] = min(one[x], min(left[x], right[x]) + more)
        two[:] = nothing
        for step in range(reach + 1):
            more = squares[step]
            if step % 4 == 0:
                needed = False
                for x in range(width):
                    needed |= (one[x] < nothing) & (two[x] > more)
                if not needed:
                    break
            left, right = a[reach - step :], a[reach + step :]
            left_far, right_far = b[reach - step :], b[reach + step :]
            for x in range(width):
                c, d = left[x], right[x]
                if (c ^ one[x]) & low[0] == 0:
                    c = left_far[x]
                if (d ^ one[x]) & low[0] == 0:
                    d = right_far[x]
                two[x] = min(two[x], min(c, d) + more)
        for x in range(width):
            if two[x] < nothing:
                total = np.sqrt(np.float64(one[x] >> bits)) + np.sqrt(np.float64(two[x] >> bits))
                if total <= reach:
                    out[y, x] = shape[0] * np.exp(shape[1] * total * total)
