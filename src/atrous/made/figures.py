"""Made figures: people of simple parts with fourteen landmarks, turned any way, half covered, before clutter.

A figure is built in three dimensions and seen without perspective, so that what lies behind covers nothing. Which side
is left can only be told from the whole: from the face or the back of the head, since both arms and legs look alike.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from atrous.disk import writing_folder
from atrous.errors import DataError
from atrous.images.files import write_image
from atrous.made.canvas import check_place, fractal, split_of, to_bytes, write_lines

__all__ = ["FIGURE_LANDMARKS", "draw_figure", "make_figures"]

FIGURE_LANDMARKS = (
    "head", "neck", "left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist",
    "left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle",
)  # fmt: skip
"""Head is the middle of the head; the others are joints."""

_SHIFT = 4  # bits of a pixel that cv2 draws to
_LIMBS = (  # from, to, radius in body heights, what it wears
    ("shoulder", "elbow", 0.032, "shirt"), ("elbow", "wrist", 0.025, "skin"),
    ("hip", "knee", 0.042, "trousers"), ("knee", "ankle", 0.033, "trousers"),
)  # fmt: skip
_HEAD = 0.068
_NOTHING = 0
_COVER = 255  # what stands before the figure, in the map of parts


class _Person(NamedTuple):
    """A person: (3,) joints by name in pixels, z away from the camera, and the colours of its parts."""

    joints: dict[str, np.ndarray]
    forward: np.ndarray  # unit vector of where it looks
    scale: float  # pixels of a body height
    wears: dict[str, np.ndarray]


class _Solid(NamedTuple):
    """A part to draw: how far it is, its number in the map of parts, its ends, radius and colour."""

    depth: float
    number: int
    ends: tuple[np.ndarray, np.ndarray]
    radius: float
    color: np.ndarray


def make_figures(out: str | Path, *, count: int = 60, size: int | tuple[int, int] = 256, seed: int = 0) -> Path:
    """Write a data folder of made figures: RGB images of one person each, and fourteen landmarks.

    A landmark is hidden where another part or a thing before the figure covers it, and absent where it lies outside the
    image.

    Args:
        out: the folder to make; absent or empty.
        count: how many images. Image i depends on the seed, i and the size alone, so more images continue fewer.
        size: side, or (height, width), in pixels, at least 32. A larger image shows the same figure larger.
        seed: another seed, other images.

    Returns:
        The folder: images/, landmarks.csv (x, y in pixels, pixel centres at integers; visibility 0 absent, 1 hidden, 2
        visible), and train.txt, val.txt, test.txt with about 70, 15 and 15 % of the images.

    Raises:
        DataError: if `out` is a file or not empty.
        UsageError: if count or size is too small.
    """
    out = Path(out)
    height, width = check_place(out, count, size)
    columns = [f"{name}_{column}" for name in FIGURE_LANDMARKS for column in ("x", "y", "visible")]
    lines = [",".join(["file", *columns])]
    names: dict[str, list[str]] = {}
    with writing_folder(out, error=DataError, instead="choose another folder") as building:
        (building / "images").mkdir()
        for index in range(count):
            stem = f"figure_{index:05d}"
            image, points, visibility = draw_figure(np.random.default_rng((seed, index)), height, width)
            write_image(building / "images" / f"{stem}.png", image)
            lines.append(",".join([f"{stem}.png", *_cells(points, visibility)]))
            names.setdefault(split_of(index), []).append(stem)
        write_lines(building / "landmarks.csv", lines)
        for split, stems in names.items():
            write_lines(building / f"{split}.txt", stems)
    return out


def _cells(points: np.ndarray, visibility: np.ndarray) -> Iterator[str]:
    for (x, y), visible in zip(points, visibility, strict=True):
        yield from (f"{x:.3f}", f"{y:.3f}", str(visible)) if visible else ("", "", "0")


def draw_figure(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One picture: (H, W, 3) uint8, (14, 2) x and y in pixels, NaN where absent, and (14,) visibility 0, 1 or 2."""
    figure = _pose(rng, height, width)
    image, parts = _background(rng, height, width), np.full((height, width), _NOTHING, np.uint8)
    _clutter(rng, image, figure)
    drawn = list(_parts(figure))
    for part in sorted(drawn, key=lambda part: -part.depth):
        _capsule(image, parts, part)
        if part.number == 1:
            _face(image, figure)
    _cover(rng, image, parts, figure)
    points = np.array([figure.joints[name][:2] for name in FIGURE_LANDMARKS])
    visibility = _seen(points, parts, [_owners(name) for name in FIGURE_LANDMARKS])
    points[visibility == 0] = np.nan
    return to_bytes(_photograph(rng, image)), points, visibility


