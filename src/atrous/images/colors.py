"""Colours of classes: red, green and blue from 0 to 255, and as text."""

import colorsys
from collections.abc import Sequence

__all__ = ["Color", "default_colors", "from_hex", "to_hex"]

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


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


def to_hex(color: Color) -> str:
    """Red, green, blue as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def from_hex(text: str) -> Color:
    """Red, green, blue from "#rrggbb".

    Raises:
        ValueError: if the text is not of this form.
    """
    if len(text) != 7 or not text.startswith("#"):
        raise ValueError(text)
    number = int(text[1:], 16)
    return (number >> 16, number >> 8 & 255, number & 255)
