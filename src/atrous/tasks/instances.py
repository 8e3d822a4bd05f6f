"""Objects one by one: the classes, and one more map for the borders between objects.

A network that decides classes alone joins cells that touch. Here it has one map more, the border, which is thin and
lies around every object; without it the insides lie apart, and each is the seed of one object. Objects then grow back
over the border by a watershed on the probabilities.

References:
    Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl, Nature Methods 2019,
    https://doi.org/10.1038/s41592-019-0612-7 (the classes background, inside and border of its best entries);
    Beucher and Meyer, The morphological approach to segmentation, 1993 (the watershed by ordered flooding).
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Float, Int, Int32, UInt8
from torch import Tensor

from atrous.drawing import Color
from atrous.errors import DataError, RecipeError
from atrous.tasks.base import (
    MEAN_IOU,
    PIXEL_ACCURACY,
    Evaluator,
    LabelledFolder,
    Measure,
    Output,
    Proposal,
    ProposalFacts,
    Validator,
)
from atrous.tasks.maps import MapTask
from atrous.tasks.outputs import instances
from atrous.tasks.segmentation import check_labels
from atrous.types import IGNORE_INDEX, Outputs, Prediction, Sample

__all__ = ["Instances", "border_targets", "grow"]

LEVELS = 255
"""Steps in which the watershed rises."""
AVERAGE_PRECISION = Measure("average_precision", label="average precision", short="AP", perfect=1.0)
"""Of objects, mean over the thresholds 0.5, 0.55, ... 0.95 of the IoU, then over images.

