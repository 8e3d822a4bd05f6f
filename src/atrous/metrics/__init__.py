"""How good classes are: one confusion matrix over all images of a split, the measures read from it, and boundaries.

And how good divisions are: regions between membranes, and single objects. Those compare label maps (0 is none), and
each says how its images are put together: `METRICS` holds what a confusion matrix tells.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from atrous.metrics.boundary import boundary_f1, boundary_tolerance, class_boundary_f1, mean_boundary_f1
from atrous.metrics.confusion import (
    class_accuracy,
    class_dice,
    class_iou,
    class_precision,
    confusion_matrix,
    frequency_weighted_iou,
    mean_accuracy,
    mean_iou,
    pixel_accuracy,
    summarize,
)
from atrous.metrics.labels import contingency
from atrous.metrics.matching import (
    average_precision,
    match_objects,
    mean_average_precision,
    overlaps,
    panoptic_quality,
)
from atrous.metrics.membrane import cells, membrane_scores, pixel_scores, thinned_cells
from atrous.metrics.overlapping import label_counts, planes_of, summarize_labels
from atrous.metrics.rand import (
    foreground_overlaps,
    information_scores,
    pair_sums,
    rand_scores,
    scores_of_entropies,
    scores_of_pairs,
)
from atrous.metrics.rand_variants import (
    adapted_rand_error,
    border_mask,
    cremi_rand_error,
    cremi_score,
    rand_error,
    variation_of_information,
)
from atrous.metrics.seg import det_score, detection_counts, object_jaccards, seg_score
from atrous.metrics.warping import warping_error

if TYPE_CHECKING:
    from atrous.metrics.state import ConfusionMatrix, LabelCounts

__all__ = [
    "METRICS",
    "ConfusionMatrix",
    "LabelCounts",
    "adapted_rand_error",
    "average_precision",
    "border_mask",
    "boundary_f1",
    "boundary_tolerance",
    "cells",
    "class_accuracy",
    "class_boundary_f1",
    "class_dice",
    "class_iou",
    "class_precision",
    "confusion_matrix",
    "contingency",
    "cremi_rand_error",
    "cremi_score",
    "det_score",
    "detection_counts",
    "foreground_overlaps",
    "frequency_weighted_iou",
    "information_scores",
    "label_counts",
    "match_objects",
    "mean_accuracy",
    "mean_average_precision",
    "mean_boundary_f1",
    "mean_iou",
    "membrane_scores",
    "object_jaccards",
    "overlaps",
    "pair_sums",
    "panoptic_quality",
    "pixel_accuracy",
    "pixel_scores",
    "planes_of",
    "rand_error",
    "rand_scores",
    "scores_of_entropies",
    "scores_of_pairs",
    "seg_score",
    "summarize",
    "summarize_labels",
    "thinned_cells",
    "variation_of_information",
    "warping_error",
]

METRICS: dict[str, Callable[..., float]] = {
    "pixel_accuracy": pixel_accuracy,
    "mean_accuracy": mean_accuracy,
    "mean_iou": mean_iou,
    "frequency_weighted_iou": frequency_weighted_iou,
}


def __getattr__(name: str) -> Any:
    # torchmetrics brings torchvision and matplotlib along: only those who keep a state pay for it.
    if name in ("ConfusionMatrix", "LabelCounts"):
        from atrous.metrics import state

        return getattr(state, name)
    raise AttributeError(f"module 'atrous.metrics' has no attribute {name!r}")
