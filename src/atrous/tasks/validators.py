"""Quick measures of a network while it trains, summed over batches, processes and machines."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atrous.metrics import summarize
from atrous.metrics.landmark_state import LandmarkScores
from atrous.metrics.landmarks import landmark_distances
from atrous.metrics.objects import judged_by, number_parts
from atrous.metrics.state import ConfusionMatrix, LabelCounts, LandmarkErrors, ObjectPrecision
from atrous.types import IGNORE_INDEX, Prediction, Sample

__all__ = ["LabelValidator", "LandmarkValidator", "ObjectValidator", "PixelValidator"]

Decide = Callable[[Tensor], Tensor]


class PixelValidator(nn.Module):
    """Mean IoU and pixel accuracy of exclusive classes.

    Args:
        decide: from scores to the class of every pixel.
        num_classes: how many the masks have.
        ignore_index: class of the pixels that count for nothing.
    """

    def __init__(self, decide: Decide, num_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__()
        self.decide = decide
        self.counts = ConfusionMatrix(num_classes, ignore_index=ignore_index)

    def reset(self) -> None:
        """Forget all batches."""
        self.counts.reset()

    def update(self, scores: Tensor, batch: Sample) -> None:
        """Add the pixels of a batch."""
        self.counts.update(self.decide(scores), batch["mask"])

    def compute(self) -> dict[str, float]:
        """The figures over all pixels."""
        return pixel_figures(self.counts.compute())


class LabelValidator(PixelValidator):
    """The same figures where classes may overlap: `decide` says of every class where it is."""

    def __init__(self, decide: Decide, num_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__(decide, num_classes, ignore_index)
        self.counts = LabelCounts(num_classes, ignore_index=ignore_index)


class ObjectValidator(PixelValidator):
    """Average precision of the objects, beside the figures of the pixels.

    An image without numbered objects is measured against the connected parts of its mask.

    Args:
        decide: from scores to the class of every pixel.
        decode: from the scores of one image to its objects.
        num_classes: how many the masks have.
        ignore_index: class of the pixels that count for nothing.
    """

    def __init__(
        self, decide: Decide, decode: Callable[[Tensor], Prediction], num_classes: int, ignore_index: int = IGNORE_INDEX
    ) -> None:
        super().__init__(decide, num_classes, ignore_index)
        self.decode, self.ignore_index = decode, ignore_index
        self.objects = ObjectPrecision()

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self.objects.reset()

    def update(self, scores: Tensor, batch: Sample) -> None:
        """Add the pixels and the objects of a batch."""
        super().update(scores, batch)
        for at, mask in enumerate(batch["mask"].cpu().numpy()):
            mask = np.where(mask == self.ignore_index, IGNORE_INDEX, mask)
            if "instances" in batch:
                wanted = batch["instances"][at].cpu().numpy().astype(np.int64)
            else:
                wanted = number_parts(np.where(mask == IGNORE_INDEX, 0, mask)).astype(np.int64)
            found = self.decode(scores[at]).instances
            assert found is not None  # a task that tells objects apart has them
            void, crowd = (torch.from_numpy(region) for region in judged_by(mask, wanted))
            self.objects.update(torch.from_numpy(found), torch.from_numpy(wanted), void=void, crowd=crowd)

    def compute(self) -> dict[str, float]:
        """The figures over all pixels, and over all images."""
        return {"average_precision": float(self.objects.compute()), **super().compute()}


class LandmarkValidator(nn.Module):
    """Mean error in pixels and PCK, over the labelled landmarks that lie in their image.

    Args:
        task: has `read`, from the scores of one image to x, y and belief of each landmark; `length`, the reference of
            the PCK; and `pck`, its share of it.
    """

    def __init__(self, task: Any) -> None:
        super().__init__()
        self.task = task
        self.errors = LandmarkErrors()

    def reset(self) -> None:
        """Forget all batches."""
        self.errors.reset()

    def update(self, scores: Tensor, batch: Sample) -> None:
        """Add the landmarks of a batch."""
        height, width = scores.shape[-2:]
        for at, (maps, points) in enumerate(zip(scores, batch["keypoints"], strict=True)):
            state, box = LandmarkScores(), batch["box"][at].cpu().numpy() if "box" in batch else None
            state.add(self.task.read(maps).numpy(), points.cpu().numpy(), (height, width), box)
            found, wanted, _, _ = state.arrays()
            distances = np.where(state.inside(), landmark_distances(found[..., :2], wanted), np.nan)
            near = self.task.pck * state.lengths(self.task.length)
            self.errors.update(torch.from_numpy(distances), torch.from_numpy(near))

    def compute(self) -> dict[str, float]:
        """The figures over all landmarks."""
        error, share = self.errors.compute().tolist()
        return {"mean_error": error, "pck": share}


def pixel_figures(matrix: Tensor) -> dict[str, float]:
    """Mean IoU and pixel accuracy of a matrix of counts."""
    summary = summarize(matrix, [str(index) for index in range(len(matrix))])
    return {name: float(summary[name]) for name in ("mean_iou", "pixel_accuracy")}
