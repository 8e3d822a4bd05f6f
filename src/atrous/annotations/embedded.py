"""Pictures within annotation files: Base64 of PNG and other formats."""

import base64
import binascii
import io

import numpy as np

from atrous.annotations.parsing import refuse

__all__ = ["decode_base64", "opaque_pixels"]


def decode_base64(text: str, where: str) -> bytes:
    """The bytes that a text stands for.

    Raises:
        FindingError: if it is not Base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        refuse(where, "is not Base64", "Save the file again with the tool that wrote it.")


def opaque_pixels(data: bytes, where: str, within: tuple[int, int]) -> np.ndarray:
    """The pixels of a picture that are not transparent; where it has no transparency, those that are not 0.

    Args:
        data: the file.
        where: its place, for messages.
        within: the (height, width) that it may have at most.

    Returns:
        (H, W) bool.

    Raises:
        FindingError: if it cannot be read, or is larger.
    """
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data))
        height, width = image.height, image.width
        fits = height <= within[0] and width <= within[1]
        clear = "A" in image.getbands() or "transparency" in image.info
        pixels = np.asarray((image.convert("RGBA") if clear else image) if fits else 0)
    except Exception:  # the decoder raises what it likes
        refuse(where, "is no image that can be read", "Export it again.")
    if not fits:
        message = f"has {height} x {width} pixels (height x width), and its image has {within[0]} x {within[1]}"
        refuse(where, message, "Export it again.")
    if clear:
        pixels = pixels[..., 3]
    return np.asarray((pixels > 0) if pixels.ndim == 2 else (pixels > 0).any(axis=2))
