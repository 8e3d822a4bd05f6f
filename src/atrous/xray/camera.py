"""Where source and detector stand: the cone beam as a pinhole camera, `P = K [R | t]`.

The world is the patient, in millimetres, with DICOM's axes: x to the patient's left, y to the back, z to the head. In
the camera's own frame x goes right in the picture, y down and z from the source to the detector. Pixels are `(x, y)`
with their centres at whole numbers.

Reference:
    Hartley and Zisserman, Multiple View Geometry in Computer Vision, 2nd edition 2004, chapter 6.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from atrous.errors import UsageError

__all__ = ["ConeBeam", "c_arm", "segment_views", "turn_about"]

LAO_RAO, CRAN_CAUD = 120.0, 90.0
"""The spherical segment of views, in degrees, centred on the view from the front: Bier et al., MICCAI 2018."""


@dataclass(frozen=True, eq=False)
class ConeBeam:
    """One view.

    Attributes:
        intrinsics: K, in pixels.
        rotation: R, from the patient's axes to the camera's.
        translation: t, in millimetres; the source stands at `-R.T @ t`.
        height: of the detector, in pixels.
        width: of the detector, in pixels.
    """

    intrinsics: Float[np.ndarray, "3 3"]
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]
    height: int
    width: int

    def __post_init__(self) -> None:
        for name, shape in (("intrinsics", (3, 3)), ("rotation", (3, 3)), ("translation", (3,))):
            given = np.asarray(getattr(self, name), np.float64)
            if given.shape != shape or not np.isfinite(given).all():
                raise UsageError(f"the {name} of a view are {shape} finite numbers; these are {given.shape}: {given}.")
            object.__setattr__(self, name, given)
        if np.abs(self.rotation @ self.rotation.T - np.eye(3)).max() > 1e-6 or np.linalg.det(self.rotation) < 0:
            raise UsageError(
                "the rotation of a view is not one: its rows are not unit vectors of a right-handed frame."
            )
        if abs(np.linalg.det(self.intrinsics)) < 1e-12 or min(self.height, self.width) < 1:
            raise UsageError("a view has intrinsics that can be inverted, and a detector of at least one pixel.")

    @property
    def matrix(self) -> Float[np.ndarray, "3 4"]:
        """P, which takes (x, y, z, 1) in millimetres to pixels times depth."""
        return self.intrinsics @ np.column_stack([self.rotation, self.translation])

    @property
    def source(self) -> Float[np.ndarray, "3"]:
        """Where the X-rays come from, in the patient's millimetres."""
        return -self.rotation.T @ self.translation

    def depth(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """How far points lie from the source, along the direction in which the camera looks, in millimetres."""
        return np.asarray(points, np.float64) @ self.rotation[2] + self.translation[2]

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        """The pixels (x, y) of points in millimetres; NaN for points that lie behind the source."""
        image = np.asarray(points, np.float64) @ self.matrix[:, :3].T + self.matrix[:, 3]
        depth = np.where(self.depth(points) > 0, image[:, 2], np.nan)
        return image[:, :2] / depth[:, None]

    def directions(self, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
        """Unit vectors from the source towards pixels, in the patient's axes."""
        whole = np.column_stack([pixels, np.ones(len(pixels))])
        found = whole @ (self.rotation.T @ np.linalg.inv(self.intrinsics)).T
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def millimetres_per_pixel(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """What a pixel of the picture measures at the depth of points: the pitch divided by the magnification."""
        return self.depth(points) / np.sqrt(abs(self.intrinsics[0, 0] * self.intrinsics[1, 1]))


def c_arm(
    lao: float = 0.0,
    cranial: float = 0.0,
    *,
    centre: Sequence[float] = (0.0, 0.0, 0.0),
    roll: float = 0.0,
    distances: tuple[float, float] = (1020.0, 700.0),
    pitch: float = 1.5,
    size: int | tuple[int, int] = 256,
) -> ConeBeam:
    """A view of a C-arm, which turns about a point of the patient and looks at it.

    At 0 and 0 it looks at the patient from the front, whose left is then right in the picture, and head up.

    Args:
        lao: degrees by which the view moves to the patient's left (LAO); negative to the right (RAO).
        cranial: degrees towards the head; negative towards the feet (caudal).
        centre: the point, in millimetres; it lies in the middle of the picture.
        roll: degrees by which the picture is turned clockwise.
        distances: from the source to the detector, and to the point, in millimetres.
        pitch: of a pixel on the detector, in millimetres.
        size: side, or (height, width), in pixels.

    Example:
        >>> view = c_arm(size=5, pitch=2.0)
        >>> view.project(np.array([[0.0, 0.0, 0.0]]))
        array([[2., 2.]])
        >>> bool(view.project(np.array([[50.0, 0.0, 0.0]]))[0, 0] > 2)  # the patient's left
        True
        >>> view.source
        array([   0., -700.,    0.])
    """
    to_detector, to_centre = distances
    if not 0 < to_centre < to_detector or pitch <= 0 or not -90 < cranial < 90:
        raise UsageError(
            f"a C-arm of {to_detector} mm, {to_centre} mm to its centre, pixels of {pitch} mm, {cranial} degrees to "
            "the head: distances and pixels are positive, the centre lies before the detector, and angles below 90."
        )
    height, width = (size, size) if isinstance(size, int) else size
    across, up = np.deg2rad(lao), np.deg2rad(cranial)
    forward = -np.array([np.sin(across) * np.cos(up), -np.cos(across) * np.cos(up), np.sin(up)])
    right = np.array([np.cos(across), np.sin(across), 0.0])
    upright = np.stack([right, np.cross(forward, right), forward])
    rotation = turn_about(np.array([0.0, 0.0, np.deg2rad(roll)])) @ upright
    focal = to_detector / pitch
    intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    translation = np.array([0.0, 0.0, to_centre]) - rotation @ np.asarray(centre, np.float64)
    return ConeBeam(intrinsics, rotation, translation, height, width)


def segment_views(
    rng: np.random.Generator, count: int, *, across: float = LAO_RAO, along: float = CRAN_CAUD
) -> Float[np.ndarray, "count 2"]:
    """Angles (LAO, cranial) in degrees, spread evenly over a segment of the sphere that is centred on the front.

    Args:
        rng: draws them.
        count: how many.
        across: degrees from one side to the other.
        along: degrees from feet to head.
    """
    top = np.sin(np.deg2rad(along / 2))
    lao = rng.uniform(-across / 2, across / 2, count)
    return np.column_stack([lao, np.rad2deg(np.arcsin(rng.uniform(-top, top, count)))])


def turn_about(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation about a vector by its length in radians (Rodrigues).

    Example:
        >>> turn_about(np.array([0.0, 0.0, np.pi / 2])).round(6) + 0.0
        array([[ 0., -1.,  0.],
               [ 1.,  0.,  0.],
               [ 0.,  0.,  1.]])
    """
    x, y, z = vector
    angle = float(np.linalg.norm(vector))
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    sine, turned = np.sinc(angle / np.pi), 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.eye(3) + sine * cross + turned * cross @ cross
