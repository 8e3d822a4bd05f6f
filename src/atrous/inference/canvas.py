"""Where tiles come together: bounded memory where pixels can be decided one by one."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from atrous.inference.tiles import Span
from atrous.tasks import Task
from atrous.types import Prediction

__all__ = ["SCORES_LIMIT", "Canvas"]

SCORES_LIMIT = 10**9
"""Bytes of scores that are kept unless asked for or refused."""


class Canvas:
    """Takes tiles of scores and gives the prediction of the whole image.

    Args:
        task: decodes the scores; a task that is not pixelwise gets them all at the end.
        num_classes: maps of scores.
        size: height and width of the image.
        keep_scores: whether the prediction holds the scores; "auto" keeps up to 1 GB.
    """

    def __init__(self, task: Task, num_classes: int, size: tuple[int, int], keep_scores: bool | str) -> None:
        self._task, self._size = task, size
        self._shape = (num_classes, *size)
        if keep_scores == "auto":
            keep_scores = 4 * num_classes * size[0] * size[1] <= SCORES_LIMIT
        self._keep = bool(keep_scores)
        self._scores: Tensor | None = None
        self._classes: np.ndarray | None = None
        self._labels: np.ndarray | None = None
        self._confidence = np.empty(size, np.float16)
        self._uncertainty: np.ndarray | None = None
        self._whole: Prediction | None = None
        self._invalid: list[tuple[slice, slice, np.ndarray]] = []

    def put(self, rows: Span, columns: Span, scores: Tensor, valid: np.ndarray | None) -> None:
        """Keep a tile's part.

        Args:
            rows: the tile along the vertical axis.
            columns: the tile along the horizontal axis.
            scores: (K, height read, width read).
            valid: (height read, width read), or None.
        """
        kept, place = scores[:, rows.keep, columns.keep], (rows.write, columns.write)
        if valid is not None:
            self._invalid.append((*place, ~valid[rows.keep, columns.keep]))
        if kept.shape[1:] == self._size:  # one pass: nothing to put together
            self._scores = kept if self._keep or not self._task.pixelwise else None
            self._whole = self._task.decode(kept)
            return
        if self._keep or not self._task.pixelwise:
            if self._scores is None:
                self._scores = torch.empty(self._shape, dtype=torch.float32)
            self._scores[:, place[0], place[1]] = kept.cpu()
        if self._task.pixelwise:
            part = self._task.decode(kept)
            if self._classes is None:
                self._classes = np.empty(self._size, part.classes.dtype)
            self._classes[place] = part.classes
            self._confidence[place] = part.confidence
            if part.labels is not None:
                if self._labels is None:
                    self._labels = np.empty((len(part.labels), *self._size), bool)
                self._labels[:, place[0], place[1]] = part.labels

    def put_uncertainty(self, rows: Span, columns: Span, uncertainty: Tensor) -> None:
        """Keep a tile's part of the uncertainty, (height read, width read)."""
        if self._uncertainty is None:
            self._uncertainty = np.empty(self._size, np.float32)
        self._uncertainty[rows.write, columns.write] = uncertainty[rows.keep, columns.keep].cpu().numpy()

    def prediction(self) -> Prediction:
        """The prediction of the whole image, once all tiles are in."""
        decided = self._whole
        if decided is None and self._classes is not None:
            decided = Prediction(self._classes, self._confidence, labels=self._labels)
        if decided is None:
            assert self._scores is not None
            decided = self._task.decode(self._scores)
        valid = np.ones(self._size, bool) if self._invalid else None
        for rows, columns, invalid in self._invalid:
            decided.confidence[rows, columns][invalid] = 0
            valid[rows, columns][invalid] = False  # type: ignore[index]
        scores = self._scores.cpu().numpy() if self._keep and self._scores is not None else None
        uncertainty = self._uncertainty if self._uncertainty is not None else decided.uncertainty
        return replace(decided, scores=scores, uncertainty=uncertainty, valid=valid)
