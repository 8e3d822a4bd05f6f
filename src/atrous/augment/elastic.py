"""Two elastic deformations, the U-Net paper's and Simard's, and the backward warp that rotation uses too.

As in the U-Net paper:
- random displacement vectors on a coarse 3 by 3 grid, each component Gaussian, standard deviation 10 pixels;
- the displacement of every pixel by bicubic interpolation; one field for image and mask.

Not said in the paper, decided here:
- the corners of the grid lie on the centres of the image's corner pixels;
- "bicubic" is the interpolating cubic spline with mirrored ends, so that the field takes the drawn vectors exactly;
- the field points backward (out(y, x) = in(y + dy, x + dx)) and the image continues as its mirror image, edge pixel not
  repeated; the image is read bilinearly, labels at the nearest pixel.

As in Simard's paper:
- a displacement for every pixel, each component even between -1 and 1, smoothed by a Gaussian of `sigma` pixels and
  multiplied by `alpha`;
- the image is read bilinearly.

Not said in Simard's paper, decided here:
- the Gaussian sums to one and ends at four sigmas, so that with n its one-dimensional weights a displacement has the
  standard deviation alpha sum(n^2) / sqrt(3), about 0.163 alpha / sigma pixels;
- the noise goes on beyond the image as far as the Gaussian reaches, so that this holds up to the border. (Padding with
  zeros makes displacements smaller there, a mirror makes them larger.)

Reference:
    Ronneberger, Fischer and Brox, U-Net, MICCAI 2015, section 3.1, https://arxiv.org/abs/1505.04597
    Simard, Steinkraus and Platt, Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis,
    ICDAR 2003, section 2, https://doi.org/10.1109/ICDAR.2003.1227801
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Num
from torch import Tensor

from atrous.augment.resample import WindowSlices

__all__ = [
    "Positions",
    "elastic_positions",
    "found_at",
    "gaussian_weights",
    "random_grid",
    "simard_noise",
    "simard_positions",
    "spline_weights",
    "warp_image",
    "warp_labels",
]

TRUNCATE = 4.0
"""Standard deviations at which Simard's Gaussian ends."""
STEPS, CLOSE, FLAT = 20, 1e-5, 1e-3
"""How often a place is corrected, the correction in pixels that ends it, and the slope that has no inverse."""


class Positions(NamedTuple):
    """Where every pixel of a warped image is read: rows and columns of the original, pixel centres at integers."""

    y: Float32[np.ndarray, "H W"]
    x: Float32[np.ndarray, "H W"]


def random_grid(rng: np.random.Generator, *, sigma: float = 10.0, points: int = 3) -> Float[np.ndarray, "2 P P"]:
    """Draw the displacement vectors of a coarse grid: (dy, dx) for each node, Gaussian, `sigma` in pixels."""
    return rng.normal(0.0, sigma, size=(2, points, points))


def elastic_positions(
    grid: Float[np.ndarray, "2 P Q"], height: int, width: int, window: WindowSlices | None = None
) -> Positions:
    """Where each pixel is read when a coarse grid of displacements is stretched over an image.

    Args:
        grid: (dy, dx) in pixels at nodes spread evenly from the first to the last pixel centre of each axis.
        height: rows of the image.
        width: columns of the image.
        window: rows and columns of the image to compute; all where None.

    Returns:
        The pixel's own position plus its displacement. A grid of zeros gives whole numbers, exactly.

    Example:
        >>> grid = np.zeros((2, 3, 3))
        >>> grid[1, 1, 1] = 10.0
        >>> (elastic_positions(grid, 9, 9).x[4] - np.arange(9)).tolist()
        [0.0, 1.5625, 5.0, 8.4375, 10.0, 8.4375, 5.0, 1.5625, 0.0]
    """
    from atrous.augment._kernels import stretch  # compiles at first use

    part_y, part_x = window or (slice(0, height), slice(0, width))
    rows = np.ascontiguousarray(spline_weights(height, grid.shape[1])[part_y])
    columns = spline_weights(width, grid.shape[2])[part_x]
    own_y, own_x = (np.arange(part.start, part.stop, dtype=np.float64) for part in (part_y, part_x))
    y, x = (np.empty((len(own_y), len(own_x)), np.float32) for _ in range(2))
    # The spline is separable and linear in the vectors, so the whole field is two thin matrix products. They are taken
    # in double precision, so that a shift by whole pixels is still one once rounded to single.
    dy, dx = grid @ columns.T
    stretch(rows, dy, own_y, np.zeros_like(own_x), y)
    stretch(rows, dx, np.zeros_like(own_y), own_x, x)
    return Positions(y, x)


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


