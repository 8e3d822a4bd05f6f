"""Transforms that move pixels: image, mask, instances and weight together.

Deterministic functions first (`crop`, `resize`, `flip_horizontally`, `rotate`, ...), then the classes that draw their
arguments. Images are read bilinearly, labels at the nearest pixel, weights bilinearly.
"""

from dataclasses import dataclass
from math import cos, radians, sin

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from atrous.data.elastic import Positions, elastic_positions, random_grid, warp_image, warp_labels
from atrous.data.transforms.base import chance, check_positive, check_probability, check_range, move
from atrous.errors import RecipeError
from atrous.types import IGNORE_INDEX, Sample

__all__ = [
    "CenterCrop",
    "Elastic",
    "HorizontalFlip",
    "RandomCrop",
    "RandomScale",
    "Resize",
    "Rotate90",
    "Rotation",
    "VerticalFlip",
    "crop",
    "flip_horizontally",
    "flip_vertically",
    "quarter_turns",
    "resize",
    "rotate",
    "warp",
]


# Deterministic acts


def crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """Cut a window, which may reach beyond the image or even be larger.

    Outside, the image continues as its mirror image (edge pixel not repeated, as often as needed), the mask as ignored
    pixels, instances and weight as 0.

    Example:
        >>> sample = {"image": torch.arange(3.0).reshape(1, 1, 3), "mask": torch.tensor([[0, 1, 2]])}
        >>> cut = crop(sample, 0, -2, 1, 7)
        >>> cut["image"][0].tolist(), cut["mask"].tolist()
        ([[2.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0]], [[255, 255, 0, 1, 2, 255, 255]])
    """
    rows, columns = slice(top, top + height), slice(left, left + width)

    def cut(plane: Tensor, fill: float) -> Tensor:
        if _inside(rows, plane.shape[0]) and _inside(columns, plane.shape[1]):
            return plane[rows, columns]
        out = plane.new_full((height, width), fill)
        y, x = _overlap(rows, plane.shape[0]), _overlap(columns, plane.shape[1])
        out[y.start - top : y.stop - top, x.start - left : x.stop - left] = plane[y, x]
        return out

    return move(
        sample,
        image=lambda image: _take(_take(image, rows, 1), columns, 2),
        labels=cut,
        weight=lambda weight: cut(weight, 0.0),
    )


def _inside(window: slice, length: int) -> bool:
    return window.start >= 0 and window.stop <= length


def _overlap(window: slice, length: int) -> slice:
    start = min(max(window.start, 0), length)
    return slice(start, max(min(window.stop, length), start))


def _take(image: Tensor, window: slice, dim: int) -> Tensor:
    length = image.shape[dim]
    if _inside(window, length):
        return image.narrow(dim, window.start, window.stop - window.start)
    period = max(2 * (length - 1), 1)
    index = torch.arange(window.start, window.stop) % period
    return image.index_select(dim, torch.minimum(index, period - index).clamp(max=length - 1))


def resize(sample: Sample, height: int, width: int) -> Sample:
    """Bring everything to a size; pixel areas correspond (not corner centres), and shrinking does not alias."""
    from torchvision.transforms.v2 import InterpolationMode, functional

    def image(x: Tensor) -> Tensor:
        if height >= x.shape[1] and width >= x.shape[2]:
            return _enlarge(x, height, width)
        return functional.resize(x, [height, width], antialias=True)

    def labels(plane: Tensor, _: int) -> Tensor:
        return functional.resize(plane[None], [height, width], interpolation=InterpolationMode.NEAREST_EXACT)[0]

    return move(sample, image=image, labels=labels)