It counts what was missed and what is too much; SEG does not see the second. And it still rises when all objects are
found at one half and are drawn better, where the score at 0.5 stands still.
"""


@dataclass(eq=False)
class Instances(MapTask):
    """Objects of K classes, told apart by a border; the class 0 is the background.

    Args:
        num_classes: maps of the network: K, and the border as the last.
        loss: as for `MapTask`, over the K + 1 maps. Class weights are K + 1 numbers: how common the border is,
            nobody has counted.
        border: how many pixels of an object's rim belong to the border, see `border_targets`.
        min_size: objects of fewer pixels are left out.
        frequencies: of K classes; not used.

    The other arguments are those of `MapTask`.

    Raises:
        RecipeError: if the section does not fit, as for `MapTask`, or there is no class beside the background.
    """

    extra_maps = 1
    probabilities = "softmax"
    measures = (AVERAGE_PRECISION, MEAN_IOU, PIXEL_ACCURACY)
    monitor = AVERAGE_PRECISION

    _: KW_ONLY
    border: Annotated[int, Ge(1)] = 1
    min_size: Annotated[int, Ge(0)] = 8

    def __post_init__(self) -> None:
        if self.num_classes < 3:
            raise RecipeError(
                f"{self.place}: instances need a background and at least one class of objects, class 0 first."
            )
        self.frequencies = None
        super().__post_init__()
        if self.needs_frequencies:
            raise RecipeError(
                f"{self.place / 'loss'}: class weights by name do not know the border; give {self.num_classes} "
                "numbers, the border's last, or leave them out."
            )

    def losses(self, outputs: Outputs, batch: Sample) -> dict[str, Tensor]:
        """Weighted losses of every output, against classes and borders.

        Raises:
            DataError: if the batch has no numbered objects, or the mask has a value that is no class.
        """
        return self.weigh(outputs, batch, self.target(batch))

    def target(self, batch: Sample) -> Int[Tensor, "B H W"]:
        """The mask with borders as its last class; crowds, whose objects nobody has told apart, are ignored."""
        if "instances" not in batch:
            raise DataError(NOT_NUMBERED)
        mask, numbers = batch["mask"], batch["instances"]
        target = border_targets(mask, numbers, self.num_classes - 1, reach=self.border)
        target = torch.where((mask > 0) & (numbers == 0), self.ignore_index, target)
        check_labels(target, batch.get("index"), self.num_classes, self.ignore_index)
        return target

    def scores(self, outputs: Outputs) -> Float[Tensor, "B K H W"]:
        """Probabilities of the classes and, last, of the border: the softmax of `out` in float32."""
        return outputs["out"].float().softmax(1)

    def decide(self, scores: Float[Tensor, "B K H W"]) -> Int[Tensor, "B H W"]:
        """The class of every pixel without telling objects apart: quick, for validation while a network trains.

        A pixel is an object's where the background has less than half of its probability.
        """
        objects = scores[:, 1:-1].max(1).indices + 1
        return torch.where(scores[:, 0] >= 0.5, 0, objects)

    def decode(self, scores: Float[Tensor, "K H W"]) -> Prediction:
        """Objects, and the class of each, which all its pixels get; the border is shared out among the objects."""
        values = scores.float().cpu().numpy()
        background, insides, border = values[0], values[1:-1], values[-1]
        inside = insides.sum(0)
        mask = (background < 0.5).astype(np.uint8)
        seeds = mask * (inside > border).astype(np.uint8)
        _, labels = cv2.connectedComponents(seeds, connectivity=4, ltype=cv2.CV_32S)
        labels = _with_seedless(labels, mask)
        levels = np.rint((1 - inside) * LEVELS).clip(0, LEVELS).astype(np.uint8)
        grow(labels, levels, mask)
        labels, classes = _settle(labels, insides, self.min_size)
        confidence = np.where(labels > 0, 1 - background, background).astype(np.float16)
        return Prediction(classes=classes, confidence=confidence, instances=labels)

    def validator(self) -> Validator:
        """Average precision of the objects, as they will be predicted; and the classes, without the border."""
        from atrous.tasks.validators import ObjectValidator  # torchmetrics is slow to import; prediction needs none

        return ObjectValidator(self.decide, self.decode, self.num_classes - 1, self.ignore_index)

    def evaluator(self, class_names: Sequence[str], *, boundary: bool = True) -> Evaluator:
        """Classes and outlines, as for one class per pixel, and the objects."""
        from atrous.tasks.evaluators import ClassEvaluator

        return ClassEvaluator(class_names, boundary=boundary)

    def files(self, class_names: Sequence[str], colors: Sequence[Color]) -> list[Output]:
        """The mask of the classes, and the numbers of the objects."""
        return [*super().files(class_names, colors), instances()]

    @classmethod
    def accepts(cls, data: LabelledFolder) -> None:
        """Masks with one class per pixel, and an instance map beside every one of them."""
        super().accepts(data)
        if not any(pair.instances for pair in data.splits.get("train", ())):
            raise DataError(f"{data.root}: {NOT_NUMBERED}")
        pairs = [pair for split in ("train", "val") for pair in data.splits.get(split, ())]
        if lacking := [pair for pair in pairs if not pair.instances]:
            raise DataError(
                f"{lacking[0].image}: has no instance map, as {len(lacking)} of {len(pairs)} training and validation "
                "images, and its mask shows objects; add the maps to instances/, or train with task.name=segmentation."
            )

    @classmethod
    def propose(cls, facts: ProposalFacts) -> Proposal | None:
        """Where objects are numbered and many of them touch."""
        if not facts.apart:
            return None
        why = f"objects are numbered, and {facts.touching:.0%} of them touch another: their borders become a class"
        return Proposal({"name": "instances", "loss": [{"name": "cross_entropy"}, {"name": "dice"}]}, why)


NOT_NUMBERED = (
    "the data has no instance maps, which task 'instances' learns from; add a folder instances/ with a number for each "
    "object, or train with task.name=segmentation."
)


def border_targets(
    mask: Int[Tensor, "B H W"], instances: Int[Tensor, "B H W"], border: int, *, reach: int = 1
) -> Int[Tensor, "B H W"]:
    """The mask with borders as a class of their own.

    A pixel of an object is border where the square of `reach` pixels around it holds anything but this object; a pixel
    of the background, where the square holds two objects. Objects that would be border alone stay inside.

    Args:
        mask: classes, 255 where ignored, which stays so.
        instances: number of each object, 0 where there is none; below 2^24.
        border: the class of the border.
        reach: pixels.

    Example:
        >>> row = torch.tensor([[[0, 0, 7, 7, 7, 7, 0, 9, 9, 9]]])
        >>> border_targets((row > 0).long(), row, 2)[0, 0].tolist()
        [0, 0, 2, 1, 1, 2, 2, 2, 1, 1]
    """
    numbers = instances[:, None].float()
    highest, lowest = _highest(numbers, reach), -_highest(-numbers, reach)
    lowest_object = -_highest(-torch.where(numbers > 0, numbers, torch.inf), reach)
    own = numbers > 0
    rim = own & ((highest != numbers) | (lowest != numbers))
    between = ~own & (highest > 0) & (lowest_object < highest)
    kept = own[:, 0]
    if bool(rim.any()):  # numbers are those of an image: object 3 of another one says nothing
        images = torch.arange(len(instances), device=instances.device)[:, None, None]
        apart = instances + (instances.amax() + 1) * images
        kept = torch.isin(apart, apart[(own & ~rim)[:, 0]])
    edge = (rim[:, 0] & kept) | between[:, 0]
    return torch.where(edge & (mask != IGNORE_INDEX), border, mask)


def _highest(planes: Float[Tensor, "B 1 H W"], reach: int) -> Float[Tensor, "B 1 H W"]:
    """The largest number in the square around each pixel, as far as it lies in the image."""
    return F.max_pool2d(planes, 2 * reach + 1, stride=1, padding=reach)


def grow(labels: Int32[np.ndarray, "H W"], levels: UInt8[np.ndarray, "H W"], mask: UInt8[np.ndarray, "H W"]) -> None:
    """Let objects grow in place over the mask, lowest levels first: a watershed by ordered flooding.

    Args:
        labels: numbers of objects, 0 where none is yet.
        levels: heights.
        mask: where objects may be.

    Example:
        >>> labels = np.array([[1, 0, 0, 0, 2, 0]], np.int32)
        >>> grow(labels, np.array([[0, 9, 9, 1, 0, 0]], np.uint8), np.array([[1, 1, 1, 1, 1, 0]], np.uint8))
        >>> labels.tolist()
        [[1, 1, 2, 2, 2, 0]]
    """
    from atrous.tasks._kernels import flood

    flood(labels, levels, mask)


def _with_seedless(labels: Any, mask: Any) -> Any:
    """Parts of the mask without a seed, thin or small ones, are an object each."""
    count, parts = cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_32S)
    seeded = np.zeros(count, bool)
    seeded[parts[labels > 0]] = True
    seeded[0] = True
    missing = np.flatnonzero(~seeded)
    numbers = np.zeros(count, np.int32)
    numbers[missing] = labels.max() + 1 + np.arange(len(missing))
    return np.where(labels > 0, labels, numbers[parts]).astype(np.int32)


def _settle(labels: Any, insides: Any, min_size: int) -> tuple[Any, Any]:
    """Objects that are large enough, numbered from 1 on, and their classes."""
    count = int(labels.max()) + 1
    flat = labels.ravel()
    sizes = np.bincount(flat, minlength=count)
    votes = np.stack([np.bincount(flat, weights=plane.ravel(), minlength=count) for plane in insides])
    kept = sizes >= max(min_size, 1)
    kept[0] = False
    numbers = np.zeros(count, np.int32)
    numbers[kept] = np.arange(1, int(kept.sum()) + 1)
    classes = np.where(kept, votes.argmax(0) + 1, 0).astype(np.uint8 if len(insides) < 256 else np.uint16)
    return numbers[labels], classes[labels]
