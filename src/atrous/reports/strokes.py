"""Lines with rounded corners, and pictures of few colours."""

import io
from typing import Any

__all__ = ["fewer_colors", "rounded"]


def rounded(points: list[tuple[float, float]], radius: float) -> tuple[list[tuple[float, float]], list[Any]]:
    """Vertices and codes of a polyline whose corners are rounded."""
    from matplotlib.path import Path

    vertices, codes = [points[0]], [Path.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        for place, code in ((before, Path.LINETO), (after, Path.CURVE3)):
            length = max(abs(place[0] - corner[0]) + abs(place[1] - corner[1]), 1e-6)
            part = min(radius, length / 2) / length
            bend = (corner[0] + (place[0] - corner[0]) * part, corner[1] + (place[1] - corner[1]) * part)
            if code == Path.CURVE3:
                vertices.append(corner)
                codes.append(Path.CURVE3)
            vertices.append(bend)
            codes.append(code)
    return [*vertices, points[-1]], [*codes, Path.LINETO]


def fewer_colors(png: bytes) -> bytes:
    """The same picture with a palette: a quarter of the bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(64, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
