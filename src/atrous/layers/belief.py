"""Belief maps: how sure it is, cell by cell, that a landmark stands there. Drawn and read here, and nowhere else.

Points are x and y in pixels with pixel centres at integers. A map stands on a `CellGrid`: its cell g lies at the pixel
start + g * stride, so that a map of stride 8 has its first cell at 3.5. Reading is the inverse of drawing: without
noise `parabola` and `soft_argmax` give a point back to a twentieth of a pixel at strides 1, 4 and 8, while `maximum`
knows it to half a cell, and `quarter` to a quarter.

The published decoders, on one map:

- `maximum`: the cell of the highest belief;
- `quarter`: from there a quarter of a cell towards the higher neighbour on each axis (Newell et al. 2016);
- `parabola`: the top of the Gaussian whose logarithm fits best (Zhang et al. 2020, "DARK");
- `soft_argmax`: the mean place of the cells, weighed by their belief (Luvizon et al. 2019, Sun et al. 2018).

Decided here, because maps are decoded where the network's maps are enlarged to the image as well as on their own grid:

- `parabola` takes no derivatives at the highest cell but fits all cells within one and a half sigmas, by least squares
  weighed by the square of the belief. On a grid of about one sigma that is the published step; on an enlarged map,
  whose logarithm is no parabola between two cells, it needs no smoothing first, and it averages noise away.
- `soft_argmax` looks at three sigmas around the highest cell, since noise elsewhere would pull it to the middle of the
  image, and weighs by the square of the belief, so that it makes no difference where a Gaussian is cut off.
- Where the neighbourhood reaches beyond the border, no decoder moves further than half a cell from the highest one:
  what lies outside is unknown, and a fit to half a Gaussian may land anywhere.

References:
    Newell, Yang and Deng, Stacked Hourglass Networks, ECCV 2016, https://arxiv.org/abs/1603.06937
    Zhang et al., Distribution-Aware Coordinate Representation, CVPR 2020, https://arxiv.org/abs/1910.06278
    Sun et al., Integral Human Pose Regression, ECCV 2018, https://arxiv.org/abs/1711.08229
    Wei et al., Convolutional Pose Machines, CVPR 2016, https://arxiv.org/abs/1602.00134 (the grid, and the cut)
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from atrous.errors import UsageError, did_you_mean
from atrous.types import CellGrid

__all__ = ["DECODERS", "PIXELS", "SMALLEST", "Decoder", "background_of", "draw_beliefs", "read_beliefs"]

SMALLEST = 0.01
"""Beliefs below this are drawn as 0, as the released code of the convolutional pose machines does."""

PIXELS = CellGrid.centred(1)
"""The grid of a map that has a cell for every pixel."""

Decoder = Callable[[np.ndarray, tuple[int, int], float], tuple[float, float]]
"""A map (h, w), its highest cell by row and column, and sigma in cells -> the landmark's row and column, in cells."""


def draw_beliefs(
    points: Float[Tensor, "*B P 2"],
    size: Sequence[int],
    sigma: float,
    grid: CellGrid | tuple[CellGrid, CellGrid] = PIXELS,
) -> Float[Tensor, "*B P h w"]:
    """The belief maps of points: Gaussians of height 1.

    A point beyond the border is drawn as far as it reaches in, so that a window of the maps is the maps of the window.

    Args:
        points: x and y in pixels; the map of a point that is NaN is 0.
        size: rows and columns of the maps.
        sigma: of the Gaussian, in pixels.
        grid: where the cells stand; that of the rows and that of the columns where they differ.

    Example:
        >>> maps = draw_beliefs(torch.tensor([[100.0, 60.0]]), (46, 46), 7.0, CellGrid.centred(8))
        >>> round(maps[0, 7, 12].item(), 6)  # the cell at (99.5, 59.5)
        0.994911
    """
    profiles = []
    grids = (grid, grid) if isinstance(grid, CellGrid) else grid
    for axis, count, (stride, start) in ((1, size[0], grids[0]), (0, size[1], grids[1])):
        cells = torch.arange(count, device=points.device, dtype=torch.float64) * float(stride) + float(start)
        distance = cells - points[..., axis, None].double()
        profiles.append((-0.5 * (distance / sigma) ** 2).exp().float())
    maps = profiles[0][..., :, None] * profiles[1][..., None, :]
    return torch.where(maps >= SMALLEST, maps, 0.0)  # a NaN is not larger than anything


def background_of(maps: Float[Tensor, "*B P h w"]) -> Float[Tensor, "*B 1 h w"]:
    """How sure it is that none of the landmarks is there: 1 less the highest belief, and at least 0.

    Example:
        >>> background_of(torch.tensor([[[0.25, 0.0]], [[0.5, 0.0]]])).tolist()
        [[[0.5, 1.0]]]
    """
    return (1 - maps.amax(-3, keepdim=True)).clamp(min=0)