def _pose(rng: np.random.Generator, height: int, width: int) -> _Person:
    """A person in the picture: in body heights first, then turned, leant, and brought to pixels."""
    joints = {"neck": np.array([0, -0.31, 0]), "head": np.array([0, -0.41, 0.02 * rng.normal()])}
    for side, sign in (("left", 1), ("right", -1)):
        joints[f"{side} shoulder"] = np.array([0.105 * sign, -0.29, 0])
        joints[f"{side} hip"] = np.array([0.06 * sign, 0, 0])
        arm, bend = rng.uniform(0.1, 2.3), rng.uniform(-0.2, 1.9)
        ahead = rng.uniform(-0.4, 1.1)
        elbow = joints[f"{side} shoulder"] + 0.155 * _direction(arm * sign, ahead)
        joints[f"{side} elbow"] = elbow
        joints[f"{side} wrist"] = elbow + 0.15 * _direction((arm + bend) * sign, ahead + rng.uniform(0, 0.8))
        stride = rng.normal(0.15, 0.4)
        knee = joints[f"{side} hip"] + 0.235 * _direction(rng.uniform(-0.1, 0.5) * sign, stride)
        joints[f"{side} knee"] = knee
        bent = stride - rng.uniform(0, 0.9)
        joints[f"{side} ankle"] = knee + 0.225 * _direction(rng.uniform(-0.15, 0.3) * sign, bent)
    turn, lean = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.25)
    spin = np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]])
    tilt = np.array([[np.cos(lean), -np.sin(lean), 0], [np.sin(lean), np.cos(lean), 0], [0, 0, 1]])
    whole = tilt @ spin
    scale = float(rng.uniform(0.62, 0.95) * min(height, 1.3 * width))
    at = np.array([width * rng.uniform(0.28, 0.72), height * rng.uniform(0.38, 0.6), 0]) - 0.5
    placed = {name: scale * (whole @ joint) + at for name, joint in joints.items()}
    skin = np.array([0.85, 0.65, 0.52]) * rng.uniform(0.35, 1.05)
    wears = {"skin": skin, "hair": rng.uniform(0.05, 0.45) * np.array([1, 0.8, 0.6])}
    wears |= {"shirt": rng.uniform(0.1, 0.95, 3), "trousers": rng.uniform(0.08, 0.8, 3)}
    return _Person(placed, whole @ np.array([0, 0, -1.0]), scale, wears)


def _direction(aside: float, ahead: float) -> np.ndarray:
    """A unit vector: down, turned to a side in the plane of the body, then to where it looks."""
    plane = np.array([np.sin(aside), np.cos(aside), 0])
    return plane * np.cos(ahead) + np.array([0, 0, -1.0]) * np.sin(ahead)


def _number(side: str, limb: int) -> int:
    """Of a limb in the map of parts: 1 is the head, 2 the trunk."""
    return 3 + limb + len(_LIMBS) * (side == "right")


def _owners(name: str) -> tuple[int, ...]:
    """The parts that show a landmark where they are what one sees."""
    if name == "head":
        return (1,)
    if name == "neck":
        return (1, 2)
    side, joint = name.split()
    limbs = tuple(_number(side, k) for k, (start, end, _, _) in enumerate(_LIMBS) if joint in (start, end))
    return (*limbs, 2) if joint in ("shoulder", "hip") else limbs


def _parts(figure: _Person) -> Iterator[_Solid]:
    joints, scale = figure.joints, figure.scale
    head = joints["head"]
    yield _Solid(head[2], 1, (head, head), _HEAD * scale, figure.wears["hair"])
    sides = [joints[f"{side} {joint}"] for side in ("left", "right") for joint in ("shoulder", "hip")]
    middle = float(np.mean([corner[2] for corner in sides]))
    throat = joints["neck"] + 0.4 * (head - joints["neck"])
    yield _Solid(max(middle, head[2]) + 1, 2, (joints["neck"], throat), 0.03 * scale, figure.wears["skin"])
    for share in (0, 1, 0.3, 0.7, 0.5):
        ends = tuple((1 - share) * sides[k] + share * sides[k + 2] for k in (0, 1))
        yield _Solid(middle, 2, (ends[0], ends[1]), 0.05 * scale, figure.wears["shirt"])
    for side in ("left", "right"):
        for limb, (start, end, radius, wears) in enumerate(_LIMBS):
            ends = (joints[f"{side} {start}"], joints[f"{side} {end}"])
            depth = float(ends[1][2] if start == "shoulder" else np.mean([ends[0][2], ends[1][2]]))
            yield _Solid(depth, _number(side, limb), ends, radius * scale, figure.wears[wears])


