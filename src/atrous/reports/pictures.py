"""What the report compares: classes and objects over their image, errors and changes over a pale one."""

from collections.abc import Sequence

import numpy as np

from atrous.drawing import (
    CONFUSED,
    FALSE_ALARM,
    IGNORED,
    MISSED,
    Color,
    data_uri,
    enlarge,
    overlay,
    paint,
    shrink,
    to_display,
)
from atrous.types import IGNORE_INDEX

__all__ = [
    "CONFUSED",
    "FALSE_ALARM",
    "IGNORED",
    "MENDED",
    "MISSED",
    "SPOILT",
    "TINT",
    "Color",
    "change_map",
    "data_uri",
    "enlarge",
    "error_map",
    "overlay",
    "paint",
    "painted",
    "shrink",
    "to_display",
]

TINT = 0.2
"""Opacity of the classes of objects, whose outlines are at full strength."""
MENDED, SPOILT = FALSE_ALARM, MISSED
"""Right only after a refinement, and right only before it: the two colours that are told apart best."""


def painted(
    image: np.ndarray,
    classes: np.ndarray,
    colors: Sequence[Color],
    *,
    bare: int | None = None,
    objects: np.ndarray | None = None,
    overlapping: bool = False,
) -> np.ndarray:
    """Classes in full colour; of what is not painted, the pale image. Objects are outlined and numbered on the image.

    Args:
        image: (H, W, 3) uint8.
        classes: (H, W) classes, `IGNORE_INDEX` = nobody knows, or no class where they may overlap.
        colors: of the classes.
        bare: a class that is not painted.
        objects: (H, W) numbers of objects, 0 where there is none.
        overlapping: whether classes may overlap.

    Returns:
        (H, W, 3) uint8.
    """
    if objects is not None:
        return overlay(image, classes, colors, opacity=TINT, objects=objects, bare=bare)
    shown = paint(classes, colors)
    left_out = classes == (-1 if bare is None else bare)
    if overlapping:
        left_out |= classes == IGNORE_INDEX
    return np.where(left_out[..., None], _pale(image), shown)


def error_map(image: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The image in pale grey with every wrong pixel in the colour of its error, and every ignored one in flat grey.

    Args:
        image: (H, W, 3) uint8.
        errors: (H, W) numbers of `atrous.reports.errors`.

    Returns:
        (H, W, 3) uint8.
    """
    table = np.asarray([(0, 0, 0), MISSED, FALSE_ALARM, CONFUSED, IGNORED], np.uint8)
    return np.where((errors > 0)[..., None], table[errors], _pale(image))


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
        result[changed & (before == truth)] = SPOILT
    return result


def _pale(image: np.ndarray) -> np.ndarray:
    grey = image.astype(np.float32).mean(axis=2, keepdims=True)
    return np.broadcast_to(165 + grey * (90 / 255), image.shape).astype(np.uint8)
