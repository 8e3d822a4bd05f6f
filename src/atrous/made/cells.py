"""Made microscopy: living cells as phase contrast and DIC show them, with masks and instance maps.

A cell is a continuous outline: an ellipse bent by a few harmonics. Where outlines overlap, each pixel belongs to the
cell that it lies deeper in, so neighbours press flat against each other. The picture is computed from the same depths
as the mask, by the optics in short: phase contrast shows optical thickness minus its own blur (dark bodies, bright
halos, the inside fading back to the grey of the background), DIC its slope along one direction. That is why a threshold
does not find these cells: their grey is the background's grey, and only edges and texture tell.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from atrous.made.canvas import fractal, smooth_noise, to_bytes, write_folder

__all__ = ["draw_cells", "make_cells"]

CLASSES = {"background": (0x20, 0x20, 0x20), "cell": (0x3C, 0xB3, 0x71)}
HARMONICS = np.arange(2, 6)
FAR = -1e3  # depth where no cell is near
MOST = 65_000  # cells in a picture: the instance map has 16 bits


def make_cells(out: str | Path, *, count: int = 60, size: int | tuple[int, int] = 256, seed: int = 0) -> Path:
    """Write a data folder of made cells: grey 8-bit images, masks (0 background, 1 cell) and 16-bit instance maps.

    Args:
        out: the folder to make; absent or empty.
        count: how many images. Image i depends on the seed, i and the size alone, so more images continue fewer.
        size: side, or (height, width), in pixels, at least 32. Cells keep their size; larger images hold more of them.
        seed: another seed, other images.

    Returns:
        The folder: images/, masks/, instances/, classes.yaml, and train.txt, val.txt, test.txt with 70, 15 and 15 %.

    Raises:
        DataError: if `out` is a file or not empty.
        UsageError: if count or size is too small.
    """
    return write_folder(
        out,
        draw_cells,
        name="cells",
        count=count,
        size=size,
        seed=seed,
        classes=CLASSES,
    )


def draw_cells(rng: np.random.Generator, height: int, width: int) -> dict[str, np.ndarray]:
    """One picture: `images` uint8, `masks` uint8 0 or 1, `instances` uint16 counting from 1 (all (H, W))."""
    population = _populate(rng, height, width)
    field = _outline(population, height, width)
    image = _optics(rng, population, field)
    image += _debris(rng, height, width)
    image = _camera(rng, image)
    instances = _count_from_one(field.owner)
    return {
        "images": to_bytes(image),
        "masks": (instances > 0).astype(np.uint8),
        "instances": instances,
    }


@dataclass(frozen=True)
class _Population:
    """All cells of a picture, one row each; lengths in pixels."""

    center: np.ndarray  # (N, 2) y, x
    axes: np.ndarray  # (N, 2) half axes
    angle: np.ndarray  # (N,)
    bend: np.ndarray  # (N, harmonics) complex
    strength: np.ndarray  # (N,) optical thickness; dim cells have little
    nucleus: np.ndarray  # (N, 2) place, in half axes


@dataclass(frozen=True)
class _Field:
    """Every pixel's relation to the cells."""

    owner: np.ndarray  # (H, W) int32, 0 outside
    depth: np.ndarray  # (H, W) distance to the nearest outline, negative outside
    crease: np.ndarray  # (H, W) as depth, but 0 also where two cells meet
    nucleus: np.ndarray  # (H, W) 0..1


def _populate(rng: np.random.Generator, height: int, width: int) -> _Population:
    radius = rng.uniform(11.0, 19.0)
    stretch = rng.uniform(0.05, 0.4)
    wanted = rng.uniform(0.2, 0.65) * (height + 2 * radius) * (width + 2 * radius) / (np.pi * radius**2)
    clumping = rng.uniform(0.3, 0.9)
    places = np.empty((min(int(wanted) + 1, MOST), 2))
    radii = radius * np.exp(rng.normal(0.0, 0.18, len(places)))
    placed = 0
    for _ in range(6 * len(places)):
        place = rng.uniform((-radius, -radius), (height + radius, width + radius))
        if placed and rng.random() < clumping:  # divide: settle against a cell that is there
            mother, direction = rng.integers(placed), rng.uniform(0, 2 * np.pi)
            reach = (radii[mother] + radii[placed]) * rng.uniform(0.82, 1.0)
            place = places[mother] + reach * np.array([np.sin(direction), np.cos(direction)])
        near = np.hypot(*(places[:placed] - place).T) < 0.78 * (radii[:placed] + radii[placed])
        if near.any():
            continue
        places[placed] = place
        placed += 1
        if placed == len(places):
            break
    n = placed
    aspect = np.exp(np.abs(rng.normal(0.0, stretch, n)) / 2)
    dim = np.where(rng.random(n) < 0.15, rng.uniform(0.4, 0.65, n), 1.0)
    phase = rng.uniform(0, 2 * np.pi, (n, len(HARMONICS)))
    size = rng.normal(0.0, 0.16, (n, len(HARMONICS))) / HARMONICS
    return _Population(
        center=places[:n],
        axes=np.stack([radii[:n] / aspect, radii[:n] * aspect], 1),
        angle=rng.uniform(0, np.pi, n),
        bend=size * np.exp(1j * phase),
        strength=dim * rng.uniform(0.75, 1.25, n),
        nucleus=rng.uniform(-0.25, 0.25, (n, 2)),
    )


