"""Digitally reconstructed radiographs: integrals of a volume's attenuation along the rays of a cone beam.

The integral is taken over the trilinear interpolant of the voxels, which falls to zero within one voxel outside the
grid. Samples lie half a voxel apart along the axis that is nearest to the ray, so that they meet every plane of voxels
(as in Joseph's method) and the middle between two: 0.5 to 0.9 voxels altogether. On the processor the kernels of
`_kernels` sum, on all of torch's threads; on an accelerator `torch_rays` does the same in torch operations. Both are
differentiable with respect to pose and intrinsics, and their derivatives are those of the sums, not an approximation.

Reference:
    Joseph, An Improved Algorithm for Reprojecting Rays through Pixel Images, IEEE TMI 1982.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.autograd.function import once_differentiable

from atrous.errors import UsageError
from atrous.threads import run, workers
from atrous.xray._kernels import MARGIN, TILE, add_gradients, add_values
from atrous.xray.camera import ConeBeam
from atrous.xray.torch_rays import integrate
from atrous.xray.volume import Volume

__all__ = ["Projector", "rotation_matrix"]

WIDEST = 0.3
"""Radians that a tile spans at most."""


class Projector:
    """Projects one volume; what it keeps of the volume is prepared at the first view along each axis.

    Example:
        >>> from atrous.xray import Volume, c_arm, grid
        >>> cube = Volume(np.full((10, 10, 10), 0.02), grid((10, 10, 10), 1.0))  # 10 mm, 0.02 per mm
        >>> image = Projector(cube)(c_arm(size=3, pitch=0.1))
        >>> round(float(np.exp(-image[1, 1])), 4)  # exp(-0.2)
        0.8187
    """

    def __init__(self, volume: Volume, *, device: str | torch.device = "cpu") -> None:
        """Take a volume.

        Args:
            volume: attenuation per millimetre.
            device: the processor ("cpu") or an accelerator, where the images are computed.
        """
        self.volume, self.device = volume, torch.device(device)
        self._to_voxels = np.linalg.inv(volume.affine)
        self._planes: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._values: Tensor | None = None

    def __call__(self, beam: ConeBeam) -> Float32[np.ndarray, "H W"]:
        """The line integral of every pixel, without a unit: `exp(-integral)` of the rays come through.

        Raises:
            UsageError: if a part of the volume is not in front of the source.
        """
        self._must_be_in_front(beam)
        with torch.no_grad():
            found = self.differentiable(
                *(torch.from_numpy(part) for part in (beam.intrinsics, beam.rotation, beam.translation)),
                size=(beam.height, beam.width),
            )
        return found.cpu().numpy()

    def differentiable(
        self,
        intrinsics: Float[Tensor, "3 3"],
        rotation: Float[Tensor, "3 3"],
        translation: Float[Tensor, "3"],
        *,
        size: tuple[int, int],
    ) -> Float32[Tensor, "H W"]:
        """The line integrals as a tensor, with derivatives by any of the arguments; see `ConeBeam` for these.

        Args:
            intrinsics: K, in pixels; double precision is recommended for all three.
            rotation: R; see `rotation_matrix` for one that is turned by a vector.
            translation: t, in millimetres.
            size: height and width of the detector, in pixels.
        """
        given = [each.to(torch.float64) for each in (intrinsics, rotation, translation)]
        into = torch.from_numpy(self._to_voxels).to(given[1].device)
        matrix = into[:3, :3] @ given[1].T @ torch.linalg.inv(given[0])
        origin = into[:3, :3] @ (-given[1].T @ given[2]) + into[:3, 3]
        if self.device.type == "cpu":
            return _LineIntegrals.apply(matrix, origin, self, size)  # type: ignore[no-any-return]
        if self._values is None:
            self._values = torch.from_numpy(self.volume.values).to(self.device)
        voxel = self.volume.affine[:3, :3]
        axes = torch.from_numpy(axis_of_pixels(matrix.detach().cpu().numpy(), size, voxel)).to(self.device)
        return integrate(self._values, matrix.to(self.device), origin.to(self.device), voxel, axes)

    def _must_be_in_front(self, beam: ConeBeam) -> None:
        nearest = float(beam.depth(self.volume.corners()).min())
        if nearest <= 0:
            raise UsageError(
                f"the volume reaches {-nearest:.0f} mm behind the X-ray source at {beam.source.round(1).tolist()} mm: "
                "move the source away from the body, or crop the volume."
            )

    def planes(self, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """The volume as planes across an axis (0 is x), zeros around each, and the box of what is not zero in each."""
        if axis not in self._planes:
            along = [each for each in range(3) if each != axis]
            turned = self.volume.values.transpose(2 - axis, 2 - along[1], 2 - along[0])
            planes = np.pad(turned, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
            self._planes[axis] = planes, np.stack([_box(plane) for plane in planes])
        return self._planes[axis]

    def sums(self, matrix: np.ndarray, origin: np.ndarray, size: tuple[int, int], *, parts: int) -> np.ndarray:
        """Integrals along rays, (H, W); or sums of samples and of their derivatives, (5, H, W): see `_kernels`."""
        sums = np.zeros(size if parts == 1 else (parts, *size), np.float32 if parts == 1 else np.float64)
        voxel = self.volume.affine[:3, :3]
        tiles = tiles_of(size, _tile(matrix, voxel))
        nearest = _axis_of_tiles(matrix, tiles)
        for axis in np.unique(nearest):
            chosen = tiles[nearest == axis]
            planes, boxes = self.planes(int(axis))
            axes = np.array([each for each in range(3) if each != axis] + [axis])
            # Neighbours go to different threads, so that each has its part of the empty corners.
            shares = [np.ascontiguousarray(chosen[first :: workers()]) for first in range(min(workers(), len(chosen)))]
            kernel = add_values if parts == 1 else add_gradients
            more = (voxel.T @ voxel,) if parts == 1 else ()
            run(kernel, [(planes, boxes, matrix, origin, axes, share, *more, sums) for share in shares])
        return sums


class _LineIntegrals(torch.autograd.Function):
    """From the rays in voxels, `origin + s * matrix (u, v, 1)`, to the integrals."""

    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, origin: Tensor, projector: Projector, size: tuple[int, int]
    ) -> Float32[Tensor, "H W"]:
        rays, start = matrix.detach().cpu().numpy(), origin.detach().cpu().numpy()
        needed = any(ctx.needs_input_grad[:2])
        sums = projector.sums(rays, start, size, parts=5 if needed else 1)
        if not needed:
            return torch.from_numpy(sums)
        steps = _steps(rays, size, projector.volume.affine[:3, :3])
        ctx.kept = sums, steps, rays, start, projector.volume.affine[:3, :3]
        return torch.from_numpy(sums[0] * steps).to(torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        sums, steps, matrix, origin, voxel = ctx.kept
        size = sums.shape[1:]
        weight = grad.detach().cpu().numpy().astype(np.float64)
        pixels = _pixels(size)
        rays = pixels @ matrix.T
        across = axis_of_pixels(matrix, size, voxel)
        by_ray, by_origin = np.zeros_like(rays), np.zeros_like(rays)
        for axis in np.unique(across):
            here = across == axis
            ahead = rays[here, axis]
            for number, along in enumerate(each for each in range(3) if each != axis):
                slope = rays[here, along] / ahead
                by_place = sums[1 + number][here]
                by_slope = (sums[3 + number][here] - origin[axis] * by_place) / ahead
                by_ray[here, along] += by_slope
                by_ray[here, axis] -= by_slope * slope
                by_origin[here, along] += by_place
                by_origin[here, axis] -= by_place * slope
        straight = np.take_along_axis(rays, across[..., None], -1)[..., 0]
        metric = rays @ (voxel.T @ voxel)
        longer = metric / (metric * rays).sum(-1, keepdims=True)  # of the logarithm of a step's length, by ray
        np.put_along_axis(
            longer, across[..., None], np.take_along_axis(longer, across[..., None], -1) - 1 / straight[..., None], -1
        )
        by_ray = (weight * steps)[..., None] * (by_ray + sums[0][..., None] * longer)
        by_matrix = np.einsum("hwi,hwj->ij", by_ray, pixels)
        by_start = ((weight * steps)[..., None] * by_origin).sum((0, 1))
        return torch.from_numpy(by_matrix).to(grad.device), torch.from_numpy(by_start).to(grad.device), None, None


def rotation_matrix(vector: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """The rotation about a vector by its length in radians, differentiable everywhere, at zero too.

    Example:
        >>> rotation_matrix(torch.zeros(3)).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    x, y, z = vector
    none = torch.zeros_like(x)
    cross = torch.stack([none, -z, y, z, none, -x, -y, x, none]).reshape(3, 3)
    return torch.linalg.matrix_exp(cross)


