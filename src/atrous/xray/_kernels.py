"""Compiled kernels that sum a volume along rays, in half steps from plane to plane.

Each ray steps along the axis that is nearest to its tile's direction. It is sampled in every plane of voxels and in the
middle between two. A sample in the middle is the mean of one in each of the two planes, at the same place in both. So
all samples of the trilinear interpolant are sums of bilinear ones, which need four voxels instead of eight, and each
plane is needed but once: with half of the sample where the ray meets it, and a quarter of those half a step before and
behind. A tile of rays goes through a plane together: what they read of it is then in the cache. First their places are
computed, side by side in vector registers, and then the voxels are fetched.
"""

from typing import Any

import numpy as np

from atrous.compilation import inlined, kernel

__all__ = ["MARGIN", "TILE", "add_gradients", "add_values"]

TILE = (16, 32)
"""Rows and columns of rays that go through a plane together."""

MARGIN = 2
"""Zeros around a plane: the interpolant falls to the first, and is flat behind it."""


@inlined
def _place(start: Any, slope: Any, k: Any, end: Any) -> Any:
    """Where a ray meets a plane; outside of it at 0 or `end`, between two zeros, so that slopes are zero there too."""
    place = start + k * slope
    place = np.float32(0) if place < np.float32(0) else place
    return end if place > end else place


@inlined
def _range(first: Any, last: Any, k: Any, count: Any) -> Any:
    """Bounds of the rays' places in plane k, from bounds in the first and the last plane.

    Places are linear in k, so that their minimum is concave and lies above its chord, and their maximum below.
    """
    part = k / max(count - 1, 1)
    return first[0] + part * (last[0] - first[0]), first[1] + part * (last[1] - first[1])


@kernel
def _meets(ends: Any, k: Any, count: Any, box: Any) -> bool:
    """Whether some ray of a tile can meet what is not zero in plane k; ends: (axis, first or last plane, range)."""
    left, right = _range(ends[0, 0], ends[0, 1], k, count)
    top, bottom = _range(ends[1, 0], ends[1, 1], k, count)
    # A sample reads the voxels on both sides; half a step goes by less than a voxel, in the most slanting tiles by one.
    return right > box[0] - 2.5 and left < box[1] + 2.5 and bottom > box[2] - 2.5 and top < box[3] + 2.5


@kernel
def _aim(matrix: Any, origin: Any, axes: Any, tile: Any, count: Any, rays: Any, ends: Any) -> None:
    """Set the rays of a tile: rows of `rays` are start and slope along the two axes of a plane.

    Args:
        matrix: takes (u, v, 1) to the direction of a ray in voxels.
        origin: where the source stands, in voxels.
        axes: the two axes in a plane, and the one across planes.
        tile: first row, end of rows, first column, end of columns.
        count: of planes.
        rays: (4, tile).
        ends: (2, 2, 2) the places' range: axis in the plane, first or last plane, smallest or largest.
    """
    across = axes[2]
    for axis in range(2):
        n, along = 0, axes[axis]
        for end in range(2):
            ends[axis, end, 0], ends[axis, end, 1] = np.inf, -np.inf
        for v in range(tile[0], tile[1]):
            for u in range(tile[2], tile[3]):
                ahead = matrix[across, 0] * u + matrix[across, 1] * v + matrix[across, 2]
                slope = (matrix[along, 0] * u + matrix[along, 1] * v + matrix[along, 2]) / ahead
                start = origin[along] - origin[across] * slope + MARGIN
                rays[2 * axis, n], rays[2 * axis + 1, n] = start, slope
                n += 1
                for end in range(2):
                    place = start + end * (count - 1) * slope
                    ends[axis, end, 0] = min(ends[axis, end, 0], place)
                    ends[axis, end, 1] = max(ends[axis, end, 1], place)


@kernel
def _locate(rays: Any, count: Any, k: Any, shape: Any, cells: Any, within: Any) -> None:
    """The cell of each ray at plane k, or at a fraction between planes, and where in the cell it is."""
    stride, right, bottom = np.int32(shape[2]), np.float32(shape[2] - 2), np.float32(shape[1] - 2)
    plane = np.float32(k)
    for n in range(count):
        x = _place(rays[0, n], rays[1, n], plane, right)
        y = _place(rays[2, n], rays[3, n], plane, bottom)
        column, row = np.int32(x), np.int32(y)
        within[0, n], within[1, n] = x - np.float32(column), y - np.float32(row)
        cells[n] = np.int32(row * stride + column)


