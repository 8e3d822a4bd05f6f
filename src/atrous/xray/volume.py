"""How strongly each place of a body attenuates X-rays: a grid of numbers per millimetre, and where it lies.

Reference:
    Hounsfield units: -1000 is air and 0 water, so `mu = mu_water (1 + HU / 1000)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from atrous.errors import DataError

__all__ = ["WATER", "Volume", "attenuation", "grid"]

WATER = 0.02
"""Attenuation of water per millimetre at about 70 keV, which is what a tube of 120 kV has on average."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A body.

    Attributes:
        values: attenuation per millimetre, (Z, Y, X): the last axis runs along the first column of `affine`.
        affine: takes a voxel's number (x, y, z, 1), centres at whole numbers, to the patient's millimetres.
    """

    values: Float[np.ndarray, "Z Y X"]
    affine: Float[np.ndarray, "4 4"]

    def __post_init__(self) -> None:
        values, affine = np.asarray(self.values), np.asarray(self.affine, np.float64)
        if values.ndim != 3 or not values.size:
            raise DataError(f"a volume has three axes (Z, Y, X); this one has the shape {values.shape}.")
        if not np.isfinite(values).all():
            raise DataError("a volume has a voxel that is not a number: replace such voxels, by air for instance.")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise DataError("a volume needs an affine of 4 x 4 numbers whose axes span three dimensions.")
        object.__setattr__(self, "values", np.ascontiguousarray(values, np.float32))
        object.__setattr__(self, "affine", affine)

    def corners(self) -> Float[np.ndarray, "8 3"]:
        """The corners of the box, half a voxel outside the outermost centres, in millimetres."""
        size = self.values.shape[::-1]
        ends = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in size], indexing="ij"), -1).reshape(-1, 3)
        return ends @ self.affine[:3, :3].T + self.affine[:3, 3]


def attenuation(hounsfield: np.ndarray, *, water: float = WATER) -> Float[np.ndarray, "..."]:
    """Attenuation per millimetre of voxels in Hounsfield units; what is thinner than air counts as air.

    Example:
        >>> attenuation(np.array([-1024.0, 0.0, 1000.0]))
        array([0.  , 0.02, 0.04], dtype=float32)
    """
    return np.maximum(water * (1 + np.asarray(hounsfield, np.float32) / 1000), 0).astype(np.float32)


def grid(shape: tuple[int, int, int], spacing: float | Sequence[float]) -> Float[np.ndarray, "4 4"]:
    """The affine of a grid (Z, Y, X) whose middle is the origin, and whose axes are the patient's.

    Args:
        shape: (Z, Y, X).
        spacing: of the voxels along x, y and z, in millimetres.
    """
    steps = np.broadcast_to(np.asarray(spacing, np.float64), 3)
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = -steps * (np.array(shape[::-1]) - 1) / 2
    return affine
