"""The plan of a pelvis-like body: bones as spheres along curves and over surfaces, and 23 landmarks on them.

Everything is in millimetres, with the middle between the hip joints' centres as origin: x to the left, y to the back,
z to the head. What comes in pairs is written for the left side. The measures are rounded from general anatomy; they are
nobody's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

__all__ = ["LANDMARKS", "LANDMARK_PAIRS", "Bone", "bones", "template"]

PAIRED = {
    "asis": (122, -50, 79),  # anterior superior iliac spine
    "aiis": (99, -43, 40),  # anterior inferior iliac spine
    "iliac_crest": (129, 20, 133),
    "psis": (42, 97, 82),  # posterior superior iliac spine
    "hip_centre": (88, 0, 0),
    "greater_trochanter": (147, 14, 8),
    "lesser_trochanter": (110, 28, -62),
    "ischial_tuberosity": (62, 28, -77),
    "ischial_spine": (44, 47, -15),
    "pubic_tubercle": (26, -58, 1),
}
MIDDLE = {"pubic_symphysis": (0, -48, -18), "sacral_promontory": (0, 29, 94), "coccyx_tip": (0, 62, -25)}

LANDMARKS: tuple[str, ...] = (*(f"{side}_{name}" for name in PAIRED for side in ("left", "right")), *MIDDLE)
"""Names of the 23 landmarks, pairs side by side."""
LANDMARK_PAIRS: tuple[tuple[int, int], ...] = tuple((2 * n, 2 * n + 1) for n in range(len(PAIRED)))

HEAD = 24.0
"""Radius of the femur's head."""

Curve = Sequence[tuple[float, float, float, float]]
"""Points of a tube with the radius at each: x, y, z, r."""

CREST: Curve = [
    (121, -46, 77, 6), (135, -22, 106, 6), (129, 20, 126, 7), (102, 57, 121, 7), (67, 83, 104, 8), (43, 90, 82, 8)
]  # fmt: skip
FOSSA: Curve = [
    (112, -44, 60, 4), (122, -16, 72, 3), (112, 20, 84, 2.5), (92, 48, 82, 3), (66, 70, 78, 7), (46, 84, 72, 9)
]  # fmt: skip
BRIM: Curve = [
    (98, -36, 40, 7), (95, -8, 37, 9), (82, 20, 40, 10), (68, 42, 44, 9), (58, 60, 50, 9), (46, 78, 60, 9)
]  # fmt: skip
"""The wing of the ilium: its upper edge, its thin middle and its lower edge, from the front to the back."""

HIP_TUBES: tuple[Curve, ...] = (
    [(121, -46, 77, 5), (108, -39, 58, 5), (98, -37, 40, 6)],  # the front edge
    [(94, -10, 38, 11), (88, 14, 26, 14), (76, 34, 16, 11), (68, 40, -4, 9), (76, 25, -24, 13)],  # the back column
    [(76, 25, -24, 14), (70, 29, -45, 13), (62, 28, -63, 13)],  # the ischium
    [(66, 39, -6, 7), (55, 44, -12, 4.5), (46, 46, -15, 2.5)],  # its spine
    [(66, -26, 8, 11), (48, -42, 8, 8), (26, -51, -2, 7), (11, -49, -12, 8)],  # the upper branch of the pubis
    [(9, -48, -6, 7), (8, -45, -22, 7), (9, -43, -34, 7)],  # its body, beside the symphysis
    [(10, -43, -34, 7), (26, -30, -52, 5.5), (44, -5, -67, 7), (60, 22, -66, 11)],  # its lower branch
)
SACRUM: Curve = [(0, 52, 92, 54), (0, 72, 66, 48), (0, 84, 42, 36), (0, 88, 20, 26), (0, 84, 2, 16)]
"""Middles of the sacral bodies, with half their width instead of a radius."""
SACRUM_THICK = (21.0, 15.0, 12.0, 9.0, 7.0)
CREST_TUBE: Curve = [(0, 84, 92, 4), (0, 100, 66, 5), (0, 106, 42, 5), (0, 102, 14, 4)]
COCCYX: Curve = [(0, 83, -2, 6), (0, 75, -15, 5), (0, 64, -22, 3)]
LUMBAR = ((44, 124), (36, 161), (32, 198), (32, 235), (36, 272), (40, 309))
"""y and z of the lumbar bodies' middles, from L5 upwards."""
FEMUR_TUBES: tuple[Curve, ...] = (
    [(88, 0, 0, 17), (110, 3, -14, 15), (131, 7, -28, 18)],  # the neck
    [(133, 8, -26, 15), (142, 12, -10, 12), (146, 14, -1, 9)],  # the greater trochanter
    [(124, 12, -58, 11), (113, 23, -61, 6)],  # the lesser trochanter
    [(130, 7, -30, 18), (128, 7, -60, 17), (124, 6, -110, 14.5), (112, 6, -210, 14), (98, 8, -330, 14)],  # the shaft
)


class Bone(NamedTuple):
    """Spheres that make up a bone, and how thick its cortex is."""

    centres: Float[np.ndarray, "n 3"]
    radii: Float[np.ndarray, " n"]
    cortex: float


def template() -> Float[np.ndarray, "23 3"]:
    """The landmarks of the plan."""
    both = [point for x, y, z in PAIRED.values() for point in ((x, y, z), (-x, y, z))]
    return np.array([*both, *MIDDLE.values()], np.float64)


