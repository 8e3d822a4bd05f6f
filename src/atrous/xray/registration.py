"""From points to geometry: places from several views, the pose of one view, and what is left between them.

Pixels are (x, y) with centres at whole numbers; points that were not found are NaN. Places are in millimetres.

Reference:
    Hartley and Zisserman, Multiple View Geometry in Computer Vision, 2nd edition 2004: DLT in 4.1 and 7.1, its
    normalisation in 4.4, triangulation in 12.2, the fundamental matrix of two cameras in 9.2.
    Lepetit, Moreno-Noguer and Fua, EPnP, IJCV 2009, inside of OpenCV's RANSAC.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import rq

from atrous.errors import DataError
from atrous.xray.camera import ConeBeam

__all__ = [
    "Registration",
    "epipolar_line",
    "find_matrix",
    "find_pose",
    "from_matrix",
    "pose_error",
    "registration_error",
    "triangulate",
]

FEWEST = 5
"""Points of a pose: three leave four poses open, and the next ones decide and show outliers."""
ROUNDS = 8
"""Of refinement; each doubles the number of right digits."""


@dataclass(frozen=True, eq=False)
class Registration:
    """The pose of a view, found from points.

    Attributes:
        beam: the view.
        inliers: (N,) the points that it agrees with.
        error: root mean square distance of these points from their projections, in pixels.
    """

    beam: ConeBeam
    inliers: Bool[np.ndarray, " n"]
    error: float


def triangulate(beams: Sequence[ConeBeam], pixels: Float[np.ndarray, "views n 2"]) -> Float[np.ndarray, "n 3"]:
    """Places of points from two or more views: normalised DLT, then the least squares of the distances in the pictures.

    Args:
        beams: the views.
        pixels: of the points in each view; NaN where a view has not found one.

    Returns:
        (N, 3) in millimetres; NaN for points that fewer than two views have found.

    Raises:
        DataError: if the pixels are not those of the views.

    Example:
        >>> from atrous.xray import c_arm
        >>> beams = [c_arm(0), c_arm(60, 20)]
        >>> place = np.array([[10.0, -20.0, 30.0]])
        >>> triangulate(beams, np.stack([beam.project(place) for beam in beams])).round(6)
        array([[ 10., -20.,  30.]])
    """
    pixels = np.asarray(pixels, np.float64)
    if pixels.ndim != 3 or pixels.shape[0] != len(beams) or pixels.shape[2] != 2:
        raise DataError(f"{len(beams)} views need pixels of the shape ({len(beams)}, N, 2), and not {pixels.shape}.")
    found = np.full((pixels.shape[1], 3), np.nan)
    for n in range(pixels.shape[1]):
        seen = np.flatnonzero(np.isfinite(pixels[:, n]).all(1))
        if len(seen) >= 2:
            found[n] = _place([beams[v] for v in seen.tolist()], pixels[seen, n])
    return found


def _place(beams: Sequence[ConeBeam], pixels: np.ndarray) -> np.ndarray:
    """One point. The cameras see it in unit coordinates, and the world's origin moves to where they look."""
    sources = np.stack([beam.source for beam in beams])
    rays = np.stack([beam.directions(pixel[None])[0] for beam, pixel in zip(beams, pixels, strict=True)])
    scale = float(np.linalg.norm(sources - sources.mean(0), axis=1).mean()) or 1.0
    rows = []
    for beam, pixel in zip(beams, pixels, strict=True):
        turned = np.column_stack([beam.rotation, (beam.rotation @ sources.mean(0) + beam.translation) / scale])
        x, y, depth = np.linalg.solve(beam.intrinsics, [*pixel, 1.0])
        rows += [x * turned[2] - depth * turned[0], y * turned[2] - depth * turned[1]]
    null = np.linalg.svd(np.stack([row / np.linalg.norm(row) for row in rows]))[2][-1]
    if abs(null[3]) < 1e-12:  # the rays are parallel: they meet nowhere
        return np.full(3, np.nan)
    place = null[:3] / null[3] * scale + sources.mean(0)
    weights = [beam.intrinsics[0, 0] / max(abs(beam.depth(place[None])[0]), 1e-9) for beam in beams]
    across = [weight * (np.eye(3) - np.outer(ray, ray)) for weight, ray in zip(weights, rays, strict=True)]
    if np.linalg.cond(sum(across)) > 1e10:
        return np.full(3, np.nan)
    return _refined(beams, pixels, place)


