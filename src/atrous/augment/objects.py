"""Windows around single objects: what DeconvNet is trained on.

Noh, Hong, Han, "Learning Deconvolution Network for Semantic Segmentation", ICCV 2015, https://arxiv.org/abs/1505.04366.
Training has two stages. In the first every example is centred on one object, whose pixels alone keep their class; in
the second all pixels of such a window do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from atrous.augment.base import ClassNumber, Positive, Size, check_positive, need_mask
from atrous.augment.crops import check_size, crop, sides
from atrous.augment.geometry import resize
from atrous.errors import RecipeError
from atrous.types import IGNORE_INDEX, Sample

__all__ = ["ObjectCrop", "enlarged", "number_objects"]


@dataclass(frozen=True)
class ObjectCrop:
    """Cut the surroundings of one object, each object as likely, and bring them to one size.

    Objects are those of `instances`, where the sample has them, else the connected parts of every class but the
    background. An image without objects is taken whole. What lies outside the image is mirrored, and ignored in the
    mask; ignored pixels stay ignored.

    Attributes:
        size: side, or height and width, of the result; the paper has 250, of which 224 are cropped at random.
        stage: 1 makes background of everything but the object, 2 keeps all classes.
        enlarge: the object's box is this much longer and wider.
        background: the class that is no object.
        smallest: objects of fewer pixels are left out.
    """

    size: Size
    stage: Literal[1, 2] = 1
    enlarge: Positive = 1.2
    background: ClassNumber = 0
    smallest: int = 16

    def __post_init__(self) -> None:
        check_size("object_crop", self.size)
        if self.stage not in (1, 2):
            raise RecipeError(f"object_crop: stage is {self.stage}: 1 keeps the object's class, 2 all classes.")
        check_positive("object_crop", "enlarge", self.enlarge)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draw an object and cut its surroundings."""
        need_mask("object_crop", sample, use="remove it from augment")
        numbers = number_objects(sample, self.background)
        objects, areas = np.unique(numbers.numpy(), return_counts=True)
        objects = objects[(objects > 0) & (areas >= self.smallest)]
        draw = rng.random()  # one number whatever there is, so that what follows does not depend on it
        if not len(objects):
            return resize(sample, *sides(self.size))
        chosen = numbers == int(objects[int(draw * len(objects))])
        if self.stage == 1:
            mask = sample["mask"]
            beside = ~chosen & (mask != IGNORE_INDEX)
            sample = {**sample, "mask": mask.masked_fill(beside, self.background)}
        rows, columns = (torch.nonzero(chosen.any(dim)).flatten() for dim in (1, 0))
        box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        top, left, bottom, right = enlarged(box, self.enlarge)
        return resize(crop(sample, top, left, bottom - top, right - left), *sides(self.size))


def number_objects(
    sample: Sample, background: int = 0, *, classes: Sequence[int] | None = None, corners: bool = True
) -> Int[Tensor, "H W"]:
    """Which object each pixel belongs to, 0 for none: the sample's instances, or the connected parts of its classes.

    Args:
        sample: with instances or a mask.
        background: the class that is no object.
        classes: whose connected parts are objects; all but the background where None. With instances and a mask, they
            say which pixels of the instances count.
        corners: whether pixels that meet only by a corner are connected.

    Example:
        >>> number_objects({"mask": torch.tensor([[1, 0, 1, 2, 255]])})
        tensor([[1, 0, 2, 3, 0]])
        >>> number_objects({"mask": torch.tensor([[1, 0], [0, 1]])}, corners=False)
        tensor([[1, 0],
                [0, 2]])
    """
    if "instances" in sample:
        if classes is None or "mask" not in sample:
            return sample["instances"]
        return sample["instances"] * torch.isin(sample["mask"], torch.tensor(classes))
    mask, found = sample["mask"], 0
    numbers = torch.zeros_like(mask)
    for value in np.flatnonzero(np.bincount(mask.numpy().ravel())).tolist():
        if value in (background, IGNORE_INDEX) or (classes is not None and value not in classes):
            continue
        count, parts = cv2.connectedComponents(
            (mask == value).to(torch.uint8).numpy(), connectivity=8 if corners else 4
        )
        labels = torch.from_numpy(parts).to(numbers.dtype)
        numbers = torch.where(labels > 0, labels + found, numbers)
        found += count - 1
    return numbers


def enlarged(box: tuple[int, int, int, int], factor: float) -> tuple[int, int, int, int]:
    """A box (top, left, bottom, right) made longer and wider about its centre; it may then leave the image.

    Example:
        >>> enlarged((10, 10, 20, 30), 1.2)
        (9, 8, 21, 32)
    """
    top, left, bottom, right = box
    height, width = (max(1, round(length * factor)) for length in (bottom - top, right - left))
    top, left = (top + bottom - height) // 2, (left + right - width) // 2
    return top, left, top + height, left + width