def simard_noise(
    rng: np.random.Generator, height: int, width: int, *, sigma: float = 4.0
) -> Float32[np.ndarray, "2 N M"]:
    """Draw what Simard's field is smoothed from: (dy, dx) in -1..1, as far beyond the image as is needed."""
    reach = len(gaussian_weights(sigma)) // 2
    noise = rng.random((2, height + 2 * reach, width + 2 * reach), dtype=np.float32)
    return 2.0 * noise - 1.0


def simard_positions(
    noise: Float32[np.ndarray, "2 N M"], alpha: float = 34.0, sigma: float = 4.0, window: WindowSlices | None = None
) -> Positions:
    """Where each pixel is read under Simard's distortion.

    Args:
        noise: as `simard_noise` draws it for this `sigma`.
        alpha: factor of the smoothed noise, in pixels.
        sigma: of the Gaussian, in pixels.
        window: rows and columns of the image to compute; all where None.

    Example:
        >>> noise = np.zeros((2, 25, 25), np.float32)  # 9 pixels, and 8 more on either side
        >>> noise[1, 12, 12] = 1.0
        >>> (simard_positions(noise, 1.0, 2.0).x[4] - np.arange(9)).round(3).tolist()
        [0.005, 0.013, 0.024, 0.035, 0.04, 0.035, 0.024, 0.013, 0.005]
    """
    from atrous.augment._kernels import smooth  # compiles at first use

    weights = gaussian_weights(sigma)
    reach = len(weights) // 2
    rows, columns = window or (slice(0, noise.shape[1] - 2 * reach), slice(0, noise.shape[2] - 2 * reach))
    height, width = rows.stop - rows.start, columns.stop - columns.start
    field = []
    for plane in noise:
        part = plane[rows.start : rows.stop + 2 * reach, columns.start : columns.stop + 2 * reach]
        down, across = np.empty((height, part.shape[1]), np.float32), np.empty((width, height), np.float32)
        smooth(np.ascontiguousarray(part), weights, down)
        smooth(np.ascontiguousarray(down.T), weights, across)
        field.append(np.ascontiguousarray(across.T))
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None]
    return Positions(y + np.float32(alpha) * field[0], x + np.float32(alpha) * field[1])


