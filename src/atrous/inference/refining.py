"""Refinement of tiles: each with the context that its refiner needs, and none that the network lacked."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from atrous.images.source import Source
from atrous.inference.tiles import Span
from atrous.postprocess.refine import Colors, Refiner

__all__ = ["Refining", "ScoredTile"]


class ScoredTile(NamedTuple):
    """A tile: its spans, the scores (K, h, w) of what was read, and where (h, w) that counts, None for everywhere."""

    rows: Span
    columns: Span
    scores: Tensor
    valid: np.ndarray | None


class Refining:
    """Refines the tiles of one image.

    Args:
        refiner: what is done.
        source: the image.
        cover: the spans of its rows and of its columns.
    """

    def __init__(self, refiner: Refiner, source: Source, cover: tuple[list[Span], list[Span]]) -> None:
        self.refiner = refiner
        self._colors = None if source.dtype == "uint8" else _colors(source, *cover)

    def __call__(self, part: ScoredTile, image: Float[np.ndarray, "h w C"]) -> ScoredTile:
        """Refine a tile that was read with the network's context and that of the refinement, and drop the former."""
        rows, columns = (_near(span, self.refiner.reach) for span in (part.rows, part.columns))
        down, across = _inside(part.rows, rows), _inside(part.columns, columns)
        valid = None if part.valid is None else part.valid[down, across]
        scores = part.scores[:, down, across]
        if valid is not None:  # what the network makes of nothing is no evidence for its neighbours
            scores = torch.where(torch.from_numpy(valid).to(scores.device), scores, 1 / len(scores))
        refined = self.refiner(scores.contiguous(), np.ascontiguousarray(image[down, across]), self._colors)
        return ScoredTile(rows, columns, refined, valid)


def _near(span: Span, reach: int) -> Span:
    """The same tile, read no farther than `reach` around what is kept: beyond, scores lack the network's context."""
    first, last = max(span.read.start, span.write.start - reach), min(span.read.stop, span.write.stop + reach)
    return Span(slice(first, last), span.write)


def _inside(span: Span, near: Span) -> slice:
    return slice(near.read.start - span.read.start, near.read.stop - span.read.start)


def _colors(source: Source, rows: list[Span], columns: list[Span]) -> Colors:
    """The smallest and the largest number in each channel of an image, of the pixels that count."""
    low, high = np.full(source.shape[2], np.inf), np.full(source.shape[2], -np.inf)
    for row in rows:
        for column in columns:
            window = source.read(row.write, column.write)
            counted = window.array.reshape(-1, len(low)) if window.valid is None else window.array[window.valid]
            if len(counted):
                low, high = np.minimum(low, counted.min(0)), np.maximum(high, counted.max(0))
    return (low, high) if np.isfinite(low).all() else (np.zeros_like(low), np.ones_like(high))
