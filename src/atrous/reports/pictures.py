"""Images and class maps as pictures that an eye can read: stretched, painted, overlaid, compared, made small."""

import base64
import io
from collections.abc import Sequence

import numpy as np

from atrous.types import IGNORE_INDEX

__all__ = ["Color", "change_map", "data_uri", "error_map", "overlay", "paint", "shrink", "to_display"]

Color = tuple[int, int, int]

WRONG: Color = (213, 94, 0)
"""Vermilion of the Okabe-Ito palette: told from grey by every kind of colour vision."""
MENDED: Color = (0, 114, 178)
"""Blue of the same palette."""
IGNORED: Color = (150, 150, 158)


def to_display(image: np.ndarray) -> np.ndarray:
    """An image of any kind and channel count as 8-bit RGB.

    8-bit images of one or three channels are shown as they are. Others are stretched between their 1st and 99th
    percentiles, all channels alike. Of two channels the first is shown, of four and more the first three.

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
    seen = array[::step, ::step].astype(np.float32)
    seen = seen[np.isfinite(seen)]
    low, high = (np.percentile(seen, 1), np.percentile(seen, 99)) if seen.size else (0.0, 1.0)
    scaled = (array.astype(np.float32) - low) * (255.0 / max(high - low, 1e-6))
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
    image: np.ndarray, classes: np.ndarray, colors: Sequence[Color], *, opacity: float = 0.45, outline: bool = True
) -> np.ndarray:
    """The class colours laid over the image, with a full-strength line where classes meet.

    Args:
        image: (H, W, 3) uint8, see `to_display`.
        classes: (H, W) class of every pixel; ignored pixels show the bare image.
        colors: red, green, blue in 0..255 for every class.
        opacity: 0 shows the image alone, 1 the colours alone.
        outline: draw the borders between classes at full strength.

    Returns:
        (H, W, 3) uint8.
    """
    painted = paint(classes, colors)
    mixed = image.astype(np.float32) * (1 - opacity) + painted.astype(np.float32) * opacity
    result = np.where((classes < len(colors))[..., None], mixed.round().astype(np.uint8), image)
    if outline:
        edge = _edges(classes)
        result[edge] = painted[edge]
    return result


def _edges(classes: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour has another class."""
    edge = np.zeros(classes.shape, dtype=bool)
    edge[:, :-1] |= classes[:, :-1] != classes[:, 1:]
    edge[:-1] |= classes[:-1] != classes[1:]
    return edge


def error_map(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The image in pale grey with every wrong pixel in vermilion and every ignored one in flat grey.

    Args:
        image: (H, W, 3) uint8.
        truth: (H, W) true classes, `IGNORE_INDEX` = counts for nothing.
        predicted: (H, W) decided classes.

    Returns:
        (H, W, 3) uint8.
    """
    result = _pale(image)
    ignored = truth == IGNORE_INDEX
    result[ignored] = IGNORED
    result[(truth != predicted) & ~ignored] = WRONG
    return result


def change_map(image: np.ndarray, truth: np.ndarray | None, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The image in pale grey with the pixels that changed: now right, now wrong, or neither.

    Args:
        image: (H, W, 3) uint8.
        truth: (H, W) true classes, `IGNORE_INDEX` = counts for nothing; None where nobody knows.
        before: (H, W) decided classes.
        after: (H, W) decided classes.

    Returns:
        (H, W, 3) uint8.
    """
    result = _pale(image)
    changed = before != after
    result[changed] = IGNORED  # from one wrong class to another, or where nothing is known
    if truth is not None:
        result[changed & (after == truth)] = MENDED
        result[changed & (before == truth)] = WRONG
    return result


def _pale(image: np.ndarray) -> np.ndarray:
    grey = image.astype(np.float32).mean(axis=2, keepdims=True)
    return np.broadcast_to(165 + grey * (90 / 255), image.shape).astype(np.uint8)


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
