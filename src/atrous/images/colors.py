"""Colours of classes as text; the colours themselves are drawn with in `atrous.drawing`."""

from atrous.drawing import Color, default_colors

__all__ = ["Color", "default_colors", "from_hex", "to_hex"]


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