@lru_cache(maxsize=64)
def gaussian_weights(sigma: float) -> Float32[np.ndarray, " N"]:
    """Weights of a Gaussian that end at four `sigma` and sum to one.

    Example:
        >>> gaussian_weights(0.5).astype(float).round(4).tolist()
        [0.0003, 0.1065, 0.7866, 0.1065, 0.0003]
    """
    reach = int(TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    weights = weights.astype(np.float32)
    weights.setflags(write=False)
    return weights


def warp_image(image: Num[Tensor, "C H W"], positions: Positions) -> Float[Tensor, "C h w"]:
    """Read `image` bilinearly at `positions`; outside it continues as its mirror image.

    Example:
        >>> image = torch.arange(25.0).reshape(1, 5, 5)
        >>> warp_image(image, Positions(np.full((1, 1), 1.75, np.float32), np.full((1, 1), 2.5, np.float32))).item()
        11.25
    """
    out = np.empty((image.shape[0], *positions.y.shape), np.float32)
    # Plane by plane: any number of channels, and no turn to channels-last and back, which costs as much as a plane.
    for plane, target in zip(image.numpy(), out, strict=True):
        _remap(plane, positions, cv2.INTER_LINEAR, target)
    return torch.from_numpy(out)


def warp_labels(labels: Int[Tensor, "H W"], positions: Positions) -> Int[Tensor, "h w"]:
    """Read whole numbers at the pixels nearest to `positions`; outside they continue as their mirror image."""
    out = np.empty(positions.y.shape, np.int32)
    _remap(labels.to(torch.int32).numpy(), positions, cv2.INTER_NEAREST, out)
    return torch.from_numpy(out).to(labels.dtype)


def found_at(positions: Positions, points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
    """Where a warped image shows points of the original: the inverse of `positions`, between pixels too.

    Steps of Newton from the pixel that is read nearest to the point. Beyond the warped image the field goes on as at
    its border, so that a point which is not shown comes to lie outside.

    Args:
        positions: of the warped image, or of a window of it.
        points: x and y in the original, NaN where there is none.

    Returns:
        x and y in the warped image, or in the window.

    Example:
        >>> y, x = np.mgrid[0:5, 0:5].astype(np.float32)
        >>> found_at(Positions(x, 2 * y + 0.5), np.array([[1.0, 2.0], [8.5, 0.0], [9.5, 0.0]])).tolist()
        [[2.0, 0.25], [0.0, 4.0], [0.0, 4.5]]
    """
    found = np.full(points.shape, np.nan)
    for number, (x, y) in enumerate(points):
        if not (np.isfinite(x) and np.isfinite(y)):
            continue
        distance = (positions.y - np.float32(y)) ** 2 + (positions.x - np.float32(x)) ** 2
        place = np.array(np.unravel_index(int(distance.argmin()), distance.shape), np.float64)
        for _ in range(STEPS):
            value, slope = _linear(positions, place)
            if abs(np.linalg.det(slope)) < FLAT:  # the field folds here, or the image is one pixel wide
                slope = np.eye(2)
            step = np.linalg.solve(slope, np.array([y, x]) - value)
            place = place + step
            if np.abs(step).max() < CLOSE:
                break
        found[number] = place[::-1]
    return found


def _linear(positions: Positions, place: Float[np.ndarray, "2"]) -> tuple[np.ndarray, np.ndarray]:
    """The field at a place between pixels, linear on each square of four and beyond the border, and its slope."""
    height, width = positions.y.shape
    row, column = (min(max(int(np.floor(at)), 0), max(n - 2, 0)) for at, n in zip(place, (height, width), strict=True))
    down, right = place[0] - row, place[1] - column
    next_row, next_column = min(row + 1, height - 1), min(column + 1, width - 1)
    value, slope = np.empty(2), np.empty((2, 2))
    for axis, plane in enumerate(positions):
        a, b = float(plane[row, column]), float(plane[row, next_column])
        c, d = float(plane[next_row, column]), float(plane[next_row, next_column])
        down_in, right_in = min(max(down, 0.0), 1.0), min(max(right, 0.0), 1.0)
        slope[axis] = (c - a) * (1 - right_in) + (d - b) * right_in, (b - a) * (1 - down_in) + (d - c) * down_in
        inside = a + (c - a) * down_in + (b - a) * right_in + (a - b - c + d) * down_in * right_in
        value[axis] = inside + slope[axis] @ (down - down_in, right - right_in)
    return value, slope


def _remap(plane: np.ndarray, positions: Positions, interpolation: int, out: np.ndarray) -> None:
    # OpenCV because torchvision's `elastic` needs about a second for what takes milliseconds here, and its warps
    # do not mirror.
    plane = np.ascontiguousarray(plane, dtype=out.dtype)
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
