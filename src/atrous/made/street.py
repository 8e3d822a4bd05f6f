"""What stands in a made street: buildings, trees, cars, lamp posts, signs and people, each in true perspective.

Lengths are metres: X to the right of the camera, Y above the ground, Z ahead.
"""

from dataclasses import dataclass

import numpy as np

from atrous.made.canvas import fractal, smooth_noise
from atrous.made.perspective import BUILDING, CAR, NEAR, POLE, RGB, TREE, Camera, DepthCanvas, grid, rgb
from atrous.types import IGNORE_INDEX

__all__ = ["Building", "Car", "draw_building", "draw_car", "draw_lamp", "draw_person", "draw_sign", "draw_tree"]

CIRCLE = [(float(np.cos(t)), float(np.sin(t))) for t in np.linspace(0, 2 * np.pi, 14, endpoint=False)]
SHOPS = np.array([[0.5, 0.12, 0.12], [0.12, 0.25, 0.4], [0.15, 0.33, 0.2], [0.2, 0.2, 0.22]], np.float32)


@dataclass(frozen=True)
class Building:
    """A house in the row along one side: street front at X, from Z to Z + length."""

    x: float
    z: float
    length: float
    height: float
    wall: RGB
    storey: float
    pitch: float  # from window to window
    roof: float
    shop: bool
    texture: int


def draw_building(canvas: DepthCanvas, it: Building, light: tuple[float, float]) -> None:
    """Draw roof, the gable that faces the camera, and the street front; `light` falls on front and gable."""
    near, far, top, ridge = max(it.z, NEAR), it.z + it.length, it.height, it.height + it.roof
    middle, back = it.x + np.sign(it.x) * 4.5, it.x + np.sign(it.x) * 9.0
    if it.roof:
        slate = rgb(0.24, 0.22, 0.23) * np.float32(0.6 + 0.5 * light[0])
        canvas.polygon(
            [(it.x, top, near), (it.x, top, far), (middle, ridge, far), (middle, ridge, near)], slate, BUILDING
        )
    if it.z > 2.0:
        gable = [(it.x, 0.0, it.z), (it.x, top, it.z), (middle, ridge, it.z), (back, top, it.z), (back, 0.0, it.z)]
        canvas.polygon(gable, lambda y, x: _gable(canvas.camera, it, light[1], y, x), BUILDING)
    front = [(it.x, 0.0, near), (it.x, top, near), (it.x, top, far), (it.x, 0.0, far)]
    canvas.polygon(front, lambda y, x: _front(canvas.camera, it, light[0], y, x), BUILDING)


def _front(camera: Camera, it: Building, light: float, y: np.ndarray, x: np.ndarray) -> RGB:
    # A column of pixels looks at one place along the front.
    offset = np.where(np.abs(x - camera.x) < 0.5, np.sign(it.x) * 0.5, x - camera.x)
    z = np.clip(camera.focal * it.x / offset, 0, 1e4).astype(np.float32)
    return _wall(it, light, z - it.z, camera.eye - (y - camera.y) * z / camera.focal, it.shop)


def _gable(camera: Camera, it: Building, light: float, y: np.ndarray, x: np.ndarray) -> RGB:
    along = (x - camera.x) * np.float32(it.z / camera.focal) - np.float32(it.x)
    up = camera.eye - (y - camera.y) * np.float32(it.z / camera.focal)
    # A gable has few windows: their pitch is wider there.
    return _wall(it, light, np.abs(along) * np.float32(0.55) + np.float32(0.4), up, False)


def _wall(it: Building, light: float, along: np.ndarray, up: np.ndarray, shop: bool) -> RGB:
    """Light of a wall at places `along` it and `up` it: bricks, ledges, windows, a shop front, soot."""
    along, up = (np.ascontiguousarray(part, np.float32) for part in np.broadcast_arrays(along, up))
    bay, floor = along / np.float32(it.pitch), up / np.float32(it.storey)
    u, v = np.abs(bay - np.floor(bay) - np.float32(0.5)), floor - np.floor(floor)
    # A cheap hash of bay and storey decides what each window reflects.
    cell = np.sin(np.floor(bay) * 12.9898 + np.floor(floor) * 78.233 + it.texture % 97) * 4375.85
    glass = rgb(0.16, 0.21, 0.3) + (np.float32(0.28) * (cell - np.floor(cell)) ** 2)[..., None]
    brick = np.sin(along * 37 + it.texture % 7) * np.sin(up * 53) + np.sin(along * np.float32(1.7) + it.texture % 31)
    color = it.wall * (1 + np.float32(0.03) * brick)[..., None]
    color[(v < 0.06) & (floor > 0.9)] = it.wall * np.float32(0.75)
    below = up < it.height - 0.3
    color[(u < 0.3) & (v > 0.22) & (v < 0.84) & below] = np.minimum(it.wall * np.float32(1.35), np.float32(0.85))
    pane = (u < 0.25) & (u > 0.02) & (v > 0.27) & (v < 0.8) & below
    color[pane] = glass[pane]
    if shop:
        ground = floor < 0.95
        show = ground & (v > 0.12) & (v < 0.68) & (u < 0.44)
        color[ground] = SHOPS[it.texture % len(SHOPS)]
        color[show] = glass[show]
    soot = np.clip(np.float32(0.72) + np.float32(0.112) * up, 0.7, 1.0)  # less sky is seen from near the ground
    return color * (soot * np.float32(light))[..., None]


