"""Compiled kernels that build the shapes of a made body."""

from typing import Any

import numpy as np

from atrous.compilation import kernel

__all__ = ["join_spheres"]


@kernel
def join_spheres(distance: Any, centres: Any, radii: Any, spacing: Any, reach: Any) -> None:
    """Lower the distances to a surface to those of some spheres, where these are near.

    Args:
        distance: (Z, Y, X) of voxel centres to the surface so far, negative inside.
        centres: (N, 3) x, y, z, in the distances' unit, from the centre of the first voxel.
        radii: (N,).
        spacing: (3,) of voxels along x, y and z.
        reach: how far from a sphere the distances must be right.
    """
    for n in range(len(centres)):
        radius = radii[n]
        first, last = np.empty(3, np.int64), np.empty(3, np.int64)
        for axis in range(3):
            size = distance.shape[2 - axis]
            first[axis] = max(0, int(np.ceil((centres[n, axis] - radius - reach) / spacing[axis])))
            last[axis] = min(size - 1, int(np.floor((centres[n, axis] + radius + reach) / spacing[axis])))
        for k in range(first[2], last[2] + 1):
            z = k * spacing[2] - centres[n, 2]
            for j in range(first[1], last[1] + 1):
                y = j * spacing[1] - centres[n, 1]
                for i in range(first[0], last[0] + 1):
                    x = i * spacing[0] - centres[n, 0]
                    away = np.sqrt(x * x + y * y + z * z) - radius
                    if away < distance[k, j, i]:
                        distance[k, j, i] = away
