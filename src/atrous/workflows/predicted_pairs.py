"""Labelled images as a network leaves them: what settings of post-processing are chosen by."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from atrous.data import Folder, Pair
from atrous.data.reading import read_pair
from atrous.inference import Predictor
from atrous.postprocess.search import LabelledScores

__all__ = ["PredictedPairs", "finite"]


class PredictedPairs(Sequence[LabelledScores]):
    """Scores, images and masks, read and predicted when they are asked for.

    Args:
        predictor: refines and cleans nothing. With a `RememberingScorer` it predicts an image once.
        folder: where the pairs are.
        pairs: with masks.
        how: tile, margin and views, as the predictor takes them.
    """

    def __init__(
        self, predictor: Predictor, folder: Folder, pairs: Sequence[Pair], how: Mapping[str, Any] | None = None
    ) -> None:
        self._predictor, self._folder, self._pairs, self._how = predictor, folder, pairs, how or {}

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: Any) -> Any:
        raster, truth, instances = read_pair(self._pairs[index], self._folder)
        scores: Any = self._predictor(raster.array, scores=True, **self._how).scores
        if self._predictor.device.startswith("cuda"):
            scores = torch.from_numpy(scores).to(self._predictor.device)
        return LabelledScores(scores, finite(raster.array), truth, instances)


def finite(image: np.ndarray) -> np.ndarray:
    """The image with pixels without data as dark as its darkest: a CRF takes no NaN."""
    if image.dtype.kind != "f" or np.isfinite(image).all():
        return image
    known = np.isfinite(image)
    return np.where(known, image, image[known].min() if known.any() else 0).astype(image.dtype)