def draw_tree(
    canvas: DepthCanvas, rng: np.random.Generator, at: tuple[float, float], tall: float, tint: RGB, sun: float
) -> None:
    """Draw a tree at (X, Z): a trunk and a crown of lumps with a leafy outline; below 2.5 m, a hedge."""
    (x, z), camera = at, canvas.camera
    scale, wide, hedge = camera.focal / z, tall * rng.uniform(0.24, 0.36), tall <= 2.5
    if not hedge:
        half, fork = max(0.015 * tall, 0.06), tall * 0.55
        stem = [(x - half, 0, z), (x - half * 0.7, fork, z), (x + half * 0.7, fork, z), (x + half, 0, z)]
        canvas.polygon(stem, rgb(0.2, 0.16, 0.13) * np.float32(0.6 + 0.4 * sun), TREE)
    bottom = 0.0 if hedge else tall * 0.28
    box = canvas.box(camera.project([(x - 1.3 * wide, bottom - 0.2, z), (x + 1.3 * wide, tall + 0.2, z)]))
    if box is None or scale * tall < 2:
        return
    rows, columns = grid(box)
    center_x, center_y = camera.project([(x, (bottom + tall) / 2, z)])[0].astype(np.float32)
    down, across = (
        (rows - center_y) / np.float32(scale * (tall - bottom) / 2),
        (columns - center_x) / np.float32(scale * wide),
    )
    shape = (rows.size, columns.size)
    outline = np.full(shape, np.inf, np.float32)
    for dy, dx, reach in rng.uniform((-0.45, -0.5, 0.45), (0.4, 0.5, 0.65), (5, 3)).astype(np.float32):
        outline = np.minimum(outline, ((down - dy) ** 2 + (across - dx) ** 2) / reach**2)
    leaves = fractal(rng, *shape, max(scale * wide / 3, 1.5), 3)
    inside = np.sqrt(outline) + np.float32(0.22) * leaves < 1.0
    if hedge:
        inside &= rows < camera.project([(x, 0.0, z)])[0][1]
    side = np.float32(0.12 * sun * np.sign(rng.normal())) * across
    leaf = np.float32(0.2) * leaves + np.float32(0.16) * smooth_noise(rng, *shape, 1.6)
    tone = np.clip(np.float32(0.82) - np.float32(0.28) * down + side + leaf, 0.25, 1.6) * np.float32(0.6 + 0.5 * sun)
    canvas.put(box, inside, tint * tone[..., None], TREE, z)


@dataclass(frozen=True)
class Car:
    """A car whose nearer end is at (X, Z) and shows its rear (`away`) or its front."""

    x: float
    z: float
    half: float  # of its width
    length: float
    hip: float  # where the windows begin
    top: float
    paint: RGB
    van: bool
    away: bool

    @property
    def cabin(self) -> tuple[float, float]:
        """Where the cabin begins and ends."""
        start, stop = (0.02, 0.8) if self.van else ((0.08, 0.72) if self.away else (0.28, 0.92))
        return self.z + start * self.length, self.z + stop * self.length

    @property
    def lean(self) -> float:
        """How far the cabin's ends lean inward."""
        return 0.1 if self.van else 0.55


SILL = 0.24  # the car's underside, metres above the ground


def draw_car(canvas: DepthCanvas, it: Car, sun: float) -> None:
    """Draw shadow, the flank on the camera's side, then the end that faces the camera."""
    near, far, left, right = max(it.z, NEAR), it.z + it.length, it.x - it.half * 1.1, it.x + it.half * 1.1
    canvas.darken([(left, 0, near - 0.2), (left, 0, far), (right, 0, far), (right, 0, near - 0.2)], 0.35)
    glass = rgb(0.1, 0.12, 0.15) + np.float32(0.12 * sun)
    if abs(it.x) > it.half:
        _flank(canvas, it, it.paint * np.float32(0.62 + 0.4 * sun), glass)
    if it.z > NEAR:
        _end(canvas, it, it.paint * np.float32(0.5 + 0.3 * sun), glass * np.float32(1.2))


