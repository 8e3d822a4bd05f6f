"""Whether an image is one of those that a model was made for, and what to do where it is not."""

import logging

import numpy as np
from torch import Tensor

from atrous.errors import BundleError, ModelError
from atrous.images import limits
from atrous.images.channels import ALPHA, GREY
from atrous.images.source import Source

__all__ = ["must_be_numbers", "must_fit", "say_how_brought"]

LOG = logging.getLogger(__name__)
_RESULT = 3
"""Bytes of a pixel's class and confidence."""
_LOOKED_AT = 8
"""Every so many rows and columns of all classes are looked at; of the first class, all."""
_BROUGHT = {
    GREY: "is grey, and the model takes three channels: its grey is repeated",
    ALPHA: "has an alpha channel, and the model takes none: it is left out",
}


def must_fit(source: Source, kind: str, channels: int) -> None:
    """Refuse an image of another data type or number of channels than the model was made for.

    Args:
        source: of the image.
        kind: data type of the model's images.
        channels: of the model's images.

    Raises:
        BundleError: naming both.
        DataError: if its result does not fit into memory.
    """
    height, width, came = source.shape
    limits.must_fit(_RESULT * height * width, source.name, source.shape)
    if (source.dtype, came) == (kind, channels):
        return
    if came != channels:
        cure = "convert the image, or use a model of this number of channels"
        if source.shape[0] == channels and came > 1:
            cure = "its first axis has them: turn it to (H, W, C) with numpy.moveaxis(image, 0, -1)"
    else:
        cure = _cure(kind)
    read = source.dtype if source.stored in (source.dtype, "bool") else f"{source.dtype} (read from {source.stored})"
    raise BundleError(
        f"{source.name} is {read} with {_channels(came)}, but the model was made for {kind} with "
        f"{_channels(channels)}: {cure}"
    )


def must_be_numbers(scores: Tensor, name: str, precision: str) -> None:
    """Refuse scores that are not numbers, of which every task would make a mask of one class.

    They come of weights that grew beyond all bounds in training, or of a precision that cannot hold what they compute.
    A softmax spreads them over all classes of a pixel, so one class shows them.

    Args:
        scores: (K, H, W) of a tile.
        name: of the image.
        precision: what the network computed in.

    Raises:
        ModelError: if there is one.
    """
    if scores[0].isnan().any() or scores[:, ::_LOOKED_AT, ::_LOOKED_AT].isnan().any():
        cure = "train it again at a lower rate" if precision == "float32" else "predict with precision=float32"
        raise ModelError(f"{name}: the scores of the network are not numbers (computed in {precision}): {cure}.")


def say_how_brought(source: Source, told: set[str]) -> None:
    """Say once how an image got the channels that the model takes, and that further ones get them alike.

    Args:
        source: of the image.
        told: what was said already; what is said now is added.
    """
    how = source.brought
    if how and how not in told:
        told.add(how)
        LOG.warning("%s %s; other such images alike", source.name, _BROUGHT[how])


def _cure(kind: str) -> str:
    """What makes an image one of another data type, without numbers that silently become others."""
    cure = f"convert the image to {kind}, in the range of the training images"
    if kind == "float32":
        return f"{cure}, for example with image.astype('float32')"
    most = np.iinfo(kind).max
    return f"{cure}; image.astype('{kind}') does so only where its numbers lie in 0 to {most}: {most + 1} becomes 0"


def _channels(count: int) -> str:
    return f"{count} channel{'' if count == 1 else 's'}"
