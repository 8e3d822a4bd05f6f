"""What a made street consists of: its weather, its houses, and what stands before them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from atrous.made.perspective import RGB, DepthCanvas
from atrous.made.street import (
    Building,
    Car,
    draw_building,
    draw_car,
    draw_lamp,
    draw_person,
    draw_sign,
    draw_tree,
)

__all__ = ["LEAVES", "PAINTS", "Street", "Weather", "draw_weather", "furnish", "plan"]

WALLS = np.array(
    [
        [0.48, 0.27, 0.2],
        [0.62, 0.52, 0.38],
        [0.5, 0.48, 0.45],
        [0.72, 0.69, 0.62],
        [0.36, 0.3, 0.27],
        [0.6, 0.44, 0.33],
    ],
    np.float32,
)
PAINTS = np.array(
    [
        [0.75, 0.76, 0.78], [0.1, 0.1, 0.12], [0.35, 0.37, 0.4], [0.5, 0.07, 0.07],
        [0.09, 0.16, 0.38], [0.85, 0.85, 0.83], [0.13, 0.3, 0.2],
    ],
    np.float32,
)  # fmt: skip
LEAVES = np.array([[0.26, 0.4, 0.14], [0.32, 0.42, 0.18], [0.2, 0.33, 0.13], [0.47, 0.35, 0.13]], np.float32)
Thing = tuple[float, Callable[[], None]]  # distance, and what draws it


@dataclass(frozen=True)
class Weather:
    """Light and air of a picture."""

    sun: float  # 0 overcast to 1 bright
    side: int  # where the sun stands: -1 left, 1 right
    zenith: RGB
    horizon: RGB
    clouds: float
    clear: float  # metres through which a third of the light passes


@dataclass(frozen=True)
class Street:
    """The plan: half the width of the roadway, where the house fronts are, and the houses left (-1) and right (1)."""

    half: float
    front: float
    rows: dict[int, list[Building]]


def draw_weather(rng: np.random.Generator) -> Weather:
    """Clear (about half of all pictures), overcast, or low sun."""
    kind, tint = rng.random(), rng.normal(0, 0.03, 3)
    if kind < 0.5:
        sun, zenith, horizon = rng.uniform(0.7, 1.0), (0.3, 0.5, 0.8), (0.76, 0.84, 0.92)
    elif kind < 0.82:
        sun, zenith, horizon = rng.uniform(0.2, 0.45), (0.7, 0.73, 0.77), (0.86, 0.87, 0.89)
    else:
        sun, zenith, horizon = rng.uniform(0.25, 0.5), (0.36, 0.42, 0.58), (0.9, 0.7, 0.53)
    return Weather(
        sun=sun,
        side=int(rng.choice([-1, 1])),
        zenith=(zenith + tint).astype(np.float32),
        horizon=(horizon + tint).astype(np.float32),
        clouds=rng.uniform(0.0, 0.8),
        clear=float(np.exp(rng.uniform(np.log(90), np.log(600)))),
    )


def plan(rng: np.random.Generator) -> Street:
    """Draw a street and its two rows of houses, some with gaps between them."""
    half = rng.uniform(3.0, 5.0)
    front = half + rng.uniform(1.8, 4.0)
    tall, gaps = rng.uniform(5.5, 14.0), rng.uniform(0.05, 0.5)
    rows: dict[int, list[Building]] = {-1: [], 1: []}
    for side, row in rows.items():
        z = rng.uniform(-14.0, 3.0)
        while z < 130:
            length = rng.uniform(7.0, 20.0)
            if rng.random() > gaps and z + length > 3.0:
                row.append(_building(rng, side * front, z, length, tall))
            z += length
    return Street(half, front, rows)


def _building(rng: np.random.Generator, x: float, z: float, length: float, tall: float) -> Building:
    wall = WALLS[rng.integers(len(WALLS))] * rng.uniform(0.8, 1.15) + rng.normal(0, 0.02, 3)
    return Building(
        x=x + np.sign(x) * rng.choice([0.0, 0.0, 1.5]),
        z=z,
        length=length,
        height=tall * rng.uniform(0.7, 1.5),
        wall=wall.astype(np.float32),
        storey=rng.uniform(2.7, 3.4),
        pitch=rng.uniform(1.8, 3.6),
        roof=rng.uniform(1.5, 4.0) if rng.random() < 0.5 else 0.0,
        shop=bool(rng.random() < 0.4),
        texture=int(rng.integers(1000)),
    )


def furnish(canvas: DepthCanvas, rng: np.random.Generator, street: Street, weather: Weather) -> None:
    """Draw all that stands up, far to near: first the rows of houses, then what stands before them."""
    behind = _houses(canvas, street, weather) + _trees(canvas, rng, weather, gardens=street.front)
    before = (
        _trees(canvas, rng, weather, kerb=street.half)
        + _traffic(canvas, rng, street, weather.sun)
        + _posts(canvas, rng, street)
        + _people(canvas, rng, street)
    )
    for row in (behind, before):
        for _, draw in sorted(row, key=lambda thing: -thing[0]):
            draw()


def _houses(canvas: DepthCanvas, street: Street, weather: Weather) -> list[Thing]:
    things: list[Thing] = []
    for side, row in street.rows.items():
        # The sun stands at one side: the fronts opposite are lit.
        light = (0.68 + 0.5 * weather.sun * (side != weather.side), 0.68 + 0.25 * weather.sun)
        things += [(it.z, partial(draw_building, canvas, it, light)) for it in row]
    return things


def _trees(
    canvas: DepthCanvas, rng: np.random.Generator, weather: Weather, *, gardens: float = 0.0, kerb: float = 0.0
) -> list[Thing]:
    """Trees behind the fronts at `gardens`, seen through the gaps, or along the kerb, some of them hedges."""
    tint = LEAVES[rng.integers(len(LEAVES))] * rng.uniform(0.8, 1.3)
    things: list[Thing] = []
    for _ in range(rng.poisson(8 if gardens else rng.uniform(0.5, 7))):
        z = rng.uniform(8, 90) if gardens else 6 + 60 * rng.random() ** 1.5
        x = gardens + rng.uniform(2, 9) if gardens else kerb + rng.uniform(0.9, 1.6)
        tall = rng.uniform(0.8, 1.6) if kerb and rng.random() < 0.3 else rng.uniform(5, 11)
        leaf = (tint * rng.uniform(0.85, 1.15)).astype(np.float32)
        at = (float(rng.choice([-1, 1]) * x), z)
        things.append((z, partial(draw_tree, canvas, rng, at, tall, leaf, weather.sun)))
    return things


def _traffic(canvas: DepthCanvas, rng: np.random.Generator, street: Street, sun: float) -> list[Thing]:
    cars: list[Car] = []
    for side in (-1, 1):
        parked, z = rng.uniform(0.0, 0.7), rng.uniform(2.0, 12.0)
        while z < 60:
            if rng.random() < parked:
                cars.append(_car(rng, side * (street.half - 1.05), z, away=bool(side > 0 or rng.random() < 0.3)))
            z += rng.uniform(5.2, 8.0)
        for ahead in rng.uniform(9, 60, rng.poisson(0.7)):
            lane = side * rng.uniform(0.9, max(street.half - 3.2, 1.0))
            cars += [_car(rng, lane, ahead, away=side > 0)]
    return [(it.z, partial(draw_car, canvas, it, sun)) for it in cars]


def _car(rng: np.random.Generator, x: float, z: float, *, away: bool) -> Car:
    van = bool(rng.random() < 0.2)
    return Car(
        x=x,
        z=z,
        half=rng.uniform(0.85, 0.95),
        length=rng.uniform(3.8, 4.7),
        hip=1.0 if van else rng.uniform(0.8, 0.95),
        top=rng.uniform(1.9, 2.2) if van else rng.uniform(1.4, 1.6),
        paint=(PAINTS[rng.integers(len(PAINTS))] * rng.uniform(0.85, 1.1)).astype(np.float32),
        van=van,
        away=away,
    )


def _posts(canvas: DepthCanvas, rng: np.random.Generator, street: Street) -> list[Thing]:
    color = (np.array([0.3, 0.31, 0.32]) * rng.uniform(0.5, 1.6)).astype(np.float32)
    tall, spacing, z = rng.uniform(5.0, 8.0), rng.uniform(14, 26), rng.uniform(7, 18)
    first = int(rng.choice([-1, 1]))
    sides = (first, -first) if rng.random() < 0.5 else (first,)
    things: list[Thing] = []
    while z < 90:
        things += [(z, partial(draw_lamp, canvas, (side * (street.half + 0.5), z), tall, color)) for side in sides]
        z += spacing
    for z in rng.uniform(7, 35, rng.poisson(1.5)):
        at = (float(rng.choice([-1, 1]) * (street.half + 0.35)), z)
        things.append((z, partial(draw_sign, canvas, rng, at, color)))
    return things


def _people(canvas: DepthCanvas, rng: np.random.Generator, street: Street) -> list[Thing]:
    things: list[Thing] = []
    for z in rng.uniform(6, 40, rng.poisson(1.2)):
        at = (float(rng.choice([-1, 1]) * (street.half + rng.uniform(0.5, 1.6))), z)
        things.append((z, partial(draw_person, canvas, rng, at)))
    return things