def _tile(matrix: np.ndarray, voxel: np.ndarray) -> tuple[int, int]:
    """Rows and columns of a tile: `TILE`, or fewer where a tile of large pixels would span a wide angle.

    The rays of a tile step along one axis, from which none may lean too far. A column of `matrix` in millimetres has
    the length of a pixel, as seen from the source at a distance of 1.
    """
    across, down = np.linalg.norm(voxel @ matrix[:, :2], axis=0)
    return max(1, min(TILE[0], int(WIDEST / down))), max(1, min(TILE[1], int(WIDEST / across)))


def tiles_of(size: tuple[int, int], tile: tuple[int, int] = TILE) -> np.ndarray:
    """(tiles, 4) first row, end of rows, first column, end of columns."""
    height, width = size
    return np.array([
        (top, min(top + tile[0], height), left, min(left + tile[1], width))
        for top in range(0, height, tile[0])
        for left in range(0, width, tile[1])
    ])  # fmt: skip


def _axis_of_tiles(matrix: np.ndarray, tiles: np.ndarray) -> np.ndarray:
    """The axis of the volume that is nearest to the ray in the middle of each tile; 0 is x."""
    middle = np.column_stack([(tiles[:, 2] + tiles[:, 3] - 1) / 2, (tiles[:, 0] + tiles[:, 1] - 1) / 2])
    return np.abs(np.column_stack([middle, np.ones(len(tiles))]) @ matrix.T).argmax(1)


