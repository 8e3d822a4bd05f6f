"""Transforms that move pixels about: image, mask, instances and weight by one field, all mirrored at the borders.

Deterministic functions first (`warp`, `rotate`, `shift`), then the classes that draw their arguments. Images and
weights are read bilinearly, labels at the nearest pixel. A strip that the mirror fills is labelled as what it shows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, radians, sin
from typing import Annotated, cast

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from atrous.augment.base import (
    NotNegative,
    Positive,
    Probability,
    WindowedSample,
    chance,
    check_positive,
    check_probability,
    exchange_pairs,
    move,
)
from atrous.augment.crops import crop, inside, take
from atrous.augment.elastic import (
    Positions,
    elastic_positions,
    found_at,
    random_grid,
    simard_noise,
    simard_positions,
    warp_image,
    warp_labels,
)
from atrous.augment.resample import WindowSlices
from atrous.errors import RecipeError
from atrous.types import Sample

__all__ = ["Elastic", "Rotation", "Shift", "Simard", "rotate", "rotated_positions", "shift", "warp", "windowed_warp"]


# Deterministic acts


def warp(sample: Sample, positions: Positions) -> Sample:
    """Read everything at `positions`; image, mask, instances and weight all continue as their mirror images."""
    warped = move(
        sample,
        image=lambda image: warp_image(image, positions),
        labels=lambda plane, _: warp_labels(plane, positions),
        points=lambda points: torch.from_numpy(found_at(positions, points.numpy())),
    )
    return _exchanged(_once(warped, positions, sample), positions, sample)


def _once(warped: Sample, positions: Positions, sample: Sample) -> Sample:
    """With weight 0 where the mirror shows what has no second landmark."""
    if "keypoints" not in sample or "weight" not in sample:
        return warped
    height, width = sample["image"].shape[-2:]
    y, x = np.rint(positions.y), np.rint(positions.x)
    own = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return cast(Sample, {**warped, "weight": warped["weight"] * torch.from_numpy(own)})


def _exchanged(warped: Sample, positions: Positions, sample: Sample) -> Sample:
    """The classes of `flip_pairs` exchanged where the image is read mirrored: beyond one border, not beyond two."""
    if "flip_pairs" not in sample:
        return warped
    height, width = sample["image"].shape[-2:]
    mirrored = _beyond(positions.y, height) ^ _beyond(positions.x, width)
    return exchange_pairs(warped, torch.from_numpy(mirrored)) if mirrored.any() else warped


def _beyond(positions: np.ndarray, length: int) -> np.ndarray:
    """Whether a position lies on a mirrored copy of an axis of so many pixels."""
    return np.rint(positions) % max(2 * (length - 1), 1) > length - 1


def windowed_warp(sample: Sample, positions: Callable[[WindowSlices], Positions]) -> WindowedSample:
    """A warped sample, computed where it is asked for.

    Args:
        sample: to read from.
        positions: where the pixels of a window, rows and columns, are read.
    """
    height, width = sample["image"].shape[-2:]

    def cut(top: int, left: int, rows: int, columns: int) -> Sample:
        if inside(top, left, rows, columns, of=(height, width)):
            return warp(sample, positions((slice(top, top + rows), slice(left, left + columns))))
        return crop(warp(sample, positions((slice(0, height), slice(0, width)))), top, left, rows, columns)

    return WindowedSample(height, width, cut)


def rotate(sample: Sample, degrees: float) -> Sample:
    """Turn counter-clockwise about the centre; the size stays, corners are filled by mirroring image and mask alike."""
    height, width = sample["image"].shape[-2:]
    return warp(sample, rotated_positions(degrees, height, width, (slice(0, height), slice(0, width))))


def rotated_positions(degrees: float, height: int, width: int, window: WindowSlices) -> Positions:
    """Where the pixels of a window are read when the image is turned about its centre."""
    rows, columns = window
    middle_y, middle_x = np.float32((height - 1) / 2), np.float32((width - 1) / 2)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - middle_y
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None] - middle_x
    c, s = np.float32(cos(radians(degrees))), np.float32(sin(radians(degrees)))
    return Positions((c * y + middle_y) + s * x, (c * x + middle_x) - s * y)


def shift(sample: Sample, dy: int, dx: int) -> Sample:
    """Read everything `dy` rows below and `dx` columns to the right; exact. All maps continue as their mirror images.

    Example:
        >>> import torch
        >>> shift({"image": torch.zeros(1, 1, 4), "mask": torch.tensor([[0, 1, 2, 3]])}, 0, 2)["mask"].tolist()
        [[2, 3, 2, 1]]
    """
    height, width = sample["image"].shape[-2:]

    def act(planes: Tensor) -> Tensor:
        return take(take(planes, slice(dy, dy + height), -2), slice(dx, dx + width), -1)

    rows, columns = np.arange(dy, dy + height)[:, None], np.arange(dx, dx + width)[None]
    positions = Positions(*np.broadcast_arrays(rows.astype(np.float32), columns.astype(np.float32)))
    moved = move(
        sample, image=act, labels=lambda plane, _: act(plane), points=lambda points: points - torch.tensor([dx, dy])
    )
    return _exchanged(_once(moved, positions, sample), positions, sample)


# Random draws


@dataclass(frozen=True)
class Shift:
    """Move by whole numbers of pixels, drawn evenly between -`pixels` and `pixels` for rows and for columns.

    U-Net's shift, and FCN's jitter of 32 pixels either way. Where a random crop comes from a larger image, it moves
    already. What comes in at the border is the mirror image, of the mask too.

    Attributes:
        pixels: largest shift either way, 0 or more.
        p: how often to shift.
    """

    pixels: int = 32
    p: Probability = 1.0

    def __post_init__(self) -> None:
        check_positive("shift", "pixels", self.pixels, zero=True)
        check_probability("shift", self.p)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a shift and perhaps do it."""
        move_it = chance(rng, self.p)
        dy, dx = (int(number) for number in rng.integers(-self.pixels, self.pixels + 1, 2))
        return shift(sample, dy, dx) if move_it else sample


