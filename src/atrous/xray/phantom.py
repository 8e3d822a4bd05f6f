"""Made pelvises: bodies of varying shape, with soft tissue, gas and the landmarks of `anatomy`.

A body is a bent and scaled form of one plan: measures and proportions vary, the sacrum and the legs turn in their
joints, and a smooth random field moves everything by some millimetres, the two sides differently. Landmarks move with
the bones that they lie on. Bones have a dense cortex and spongy bone inside, and gaps at hips, sacrum and discs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from atrous.errors import UsageError
from atrous.xray._body_kernels import join_spheres
from atrous.xray.anatomy import HEAD, LANDMARKS, Bone, bones, template
from atrous.xray.camera import turn_about
from atrous.xray.volume import WATER, Volume, grid

__all__ = ["Phantom", "make_phantom"]

EXTENT = np.array([420.0, 280.0, 560.0])
"""Of the volume along x, y and z, in millimetres: at 45 degrees no ray through the pelvis may leave by a cut end."""
MIDDLE = np.array([0.0, 12.0, 20.0])
"""Of the volume."""

FAT, MUSCLE, WATER_HU, SPONGY, CORTEX = -95.0, 55.0, 8.0, 260.0, 1350.0
"""Hounsfield units."""
REACH = 7.0
"""How far from a bone the distance to it is known, in millimetres."""
JOINT, SACRAL_JOINT = 3.0, 2.2

Move = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Phantom:
    """A body and where its landmarks are.

    Attributes:
        volume: attenuation per millimetre.
        landmarks: (23, 3) in millimetres, in the order of `LANDMARKS`.
    """

    volume: Volume
    landmarks: Float[np.ndarray, "23 3"]


def make_phantom(seed: int | tuple[int, ...], *, spacing: float = 2.5) -> Phantom:
    """Make the body of a seed.

    Args:
        seed: another seed, another anatomy.
        spacing: of the voxels, in millimetres, 1 to 10. The same seed gives the same body at every spacing.

    Raises:
        UsageError: if the spacing is out of its range.
    """
    if not 1 <= spacing <= 10:
        raise UsageError(f"a made body has voxels of 1 to 10 mm, and {spacing} were asked for.")
    rng = np.random.default_rng(seed)
    parts, landmarks = _vary(rng, bones(), template())
    shape = tuple(round(float(length) / spacing) for length in EXTENT[::-1])
    affine = grid(shape, spacing)  # type: ignore[arg-type]
    affine[:3, 3] += MIDDLE
    scene = _Voxels(shape, affine, rng)
    hounsfield = scene.soft_tissue(landmarks)
    scene.insert(hounsfield, parts, landmarks)
    values = np.maximum(WATER * (1 + hounsfield / 1000), 0)
    return Phantom(Volume(values, affine), landmarks)


def _vary(rng: np.random.Generator, parts: dict[str, Bone], marks: np.ndarray) -> tuple[dict[str, Bone], np.ndarray]:
    """Another body of the same plan."""
    of = {name: n for n, name in enumerate(LANDMARKS)}
    moved = marks.copy()
    legs = {side: _leg(rng, marks[of[f"{side}_hip_centre"]], -1 if side == "left" else 1) for side in ("left", "right")}
    sacral = _turning(np.array([0, 52.0, 92.0]), np.array([rng.normal(0, 0.09), 0, 0]))
    for name in ("coccyx_tip",):
        moved[of[name]] = sacral(marks[of[name]][None])[0]
    for side, leg in legs.items():
        for name in ("greater_trochanter", "lesser_trochanter"):
            moved[of[f"{side}_{name}"]] = leg(marks[of[f"{side}_{name}"]][None])[0]
    joints: dict[str, Move] = {"sacrum": sacral, "left_femur": legs["left"], "right_femur": legs["right"]}
    bend, size = _bending(rng), float(np.clip(rng.normal(1, 0.05), 0.88, 1.13))
    thick, cortex = rng.normal(1, 0.05), rng.uniform(0.75, 1.25)
    changed = {}
    for name, bone in parts.items():
        centres = joints[name](bone.centres) if name in joints else bone.centres
        changed[name] = Bone(size * bend(centres), size * thick * bone.radii, size * cortex * bone.cortex)
    return changed, size * bend(moved)


def _turning(centre: np.ndarray, vector: np.ndarray) -> Move:
    turn = turn_about(vector)
    return lambda points: (points - centre) @ turn.T + centre


def _leg(rng: np.random.Generator, hip: np.ndarray, side: int) -> Move:
    """Bent, spread and turned in the hip, by some degrees."""
    return _turning(hip, np.array([rng.normal(0, 0.08), side * rng.normal(0.02, 0.06), rng.normal(0, 0.18)]))


def _bending(rng: np.random.Generator) -> Move:
    """Proportions, then a smooth field of displacements: most of it alike on both sides."""
    scale = np.clip(rng.normal(1, (0.05, 0.05, 0.045)), 0.87, 1.14)
    wide, splay = rng.normal(0, 0.06), rng.normal(0, 0.05)  # of the lower pelvis; of the wings
    centres = rng.uniform((-130, -60, -90), (130, 110, 140), (14, 3))
    pushes = rng.normal(0, 4.0, (14, 3))
    alike = rng.uniform(0.5, 1.0, 14)[:, None]  # how much of a push the other side has as well

    def bend(points: np.ndarray) -> np.ndarray:
        out = points.astype(np.float64).copy()
        low = 1 / (1 + np.exp((points[:, 2] + 15) / 15))
        high = 1 / (1 + np.exp((60 - points[:, 2]) / 15))
        inner = np.exp(-((points[:, 0] / 95) ** 4))  # hips keep their width
        out[:, 0] *= 1 + wide * low * inner + splay * high
        for mirror in (1, -1):
            near = np.exp(-((points[:, None] * [mirror, 1, 1] - centres) ** 2).sum(-1) / (2 * 55.0**2))
            strength = pushes if mirror == 1 else pushes * alike
            out += near @ strength * [mirror, 1, 1]
        return out * scale

    return bend


class _Voxels:
    """The voxels of a body, and what is put into them."""

    def __init__(self, shape: tuple[int, ...], affine: np.ndarray, rng: np.random.Generator) -> None:
        self.shape, self.affine, self.rng = shape, affine, rng
        self.spacing = np.diag(affine)[:3]
        self.z, self.y, self.x = (
            (affine[axis, 3] + self.spacing[axis] * np.arange(shape[2 - axis], dtype=np.float32)).reshape(
                [-1 if n == 2 - axis else 1 for n in range(3)]
            )
            for axis in (2, 1, 0)
        )

    def _noise(self, grain: float) -> np.ndarray:
        """A smooth random field of about unit spread, with features of `grain` millimetres."""
        coarse = tuple(int(length / grain) + 4 for length in EXTENT[::-1])
        field = self.rng.standard_normal(coarse, dtype=np.float32)
        scale = [(n - 3) / size for n, size in zip(coarse, self.shape, strict=True)]
        return ndimage.affine_transform(field, scale, 1.0, self.shape, order=1) * np.float32(1.6)

    def soft_tissue(self, landmarks: np.ndarray) -> np.ndarray:
        """Hounsfield units of trunk, legs, fat, muscle, bladder and gas."""
        rng = self.rng
        width = float(np.abs(landmarks[:, 0]).max())
        wide, deep, fat = width + rng.uniform(22, 48), rng.uniform(98, 126), rng.uniform(10, 30)
        waist = rng.uniform(0.78, 0.95)
        narrow = 1 - (1 - waist) / (1 + np.exp((90 - self.z) / 28))
        trunk = self._ellipse(0, 12, wide * narrow, deep * (0.5 + 0.5 * narrow))
        legs = np.minimum(*(self._ellipse(s * (0.5 * wide + 3), 10, 0.5 * wide, 0.5 * wide + 8) for s in (-1, 1)))
        part = 1 / (1 + np.exp((self.z + 95) / 9))  # 1 in the legs
        body = trunk * (1 - part) + legs * part + 2.5 * self._noise(60.0)
        inner = body + fat * (0.8 + 0.3 * np.clip(self._noise(80.0), -1.5, 1.5))
        hounsfield = np.where(body > 0, np.float32(-1000), np.float32(FAT))
        hounsfield += np.clip(0.5 - inner / 5, 0, 1) * np.float32(MUSCLE - FAT) * (body <= 0)
        hounsfield[body <= 0] += 9 * self._noise(7.0)[body <= 0]
        streaks = self._noise(18.0)
        hounsfield -= np.where((inner < -4) & (streaks > 1.2), np.float32(90), np.float32(0))  # fat between muscles
        bladder = self._ellipsoid(np.array([0, -14, 14.0]) + rng.normal(0, 6, 3), rng.uniform(22, 42, 3))
        hounsfield += np.clip(0.5 - bladder / 3, 0, 1) * (WATER_HU - hounsfield)
        for _ in range(rng.poisson(9)):
            place = rng.uniform((-95, -65, 25), (95, 15, 230))
            gas = self._ellipsoid(place, rng.uniform(5, 19, 3)) + 1.5 * streaks
            hounsfield += np.clip(0.5 - gas / 3, 0, 1) * (inner < -8) * (-950 - hounsfield)
        return hounsfield.astype(np.float32)

    def _ellipse(self, x: float, y: float, wide: np.ndarray | float, deep: np.ndarray | float) -> np.ndarray:
        """About the distance to an elliptic cylinder along z, negative inside."""
        level = np.sqrt(((self.x - x) / wide) ** 2 + ((self.y - y) / deep) ** 2 + 1e-6)
        return (level - 1) * np.minimum(wide, deep)

    def _ellipsoid(self, centre: np.ndarray, half: np.ndarray) -> np.ndarray:
        parts = (self.x - centre[0]) / half[0], (self.y - centre[1]) / half[1], (self.z - centre[2]) / half[2]
        return (np.sqrt(parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2 + 1e-6) - 1) * half.min()

    def insert(self, hounsfield: np.ndarray, parts: dict[str, Bone], landmarks: np.ndarray) -> None:
        """Put the bones into the soft tissue."""
        rough, sponge = 0.45 * self._noise(9.0), 60 * self._noise(5.0) + 45 * self._noise(14.0)
        dense = self.rng.uniform(0.8, 1.15)
        away = {name: self._distance(bone) for name, bone in parts.items()}
        size = parts["left_femur"].radii[-1] / HEAD
        for side in ("left", "right"):
            head = landmarks[LANDMARKS.index(f"{side}_hip_centre")]
            ball = self._ellipsoid(head, np.full(3, HEAD * size))
            away[f"{side}_hip"] = np.maximum(away[f"{side}_hip"], JOINT - ball)
            away[f"{side}_hip"] = np.maximum(away[f"{side}_hip"], SACRAL_JOINT - away["sacrum"])
        # The symphysis, a gap of cartilage.
        middle = landmarks[LANDMARKS.index("pubic_symphysis"), 0]
        gap = 2.0 - np.abs(self.x - middle)
        for side in ("left", "right"):
            away[f"{side}_hip"] = np.maximum(away[f"{side}_hip"], gap)
        edge = np.float32(self.spacing.mean())
        for name, distance in away.items():
            near = distance < REACH
            depth = -(distance[near] + rough[near])
            cover = np.clip(0.5 + depth / edge, 0, 1)
            shell = np.clip(0.5 + (parts[name].cortex - depth) / edge, 0, 1)
            inside = SPONGY + sponge[near]
            bone = dense * (inside + shell * (CORTEX - inside))
            hounsfield[near] += cover * np.maximum(bone - hounsfield[near], 0)

    def _distance(self, bone: Bone) -> np.ndarray:
        distance = np.full(self.shape, 2 * REACH, np.float32)
        first = self.affine[:3, 3]
        join_spheres(distance, bone.centres - first, bone.radii, self.spacing, REACH)
        return distance
