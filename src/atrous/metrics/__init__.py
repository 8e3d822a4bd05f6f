"""How good classes are: one confusion matrix over the whole data set, the measures read from it, and boundaries."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from atrous.metrics.boundary import boundary_f1, boundary_tolerance, class_boundary_f1, mean_boundary_f1
from atrous.metrics.confusion import (
    class_accuracy,
    class_iou,
    confusion_matrix,
    frequency_weighted_iou,
    mean_accuracy,
    mean_iou,
    pixel_accuracy,
    summarize,
)

if TYPE_CHECKING:
    from atrous.metrics.state import ConfusionMatrix

__all__ = [
    "METRICS",
    "ConfusionMatrix",
    "boundary_f1",
    "boundary_tolerance",
    "class_accuracy",
    "class_boundary_f1",
    "class_iou",
    "confusion_matrix",
    "frequency_weighted_iou",
    "mean_accuracy",
    "mean_boundary_f1",
    "mean_iou",
    "pixel_accuracy",
    "summarize",
]

METRICS: dict[str, Callable[..., float]] = {
    "pixel_accuracy": pixel_accuracy,
    "mean_accuracy": mean_accuracy,
    "mean_iou": mean_iou,
    "frequency_weighted_iou": frequency_weighted_iou,
}


def __getattr__(name: str) -> Any:
    # torchmetrics brings torchvision and matplotlib along: only those who keep a state pay for it.
    if name == "ConfusionMatrix":
        from atrous.metrics.state import ConfusionMatrix

        return ConfusionMatrix
    raise AttributeError(f"module 'atrous.metrics' has no attribute {name!r}")
