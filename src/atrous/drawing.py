"""Colours of classes, and images and class maps as pictures: stretched, painted, overlaid, made small.

This stands below all rooms and knows arrays alone, so that a `Prediction`, `atrous predict` and the report draw alike.
"""

import base64
import colorsys
import io
from collections.abc import Sequence

import numpy as np

__all__ = ["IGNORED", "Color", "apart", "data_uri", "default_colors", "overlay", "paint", "shrink", "to_display"]

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

IGNORED: Color = (150, 150, 158)


def default_colors(names: Sequence[str]) -> tuple[Color, ...]:
    """Colours that stay apart: "background" black, then hues a golden section apart, light and dark by turns.

    Example:
        >>> default_colors(["background", "cell"])
        ((0, 0, 0), (242, 110, 61))
    """
    colors = []
    for number, name in enumerate(names):
        hue, light = (0.045 + 0.618034 * (number - 1)) % 1, (0.95, 0.7, 0.85)[number % 3 - 1]
        red, green, blue = (0.0, 0.0, 0.0) if name == "background" else colorsys.hsv_to_rgb(hue, 0.75, light)
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(colors)


def to_display(image: np.ndarray) -> np.ndarray:
    """An image of any kind and channel count as 8-bit RGB.

    8-bit images of one or three channels are shown as they are. Others are stretched, each channel between its own 1st
    and 99th percentile. Of two channels the first is shown, of four and more the first three.

    Args:
        image: (H, W) or (H, W, C), any real numbers; NaN shows black.

    Returns:
        (H, W, 3) uint8.
    """
    array = image[..., None] if image.ndim == 2 else image
    array = array[..., :3] if array.shape[2] >= 3 else array[..., :1]
    if array.dtype != np.uint8:
        array = _stretch(array)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _stretch(array: np.ndarray) -> np.ndarray:
    # Every n-th pixel is enough for percentiles, and keeps a gigapixel image from being sorted.
    step = max(1, int((array.shape[0] * array.shape[1] / 1_000_000) ** 0.5))
    scaled = np.empty(array.shape, np.float32)
    for channel in range(array.shape[2]):
        seen = array[::step, ::step, channel].astype(np.float32)
        seen = seen[np.isfinite(seen)]
        low, high = np.percentile(seen, (1, 99)) if seen.size else (0.0, 1.0)
        scaled[..., channel] = (array[..., channel].astype(np.float32) - low) * (255.0 / max(high - low, 1e-6))
    return np.nan_to_num(np.clip(scaled, 0, 255)).astype(np.uint8)


def paint(classes: np.ndarray, colors: Sequence[Color]) -> np.ndarray:
    """A class map in the colours of its classes; ignored pixels are a grey chequer.

    Args:
        classes: (H, W) integers; `IGNORE_INDEX` is ignored unless there is a class of that number.
        colors: red, green, blue in 0..255 for every class.

    Returns:
        (H, W, 3) uint8.
    """
    known = classes < len(colors)
    table = np.asarray(colors, dtype=np.uint8).reshape(-1, 3)
    painted = table[np.where(known, classes, 0)]
    if not known.all():
        y, x = np.arange(classes.shape[0])[:, None], np.arange(classes.shape[1])
        light = ((y // 8 + x // 8) % 2 == 0)[..., None]
        chequer = np.where(light, np.uint8(IGNORED[0] + 60), np.uint8(IGNORED[0] + 30))
        painted = np.where(known[..., None], painted, chequer)
    return painted


def overlay(
    image: np.ndarray,
    classes: np.ndarray,
    colors: Sequence[Color],
    *,
    opacity: float = 0.45,
    outline: bool = True,
    objects: np.ndarray | None = None,
) -> np.ndarray:
    """The class colours laid over the image, with a full-strength line where classes meet.

    Args:
        image: (H, W, 3) uint8, see `to_display`.
        classes: (H, W) class of every pixel; ignored pixels show the bare image.
        colors: red, green, blue in 0..255 for every class.
        opacity: 0 shows the image alone, 1 the colours alone.
        outline: draw the borders between classes at full strength.
        objects: (H, W) number of each pixel's object: then the line also runs between objects of one class.

    Returns:
        (H, W, 3) uint8.
    """
    painted = paint(classes, colors)
    mixed = image.astype(np.float32) * (1 - opacity) + painted.astype(np.float32) * opacity
    result = np.where((classes < len(colors))[..., None], mixed.round().astype(np.uint8), image)
    if outline:
        edge = _edges(classes)
        if objects is not None:
            edge |= _edges(objects)
        result[edge] = painted[edge]
    return result


def apart(classes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """The classes with a line of class 0 between objects that touch, so that the eye sees each.

    Example:
        >>> apart(np.array([[1, 1, 1, 0]]), np.array([[3, 3, 4, 0]])).tolist()
        [[1, 0, 1, 0]]
    """
    shown = classes.copy()
    for axis in (0, 1):
        here, there = (np.moveaxis(objects, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        meet = (here != there) & (here > 0) & (there > 0)
        np.moveaxis(shown, axis, 0)[:-1][meet] = 0
    return shown


def _edges(numbers: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour has another number."""
    edge = np.zeros(numbers.shape, dtype=bool)
    edge[:, :-1] |= numbers[:, :-1] != numbers[:, 1:]
    edge[:-1] |= numbers[:-1] != numbers[1:]
    return edge


def shrink(array: np.ndarray, side: int, *, labels: bool = False) -> np.ndarray:
    """The array made at most `side` pixels long; class maps (`labels`) keep their exact values."""
    height, width = array.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return array
    import cv2

    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(array, size, interpolation=cv2.INTER_NEAREST if labels else cv2.INTER_AREA)


def data_uri(rgb: np.ndarray, *, flat: bool = False) -> str:
    """A picture as an inline source: PNG with a palette for flat colours, JPEG for photographs."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(rgb))
    buffer = io.BytesIO()
    if flat:
        colors = picture.getcolors(256)
        (picture.quantize(len(colors), dither=Image.Dither.NONE) if colors else picture).save(
            buffer, "PNG", optimize=True
        )
    else:
        # Not optimised: that needs one buffer for it all, and Pillow makes it too small for noisy images.
        picture.save(buffer, "JPEG", quality=86, subsampling=0)
    kind = "png" if flat else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
