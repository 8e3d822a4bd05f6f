"""The sums of `projector` in torch operations, for accelerators; differentiable by volume, pose and intrinsics."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["integrate"]

SAMPLES = 1 << 23
"""How many samples are computed at once; each takes about 50 bytes."""


def integrate(
    values: Float[Tensor, "Z Y X"],
    matrix: Float[Tensor, "3 3"],
    origin: Float[Tensor, "3"],
    voxel: Float[np.ndarray, "3 3"],
    axes: Int[Tensor, "H W"],
) -> Float[Tensor, "H W"]:
    """Line integrals along the rays `origin + s * matrix (u, v, 1)`.

    Args:
        values: attenuation per millimetre.
        matrix: takes a pixel to the direction of its ray in voxels.
        origin: the source, in voxels.
        voxel: takes voxels to millimetres.
        axes: the axis of the volume along which each pixel's ray steps; 0 is x.
    """
    height, width = axes.shape
    y, x = torch.meshgrid(
        *(torch.arange(length, dtype=matrix.dtype, device=matrix.device) for length in (height, width)), indexing="ij"
    )
    rays = torch.stack([x, y, torch.ones_like(x)], -1) @ matrix.T
    lengths = torch.linalg.vector_norm(rays @ torch.as_tensor(voxel, dtype=rays.dtype, device=rays.device).T, dim=-1)
    image = values.new_zeros(height, width)
    for axis in torch.unique(axes).tolist():
        here = axes == axis
        chosen = rays[here]
        ahead = chosen[:, axis]
        along = [each for each in range(3) if each != axis]
        slopes = chosen[:, along] / ahead[:, None]
        starts = origin[along] - origin[axis] * slopes
        planes = values.permute(2 - axis, 2 - along[1], 2 - along[0])
        sums = _sum(planes, starts, slopes) * (lengths[here] / ahead.abs()).to(values.dtype)
        image = image.masked_scatter(here, sums)
    return image


def _sum(planes: Tensor, starts: Tensor, slopes: Tensor) -> Tensor:
    """Samples of all planes, summed for each ray; places are computed in the precision of the rays."""
    padded = F.pad(planes, (1, 1, 1, 1))  # a plane of one voxel has no distance that places could be scaled by
    ends = torch.tensor(padded.shape[:0:-1], dtype=starts.dtype, device=starts.device) - 1
    total = planes.new_zeros(len(starts))
    together = max(1, SAMPLES // max(len(starts), 1))
    for first in range(0, len(planes), together):
        part = padded[first : first + together]
        number = torch.arange(first, first + len(part), dtype=starts.dtype, device=starts.device)
        for half, weight in ((-0.5, 0.25), (0.0, 0.5), (0.5, 0.25)):  # see `_kernels`
            places = (starts + 1 + (number + half)[:, None, None] * slopes) * (2 / ends) - 1
            samples = F.grid_sample(part[:, None], places[:, None].to(planes.dtype), align_corners=True)
            total = total + weight * samples.sum((0, 1, 2))
    return total