def read_beliefs(
    maps: Float[Tensor, "P h w"], sigma: float, grid: CellGrid = PIXELS, decoder: str = "parabola"
) -> Float[Tensor, "P 3"]:
    """Where each landmark is, and how sure that is.

    Args:
        maps: of one image.
        sigma: of the Gaussians that they were drawn with, in pixels.
        grid: where their cells stand.
        decoder: a name in `DECODERS`.

    Returns:
        x and y in pixels, and the highest belief, in float64. Maps that are not above 0 anywhere give the cell of
        their highest value.

    Raises:
        UsageError: if there is no such decoder, or the maps have no cell.

    Example:
        >>> maps = draw_beliefs(torch.tensor([[100.0, 60.0]]), (46, 46), 7.0, CellGrid.centred(8))
        >>> read_beliefs(maps, 7.0, CellGrid.centred(8)).round(decimals=3).tolist()
        [[100.0, 60.0, 0.995]]
        >>> read_beliefs(maps, 7.0, CellGrid.centred(8), "maximum").round(decimals=3).tolist()
        [[99.5, 59.5, 0.995]]
    """
    if decoder not in DECODERS:
        raise UsageError(f"there is no decoder {decoder!r} of belief maps. {did_you_mean(decoder, DECODERS)}")
    count, height, width = maps.shape
    if not height or not width:
        raise UsageError(f"belief maps of {height} x {width} cells hold no landmark: give maps of an image.")
    best, flat = maps.flatten(1).max(1)
    beliefs, decode = maps.detach().cpu().numpy(), DECODERS[decoder]
    stride, start = float(grid.stride), float(grid.start)
    found = np.empty((count, 3))
    found[:, 2] = best.detach().cpu().numpy()
    for number, cell in enumerate(flat.tolist()):
        row, column = decode(beliefs[number], divmod(cell, width), sigma / stride)
        found[number, 0] = start + min(max(column, -0.5), width - 0.5) * stride
        found[number, 1] = start + min(max(row, -0.5), height - 0.5) * stride
    return torch.from_numpy(found)


def _maximum(belief: np.ndarray, peak: tuple[int, int], sigma: float) -> tuple[float, float]:
    return float(peak[0]), float(peak[1])


def _quarter(belief: np.ndarray, peak: tuple[int, int], sigma: float) -> tuple[float, float]:
    row, column = peak
    moved = []
    for place, line in ((row, belief[:, column]), (column, belief[row])):
        inside = 0 < place < len(line) - 1
        slope = float(line[place + 1]) - float(line[place - 1]) if inside else 0.0
        moved.append(place + 0.25 * float(np.sign(slope)))
    return moved[0], moved[1]


def _parabola(belief: np.ndarray, peak: tuple[int, int], sigma: float) -> tuple[float, float]:
    top = float(belief[peak])
    if not top > 0 or min(belief.shape) < 3:
        return _maximum(belief, peak, sigma)
    reach = max(round(1.5 * sigma), 1)
    rows, columns = (_stretch(place, reach, length) for place, length in zip(peak, belief.shape, strict=True))
    part = belief[rows, columns].astype(np.float64) / top
    y, x = np.mgrid[rows.start - peak[0] : rows.stop - peak[0], columns.start - peak[1] : columns.stop - peak[1]]
    known = part > SMALLEST
    weight, y, x = part[known], y[known] / reach, x[known] / reach
    terms = np.stack([np.ones_like(x), y, x, y * y, x * x, y * x])
    (_, b, a, yy, xx, yx), *_ = np.linalg.lstsq((terms * weight).T, np.log(weight) * weight, rcond=None)
    determinant = 4 * yy * xx - yx * yx
    if not (yy < 0 and xx < 0 and determinant > 0):  # no top: a ridge, or a plain
        return _maximum(belief, peak, sigma)
    step = np.array([yx * a - 2 * xx * b, yx * b - 2 * yy * a]) / determinant * reach
    whole = all(part.stop - part.start == 2 * reach + 1 for part in (rows, columns)) and _centred(rows, columns, peak)
    limit = 0.5 if reach == 1 or not whole else float(reach)
    step = step.clip(-limit, limit)
    return peak[0] + float(step[0]), peak[1] + float(step[1])


def _soft_argmax(belief: np.ndarray, peak: tuple[int, int], sigma: float) -> tuple[float, float]:
    reach = max(round(3 * sigma), 1)
    rooms = [min(reach, place, length - 1 - place) for place, length in zip(peak, belief.shape, strict=True)]
    rows, columns = (slice(place - room, place + room + 1) for place, room in zip(peak, rooms, strict=True))
    weights = belief[rows, columns].astype(np.float64).clip(min=0) ** 2
    total = weights.sum()
    if not total > 0:
        return _maximum(belief, peak, sigma)
    moved = []
    for axis, room in enumerate(rooms):
        step = float(weights.sum(1 - axis) @ np.arange(-room, room + 1) / total)
        limit = float(room) if room == reach and reach > 3 else 0.5
        moved.append(peak[axis] + min(max(step, -limit), limit))
    return moved[0], moved[1]


def _stretch(place: int, reach: int, length: int) -> slice:
    """The cells within reach, as far as the axis goes; never fewer than three, which a parabola needs."""
    start, stop = max(place - reach, 0), min(place + reach + 1, length)
    if stop - start < 3:
        start, stop = (0, 3) if start == 0 else (length - 3, length)
    return slice(start, stop)


def _centred(rows: slice, columns: slice, peak: tuple[int, int]) -> bool:
    return rows.start + rows.stop - 1 == 2 * peak[0] and columns.start + columns.stop - 1 == 2 * peak[1]


DECODERS: dict[str, Decoder] = {
    "maximum": _maximum,
    "quarter": _quarter,
    "parabola": _parabola,
    "soft_argmax": _soft_argmax,
}
"""How a map is read, by name."""
