"""The U-Net paper's elastic deformation, and the backward warp that rotation uses too.

As in the paper:
- random displacement vectors on a coarse 3 by 3 grid, each component Gaussian, standard deviation 10 pixels;
- the displacement of every pixel by bicubic interpolation; one field for image and mask.

Not said in the paper, decided here:
- the corners of the grid lie on the centres of the image's corner pixels;
- "bicubic" is the interpolating cubic spline with mirrored ends, so that the field takes the drawn vectors exactly;
- the field points backward (out(y, x) = in(y + dy, x + dx)) and the image continues as its mirror image, edge pixel not
  repeated; the image is read bilinearly, labels at the nearest pixel.

Reference:
    Ronneberger, Fischer and Brox, U-Net, MICCAI 2015, section 3.1, https://arxiv.org/abs/1505.04597
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

__all__ = ["Positions", "elastic_positions", "random_grid", "spline_weights", "warp_image", "warp_labels"]


class Positions(NamedTuple):
    """Where every pixel of a warped image is read: rows and columns of the original, pixel centres at integers."""

    y: Float32[np.ndarray, "H W"]
    x: Float32[np.ndarray, "H W"]


def random_grid(rng: np.random.Generator, *, sigma: float = 10.0, points: int = 3) -> Float[np.ndarray, "2 P P"]:
    """Draw the displacement vectors of a coarse grid: (dy, dx) for each node, Gaussian, `sigma` in pixels."""
    return rng.normal(0.0, sigma, size=(2, points, points))


def elastic_positions(grid: Float[np.ndarray, "2 P Q"], height: int, width: int) -> Positions:
    """Where each pixel is read when a coarse grid of displacements is stretched over an image.

    Args:
        grid: (dy, dx) in pixels at nodes spread evenly from the first to the last pixel centre of each axis.
        height: rows of the image.
        width: columns of the image.

    Returns:
        The pixel's own position plus its displacement. A grid of zeros gives whole numbers, exactly.

    Example:
        >>> grid = np.zeros((2, 3, 3))
        >>> grid[1, 1, 1] = 10.0
        >>> (elastic_positions(grid, 9, 9).x[4] - np.arange(9)).tolist()
        [0.0, 1.5625, 5.0, 8.4375, 10.0, 8.4375, 5.0, 1.5625, 0.0]
    """
    rows, columns = spline_weights(height, grid.shape[1]), spline_weights(width, grid.shape[2])
    # The spline is separable and linear in the vectors, so the whole field is two thin matrix products; the pixel's own
    # position rides along as one more column of weights.
    # In double precision, so that a shift by whole pixels is still one once rounded to single.
    dy, dx = grid @ columns.T
    own_y, own_x = np.arange(height, dtype=np.float64)[:, None], np.arange(width, dtype=np.float64)[None]
    y = np.hstack([rows, own_y]) @ np.vstack([dy, np.ones_like(own_x)])
    x = np.hstack([rows, np.ones_like(own_y)]) @ np.vstack([dx, own_x])
    return Positions(y.astype(np.float32), x.astype(np.float32))


@lru_cache(maxsize=64)
def spline_weights(length: int, points: int) -> Float[np.ndarray, "N P"]:
    """What each of `points` nodes, spread from end to end, contributes to each of `length` samples of a cubic spline.

    The spline goes through its nodes and continues beyond its ends as its own mirror image, so its slope there is zero.

    Example:
        >>> spline_weights(5, 3)[:, 1].round(6).tolist()
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    identity = np.eye(points)
    # A cubic B-spline is 1/6, 4/6, 1/6 at its nodes: solve for the coefficients that reproduce unit vectors.
    nodes = sum(
        weight * identity[_mirrored(np.arange(points) + step, points)]
        for step, weight in ((-1, 1 / 6), (0, 4 / 6), (1, 1 / 6))
    )
    coefficients = np.linalg.solve(nodes, identity)
    position = np.linspace(0.0, points - 1.0, length)
    left = np.minimum(np.floor(position), points - 2).astype(int)
    weights = np.zeros((length, points))
    for step in (-1, 0, 1, 2):
        value = _cubic_bspline(position - (left + step))
        weights += value[:, None] * coefficients[_mirrored(left + step, points)]
    weights[np.abs(weights) < 1e-12] = 0.0  # a node that has no say at another node has exactly none
    weights.setflags(write=False)
    return weights


def warp_image(image: Float[Tensor, "C H W"], positions: Positions) -> Float[Tensor, "C h w"]:
    """Read `image` bilinearly at `positions`; outside it continues as its mirror image.

    Example:
        >>> image = torch.arange(25.0).reshape(1, 5, 5)
        >>> warp_image(image, Positions(np.full((1, 1), 1.75, np.float32), np.full((1, 1), 2.5, np.float32))).item()
        11.25
    """
    out = np.empty((image.shape[0], *positions.y.shape), np.float32)
    # Plane by plane: any number of channels, and no turn to channels-last and back, which costs as much as a plane.
    for plane, target in zip(image.to(torch.float32).numpy(), out, strict=True):
        _remap(plane, positions, cv2.INTER_LINEAR, target)
    return torch.from_numpy(out)


def warp_labels(labels: Int[Tensor, "H W"], positions: Positions) -> Int[Tensor, "h w"]:
    """Read whole numbers at the pixels nearest to `positions`; outside they continue as their mirror image."""
    out = np.empty(positions.y.shape, np.int32)
    _remap(labels.to(torch.int32).numpy(), positions, cv2.INTER_NEAREST, out)
    return torch.from_numpy(out).to(labels.dtype)


def _remap(plane: np.ndarray, positions: Positions, interpolation: int, out: np.ndarray) -> None:
    # OpenCV because torchvision's `elastic` needs about a second for what takes milliseconds here, and its warps
    # do not mirror.
    plane = np.ascontiguousarray(plane)
    cv2.remap(plane, positions.x, positions.y, interpolation, dst=out, borderMode=cv2.BORDER_REFLECT_101)


def _mirrored(index: np.ndarray, length: int) -> np.ndarray:
    period = max(2 * (length - 1), 1)
    index = index % period
    return np.minimum(index, period - index) if length > 1 else np.zeros_like(index)


def _cubic_bspline(distance: np.ndarray) -> np.ndarray:
    distance = np.abs(distance)
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far)
