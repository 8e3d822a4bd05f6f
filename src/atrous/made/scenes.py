"""Made street scenes: RGB pictures in perspective, six classes from large to thin and rare, and ignored regions."""

from pathlib import Path

import cv2
import numpy as np

from atrous.images.colors import Color
from atrous.made.canvas import fractal, smooth_noise, to_bytes, write_folder
from atrous.made.layout import LEAVES, PAINTS, Street, Weather, draw_weather, furnish, plan
from atrous.made.perspective import BUILDING, ROAD, SKY, TREE, Camera, DepthCanvas, rgb
from atrous.types import IGNORE_INDEX

__all__ = ["draw_scene", "make_scenes"]

CLASSES: dict[str, Color] = {
    "sky": (0x87, 0xB4, 0xEB),
    "building": (0x96, 0x5A, 0x46),
    "road": (0x70, 0x66, 0x7A),
    "tree": (0x3C, 0x8C, 0x3C),
    "car": (0xCD, 0x2D, 0x41),
    "pole": (0xF0, 0xDC, 0x3C),
}


def make_scenes(out: str | Path, *, count: int = 60, size: int | tuple[int, int] = 256, seed: int = 0) -> Path:
    """Write a data folder of made street scenes: RGB images, and masks of six classes with ignored pixels (255).

    Classes: 0 sky, 1 building, 2 road (all paved ground), 3 tree (trees and hedges), 4 car, 5 pole (lamp posts and
    signs: mostly 1 to 3 pixels wide at size 256, about 1 % of all pixels). Ignored: the bonnet of the car that carries
    the camera, or the black border of a rectified picture, and people on foot.

    Args:
        out: the folder to make; absent or empty.
        count: how many images. Image i depends on the seed, i and the size alone, so more images continue fewer.
        size: side, or (height, width), in pixels, at least 32. A larger image shows the same kind of street larger.
        seed: another seed, other images.

    Returns:
        The folder: images/, masks/ (index PNG with palette), classes.yaml, and train.txt, val.txt, test.txt with about
        70, 15 and 15 % of the images.

    Raises:
        DataError: if `out` is a file or not empty.
        UsageError: if count or size is too small.
    """
    return write_folder(
        out,
        draw_scene,
        name="scene",
        count=count,
        size=size,
        seed=seed,
        classes=CLASSES,
        ignore=[IGNORE_INDEX],
    )


def draw_scene(rng: np.random.Generator, height: int, width: int) -> dict[str, np.ndarray]:
    """One picture: `images` (H, W, 3) uint8, `masks` (H, W) uint8."""
    weather, street, canvas = draw_weather(rng), plan(rng), _empty(rng, height, width)
    _sky(canvas, rng, weather)
    _ground(canvas, rng, street, weather)
    _horizon(canvas, rng, weather)
    furnish(canvas, rng, street, weather)
    image = _carrier(rng, canvas, _through_the_air(canvas, weather), weather)
    return {"images": to_bytes(_photograph(rng, image)), "masks": canvas.mask}


def _empty(rng: np.random.Generator, height: int, width: int) -> DepthCanvas:
    camera = Camera(
        focal=rng.uniform(0.75, 1.05) * float(np.sqrt(height * width)),
        x=width * rng.uniform(0.36, 0.64),
        y=height * rng.uniform(0.4, 0.52),
        eye=rng.uniform(1.3, 2.0),
    )
    return DepthCanvas(
        camera,
        image=np.zeros((height, width, 3), np.float32),
        mask=np.full((height, width), SKY, np.uint8),
        depth=np.full((height, width), 1e6, np.float32),
    )