def axis_of_pixels(matrix: np.ndarray, size: tuple[int, int], voxel: np.ndarray) -> np.ndarray:
    """The axis along which each pixel's ray steps, (H, W): that of its tile."""
    tile = _tile(matrix, voxel)
    rows, columns = -(-size[0] // tile[0]), -(-size[1] // tile[1])
    axes = _axis_of_tiles(matrix, tiles_of(size, tile)).reshape(rows, columns)
    return axes.repeat(tile[0], 0).repeat(tile[1], 1)[: size[0], : size[1]]


def _pixels(size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) of (x, y, 1)."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    return np.stack([x, y, np.ones_like(x)], -1)


def _steps(matrix: np.ndarray, size: tuple[int, int], voxel: np.ndarray) -> np.ndarray:
    """How far a pixel's ray goes from plane to plane, in millimetres, (H, W)."""
    rays = _pixels(size) @ matrix.T
    straight = np.take_along_axis(rays, axis_of_pixels(matrix, size, voxel)[..., None], -1)[..., 0]
    return np.linalg.norm(rays @ voxel.T, axis=-1) / np.abs(straight)


def _box(plane: np.ndarray) -> np.ndarray:
    """First and last column and row of what is not zero; a box that nothing meets where there is nothing."""
    rows, columns = np.flatnonzero(plane.any(1)), np.flatnonzero(plane.any(0))
    if not len(rows):
        return np.array([np.inf, -np.inf, np.inf, -np.inf])
    return np.array([columns[0], columns[-1], rows[0], rows[-1]], np.float64)