def _capsule(image: np.ndarray, parts: np.ndarray, part: _Solid) -> None:
    """A line with round ends, lighter along its middle; marked in the map of parts."""
    start, end = (_fixed(point) for point in part.ends)
    thick = max(round(2 * part.radius), 1)
    cv2.line(image, start, end, (0.55 * part.color).tolist(), thick, cv2.LINE_AA, _SHIFT)
    cv2.line(image, start, end, part.color.tolist(), max(round(1.6 * part.radius), 1), cv2.LINE_AA, _SHIFT)
    lit = np.minimum(1.15 * part.color + 0.03, 1).tolist()
    cv2.line(image, start, end, lit, max(round(0.7 * part.radius), 1), cv2.LINE_AA, _SHIFT)
    cv2.line(parts, start, end, part.number, thick, cv2.LINE_8, _SHIFT)


def _face(image: np.ndarray, figure: _Person) -> None:
    """What tells front from back: the face with two eyes, as far as it is turned to the camera."""
    head, look, radius = figure.joints["head"], figure.forward, _HEAD * figure.scale
    if look[2] > 0.25:
        return
    face = head + 0.3 * radius * look
    skin, wide = figure.wears["skin"].tolist(), round(0.78 * radius * 2**_SHIFT)
    cv2.circle(image, _fixed(face), wide, skin, -1, cv2.LINE_AA, _SHIFT)
    across = np.cross(look, np.array([0, 1.0, 0]))
    for sign in (-1, 1):
        eye = 0.8 * look + 0.35 * sign * across + np.array([0, -0.12, 0])
        if eye[2] < -0.1:
            at, dot = _fixed(head + radius * eye), max(round(0.13 * radius * 2**_SHIFT), 2**_SHIFT)
            cv2.circle(image, at, dot, (0.05, 0.05, 0.08), -1, cv2.LINE_AA, _SHIFT)


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A rough wall of one or two tints."""
    grain = max(min(height, width) / rng.uniform(2, 8), 2)
    rough, tint = fractal(rng, height, width, grain, 4), fractal(rng, height, width, 2 * grain, 2)
    one, other = rng.uniform(0.15, 0.85, 3), rng.uniform(0.15, 0.85, 3)
    share = np.clip(0.5 + 0.5 * tint, 0, 1)[..., None]
    color = one * share + other * (1 - share)
    return np.ascontiguousarray(color * (1 + 0.18 * rough[..., None]), np.float32)


def _clutter(rng: np.random.Generator, image: np.ndarray, figure: _Person) -> None:
    """Limbs, discs and boards behind the figure, some in the colours that it wears."""
    height, width = image.shape[:2]
    worn = list(figure.wears.values())
    ignored = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(6, 20)):
        color = np.asarray(worn[rng.integers(len(worn))] if rng.random() < 0.5 else rng.uniform(0, 1, 3))
        start = rng.uniform([-0.1, -0.1, 0], [1.1, 1.1, 0]) * [width, height, 0]
        length, angle = figure.scale * rng.uniform(0, 0.3), rng.uniform(0, 2 * np.pi)
        end = start + length * np.array([np.cos(angle), np.sin(angle), 0])
        _capsule(image, ignored, _Solid(0, 1, (start, end), figure.scale * rng.uniform(0.015, 0.06), color))


def _cover(rng: np.random.Generator, image: np.ndarray, parts: np.ndarray, figure: _Person) -> None:
    """Boards and poles before the figure."""
    joints = list(figure.joints.values())
    for _ in range(rng.poisson(0.9)):
        at = joints[rng.integers(len(joints))] + figure.scale * rng.normal(0, 0.05, 3)
        angle, long = rng.uniform(0, 2 * np.pi), figure.scale * rng.uniform(0.1, 0.5)
        along = np.array([np.cos(angle), np.sin(angle), 0]) * long / 2
        color, radius = rng.uniform(0.05, 0.95, 3), figure.scale * rng.uniform(0.02, 0.07)
        _capsule(image, parts, _Solid(0, _COVER, (at - along, at + along), radius, color))


def _seen(points: np.ndarray, parts: np.ndarray, owners: Sequence[tuple[int, ...]]) -> np.ndarray:
    """(P,) visibility: 2 where one of its parts is what one sees there, 1 where it is covered, 0 outside the image."""
    height, width = parts.shape
    found = np.zeros(len(points), np.uint8)
    for number, (x, y) in enumerate(points.tolist()):
        if -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5:
            there = int(parts[min(max(round(y), 0), height - 1), min(max(round(x), 0), width - 1)])
            found[number] = 2 if there in owners[number] else 1
    return found


def _photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A lens that is a little soft, light that varies, and the noise of a sensor."""
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.0) * max(min(image.shape[:2]) / 256, 0.5))
    light = rng.uniform(0.75, 1.15) * soft
    return np.asarray(light + rng.normal(0, rng.uniform(0.005, 0.03), image.shape))


def _fixed(point: np.ndarray) -> tuple[int, int]:
    """X and y for cv2, which counts in parts of a pixel, from the centre of the first."""
    return round(float(point[0]) * 2**_SHIFT), round(float(point[1]) * 2**_SHIFT)
