"""What the report compares: errors and changes, drawn over a pale image."""

import numpy as np

from atrous.drawing import IGNORED, Color, data_uri, overlay, paint, shrink, to_display
from atrous.types import IGNORE_INDEX

__all__ = [
    "IGNORED",
    "MENDED",
    "WRONG",
    "Color",
    "change_map",
    "data_uri",
    "error_map",
    "overlay",
    "paint",
    "shrink",
    "to_display",
]

WRONG: Color = (213, 94, 0)
"""Vermilion of the Okabe-Ito palette: told from grey by every kind of colour vision."""
MENDED: Color = (0, 114, 178)
"""Blue of the same palette."""


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
