"""Windows cut from a sample: anywhere, in the middle, or where a class is."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atrous.augment.base import (
    ClassNumber,
    Probability,
    Size,
    WindowedSample,
    check_classes,
    check_probability,
    move,
    need_mask,
)
from atrous.errors import RecipeError
from atrous.types import IGNORE_INDEX, Sample

__all__ = [
    "BalancedCrop",
    "CenterCrop",
    "ForegroundCrop",
    "RandomCrop",
    "check_size",
    "crop",
    "inside",
    "sides",
    "take",
]


_INSTEAD = "use random_crop instead"


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
        if _within(rows, plane.shape[0]) and _within(columns, plane.shape[1]):
            return plane[rows, columns]
        out = plane.new_full((height, width), fill)
        y, x = _overlap(rows, plane.shape[0]), _overlap(columns, plane.shape[1])
        out[y.start - top : y.stop - top, x.start - left : x.stop - left] = plane[y, x]
        return out

    return move(
        sample,
        image=lambda image: take(take(image, rows, 1), columns, 2),
        labels=cut,
        points=lambda points: points - torch.tensor([left, top]),
        weight=lambda weight: cut(weight, 0.0),
    )


def inside(top: int, left: int, height: int, width: int, *, of: tuple[int, int]) -> bool:
    """Whether a window lies wholly in an image `of` this height and width."""
    return _within(slice(top, top + height), of[0]) and _within(slice(left, left + width), of[1])


def _within(window: slice, length: int) -> bool:
    return window.start >= 0 and window.stop <= length


def _overlap(window: slice, length: int) -> slice:
    start = min(max(window.start, 0), length)
    return slice(start, max(min(window.stop, length), start))


def take(planes: Tensor, window: slice, dim: int) -> Tensor:
    """Read a stretch of one axis, which outside continues as its mirror image, edge pixel not repeated.

    Example:
        >>> take(torch.arange(3), slice(-2, 6), 0)
        tensor([2, 1, 0, 1, 2, 1, 0, 1])
    """
    length = planes.shape[dim]
    if _within(window, length):
        return planes.narrow(dim, window.start, window.stop - window.start)
    period = max(2 * (length - 1), 1)
    index = torch.arange(window.start, window.stop) % period
    return planes.index_select(dim, torch.minimum(index, period - index).clamp(max=length - 1))


def sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width from a side, or from both."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def check_size(name: str, size: int | tuple[int, int]) -> None:
    """Refuse a window or image without a pixel."""
    height, width = sides(size)
    if height < 1 or width < 1:
        raise RecipeError(f"{name}: the size is {height}x{width} pixels, but each side must be at least 1.")


# Random draws


@dataclass(frozen=True)
class RandomCrop:
    """Cut a window of `size` (a side, or height and width) at a random place.

    An image smaller than the window lies somewhere inside it; around it the image is mirrored and the mask ignored. A
    window without one labelled pixel, or without one landmark, teaches little, so up to ten places are drawn until one
    has some.
    """

    size: Size

    def __post_init__(self) -> None:
        check_size("random_crop", self.size)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a place and cut."""
        rows, columns = sample["image"].shape[-2:]
        return self.search(WindowedSample(rows, columns, lambda *window: crop(sample, *window)), rng)

    def search(self, view: WindowedSample, rng: np.random.Generator) -> Sample:
        """Draw a place and cut there what is not computed yet."""
        height, width = sides(self.size)
        rooms = (view.height - height, view.width - width)
        for _ in range(10):
            top, left = (int(rng.integers(min(room, 0), max(room, 0) + 1)) for room in rooms)
            cut = view.cut(top, left, height, width)
            if _teaches(cut):
                break
        return cut


@dataclass(frozen=True)
class CenterCrop:
    """Cut the window of `size` (a side, or height and width) in the middle; padding is that of `RandomCrop`."""

    size: Size

    def __post_init__(self) -> None:
        check_size("center_crop", self.size)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Cut."""
        (height, width), (rows, columns) = sides(self.size), sample["image"].shape[-2:]
        return crop(sample, (rows - height) // 2, (columns - width) // 2, height, width)


@dataclass(frozen=True)
class BalancedCrop:
    """Cut a window of `size` around a pixel of a class that is drawn first: rare classes are seen as often as others.

    Each class that the mask has is as likely, then each of its pixels, then each place of a window that holds it.
    Padding is that of `RandomCrop`, whose places are drawn where no pixel is labelled.
    """

    size: Size

    def __post_init__(self) -> None:
        check_size("balanced_crop", self.size)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a class, a pixel and a place, and cut."""
        mask, draws = need_mask("balanced_crop", sample, use=_INSTEAD).numpy(), rng.random(4)
        present = np.flatnonzero(np.bincount(mask.ravel(), minlength=IGNORE_INDEX + 1)[:IGNORE_INDEX])
        if not len(present):
            return _cut_holding(sample, None, sides(self.size), draws)
        return _cut_holding(sample, mask == present[int(draws[0] * len(present))], sides(self.size), draws)


@dataclass(frozen=True)
class ForegroundCrop:
    """Cut a window of `size` that holds a pixel of the foreground with probability `p`, else one anywhere.

    Each pixel of the foreground is as likely, and each place of a window that holds it. Padding is that of
    `RandomCrop`, whose places are drawn where there is no foreground. nnU-Net trains so on a third of its patches
    (Isensee et al., Nature Methods 2021, https://doi.org/10.1038/s41592-020-01008-z).

    Attributes:
        size: side, or height and width, in pixels.
        p: how often to make sure of the foreground.
        background: the class that is not foreground.
    """

    size: Size
    p: Probability = 1 / 3
    background: ClassNumber = 0

    def __post_init__(self) -> None:
        check_size("foreground_crop", self.size)
        check_probability("foreground_crop", self.p)
        check_classes("foreground_crop", None, self.background)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a place and cut."""
        mask, draws = need_mask("foreground_crop", sample, use=_INSTEAD).numpy(), rng.random(4)
        if draws[0] >= self.p:
            return RandomCrop(self.size)(sample, rng)
        wanted = (mask != self.background) & (mask != IGNORE_INDEX)
        return _cut_holding(sample, wanted, sides(self.size), draws)


def _teaches(sample: Sample) -> bool:
    """Whether a window has something to learn from: a labelled pixel, or a landmark."""
    if "keypoints" in sample:
        height, width = sample["image"].shape[-2:]
        x, y = sample["keypoints"].unbind(-1)  # NaN where absent, which no comparison holds for
        return bool(((x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)).any())
    return "mask" not in sample or bool((sample["mask"] != IGNORE_INDEX).any())


def _cut_holding(sample: Sample, wanted: np.ndarray | None, size: tuple[int, int], draws: np.ndarray) -> Sample:
    """Cut a window that holds a wanted pixel, if there is one.

    Args:
        sample: what to cut.
        wanted: (H, W) bool.
        size: of the window.
        draws: four numbers in 0..1, of which the last three decide pixel, row and column.
    """
    shape = sample["image"].shape[-2:]
    pixels = np.flatnonzero(wanted) if wanted is not None else np.zeros(0, int)
    pixel = divmod(int(pixels[int(draws[1] * len(pixels))]), shape[1]) if len(pixels) else (None, None)
    corner = []
    for side, length, held, draw in zip(size, shape, pixel, draws[2:], strict=True):
        low, high = min(length - side, 0), max(length - side, 0)
        if held is not None:
            low, high = max(low, held - side + 1), min(high, held)
        corner.append(low + int(draw * (high - low + 1)))
    return crop(sample, corner[0], corner[1], *size)