@dataclass(frozen=True)
class Rotation:
    """Turn about the centre by an angle drawn evenly between -`degrees` and `degrees`, with probability `p`.

    Attributes:
        degrees: the largest angle, 0 or more.
        p: how often to turn.
    """

    degrees: NotNegative = 10.0
    p: Probability = 1.0

    def __post_init__(self) -> None:
        check_positive("rotation", "degrees", self.degrees, zero=True)
        check_probability("rotation", self.p)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw an angle and perhaps turn."""
        return self.windowed(sample, rng).whole()

    def windowed(self, sample: Sample, rng: np.random.Generator) -> WindowedSample:
        """Draw an angle, and turn what is asked for."""
        turn, angle = chance(rng, self.p), rng.uniform(-self.degrees, self.degrees)
        height, width = sample["image"].shape[-2:]
        if not turn:
            return _still(sample)
        return windowed_warp(sample, lambda window: rotated_positions(angle, height, width, window))


@dataclass(frozen=True)
class Elastic:
    """The U-Net paper's deformation (see `atrous.augment.elastic`), with probability `p`.

    Attributes:
        sigma: standard deviation of each component of the grid's vectors, in pixels of the image that arrives here. The
            paper's 10 belongs to images of 512x512 and 3 points; for a smaller image or a finer grid take less in
            proportion (5 for 256x256), or the field folds over itself.
        points: nodes per side of the coarse grid.
        p: how often to deform.
    """

    sigma: NotNegative = 10.0
    points: Annotated[int, Ge(2)] = 3
    p: Probability = 1.0

    def __post_init__(self) -> None:
        check_positive("elastic", "sigma", self.sigma, zero=True)
        check_probability("elastic", self.p)
        if self.points < 2:
            raise RecipeError(f"elastic: points is {self.points}, but a grid needs at least 2 points per side.")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a field and perhaps deform."""
        return self.windowed(sample, rng).whole()

    def windowed(self, sample: Sample, rng: np.random.Generator) -> WindowedSample:
        """Draw a field, and deform what is asked for."""
        deform, grid = chance(rng, self.p), random_grid(rng, sigma=self.sigma, points=self.points)
        height, width = sample["image"].shape[-2:]
        if not deform:
            return _still(sample)
        return windowed_warp(sample, lambda window: elastic_positions(grid, height, width, window))


@dataclass(frozen=True)
class Simard:
    """Simard's elastic distortion (see `atrous.augment.elastic`), with probability `p`.

    Attributes:
        alpha: factor of the smoothed field, in pixels. Each component of a displacement has a standard deviation of
            about 0.163 alpha / sigma pixels: 1.38 for the paper's 34 and 4, which suit images of 28x28.
        sigma: standard deviation of the smoothing, in pixels: small for jagged, large for gentle deformations.
        p: how often to deform.
    """

    alpha: NotNegative = 34.0
    sigma: Positive = 4.0
    p: Probability = 1.0

    def __post_init__(self) -> None:
        check_positive("simard", "alpha", self.alpha, zero=True)
        check_positive("simard", "sigma", self.sigma)
        check_probability("simard", self.p)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw a field and perhaps deform."""
        return self.windowed(sample, rng).whole()

    def windowed(self, sample: Sample, rng: np.random.Generator) -> WindowedSample:
        """Draw a field, and deform what is asked for."""
        height, width = sample["image"].shape[-2:]
        deform, noise = chance(rng, self.p), simard_noise(rng, height, width, sigma=self.sigma)
        if not deform:
            return _still(sample)
        return windowed_warp(sample, lambda window: simard_positions(noise, self.alpha, self.sigma, window))


def _still(sample: Sample) -> WindowedSample:
    """The sample as it is."""
    height, width = sample["image"].shape[-2:]
    whole = (0, 0, height, width)
    return WindowedSample(height, width, lambda *window: sample if window == whole else crop(sample, *window))
