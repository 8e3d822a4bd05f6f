"""Probabilities and images of either kind, array or tensor, single or in a batch, brought to one form and back."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from atrous.errors import UsageError

__all__ = ["Arrays", "Batch", "from_batches", "to_batches"]

Arrays = Shaped[np.ndarray, "..."] | Shaped[Tensor, "..."]


class Batch(NamedTuple):
    """Images side by side.

    Attributes:
        pairs: for each image its probabilities (K, N) and its colours (H, W, C): arrays for the processor, tensors for
            another device.
        size: height and width.
        single: the images came without a batch axis.
        tensors: they came as tensors.
    """

    pairs: list[tuple[Any, Any]]
    size: tuple[int, int]
    single: bool
    tensors: bool


def to_batches(probabilities: Arrays, image: Arrays) -> Batch:
    """Check shapes and kinds.

    Raises:
        UsageError: shapes that do not go together.
    """
    shape, colours = tuple(probabilities.shape), tuple(image.shape)
    single = len(shape) == 3
    if len(shape) not in (3, 4) or len(colours) != len(shape):
        raise UsageError(
            "Probabilities are (K, H, W) with an image (H, W, C), or (B, K, H, W) with images (B, H, W, C); got "
            f"{shape} and {colours}."
        )
    if 0 in shape or 0 in colours or shape[-2:] != colours[-3:-1] or shape[:-3] != colours[:-3]:
        turned = " The image's channels come last." if colours[-2:] == shape[-2:] else ""
        raise UsageError(f"Probabilities {shape} and image {colours} are not of one size.{turned}")
    if shape[-3] < 2:
        raise UsageError(
            f"Probabilities {shape} are of one class, but a CRF needs two or more. For one sigmoid score p, stack "
            "1 - p and p."
        )
    tensors = isinstance(probabilities, Tensor)
    planes, pictures = _alike(probabilities, image)
    if single:
        planes, pictures = planes[None], pictures[None]
    flat = planes.reshape(*planes.shape[:2], -1)
    return Batch(list(zip(flat, pictures, strict=True)), (shape[-2], shape[-1]), single, tensors)


def _alike(probabilities: Arrays, image: Arrays) -> tuple[Any, Any]:
    """Both as arrays, or both as tensors on the device of the probabilities where that is not the processor."""
    if isinstance(probabilities, Tensor) and probabilities.device.type != "cpu":
        picture = image if isinstance(image, Tensor) else torch.from_numpy(np.ascontiguousarray(image))
        return probabilities.detach().float(), picture.detach().to(probabilities.device)
    planes = probabilities.detach().float().numpy() if isinstance(probabilities, Tensor) else np.asarray(probabilities)
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = image.float() if image.dtype == torch.bfloat16 else image  # numpy has no such type
        return planes, image.numpy()
    return planes, np.asarray(image)


def from_batches(results: list[Any], batch: Batch) -> Any:
    """Scores (K, N) of each image in the form that the probabilities came in."""
    shaped = [scores.reshape(-1, *batch.size) for scores in results]
    if batch.tensors:
        shaped = [torch.as_tensor(scores) for scores in shaped]
    if batch.single:
        return shaped[0]
    return torch.stack(shaped) if batch.tensors else np.stack(shaped)