def _enlarge(image: Float[Tensor, "C H W"], height: int, width: int) -> Float[Tensor, "C h w"]:
    # OpenCV: the same numbers as torchvision's bilinear resize of floats at a tenth of its time (0.3 ms against 3.5 ms
    # for 3x512x512 to 768x768 on one thread). It has no anti-aliased shrinking, so that stays with torchvision.
    out = np.empty((image.shape[0], height, width), np.float32)
    for plane, target in zip(image.to(torch.float32).numpy(), out, strict=True):
        cv2.resize(np.ascontiguousarray(plane), (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(out)


def flip_horizontally(sample: Sample) -> Sample:
    """Exchange left and right."""
    return move(sample, image=lambda image: image.flip(-1), labels=lambda plane, _: plane.flip(-1))


def flip_vertically(sample: Sample) -> Sample:
    """Exchange top and bottom."""
    return move(sample, image=lambda image: image.flip(-2), labels=lambda plane, _: plane.flip(-2))


def quarter_turns(sample: Sample, turns: int) -> Sample:
    """Turn by `turns` times 90 degrees counter-clockwise; exact. Odd turns exchange height and width."""
    return move(
        sample,
        image=lambda image: image.rot90(turns, (-2, -1)),
        labels=lambda plane, _: plane.rot90(turns, (-2, -1)),
    )


def warp(sample: Sample, positions: Positions) -> Sample:
    """Read everything at `positions`; image, mask, instances and weight all continue as their mirror images."""
    return move(
        sample,
        image=lambda image: warp_image(image, positions),
        labels=lambda plane, _: warp_labels(plane, positions),
    )


def rotate(sample: Sample, degrees: float) -> Sample:
    """Turn counter-clockwise about the centre; the size stays, corners are filled by mirroring image and mask alike."""
    height, width = sample["image"].shape[-2:]
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32((height - 1) / 2)
    x = np.arange(width, dtype=np.float32)[None] - np.float32((width - 1) / 2)
    c, s = np.float32(cos(radians(degrees))), np.float32(sin(radians(degrees)))
    return warp(
        sample,
        Positions(
            (c * y + np.float32((height - 1) / 2)) + s * x,
            (c * x + np.float32((width - 1) / 2)) - s * y,
        ),
    )


# Random draws


@dataclass(frozen=True)
class RandomScale:
    """Resize by one factor for both sides, drawn evenly between `low` and `high`. Put it before the crop."""

    low: float = 0.5
    high: float = 2.0

    def __post_init__(self) -> None:
        check_range("random_scale", self.low, self.high)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a factor and resize."""
        factor = rng.uniform(self.low, self.high)
        height, width = (max(1, round(side * factor)) for side in sample["image"].shape[-2:])
        return resize(sample, height, width)


@dataclass(frozen=True)
class RandomCrop:
    """Cut a window of `size` (a side, or height and width) at a random place.

    An image smaller than the window lies somewhere inside it; around it the image is mirrored and the mask ignored. A
    window without one labelled pixel teaches nothing, so up to ten places are drawn until one has some.
    """

    size: int | tuple[int, int]

    def __post_init__(self) -> None:
        _check_size("random_crop", self.size)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a place and cut."""
        (height, width), (rows, columns) = _pair(self.size), sample["image"].shape[-2:]
        for _ in range(10):
            top, left = (int(rng.integers(min(room, 0), max(room, 0) + 1)) for room in (rows - height, columns - width))
            cut = crop(sample, top, left, height, width)
            if "mask" not in cut or bool((cut["mask"] != IGNORE_INDEX).any()):
                break
        return cut


@dataclass(frozen=True)
class CenterCrop:
    """Cut the window of `size` (a side, or height and width) in the middle; padding is that of `RandomCrop`."""

    size: int | tuple[int, int]

    def __post_init__(self) -> None:
        _check_size("center_crop", self.size)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Cut."""
        (height, width), (rows, columns) = _pair(self.size), sample["image"].shape[-2:]
        return crop(sample, (rows - height) // 2, (columns - width) // 2, height, width)


@dataclass(frozen=True)
class Resize:
    """Bring every image to one size, whatever its proportions."""

    height: int
    width: int

    def __post_init__(self) -> None:
        _check_size("resize", (self.height, self.width))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Resize."""
        return resize(sample, self.height, self.width)


@dataclass(frozen=True)
class HorizontalFlip:
    """Exchange left and right with probability `p`."""

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability("horizontal_flip", self.p)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Perhaps flip."""
        return flip_horizontally(sample) if chance(rng, self.p) else sample


@dataclass(frozen=True)
class VerticalFlip:
    """Exchange top and bottom with probability `p`."""

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability("vertical_flip", self.p)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Perhaps flip."""
        return flip_vertically(sample) if chance(rng, self.p) else sample


@dataclass(frozen=True)
class Rotate90:
    """Turn by 0, 90, 180 or 270 degrees, each as likely. Put it after a square crop: turning exchanges the sides."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a number of quarter turns and turn."""
        return quarter_turns(sample, int(rng.integers(4)))


@dataclass(frozen=True)
class Rotation:
    """Turn about the centre by an angle drawn evenly between -`degrees` and `degrees`, with probability `p`."""

    degrees: float = 10.0
    p: float = 1.0

    def __post_init__(self) -> None:
        check_positive("rotation", "degrees", self.degrees, zero=True)
        check_probability("rotation", self.p)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw an angle and perhaps turn."""
        turn, angle = chance(rng, self.p), rng.uniform(-self.degrees, self.degrees)
        return rotate(sample, angle) if turn else sample


@dataclass(frozen=True)
class Elastic:
    """The U-Net paper's deformation (see `atrous.data.elastic`), with probability `p`.

    Attributes:
        sigma: standard deviation of each component of the grid's vectors, in pixels of the image that arrives here. The
            paper's 10 belongs to images of 512x512 and 3 points; for a smaller image or a finer grid take less in
            proportion (5 for 256x256), or the field folds over itself.
        points: nodes per side of the coarse grid.
        p: how often to deform.
    """

    sigma: float = 10.0
    points: int = 3
    p: float = 1.0

    def __post_init__(self) -> None:
        check_positive("elastic", "sigma", self.sigma, zero=True)
        check_probability("elastic", self.p)
        if self.points < 2:
            raise RecipeError(f"elastic: points is {self.points}, but a grid needs at least 2 points per side.")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a field and perhaps deform."""
        deform, grid = chance(rng, self.p), random_grid(rng, sigma=self.sigma, points=self.points)
        height, width = sample["image"].shape[-2:]
        return warp(sample, elastic_positions(grid, height, width)) if deform else sample


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _check_size(name: str, size: int | tuple[int, int]) -> None:
    height, width = _pair(size)
    if height < 1 or width < 1:
        raise RecipeError(f"{name}: the size is {height}x{width} pixels, but each side must be at least 1.")
