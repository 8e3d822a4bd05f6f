"""Where the voxels of a NIfTI volume lie in the patient: what tells an image and a mask that do not belong together.

Reference:
    https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields: sform before qform; x goes right, y front, z up.
"""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from atrous.images.nifti import open_nifti

__all__ = ["Space", "read_space"]

_AXES = ("LR", "PA", "IS")
_FAR = 0.5
"""Of a voxel: how far apart two origins may be."""
_BENT = 0.01
"""Of a voxel: how far apart the steps to the next voxel may end."""


class Space(NamedTuple):
    """Steps to the next voxel along x, y, z as columns (3, 3), and the place of the first, all in millimetres."""

    steps: np.ndarray
    origin: np.ndarray

    def __str__(self) -> str:
        axes = "".join(_AXES[row][int(self.steps[row, k] > 0)] for k, row in enumerate(np.abs(self.steps).argmax(0)))
        sizes = " x ".join(f"{size:.4g}" for size in np.linalg.norm(self.steps, axis=0))
        return f"{axes}, {sizes} mm, from ({', '.join(f'{part:.4g}' for part in self.origin)})"

    def same_steps(self, other: "Space") -> bool:
        """Whether the voxels of both are of one size and lie along the same axes."""
        return bool(np.abs(self.steps - other.steps).max() <= _BENT * np.linalg.norm(self.steps, axis=0).min())

    def same_origin(self, other: "Space") -> bool:
        """Whether the first voxels of both are the same."""
        return bool(np.abs(self.origin - other.origin).max() <= _FAR * np.linalg.norm(self.steps, axis=0).min())


def read_space(path: Path) -> Space | None:
    """Where the voxels of a file lie, or None where its header does not say so."""
    with open_nifti(path) as file:
        head = file.read(540)
    wide = head[4:6] == b"n+"
    order = "<" if struct.unpack("<i", head[:4])[0] in (348, 540) else ">"
    real, whole = ("d", "i") if wide else ("f", "h")
    places = (344, 352, 400, 104) if wide else (252, 256, 280, 76)
    q_code, s_code = struct.unpack_from(f"{order}2{whole}", head, places[0])
    if s_code > 0:
        rows = np.array(struct.unpack_from(f"{order}12{real}", head, places[2])).reshape(3, 4)
        return Space(rows[:, :3], rows[:, 3]) if np.isfinite(rows).all() and rows[:, :3].any() else None
    if q_code <= 0:
        return None
    b, c, d, *origin = struct.unpack_from(f"{order}6{real}", head, places[1])
    sizes = np.array(struct.unpack_from(f"{order}4{real}", head, places[3]))
    a = np.sqrt(max(1 - b * b - c * c - d * d, 0))
    turn = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])  # fmt: skip
    steps = turn * (sizes[1:] * [1, 1, -1 if sizes[0] < 0 else 1])
    return Space(steps, np.array(origin)) if np.isfinite(steps).all() and steps.any() else None
