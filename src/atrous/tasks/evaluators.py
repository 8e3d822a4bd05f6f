"""Full measures of predicted images: classes, their outlines, and objects where the data numbers them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atrous.metrics import (
    boundary_f1,
    class_boundary_f1,
    confusion_matrix,
    label_counts,
    mean_boundary_f1,
    planes_of,
    summarize,
)
from atrous.metrics.objects import ObjectScores, score_objects, summarize_objects
from atrous.tasks.base import MEAN_IOU
from atrous.types import Prediction

__all__ = ["ClassEvaluator", "LabelEvaluator"]


class ClassEvaluator:
    """One class per pixel: a confusion matrix over all images, boundary F1, and objects.

    Args:
        class_names: of the data.
        boundary: also measure the boundary F1.
    """

    ranks = MEAN_IOU

    def __init__(self, class_names: Sequence[str], *, boundary: bool = True) -> None:
        self.class_names, self.boundary = list(class_names), boundary
        self._counts = torch.zeros(self._shape(), dtype=torch.int64)
        self._edges: list[Tensor] = []
        self._objects: list[ObjectScores] = []

    @property
    def matrix(self) -> list[Any]:
        """Rows the true class, columns the decided one."""
        return self._counts.tolist()

    def update(self, prediction: Prediction, truth: Mapping[str, Any]) -> dict[str, float]:
        """Add an image; see `Evaluator`."""
        wanted = torch.from_numpy(truth["mask"].astype(np.int64))
        counts = self._count(prediction, wanted)
        self._counts += counts
        # An image without a labelled pixel has a defined (zero) matrix but no score.
        summary = summarize(counts, self.class_names) if counts.sum() else {}
        figures = {name: summary.get(name, math.nan) for name in ("mean_iou", "pixel_accuracy")}
        if self.boundary:
            edge = boundary_f1(_classes(prediction), wanted, len(self.class_names))
            self._edges.append(edge)
            figures["boundary_f1"] = mean_boundary_f1(edge[None])
        if truth.get("instances") is not None:
            found = score_objects(prediction, truth["instances"], truth["mask"])
            self._objects.append(found)
            figures |= {"seg": found.seg, "objects": found.objects, "found": found.found}
        return figures

    def compute(self) -> dict[str, Any]:
        """`summarize`; "mean_boundary_f1" and "boundary_f1" by class; and the figures of `summarize_objects`."""
        summary = summarize(self._counts, self.class_names)
        if self._edges:
            scores = torch.stack(self._edges)
            summary["mean_boundary_f1"] = mean_boundary_f1(scores)
            summary["boundary_f1"] = dict(zip(self.class_names, class_boundary_f1(scores).tolist(), strict=True))
        return summary | summarize_objects(self._objects)

    def _shape(self) -> tuple[int, ...]:
        return (len(self.class_names), len(self.class_names))

    def _count(self, prediction: Prediction, wanted: Tensor) -> Tensor:
        return confusion_matrix(_classes(prediction), wanted, len(self.class_names))


class LabelEvaluator(ClassEvaluator):
    """Classes that may overlap: for each the counts of "is it there?", no before yes; and objects.

    Args:
        class_names: of the data.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__(class_names, boundary=False)

    def _shape(self) -> tuple[int, ...]:
        return (len(self.class_names), 2, 2)

    def _count(self, prediction: Prediction, wanted: Tensor) -> Tensor:
        assert prediction.labels is not None  # the task decides each class for itself
        return label_counts(torch.from_numpy(prediction.labels)[None], planes_of(wanted[None], len(self.class_names)))


def _classes(prediction: Prediction) -> Tensor:
    return torch.from_numpy(prediction.classes.astype(np.int64))
