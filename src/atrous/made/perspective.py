"""A pinhole camera, and a canvas that takes picture, mask and distance through one stencil."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["BUILDING", "CAR", "NEAR", "POLE", "RGB", "ROAD", "SKY", "TREE", "Camera", "DepthCanvas", "rgb"]

SKY, BUILDING, ROAD, TREE, CAR, POLE = range(6)
NEAR = 1.0
"""Metres; what is nearer is drawn as if it were here."""

RGB = np.ndarray
"""Light of 0..1: (3,) or (h, w, 3) float32."""

Area = tuple[slice, slice]
Shader = Callable[[np.ndarray, np.ndarray], RGB]  # rows (h, 1), columns (1, w) -> (h, w, 3)
Points = Sequence[tuple[float, float, float]]


def rgb(red: float, green: float, blue: float) -> RGB:
    """A colour in single precision: doubles would spread to every picture that it touches and halve the speed."""
    return np.array([red, green, blue], np.float32)


@dataclass(frozen=True)
class Camera:
    """Looks along Z: focal length and vanishing point in pixels, eye above the ground in metres."""

    focal: float
    x: float
    y: float
    eye: float

    def project(self, points: Points) -> np.ndarray:
        """Points (X to the right, Y above the ground, Z ahead) in metres become pixels (x, y)."""
        p = np.asarray(points, float)
        z = np.maximum(p[:, 2], NEAR)
        return np.stack([self.x + self.focal * p[:, 0] / z, self.y + self.focal * (self.eye - p[:, 1]) / z], 1)


@dataclass(frozen=True)
class DepthCanvas:
    """The picture (H, W, 3), its mask, and how many metres away is what each pixel shows."""

    camera: Camera
    image: np.ndarray
    mask: np.ndarray
    depth: np.ndarray

    def box(self, pixels: np.ndarray) -> Area | None:
        """Rows and columns of the picture around some pixels, or None where none of them is in it."""
        height, width = self.mask.shape
        (x0, y0), (x1, y1) = pixels.min(0), pixels.max(0)
        top, bottom = max(int(y0) - 2, 0), min(int(y1) + 3, height)
        left, right = max(int(x0) - 2, 0), min(int(x1) + 3, width)
        return (slice(top, bottom), slice(left, right)) if top < bottom and left < right else None

    def put(self, box: Area, stencil: np.ndarray, color: RGB, label: int, depth: float) -> None:
        """Paint where the stencil is true."""
        np.copyto(self.image[box], color, where=stencil[..., None], casting="same_kind")
        self.mask[box][stencil] = label
        self.depth[box][stencil] = depth

    def polygon(self, points: Points, color: RGB | Shader, label: int) -> None:
        """Paint a polygon given in metres."""
        pixels = self.camera.project(points)
        box = self.box(pixels)
        if box is None:
            return
        shade = color(*grid(box)) if callable(color) else color
        self.put(box, stencil(box, pixels), shade, label, float(np.mean([max(z, NEAR) for _, _, z in points])))

    def rod(self, points: Points, thick: float, color: RGB, label: int) -> None:
        """Paint a line through space, `thick` metres wide but never thinner than a pixel."""
        pixels, z = self.camera.project(points), max(points[0][2], NEAR)
        box = self.box(pixels)
        if box is None:
            return
        out = np.zeros((box[0].stop - box[0].start, box[1].stop - box[1].start), np.uint8)
        width = max(1, round(self.camera.focal * thick / z))
        cv2.polylines(out, [_fixed(box, pixels)], False, 1, width, cv2.LINE_8, 4)
        self.put(box, out.astype(bool), color, label, z)

    def darken(self, points: Points, factor: float) -> None:
        """Throw a shadow on the road within a polygon."""
        pixels = self.camera.project(points)
        box = self.box(pixels)
        if box is not None:
            self.image[box][stencil(box, pixels) & (self.mask[box] == ROAD)] *= np.float32(factor)


def grid(box: Area) -> tuple[np.ndarray, np.ndarray]:
    """Row and column numbers of a box, as a column and as a row."""
    rows, columns = (np.arange(side.start, side.stop, dtype=np.float32) for side in box)
    return rows[:, None], columns[None]


def stencil(box: Area, pixels: np.ndarray) -> np.ndarray:
    """True inside a polygon, placed to a sixteenth of a pixel."""
    out = np.zeros((box[0].stop - box[0].start, box[1].stop - box[1].start), np.uint8)
    cv2.fillPoly(out, [_fixed(box, pixels)], 1, shift=4)
    return out.astype(bool)


def _fixed(box: Area, pixels: np.ndarray) -> np.ndarray:
    corner = np.array([box[1].start, box[0].start])
    return np.clip(np.round((pixels - corner) * 16), -(2**20), 2**20).astype(np.int32)
