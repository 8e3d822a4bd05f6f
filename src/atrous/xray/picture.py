"""A picture of what was found in a radiograph: landmarks, lines of another view, and the registered projection.

Marks are drawn over a grey picture: a circle where a landmark was found, a cross where the registered pose projects it,
a line between both, and thin lines on which another view says that its landmarks lie. The registered projection is laid
over as its edges.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from atrous.drawing import default_colors
from atrous.xray.anatomy import LANDMARKS
from atrous.xray.camera import ConeBeam
from atrous.xray.registration import epipolar_line

__all__ = ["draw_landmarks", "edges_of"]

FINE = 8
"""Parts of a pixel in which OpenCV takes places, as 3 bits of a whole number."""
EDGE = (255, 140, 0)
"""Red, green, blue of the registered projection's edges."""


def draw_landmarks(
    image: UInt8[np.ndarray, "H W"],
    found: Float[np.ndarray, "p 2"],
    *,
    names: Sequence[str] = LANDMARKS,
    projected: Float[np.ndarray, "p 2"] | None = None,
    other: tuple[ConeBeam, Float[np.ndarray, "p 2"], ConeBeam] | None = None,
    projection: Float[np.ndarray, "H W"] | None = None,
    scale: int = 2,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw into an enlarged copy of a radiograph.

    Args:
        image: grey levels.
        found: x and y in pixels; NaN where a landmark was not found.
        names: of the landmarks; empty for none.
        projected: where the registered pose has them.
        other: another view, its landmarks' pixels (NaN where not found), and this view: for the epipolar lines.
        projection: line integrals by the registered pose, whose edges are laid over.
        scale: by which the picture is enlarged.
    """
    height, width = image.shape
    large = (width * scale, height * scale)
    canvas = cv2.cvtColor(cv2.resize(image, large, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2RGB)
    if projection is not None:
        strong = edges_of(cv2.resize(np.asarray(projection, np.float32), large, interpolation=cv2.INTER_LINEAR))
        canvas[strong] = EDGE
    colors = default_colors(list(names) if names else [f"landmark {n}" for n in range(len(found))])
    if other is not None:
        before, seen, here = other
        for pixel, color in zip(seen, colors, strict=True):
            if np.isfinite(pixel).all():
                _line(canvas, epipolar_line(before, pixel, here), color, scale)
    for n, (place, color) in enumerate(zip(found, colors, strict=True)):
        true = None if projected is None else projected[n]
        if true is not None and np.isfinite(true).all():
            cv2.drawMarker(canvas, _whole(true, scale), color, cv2.MARKER_CROSS, 5 * scale, 1, cv2.LINE_AA)
        if not np.isfinite(place).all():
            continue
        if true is not None and np.isfinite(true).all():
            cv2.line(canvas, _fine(place, scale), _fine(true, scale), color, 1, cv2.LINE_AA, 3)
        cv2.circle(canvas, _fine(place, scale), 2 * scale * FINE, color, 1, cv2.LINE_AA, 3)
        if names:
            x, y = _whole(place, scale)
            text = names[n].replace("_", " ")
            for tone, thick in (((0, 0, 0), 3), (color, 1)):
                cv2.putText(canvas, text, (x + 6, y - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, tone, thick, cv2.LINE_AA)
    return canvas


def edges_of(projection: Float[np.ndarray, "H W"], *, share: float = 0.08) -> np.ndarray:
    """The steepest places of line integrals, thinned to their ridges, as booleans (H, W).

    Args:
        projection: line integrals.
        share: of the pixels that are steep enough.
    """
    smooth = cv2.GaussianBlur(np.asarray(projection, np.float32), (0, 0), 2.0)
    slopes = [cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1))]
    steep = np.hypot(*slopes)
    bound, most = float(np.quantile(steep, 1 - share)), float(steep.max())
    if bound <= 0:
        return np.zeros(smooth.shape, bool)
    fit = 2**14 / most  # as whole numbers, which the thinning takes
    across, down = ((slope * fit).astype(np.int16) for slope in slopes)
    return cv2.Canny(across, down, 0.5 * bound * fit, bound * fit, L2gradient=True) > 0


def _whole(place: np.ndarray, scale: int) -> tuple[int, int]:
    """Pixel of the enlarged picture, whose pixel centres are moved by half a pixel of it."""
    x, y = np.round((np.asarray(place) + 0.5) * scale - 0.5).astype(int).clip(-(1 << 14), 1 << 14)
    return int(x), int(y)


def _fine(place: np.ndarray, scale: int) -> tuple[int, int]:
    x, y = np.round(((np.asarray(place) + 0.5) * scale - 0.5) * FINE).astype(int).clip(-(1 << 17), 1 << 17)
    return int(x), int(y)


def _line(canvas: np.ndarray, line: np.ndarray, color: tuple[int, int, int], scale: int) -> None:
    """The part of a x + b y + c = 0 inside the picture."""
    a, b, c = line
    height, width = canvas.shape[0] / scale, canvas.shape[1] / scale
    if abs(b) > abs(a):
        ends = [np.array([x, -(a * x + c) / b]) for x in (-0.5, width - 0.5)]
    else:
        ends = [np.array([-(b * y + c) / a, y]) for y in (-0.5, height - 0.5)]
    cv2.line(canvas, _fine(ends[0], scale), _fine(ends[1], scale), color, 1, cv2.LINE_AA, 3)