def _flank(canvas: DepthCanvas, it: Car, paint: RGB, glass: RGB) -> None:
    near, far, (start, stop) = max(it.z, NEAR), it.z + it.length, it.cabin
    outer, inner = it.x - np.sign(it.x) * it.half, it.x - np.sign(it.x) * it.half * 0.86
    for upper, tone in ((it.hip, 1.0), (SILL + 0.2, 0.45)):
        side = [(outer, SILL, near), (outer, upper, near), (outer, upper, far), (outer, SILL, far)]
        canvas.polygon(side, paint * np.float32(tone), CAR)

    def cabin(inset: float, color: RGB) -> None:
        first, last = start + inset * 1.7, stop - inset * 1.7
        low, high = it.hip + inset / 2, it.top - inset
        corners = [
            (outer, low, first),
            (inner, high, first + it.lean),
            (inner, high, last - it.lean),
            (outer, low, last),
        ]
        canvas.polygon(corners, color, CAR)

    cabin(0.0, paint)
    if not it.van:
        cabin(0.08, glass)
    for axle in (it.z + 0.19 * it.length, it.z + 0.8 * it.length):
        if axle > NEAR + 0.4:
            for radius, tone in ((0.33, 0.04), (0.19, 0.35)):
                wheel = [(outer, 0.33 + radius * b, axle + radius * a) for a, b in CIRCLE]
                canvas.polygon(wheel, rgb(tone, tone, tone), CAR)


def _end(canvas: DepthCanvas, it: Car, paint: RGB, glass: RGB) -> None:
    def face(left: float, low: float, right: float, high: float, z: float, color: RGB, slope: float = 0.0) -> None:
        taper, back = 0.14 * slope, z + slope * it.lean
        a, b, c, d = (it.x + part * it.half for part in (left, left + taper, right - taper, right))
        canvas.polygon([(a, low, z), (b, high, back), (c, high, back), (d, low, z)], color, CAR)

    z, start = it.z, it.cabin[0]
    for tyre in (-0.92, 0.66):
        face(tyre, 0.0, tyre + 0.26, SILL + 0.1, z + 0.3, rgb(0.03, 0.03, 0.03))
    left, right = it.x - it.half, it.x + it.half
    lid = [(left, it.hip, z), (left, it.hip, start), (right, it.hip, start), (right, it.hip, z)]
    canvas.polygon(lid, paint * np.float32(1.25), CAR)
    face(-1, it.hip, 1, it.top, start, paint * np.float32(1.1), 1.0)
    face(-0.84, it.hip + 0.06, 0.84, it.top - 0.1, start, glass, 0.9)
    face(-1, SILL, 1, it.hip, z, paint)
    face(-1, SILL, 1, SILL + 0.2, z, paint * np.float32(0.45))
    for lamp in (-0.98, 0.7):
        face(
            lamp,
            it.hip - 0.3,
            lamp + 0.28,
            it.hip - 0.1,
            z,
            rgb(0.75, 0.06, 0.05) if it.away else rgb(0.92, 0.92, 0.85),
        )
    face(-0.28, SILL + 0.28, 0.28, SILL + 0.42, z, rgb(0.85, 0.82, 0.55))


def draw_lamp(canvas: DepthCanvas, at: tuple[float, float], tall: float, color: RGB) -> None:
    """Draw a lamp post at (X, Z) whose arm reaches over the road."""
    (x, z), top = at, tall + 0.35
    tip = x - np.sign(x) * 1.6
    canvas.rod([(x, 0, z), (x, tall, z), (tip, top, z)], 0.09, color, POLE)
    canvas.rod([(tip, top, z), (tip - np.sign(x) * 0.6, top, z)], 0.14, color * np.float32(1.6), POLE)


def draw_sign(canvas: DepthCanvas, rng: np.random.Generator, at: tuple[float, float], color: RGB) -> None:
    """Draw a traffic sign and its post at (X, Z)."""
    x, z = at
    tall, radius = rng.uniform(2.2, 2.8), rng.uniform(0.22, 0.32)
    canvas.rod([(x, 0, z), (x, tall, z)], 0.07, color, POLE)
    prohibits = rng.random() < 0.6
    rim, inner = (rgb(0.75, 0.1, 0.1), rgb(0.9, 0.9, 0.9)) if prohibits else (rgb(0.1, 0.25, 0.65), rgb(0.15, 0.3, 0.7))
    for size, tone in ((radius, rim), (radius * 0.65, inner)):
        canvas.polygon([(x + size * a, tall + size * b, z) for a, b in CIRCLE], tone, POLE)


def draw_person(canvas: DepthCanvas, rng: np.random.Generator, at: tuple[float, float]) -> None:
    """Draw someone on foot at (X, Z): in the picture, but of no class, so ignored in the mask."""
    x, z = at
    coat, legs = rng.uniform(0.05, 0.6, 3).astype(np.float32), rng.uniform(0.05, 0.25, 3).astype(np.float32)
    step = rng.uniform(0.05, 0.25)
    for foot in (-step, step):
        canvas.rod([(x, 0.85, z), (x + foot, 0.0, z)], 0.17, legs, IGNORE_INDEX)
    body = [(x - 0.2, 0.75, z), (x - 0.24, 1.4, z), (x + 0.24, 1.4, z), (x + 0.2, 0.75, z)]
    canvas.polygon(body, coat, IGNORE_INDEX)
    canvas.polygon([(x + 0.12 * a, 1.58 + 0.15 * b, z) for a, b in CIRCLE], rgb(0.6, 0.45, 0.37), IGNORE_INDEX)