def _refined(beams: Sequence[ConeBeam], pixels: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Gauss and Newton's steps towards the least squares, as long as they help."""

    def residuals(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen = [beam.matrix @ [*at, 1.0] for beam in beams]
        off = np.concatenate([each[:2] / each[2] - pixel for each, pixel in zip(seen, pixels, strict=True)])
        slope = [
            (beam.matrix[:2, :3] - np.outer(each[:2] / each[2], beam.matrix[2, :3])) / each[2]
            for beam, each in zip(beams, seen, strict=True)
        ]
        return off, np.concatenate(slope)

    off, slope = residuals(place)
    for _ in range(ROUNDS):
        other = place - np.linalg.lstsq(slope, off, rcond=None)[0]
        new, steeper = residuals(other)
        if not np.isfinite(new).all() or new @ new >= off @ off:
            break
        place, off, slope = other, new, steeper
    return place


def find_matrix(points: Float[np.ndarray, "n 3"], pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "3 4"]:
    """The projective matrix of a view, of 11 unknowns, from six or more points that are not in one plane (DLT).

    Args:
        points: in millimetres.
        pixels: where they are in the picture; those with NaN are left out.

    Returns:
        P, whose third row's first three numbers have the length 1, so that it gives depths.

    Raises:
        DataError: if the points are too few or in one plane.
    """
    known = np.isfinite(pixels).all(1) & np.isfinite(points).all(1)
    if known.sum() < 6:
        raise DataError(f"a projective matrix needs 6 points, and {known.sum()} are known; find_pose needs {FEWEST}.")
    world, into_world = _normalised(points[known])
    image, into_image = _normalised(pixels[known])
    rows = np.zeros((2 * len(world), 12))
    rows[::2, :4], rows[1::2, 4:8] = world, world
    rows[::2, 8:], rows[1::2, 8:] = -image[:, :1] * world, -image[:, 1:2] * world
    _, values, null = np.linalg.svd(rows)
    if values[-2] < 1e-6 * values[0]:
        raise DataError("the points lie in one plane, or on a curve that leaves the matrix open: use find_pose.")
    matrix = np.linalg.inv(into_image) @ null[-1].reshape(3, 4) @ into_world
    matrix /= np.linalg.norm(matrix[2, :3])
    ahead = matrix[2] @ np.column_stack([points[known], np.ones(known.sum())]).T
    return matrix if np.median(ahead) > 0 else -matrix


def _normalised(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Homogeneous points around zero at a mean distance of 1 an axis, and what made them so."""
    size = points.shape[1]
    centre = points.mean(0)
    scale = np.sqrt(size) / max(float(np.linalg.norm(points - centre, axis=1).mean()), 1e-12)
    into = np.eye(size + 1)
    into[:size] = np.column_stack([scale * np.eye(size), -scale * centre])
    return np.column_stack([points, np.ones(len(points))]) @ into.T, into


def from_matrix(matrix: Float[np.ndarray, "3 4"], size: tuple[int, int]) -> ConeBeam:
    """Split a projective matrix into K, R and t.

    Args:
        matrix: P; its sign and scale do not matter.
        size: height and width of the picture.

    Raises:
        DataError: if the matrix has no inverse, as that of parallel rays.
    """
    matrix = np.asarray(matrix, np.float64)
    left = matrix[:, :3]
    if abs(np.linalg.det(left)) < 1e-12 * np.abs(left).max() ** 3:
        raise DataError("this matrix projects along parallel rays, which no cone beam does.")
    if np.linalg.det(left) < 0:
        matrix, left = -matrix, -left
    upper, rotation = rq(left)
    signs = np.diag(np.sign(np.diag(upper)))
    upper, rotation = upper @ signs, signs @ rotation
    translation = np.linalg.solve(upper, matrix[:, 3])
    return ConeBeam(upper / upper[2, 2], rotation, translation, *size)


def find_pose(
    points: Float[np.ndarray, "n 3"],
    pixels: Float[np.ndarray, "n 2"],
    beam: ConeBeam,
    *,
    tolerance: float = 8.0,
) -> Registration | None:
    """The pose of a view with known intrinsics from its landmarks (PnP), without those that do not fit.

    RANSAC chooses the pose that most points agree with, and the least squares of these refine it. The result is the
    same at every call.

    Args:
        points: of the body, in millimetres.
        pixels: where they were found; NaN where they were not.
        beam: its intrinsics and size are used, its pose is not.
        tolerance: how far a point that fits may be from its projection, in pixels.

    Returns:
        the pose; None where fewer than five points are known, or fewer than five fit.
    """
    known = np.flatnonzero(np.isfinite(pixels).all(1) & np.isfinite(points).all(1))
    if len(known) < FEWEST:
        return None
    world, image = points[known].astype(np.float64), np.asarray(pixels, np.float64)[known]
    ok, turn, move, kept = cv2.solvePnPRansac(
        world, image, beam.intrinsics, None,
        iterationsCount=1000, reprojectionError=tolerance, confidence=0.9999, flags=cv2.SOLVEPNP_EPNP,
    )  # fmt: skip
    if not ok or kept is None or len(kept) < FEWEST:
        return None
    kept = kept.ravel()
    for _ in range(3):  # those that fit the refined pose are not quite those that fitted the first
        turn, move = cv2.solvePnPRefineLM(world[kept], image[kept], beam.intrinsics, None, turn, move)
        pose = ConeBeam(beam.intrinsics, cv2.Rodrigues(turn)[0], move.ravel(), beam.height, beam.width)
        off = np.linalg.norm(pose.project(world) - image, axis=1)
        fitting = np.flatnonzero(off <= tolerance)
        if len(fitting) < FEWEST or np.array_equal(fitting, kept):
            break
        kept = fitting
    if (pose.depth(world[kept]) <= 0).any():
        return None
    inliers = np.zeros(len(points), bool)
    inliers[known[kept]] = True
    return Registration(pose, inliers, float(np.sqrt((off[kept] ** 2).mean())))


def pose_error(found: ConeBeam, true: ConeBeam, centre: Float[np.ndarray, "3"]) -> tuple[float, float]:
    """How far a pose is off: degrees of turning, and millimetres by which a point of the body lies elsewhere.

    Args:
        found: a view.
        true: the view as it is.
        centre: a point of the body, such as the mean of its landmarks. A translation alone says little, because it is
            that of the patient's origin, wherever this lies.
    """
    turn = found.rotation @ true.rotation.T
    angle = np.arctan2(np.linalg.norm(turn - turn.T) / np.sqrt(8), (np.trace(turn) - 1) / 2)
    return float(np.rad2deg(angle)), float(registration_error(found, true, centre[None])[0])


def registration_error(found: ConeBeam, true: ConeBeam, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Target registration error: how far each point lies in one view's frame from where the other has it, in mm."""
    first, second = (points @ beam.rotation.T + beam.translation for beam in (found, true))
    return np.linalg.norm(first - second, axis=1)


def epipolar_line(beam: ConeBeam, pixel: Float[np.ndarray, "2"], other: ConeBeam) -> Float[np.ndarray, "3"]:
    """Where a point of one view may lie in another: a x + b y + c = 0 with a² + b² = 1.

    Args:
        beam: the view in which the point was found.
        pixel: its place there.
        other: the view in which the line is.

    Raises:
        DataError: if both have one source: then the point lies in one place.
    """
    epipole = other.matrix @ [*beam.source, 1.0]
    along = other.matrix[:, :3] @ beam.directions(np.asarray(pixel, np.float64)[None])[0]
    line = np.cross(epipole, along)
    length = np.hypot(line[0], line[1])
    if length <= 1e-9 * float(np.linalg.norm(epipole) * np.linalg.norm(along)):
        raise DataError("both views have their source in the same place, so that a point has no epipolar line.")
    return line / length