def bones() -> dict[str, Bone]:
    """The bones of the plan: "left_hip", "right_hip", "sacrum", "spine", "left_femur", "right_femur"."""
    hip = Bone(*_joined([_tube(each) for each in HIP_TUBES] + [_wing(), _socket()]), 2.2)
    femur = Bone(*_joined([_tube(each) for each in FEMUR_TUBES] + [_ball()]), 2.5)
    sacrum = Bone(*_joined([_sacrum(), _tube(CREST_TUBE), _tube(COCCYX)]), 1.6)
    spine = Bone(*_joined([_vertebra(y, z) for y, z in LUMBAR]), 1.6)
    return {
        "left_hip": hip, "right_hip": _mirrored(hip), "sacrum": sacrum, "spine": spine,
        "left_femur": femur, "right_femur": _mirrored(femur),
    }  # fmt: skip


def _mirrored(bone: Bone) -> Bone:
    return Bone(bone.centres * [-1, 1, 1], bone.radii, bone.cortex)


def _joined(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    whole = np.concatenate(parts)
    return whole[:, :3], whole[:, 3]


def _spline(curve: np.ndarray, count: int) -> np.ndarray:
    """Points of a Catmull-Rom spline through those of a curve, all columns alike."""
    ends = np.concatenate([2 * curve[:1] - curve[1:2], curve, 2 * curve[-1:] - curve[-2:-1]])
    place = np.linspace(0, len(curve) - 1, count)
    cell = np.minimum(place.astype(int), len(curve) - 2)
    t = (place - cell)[:, None]
    a, b, c, d = (ends[cell + shift] for shift in range(4))
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)


def _tube(curve: Curve) -> np.ndarray:
    points = np.array(curve, np.float64)
    length = np.linalg.norm(np.diff(points[:, :3], axis=0), axis=1).sum()
    return _spline(points, int(length / 1.5) + 2)


def _wing() -> np.ndarray:
    """A surface through three curves: linear in each half, rounded where they meet."""
    low, middle, high = (_spline(np.array(each, np.float64), 130) for each in (BRIM, FOSSA, CREST))
    part = np.linspace(0, 1, 70)[:, None, None]
    # The parabola through all three, at 0, 1/2 and 1.
    rows = low * (1 - part) * (1 - 2 * part) + middle * 4 * part * (1 - part) + high * part * (2 * part - 1)
    return rows.reshape(-1, 4)


def _socket() -> np.ndarray:
    """The acetabulum: a bowl around the femur's head that opens outwards, forwards and down."""
    n = np.arange(900) + 0.5
    up = 1 - 2 * n / 900
    turn = np.pi * (1 + 5**0.5) * n  # a Fibonacci sphere
    around = np.column_stack([np.sqrt(1 - up**2) * np.cos(turn), np.sqrt(1 - up**2) * np.sin(turn), up])
    opening = np.array([0.76, -0.3, -0.58])
    bowl = around[around @ (opening / np.linalg.norm(opening)) < 0.1]
    centre = np.array(PAIRED["hip_centre"])
    return np.column_stack([centre + (HEAD + 6.5) * bowl, np.full(len(bowl), 3.8)])


def _ball() -> np.ndarray:
    return np.array([[*PAIRED["hip_centre"], HEAD]])


def _sacrum() -> np.ndarray:
    """A plate that narrows and bends, thick in the middle, with holes for the nerves on both sides."""
    middles = _spline(np.array([(*row[1:], thick) for row, thick in zip(SACRUM, SACRUM_THICK, strict=True)]), 90)
    across = np.linspace(-1, 1, 75)[None, :, None]
    y, z, width, thick = (column[:, None, None] for column in middles.T)
    radius = thick * (1 - 0.45 * np.abs(across) ** 1.5)
    x = across * (width - radius)
    # The surface faces the pelvis: the outer parts lie further back.
    points = np.concatenate([x, y + 10 * across**2 + 0 * x, z - 4 * across**2 + 0 * x, radius], -1).reshape(-1, 4)
    for number, hole in enumerate((79.0, 54.0, 31.0, 11.0)):
        off = np.hypot(np.abs(points[:, 0]) - (25 - 2.5 * number), points[:, 2] - hole)
        points[:, 3] = np.minimum(points[:, 3], np.maximum(off - (6.0 - 0.6 * number), 0.5))
    return points[points[:, 3] > 1.2]


def _vertebra(y: float, z: float) -> np.ndarray:
    """A lumbar vertebra: its body as a rounded disc with a waist, the arch, and three processes."""
    x0, y0, z0 = np.meshgrid(np.arange(-24, 25, 3.0), np.arange(-16, 17, 3.0), np.arange(-10, 11, 2.5), indexing="ij")
    waist = 0.86 + 0.14 * (z0 / 10) ** 2
    inside = (x0 / (21 * waist)) ** 2 + (y0 / (13 * waist)) ** 2 <= 1
    body = np.column_stack([x0[inside], y0[inside] + y, z0[inside] + z, np.full(inside.sum(), 4.0)])
    arch: list[Curve] = []
    for side in (-1, 1):
        arch += [
            [(side * 14, y + 12, z + 5, 5), (side * 15, y + 24, z + 3, 5), (0, y + 32, z - 2, 3.5)],
            [(side * 16, y + 22, z + 3, 4), (side * 30, y + 24, z + 3, 3.5), (side * 43, y + 27, z + 5, 3)],
            [(side * 17, y + 25, z + 12, 4.5), (side * 17, y + 26, z - 16, 4.5)],  # the joints to the next ones
        ]
    arch.append([(0, y + 32, z - 2, 4), (0, y + 46, z - 6, 4), (0, y + 58, z - 10, 4.5)])
    return np.concatenate([body, *(_tube(each) for each in arch)])
