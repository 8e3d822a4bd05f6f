"""Colours of classes as text; the colours themselves are drawn with in `atrous.drawing`."""

from collections.abc import Collection

from atrous.drawing import Color, default_colors

__all__ = ["Color", "default_colors", "from_hex", "spare_grey", "to_hex"]


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


def spare_grey(taken: Collection[Color], first: Color) -> Color:
    """A colour that none of others is: `first`, or the lightest grey.

    In a palette, ignored pixels need one of their own: where classes have colours, the colour tells the class.
    """
    greys = ((grey, grey, grey) for grey in range(255, -1, -1))
    return next(color for color in (first, *greys) if color not in taken)