@kernel
def add_values(
    planes: Any, boxes: Any, matrix: Any, origin: Any, axes: Any, tiles: Any, metric: Any, sums: Any
) -> None:
    """Integrate along the rays of some tiles: samples times the length of a step.

    Args:
        planes: (planes, rows + 2 MARGIN, columns + 2 MARGIN) of voxels, with zeros around them.
        boxes: (planes, 4) first and last column and row with something in them, with the zeros counted.
        matrix: see `_aim`.
        origin: see `_aim`.
        axes: see `_aim`.
        tiles: (tiles, 4) first row, end of rows, first column, end of columns.
        metric: (3, 3) products of the edges of a voxel, which give a ray's length.
        sums: (H, W) gets the integrals.
    """
    shape, most = planes.shape, (tiles[:, 1] - tiles[:, 0]).max() * (tiles[:, 3] - tiles[:, 2]).max()
    flat, size = planes.reshape(planes.size), planes.shape[1] * planes.shape[2]
    rays, ends = np.empty((4, most), np.float32), np.empty((2, 2, 2))
    cells, within, total = np.empty(most, np.int32), np.empty((2, most), np.float32), np.empty(most, np.float32)
    across = axes[2]
    one = np.uint64(1)  # no index below is negative, so none is counted from the end
    for t in range(len(tiles)):
        tile = tiles[t]
        count = (tile[1] - tile[0]) * (tile[3] - tile[2])
        _aim(matrix, origin, axes, tile, shape[0], rays, ends)
        total[:] = 0
        for k in range(shape[0]):
            if not _meets(ends, k, shape[0], boxes[k]):
                continue
            upper = flat[k * size : (k + 1) * size]
            lower = flat[k * size + shape[2] : (k + 1) * size]
            for half in range(-1, 2):
                _locate(rays, count, k + 0.5 * half, shape, cells, within)
                weight = np.float32(0.25 if half else 0.5)
                for n in range(count):
                    cell, x = np.uint32(cells[n]), within[0, n]
                    above = upper[cell] + x * (upper[cell + one] - upper[cell])
                    below = lower[cell] + x * (lower[cell + one] - lower[cell])
                    total[n] += weight * (above + within[1, n] * (below - above))
        n = 0
        for v in range(tile[0], tile[1]):
            for u in range(tile[2], tile[3]):
                x = matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2]
                y = matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2]
                z = matrix[2, 0] * u + matrix[2, 1] * v + matrix[2, 2]
                squares = metric[0, 0] * x * x + metric[1, 1] * y * y + metric[2, 2] * z * z
                mixed = metric[0, 1] * x * y + metric[0, 2] * x * z + metric[1, 2] * y * z
                ahead = matrix[across, 0] * u + matrix[across, 1] * v + matrix[across, 2]
                sums[v, u] = np.float32(total[n] * np.sqrt(squares + 2 * mixed) / np.abs(ahead))
                n += 1


@kernel
def add_gradients(planes: Any, boxes: Any, matrix: Any, origin: Any, axes: Any, tiles: Any, sums: Any) -> None:
    """Sum samples along rays as `add_values` does, and their derivatives.

    Args:
        planes: see `add_values`.
        boxes: see `add_values`.
        matrix: see `add_values`.
        origin: see `add_values`.
        axes: see `add_values`.
        tiles: see `add_values`.
        sums: (5, H, W) is added to: the samples; their derivatives by place along both axes of a plane; and the same
            two, each times the number of its plane.
    """
    shape, most = planes.shape, (tiles[:, 1] - tiles[:, 0]).max() * (tiles[:, 3] - tiles[:, 2]).max()
    flat, size = planes.reshape(planes.size), planes.shape[1] * planes.shape[2]
    rays, ends = np.empty((4, most), np.float32), np.empty((2, 2, 2))
    cells, within, total = np.empty(most, np.int32), np.empty((2, most), np.float32), np.empty((5, most))
    one = np.uint64(1)
    for t in range(len(tiles)):
        tile = tiles[t]
        count = (tile[1] - tile[0]) * (tile[3] - tile[2])
        _aim(matrix, origin, axes, tile, shape[0], rays, ends)
        total[:] = 0
        for k in range(shape[0]):
            if not _meets(ends, k, shape[0], boxes[k]):
                continue
            upper = flat[k * size : (k + 1) * size]
            lower = flat[k * size + shape[2] : (k + 1) * size]
            for half in range(-1, 2):
                plane, weight = k + 0.5 * half, 0.25 if half else 0.5
                _locate(rays, count, plane, shape, cells, within)
                for n in range(count):
                    cell, x, y = np.uint32(cells[n]), within[0, n], within[1, n]
                    step_above, step_below = upper[cell + one] - upper[cell], lower[cell + one] - lower[cell]
                    above, below = upper[cell] + x * step_above, lower[cell] + x * step_below
                    by_x, by_y = weight * (step_above + y * (step_below - step_above)), weight * (below - above)
                    total[0, n] += weight * above + y * by_y
                    total[1, n] += by_x
                    total[2, n] += by_y
                    total[3, n] += plane * by_x
                    total[4, n] += plane * by_y
        n = 0
        for v in range(tile[0], tile[1]):
            for u in range(tile[2], tile[3]):
                for part in range(5):
                    sums[part, v, u] += total[part, n]
                n += 1
