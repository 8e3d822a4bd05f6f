"""U-Net's separation of touching cells and its weight map, made from the masks that training sees.

A weight map holds distances, so it cannot be deformed with the image: it is computed after all that moves pixels.
`training_transform` puts `BorderWeights` there, wherever a recipe names it.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np

from atrous.augment.base import ClassNumber, NotNegative, Positive, check_classes, check_positive, need_mask
from atrous.augment.objects import number_objects
from atrous.types import IGNORE_INDEX, Sample

__all__ = ["BorderWeights", "SeparateTouching", "separate_touching", "weigh_borders"]


# Deterministic acts


def separate_touching(sample: Sample, *, classes: tuple[int, ...] | None = None, background: int = 0) -> Sample:
    """Put a border of background, one pixel wide, between objects that touch: in the mask, and in instances if any.

    Where two objects touch, also by a corner, the one with the larger number gives way. Without instances, the objects
    are the connected parts of classes, so only parts of different classes, or parts that meet by a corner, are pulled
    apart.

    Args:
        sample: stays as it is.
        classes: whose objects; all but the background where None.
        background: the class of the border.

    Example:
        >>> import torch
        >>> row = torch.tensor([[4, 4, 7, 7]])
        >>> sample = {"mask": torch.ones(1, 4, dtype=torch.int64), "instances": row}
        >>> separated = separate_touching(sample)
        >>> separated["mask"].tolist(), separated["instances"].tolist()
        ([[1, 1, 0, 1]], [[4, 4, 0, 7]])
    """
    from atrous.augment.border_weights import touching  # compiles at first use

    gap = touching(number_objects(sample, background, classes=classes, corners=False))
    separated = dict(sample)
    for key, value in (("mask", background), ("instances", 0)):
        if key in sample:
            labels = sample[key]  # type: ignore[literal-required]
            separated[key] = labels.masked_fill(gap & (labels != IGNORE_INDEX) if key == "mask" else gap, value)
    return cast(Sample, separated)


def weigh_borders(
    sample: Sample,
    *,
    w0: float = 10.0,
    sigma: float = 5.0,
    balance: bool = True,
    classes: tuple[int, ...] | None = None,
    background: int = 0,
) -> Sample:
    """Add U-Net's weight map to a sample as `weight`; see `atrous.augment.border_weights` for its terms.

    Args:
        sample: with a mask; its instances are the cells where it has some, else the connected parts of classes.
        w0: weight between cells that nearly touch, beside the balance.
        sigma: in pixels; how fast it falls with the distance to both.
        balance: whether classes that are rare in this map weigh more; 1 everywhere where not.
        classes: whose parts are cells; all but the background where None.
        background: the class that is no cell.
    """
    from atrous.augment.border_weights import border_term, class_balance

    mask = sample["mask"]
    known = mask != IGNORE_INDEX
    cells = number_objects(sample, background, classes=classes, corners=False)
    weight = border_term(cells, w0=w0, sigma=sigma)
    weight += class_balance(mask) if balance else 1.0
    return cast(Sample, {**sample, "weight": weight.mul_(known)})


# The classes that a recipe names: nothing is drawn


@dataclass(frozen=True)
class SeparateTouching:
    """Put a border of background, one pixel wide, between objects that touch; see `separate_touching`.

    Attributes:
        classes: whose objects; all but the background where None.
        background: the class of the border.
    """

    classes: tuple[ClassNumber, ...] | None = None
    background: ClassNumber = 0

    def __post_init__(self) -> None:
        check_classes("separate_touching", self.classes, self.background)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Separate."""
        need_mask("separate_touching", sample, use="remove it from augment")
        return separate_touching(sample, classes=self.classes, background=self.background)


@dataclass(frozen=True)
class BorderWeights:
    """Separate touching objects, then weigh pixels as U-Net does: `weight` holds the map for the loss.

    Attributes:
        w0: weight between cells that nearly touch, beside the balance.
        sigma: in pixels; how fast it falls with the distance to both.
        balance: whether classes that are rare in this map weigh more.
        separate: whether to put a border of background between touching objects first, in mask and instances.
        classes: whose parts are cells where there are no instances; all but the background where None. For membranes
            that are class 0 and cells that are class 1, the default is right.
        background: the class that is no cell.
    """

    w0: NotNegative = 10.0
    sigma: Positive = 5.0
    balance: bool = True
    separate: bool = True
    classes: tuple[ClassNumber, ...] | None = None
    background: ClassNumber = 0

    def __post_init__(self) -> None:
        check_positive("border_weights", "w0", self.w0, zero=True)
        check_positive("border_weights", "sigma", self.sigma)
        check_classes("border_weights", self.classes, self.background)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Separate and weigh."""
        need_mask("border_weights", sample, use="remove it from augment")
        if self.separate:
            sample = separate_touching(sample, classes=self.classes, background=self.background)
        return weigh_borders(
            sample,
            w0=self.w0,
            sigma=self.sigma,
            balance=self.balance,
            classes=self.classes,
            background=self.background,
        )
