"""Where pixels lie for a pairwise term: their position and their colours, in units of the bandwidths."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Shaped
from torch import Tensor

from atrous.crf.lattice import FeatureSource, TorchLattice
from atrous.errors import UsageError

__all__ = ["Bandwidths", "ImageFeatures"]

Bandwidths = float | Sequence[float]
"""A standard deviation, or one for each axis: (x, y) of positions, one per channel of colours."""


class ImageFeatures:
    """Features (x / sx, y / sy, c_1 / s_1, ..., c_C / s_C) of all pixels of an image, row by row.

    The order matters a little: a lattice treats its dimensions unequally.

    Attributes:
        count: how many pixels there are.
        smallest: a lower bound of each feature.
        largest: an upper bound of each feature.
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        sxy: Bandwidths,
        image: Shaped[np.ndarray, "H W C"] | Shaped[Tensor, "H W C"] | None = None,
        srgb: Bandwidths = 1.0,
    ) -> None:
        """Note the bandwidths and the range of the image.

        Args:
            height: rows of the image.
            width: columns of the image.
            sxy: bandwidth in pixels.
            image: colours, or None for positions alone. Other types than uint8 are rescaled, each channel by itself:
                its smallest number becomes 0 and its largest 255.
            srgb: bandwidth in 8-bit units of colour.

        Raises:
            UsageError: a bandwidth that is not positive or of another length, or an image with NaN or infinity.
        """
        self.height, self.width, self.count = height, width, height * width
        self._position = _per_axis(sxy, 2, "sxy")
        channels = 0 if image is None else image.shape[2]
        self._colour = _per_axis(srgb, channels, "srgb") if channels else np.ones(0, np.float32)
        self._flat: Any = None if image is None else image.reshape(self.count, channels)
        self._low, self._factor = np.zeros(channels), np.ones(channels)
        if self._flat is not None and self._flat.dtype not in (np.uint8, torch.uint8):
            self._low, high = _extremes(self._flat)
            if not np.isfinite([self._low, high]).all():
                raise UsageError("The image holds NaN or infinity; replace these pixels before refining.")
            span = high - self._low
            self._factor = np.where(span > 0, 255 / np.where(span > 0, span, 1), 0.0)
        self.smallest = np.zeros(2 + channels, np.float32)
        last = np.array([width - 1, height - 1], np.float32) / self._position
        self.largest = np.concatenate([last, np.float32(255) / self._colour])

    def for_points(self, points: Any) -> FeatureSource | TorchLattice:
        """What a `Kernel` for such points is built from: a source for arrays, a lattice for tensors."""
        if not isinstance(points, Tensor):
            return FeatureSource(self.count, self.smallest, self.largest, self.read)
        bounds = torch.from_numpy(self.smallest), torch.from_numpy(self.largest)
        return TorchLattice(self.tensor(points.device), bounds=bounds)

    def read(self, first: int, last: int) -> Float32[np.ndarray, "n d"]:
        """The features of the pixels from one number to another."""
        features = np.empty((last - first, len(self.smallest)), np.float32)
        rows, columns = np.divmod(np.arange(first, last, dtype=np.int64), self.width)
        features[:, 0], features[:, 1] = columns / self._position[0], rows / self._position[1]
        if self._flat is not None:
            features[:, 2:] = self._scaled(self._flat[first:last]) / self._colour
        return features

    def _scaled(self, colours: Shaped[np.ndarray, "n C"]) -> Float32[np.ndarray, "n C"]:
        if self._flat.dtype == np.uint8:
            return colours.astype(np.float32)
        return ((colours - self._low) * self._factor).astype(np.float32)

    def tensor(self, device: torch.device) -> Float[Tensor, "N d"]:
        """The features of all pixels, on a device."""
        y, x = torch.meshgrid(torch.arange(self.height), torch.arange(self.width), indexing="ij")
        place = torch.stack([x.flatten(), y.flatten()], 1).to(device).float()
        place = place / torch.from_numpy(self._position).to(device)
        if self._flat is None:
            return place
        colours = self._flat.to(device).float()
        if self._flat.dtype != torch.uint8:
            low, factor = (torch.from_numpy(each.astype(np.float32)).to(device) for each in (self._low, self._factor))
            colours = (colours - low) * factor
        return torch.cat([place, colours / torch.from_numpy(self._colour).to(device)], 1)


def _extremes(flat: Any) -> tuple[Float64[np.ndarray, " C"], Float64[np.ndarray, " C"]]:
    """The smallest and the largest number of each channel."""
    if isinstance(flat, Tensor):
        low, high = (each.double().cpu().numpy() for each in torch.aminmax(flat, dim=0))
        return low, high
    return flat.min(0).astype(np.float64), flat.max(0).astype(np.float64)


def _per_axis(spread: Bandwidths, axes: int, name: str) -> Float32[np.ndarray, " axes"]:
    values = np.asarray(spread, np.float32)
    if values.ndim > 1 or values.size not in (1, axes) or not (values > 0).all() or not np.isfinite(values).all():
        raise UsageError(f"The bandwidth {name} is one positive number or {axes} of them, got {spread!r}.")
    return np.broadcast_to(values, axes).copy()
