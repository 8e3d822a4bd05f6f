"""Labelled images as a network leaves them: what settings of post-processing are chosen by."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from atrous.data import Folder, Pair
from atrous.data.reading import read_pair
from atrous.inference import Predictor
from atrous.postprocess.search import LabelledScores

__all__ = ["PredictedPairs"]


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
        scores: Any = self._predictor(raster, scores=True, **self._how).scores
        if self._predictor.device.startswith("cuda"):
            scores = torch.from_numpy(scores).to(self._predictor.device)
        return LabelledScores(scores, raster.filled(self._predictor.fill), truth, instances)