def _outline(cells: _Population, height: int, width: int) -> _Field:
    deepest = np.full((height, width), FAR, np.float32)
    second = deepest.copy()
    owner = np.zeros((height, width), np.int32)
    nucleus = np.zeros((height, width), np.float32)
    for index in range(len(cells.center)):
        reach = cells.axes[index].max() * 1.35 + 6
        y, x = cells.center[index]
        rows = slice(max(int(y - reach), 0), min(int(y + reach) + 2, height))
        columns = slice(max(int(x - reach), 0), min(int(x + reach) + 2, width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        depth, core = _one_cell(cells, index, rows, columns)
        window = (rows, columns)
        better = depth > deepest[window]
        second[window] = np.where(better, deepest[window], np.maximum(second[window], depth))
        deepest[window] = np.maximum(deepest[window], depth)
        mine = better & (depth > 0)
        owner[window][mine] = index + 1
        nucleus[window][mine] = core[mine]
    return _Field(owner, deepest, deepest - np.maximum(second, 0), nucleus)


def _one_cell(cells: _Population, index: int, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    center, (a, b) = cells.center[index], cells.axes[index].astype(np.float32)
    dy = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(center[0])
    dx = np.arange(columns.start, columns.stop, dtype=np.float32)[None] - np.float32(center[1])
    c, s = np.float32(np.cos(cells.angle[index])), np.float32(np.sin(cells.angle[index]))
    along, across = (c * dy + s * dx) / a, (c * dx - s * dy) / b
    distance = np.sqrt(along * along + across * across) + np.float32(1e-4)
    unit = (along + 1j * across) / distance
    outline, power = np.ones_like(distance), unit
    for bend in cells.bend[index].astype(np.complex64):
        power = power * unit
        outline += (power * bend).real
    # First-order distance: the level function over the length of its gradient.
    steepness = np.hypot(along / a, across / b) / distance
    depth = (outline - distance) / steepness
    shift = cells.nucleus[index].astype(np.float32)
    core = np.hypot(along - shift[0], across - shift[1])
    return depth, np.clip((np.float32(0.42) - core) * 6, 0, 1)


def _optics(rng: np.random.Generator, cells: _Population, field: _Field) -> np.ndarray:
    height, width = field.depth.shape
    inside = field.owner > 0
    strength = np.concatenate([[0.0], cells.strength]).astype(np.float32)[field.owner]
    rim = np.float32(rng.uniform(2.0, 4.0))
    body = np.where(inside, 1 - np.exp(-np.maximum(field.crease, 0) / rim), 0)
    grains = fractal(rng, height, width, rng.uniform(3.0, 5.5), 2) * np.float32(rng.uniform(0.16, 0.3))
    phase = strength * (body * (1 + grains) + np.float32(rng.uniform(-0.1, 0.5)) * field.nucleus * body)
    phase = cv2.GaussianBlur(phase.astype(np.float32), (0, 0), 0.7)

    halo = cv2.GaussianBlur(phase, (0, 0), rng.uniform(5.0, 9.0))
    contrast, direction = rng.uniform(0.2, 0.34), rng.uniform(0, 2 * np.pi)
    slope_y, slope_x = cv2.Sobel(phase, cv2.CV_32F, 0, 1, scale=1 / 8), cv2.Sobel(phase, cv2.CV_32F, 1, 0, scale=1 / 8)
    relief = rng.uniform(0.0, 0.9) * (np.sin(direction) * slope_y + np.cos(direction) * slope_x)
    membrane = np.exp(-((field.crease - 0.3) ** 2) / 1.6) * np.where(inside, strength, 0.8) * (field.depth > -3)
    image = relief - contrast * (phase - rng.uniform(0.8, 1.1) * halo) - rng.uniform(0.06, 0.16) * membrane
    medium = fractal(rng, height, width, 9.0, 3) * np.float32(rng.uniform(0.006, 0.014))
    return image.astype(np.float32) + medium


def _debris(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Specks, and dust far out of focus: rings that the mask does not know."""
    layer = np.zeros((height, width), np.float32)
    for _ in range(rng.poisson(height * width / 9000)):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        radius, tone = int(rng.integers(1, 4)), float(rng.choice([-0.2, 0.25]) * rng.uniform(0.4, 1.0))
        cv2.circle(layer, center, radius + 1, -0.6 * tone, -1)
        cv2.circle(layer, center, radius, tone, -1)
    layer = cv2.GaussianBlur(layer, (0, 0), 0.9)
    dust = np.zeros((height, width), np.float32)
    for _ in range(rng.poisson(height * width / 50_000)):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        radius = int(rng.integers(8, 20))
        cv2.circle(dust, center, radius, -rng.uniform(0.03, 0.1), -1)
        cv2.circle(dust, center, radius, rng.uniform(0.03, 0.08), 2)
    return layer + cv2.GaussianBlur(dust, (0, 0), 2.5)


def _camera(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Uneven light, defocus, photon and read noise; 0..1."""
    height, width = image.shape
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)[None]
    tilt_y, tilt_x = rng.uniform(-0.16, 0.16, 2).astype(np.float32)
    light = 1 + tilt_y * y + tilt_x * x - np.float32(rng.uniform(0.0, 0.14)) * (y * y + x * x)
    light += 0.04 * smooth_noise(rng, height, width, max(height, width) / 3)
    image = (np.float32(rng.uniform(0.42, 0.6)) + image * np.float32(rng.uniform(0.9, 1.3))) * light
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
    # Photons: at these counts a Poisson is a Gaussian whose variance is its mean.
    spread = np.sqrt(np.maximum(image, 0) / rng.uniform(800, 4000) + rng.uniform(0.004, 0.012) ** 2)
    return image + spread.astype(np.float32) * rng.standard_normal((height, width), dtype=np.float32)


def _count_from_one(owner: np.ndarray) -> np.ndarray:
    """Number the cells that can be seen without gaps."""
    seen = np.bincount(owner.ravel()) > 0
    seen[0] = False
    number = np.cumsum(seen) * seen
    return number.astype(np.uint16)[owner]
