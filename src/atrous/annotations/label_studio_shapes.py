"""The regions of Label Studio: what has an area, which labels it has, and what it covers."""

from typing import Any

import numpy as np

from atrous.annotations.base import ellipse, turned
from atrous.annotations.drawn import Drawn
from atrous.annotations.embedded import decode_base64, opaque_pixels
from atrous.annotations.parsing import Gathered, need, need_points, refuse
from atrous.annotations.polygons import Patch, Polygon
from atrous.annotations.rle import brush_to_values

__all__ = ["draw", "labels_of", "regions_of_min", "shape_of"]

_SHAPES = ("polygon", "rectangle", "ellipse", "brush", "bitmask", "vector")
_KEYS = {
    "points": "polygon",
    "rle": "brush",
    "imageDataURL": "bitmask",
    "vertices": "vector",
    "radiusX": "ellipse",
    "width": "rectangle",
}
"""What tells a shape whose labels come from another control."""

_STEPS = 16
"""Corners that stand for a curve between two vertices."""


def regions_of_min(task: dict[str, Any]) -> list[tuple[str, int, dict[str, Any]]]:
    """JSON-MIN: the regions stand in the task, under the name of the control; type and value are one."""
    found = []
    for key, rows in task.items():
        for index, row in enumerate(rows if isinstance(rows, list) else ()):
            if isinstance(row, dict) and "original_width" in row:
                kind = next((f"{s}labels" for s in _SHAPES if f"{s}labels" in row), "other")
                kind = "labels" if kind == "other" and "labels" in row else kind
                found.append((key, index, {**row, "type": kind, "value": row}))
    return found


def shape_of(region: Any) -> str | None:
    """One of the shapes; None for what has no area: choices, points, open lines."""
    kind = str(region.get("type", "")).lower() if isinstance(region, dict) else ""
    value = region.get("value") if isinstance(region, dict) else None
    shape: str | None = kind.removesuffix("labels")
    if shape not in _SHAPES or kind == shape:
        shape = None
        if kind == "labels" and isinstance(value, dict):  # shape and label come from two controls
            shape = next((name for key, name in _KEYS.items() if key in value), None)
    if shape == "vector" and not (isinstance(value, dict) and value.get("closed") is True):
        return None
    return shape


def labels_of(region: Any, where: str) -> list[str]:
    """The labels of a region; none for what has no area.

    Raises:
        FindingError: if it has none.
    """
    shape = shape_of(region)
    if shape is None:
        return []
    value = need(region, "value", dict, where)
    key = f"{shape}labels" if f"{shape}labels" in value else "labels"
    given = need(value, key, list, f"{where}.value")
    return [str(label) for label in given]


def draw(region: Any, size: tuple[int, int], where: str, gathered: Gathered) -> list[Drawn]:
    """A region on an image of this (height, width), once for each of its labels.

    Raises:
        FindingError: if it cannot be drawn.
    """
    value, place = need(region, "value", dict, where), f"{where}.value"
    shape, scale = shape_of(region), np.array([size[1], size[0]]) / 100
    patch: Patch | None = None
    parts: tuple[Polygon, ...] = ()
    if shape == "polygon":
        parts = ((need_points(need(value, "points", list, place), f"{place}.points") * scale,),)
    elif shape == "vector":
        ring = _closed(need(value, "vertices", list, place), f"{place}.vertices")
        if ring is None:
            gathered.note("vector regions have branches")
            return []
        parts = ((ring * scale,),)
    elif shape == "brush":
        try:
            values = brush_to_values(need(value, "rle", list, place))
            patch = Patch(0, 0, values.reshape(*size, 4)[..., 3] > 0)
        except (ValueError, TypeError, OverflowError) as problem:
            refuse(f"{place}.rle", f"cannot be decoded: {problem}", "Export it again.")
    elif shape == "bitmask":
        patch = Patch(0, 0, _bitmask(need(value, "imageDataURL", str, place), size, f"{place}.imageDataURL"))
    else:
        parts = _box(value, shape, scale, place)
    return [Drawn(label, parts, patch) for label in labels_of(region, where)]


def _box(value: dict[str, Any], shape: str | None, scale: np.ndarray, place: str) -> tuple[Polygon, ...]:
    """A rectangle, turned about its upper left corner, or an ellipse, turned about its centre."""
    x, y, angle = (need(value, key, float, place, default=0.0 if key == "rotation" else ...) for key in
                   ("x", "y", "rotation"))  # fmt: skip
    corner = (x * scale[0], y * scale[1])
    if shape == "ellipse":
        radii = [need(value, key, float, place) for key in ("radiusX", "radiusY")]
        return ((ellipse(corner, (radii[0] * scale[0], radii[1] * scale[1]), angle),),)
    w, h = (need(value, key, float, place) * s for key, s in zip(("width", "height"), scale, strict=True))
    ring = np.array([[0, 0], [w, 0], [w, h], [0, h]]) + np.asarray(corner)
    return ((turned(ring, corner, angle),),)


def _bitmask(text: str, size: tuple[int, int], where: str) -> np.ndarray:
    """The pixels of a PNG within a data address that are not transparent."""
    pixels = opaque_pixels(decode_base64(text.partition("base64,")[2] or text, where), where, size)
    if pixels.shape != size:
        has, wanted = (f"{height} x {width}" for height, width in (pixels.shape, size))
        refuse(where, f"has {has} pixels (height x width), and its image has {wanted}", "Export it again.")
    return pixels


def _closed(vertices: list[Any], where: str) -> np.ndarray | None:
    """(N, 2) points along a closed path, curves as short lines; None where it has branches."""
    before = [need(vertex, "prevPointId", str, f"{where}[{i}]", default=None) for i, vertex in enumerate(vertices)]
    ids = [need(vertex, "id", str, f"{where}[{i}]", default=None) for i, vertex in enumerate(vertices)]
    for number, previous in enumerate(before[1:], start=1):
        if previous is not None and previous != ids[number - 1]:
            return None
    if len(vertices) < 3:
        refuse(where, f"has {len(vertices)} points, and at least 3 are needed", "Delete the object, or redraw it.")
    points = [_xy(vertex, f"{where}[{i}]") for i, vertex in enumerate(vertices)]
    ring = []
    for i, start in enumerate(points):
        j = (i + 1) % len(points)
        out, into = _handle(vertices[i], "controlPoint2", where), _handle(vertices[j], "controlPoint1", where)
        if out is None and into is None:
            ring.append(start[None])
            continue
        t = (np.arange(_STEPS) / _STEPS)[:, None]
        first, second = start if out is None else out, points[j] if into is None else into
        weights = ((1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3)
        ring.append(weights[0] * start + weights[1] * first + weights[2] * second + weights[3] * points[j])
    return np.concatenate(ring)


def _xy(point: Any, where: str) -> np.ndarray:
    return np.array([need(point, "x", float, where), need(point, "y", float, where)], np.float64)


def _handle(vertex: dict[str, Any], key: str, where: str) -> np.ndarray | None:
    """The handle of a curve at one side of a vertex, if there is one."""
    point = vertex.get(key) if vertex.get("isBezier") else None
    return None if point is None else _xy(point, f"{where}, {key}")