def _sky(canvas: DepthCanvas, rng: np.random.Generator, weather: Weather) -> None:
    bottom, width = min(int(canvas.camera.y) + 1, len(canvas.mask)), canvas.mask.shape[1]
    up = (1 - np.arange(bottom, dtype=np.float32) / bottom)[:, None, None] ** np.float32(0.7)
    sky = weather.horizon * (1 - up) + weather.zenith * up
    # Clouds lie wide and flat, and more so towards the horizon.
    cloud = fractal(rng, bottom * 2, width, max(width / 5, 4), 4)[::2]
    cover = (np.clip(cloud - np.float32(1.1 - 1.6 * weather.clouds), 0, 1) * np.float32(0.9))[..., None]
    white = weather.horizon * np.float32(0.35) + np.float32(0.65 if weather.sun > 0.5 else 0.52)
    tone = white * (1 - np.float32(0.1) * np.clip(cloud - np.float32(0.8), 0, 2))[..., None]
    canvas.image[:bottom] = sky * (1 - cover) + tone * cover
    canvas.image[bottom:] = weather.horizon


def _ground(canvas: DepthCanvas, rng: np.random.Generator, street: Street, weather: Weather) -> None:
    camera, (height, width) = canvas.camera, canvas.mask.shape
    first = _below_horizon(canvas)
    rows, columns = np.arange(first, height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    distance = np.float32(camera.focal * camera.eye) / np.maximum(rows - np.float32(camera.y), np.float32(0.25))
    z = np.repeat(distance, width, 1)
    x = (columns - np.float32(camera.x)) * distance / np.float32(camera.focal)
    side = np.abs(x)
    patches = _lay(fractal(rng, 128, 128, 16, 4), x, z)
    wheels = np.exp(-((np.abs(side - np.float32(street.half * 0.45)) - np.float32(0.75)) ** 2) / np.float32(0.15))
    asphalt = (1 + np.float32(0.1) * patches) * (1 - np.float32(0.1) * wheels) * np.float32(rng.uniform(0.75, 1.2))
    color = rgb(0.35, 0.35, 0.36) * asphalt[..., None]
    paved = side > street.half
    joints = ((np.mod(z, 0.9) < 0.06) | (np.mod(x, 0.9) < 0.06)) & (z < 15)
    paving = (1 + np.float32(0.08) * patches) * np.where(joints, np.float32(0.8), np.float32(1))
    color[paved] = rgb(0.53, 0.51, 0.48) * np.float32(rng.uniform(0.8, 1.1)) * paving[paved][:, None]
    color[np.abs(side - street.half) < 0.12] = rgb(0.62, 0.61, 0.58)
    lines = _markings(rng, street, x, z)
    color[lines] = rgb(0.84, 0.83, 0.78) - np.float32(0.12) * np.abs(patches[lines])[:, None]
    grit = rng.standard_normal(x.shape, dtype=np.float32) * np.float32(0.02)
    light = np.where(_shade(rng, street, weather, x, z), np.float32(0.6), np.float32(1))
    light = cv2.GaussianBlur(light, (0, 0), 0.8) * np.float32(0.66 + 0.42 * weather.sun)
    canvas.image[first:] = (color + grit[..., None]) * light[..., None]
    canvas.mask[first:] = ROAD
    canvas.depth[first:] = z


def _below_horizon(canvas: DepthCanvas) -> int:
    return min(int(np.ceil(canvas.camera.y + 0.5)), len(canvas.mask) - 1)


def _lay(tile: np.ndarray, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Lay noise over the ground, four of its pixels to the metre, so that it recedes as the ground does."""
    side = len(tile)
    there = cv2.remap(tile, np.mod(x * 4, side), np.mod(z * 4, side), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return there * np.clip(25 / z, 0, 1)


def _markings(rng: np.random.Generator, street: Street, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    period, start = rng.uniform(4.0, 9.0), rng.uniform(0, 5)
    lines = (np.abs(x) < 0.07) & (np.mod(z + start, period) < 0.55 * period)
    if rng.random() < 0.6:
        lines |= np.abs(np.abs(x) - (street.half - 0.45)) < 0.06
    if rng.random() < 0.35:  # a crossing
        at = rng.uniform(6.0, 22.0)
        lines |= (z > at) & (z < at + 2.6) & (np.mod(x, 1.1) < 0.55) & (np.abs(x) < street.half - 0.2)
    return lines & (z < 60)


def _shade(rng: np.random.Generator, street: Street, weather: Weather, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Where the houses on the sun's side throw their shadow over the street; nowhere without sun."""
    reach, slant = np.float32(rng.uniform(0.25, 1.0)), np.float32(rng.uniform(-0.6, 0.6))
    if weather.sun < 0.5:
        return np.zeros(x.shape, bool)
    away = np.float32(street.front) - weather.side * x  # metres from the fronts on the sun's side
    along, tall = z + slant * away, np.zeros_like(z)
    for building in street.rows[weather.side]:
        under = (along > building.z) & (along < building.z + building.length)
        tall[under] = building.height + building.roof
    return away < tall * reach


def _horizon(canvas: DepthCanvas, rng: np.random.Generator, weather: Weather) -> None:
    """Far houses and woods along the horizon."""
    width, scale, last = canvas.mask.shape[1], canvas.camera.focal / 160, _below_horizon(canvas)
    blocks = np.repeat(rng.uniform(2, 15, width), np.maximum(rng.poisson(scale * 12, width), 2))[:width]
    woods = 7 + 3 * fractal(rng, 1, width, max(scale * 8, 2), 3)[0]
    first = max(last - int(20 * scale) - 1, 0)
    rows = np.arange(first, last)[:, None]
    stone, leaf = rgb(0.46, 0.43, 0.41), LEAVES[rng.integers(3)]
    for top, label, tone, rare in ((blocks, BUILDING, stone, -0.2), (woods, TREE, leaf, 0.0)):
        there = smooth_noise(rng, 1, width, max(scale * 25, 4))[0] > rare
        grain = (1 + np.float32(0.12) * smooth_noise(rng, last - first, width, 2.0)) * np.float32(
            0.6 + 0.4 * weather.sun
        )
        shape = (rows >= last - top * scale) & there
        canvas.put((slice(first, last), slice(0, width)), shape, tone * grain[..., None], label, 160.0)


def _through_the_air(canvas: DepthCanvas, weather: Weather) -> np.ndarray:
    veil = 1 - np.exp(canvas.depth * np.float32(-1 / weather.clear))
    veil[canvas.mask == SKY] = 0
    return canvas.image + (weather.horizon * np.float32(0.92) - canvas.image) * veil[..., None]


def _carrier(rng: np.random.Generator, canvas: DepthCanvas, image: np.ndarray, weather: Weather) -> np.ndarray:
    """Add the bonnet of the car that carries the camera, or the border of a rectified picture, and ignore it."""
    height, width = canvas.mask.shape
    y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    tone = np.zeros((1, 1, 3), np.float32)
    if rng.random() < 0.6:
        rise, middle = rng.uniform(0.06, 0.16) * height, width * rng.uniform(0.4, 0.6)
        inward = (y - np.float32(height - rise)) / np.float32(rise) - 1.6 * ((x - middle) / (0.75 * width)) ** 2
        there = inward > 0
        gleam = (np.clip(1 - 1.6 * inward, 0, 1) * 0.45)[..., None]
        tone = PAINTS[rng.integers(len(PAINTS))] * np.float32(0.7) * (1 - gleam) + weather.zenith * gleam
    else:
        edge, bow = rng.uniform(0.02, 0.06), rng.uniform(0.0, 0.06)
        v, u = 2 * y / (height - 1) - 1, 2 * x / (width - 1) - 1
        there = (np.abs(u) > 1 - edge - bow * v * v) | (np.abs(v) > 1 - edge - bow * u * u)
    canvas.mask[there] = IGNORE_INDEX
    return np.where(there[..., None], tone, image).astype(np.float32)


def _photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Lens blur, vignette, white balance, exposure, contrast and noise."""
    height, width = image.shape[:2]
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)[None]
    vignette = 1 - np.float32(rng.uniform(0.0, 0.16)) * (x * x + y * y)
    balance = np.exp(rng.normal(0, 0.05, 3) + rng.normal(0.06, 0.15)).astype(np.float32)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.45, 0.75)) * (vignette[..., None] * balance)
    image = np.float32(0.5) + (image - np.float32(0.5)) * np.float32(rng.uniform(0.95, 1.25))
    return image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0.006, 0.022))
