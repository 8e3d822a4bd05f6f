"""The kinds of post-processing whose settings `search` can choose: a dense CRF, and the least size of parts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, MinLen
from jaxtyping import Integer

from atrous.crf.many import ImageCRF
from atrous.errors import UsageError
from atrous.postprocess.clean import remove_small
from atrous.postprocess.harm import LARGEST_LOSS
from atrous.postprocess.search import LabelledScores, Setting

__all__ = ["CrfGrid", "CrfMethod", "MinSizeMethod"]


_Values = Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)]


@dataclass(frozen=True)
class CrfGrid:
    """What is tried: all combinations of the bilateral term's numbers, then finer steps around the best.

    Attributes:
        bilateral_xy: standard deviations of position, in pixels.
        bilateral_rgb: standard deviations of colour, in 8-bit units.
        bilateral_weight: weights.
        gaussian_xy: standard deviation of the term of positions, as it is.
        gaussian_weight: its weight, as it is.
        iterations: updates.
        refinements: how many times the steps are halved around the best.
        score: what the best has most of: a name in `atrous.metrics.METRICS`.
        largest_loss: of IoU, for any class: what costs one more, or lets it vanish, is not chosen; 1 allows all.
    """

    bilateral_xy: _Values = (8.0, 24.0, 72.0)
    bilateral_rgb: _Values = (3.0, 8.0, 20.0)
    bilateral_weight: _Values = (2.0, 4.0, 8.0)
    gaussian_xy: Annotated[float, Gt(0)] = 3.0
    gaussian_weight: Annotated[float, Ge(0)] = 3.0
    iterations: Annotated[int, Ge(1)] = 5
    refinements: Annotated[int, Ge(0)] = 1
    score: str = "mean_iou"
    largest_loss: Annotated[float, Ge(0), Le(1)] = LARGEST_LOSS

    @property
    def axes(self) -> dict[str, Sequence[float]]:
        """The values of each argument of the CRF."""
        return {
            "gaussian_xy": (self.gaussian_xy,),
            "gaussian_weight": (self.gaussian_weight,),
            "bilateral_xy": self.bilateral_xy,
            "bilateral_rgb": self.bilateral_rgb,
            "bilateral_weight": self.bilateral_weight,
            "iterations": (self.iterations,),
        }


class CrfMethod:
    """The dense CRF; a setting has the arguments of `refine: {name: crf, ...}`.

    Chen, Papandreou, Kokkinos, Murphy, Yuille, DeepLab, https://arxiv.org/abs/1606.00915, search the weight w1 and the
    bandwidths sigma_alpha and sigma_beta of the bilateral term and leave the Gaussian term as it is. With 100 images
    they tried `bilateral_xy` 30, 40, ... 100, `bilateral_rgb` 3, 4, 5, 6 and `bilateral_weight` 3, 4, 5, 6, in 10
    iterations; v1 had 50, 60, ... 100, then 3, 4, ... 10, and 5 and 10. The time is that of one `dense_crf` for each
    image and setting, without the lattices that settings share: begin with few.
    """

    arguments = ("gaussian_xy", "bilateral_xy", "bilateral_rgb", "gaussian_weight", "bilateral_weight", "iterations")
    """All arguments; those that change a lattice first."""

    def check(self, axes: Mapping[str, Sequence[float]]) -> None:
        """Refuse missing or unknown arguments, and bandwidths, weights or updates that cannot be.

        Raises:
            UsageError: always then.
        """
        if set(axes) != set(self.arguments):
            raise UsageError(f"A search for a CRF needs values for {', '.join(self.arguments)}; got {', '.join(axes)}.")
        for name, values in axes.items():
            if min(values) < 0 or (not min(values) and not name.endswith("weight")):
                raise UsageError(f"A search needs positive numbers to try, got {name} {list(values)}.")

    def decide(
        self, sample: LabelledScores, settings: Sequence[Setting]
    ) -> Iterator[tuple[int, Integer[np.ndarray, "H W"]]]:
        """The classes of one image by each of the settings, by their bandwidths."""
        crf = ImageCRF(sample.scores, sample.image)
        keys = [[setting[name] for name in self.arguments] for setting in settings]
        for number in sorted(range(len(settings)), key=keys.__getitem__):
            yield number, crf(**_arguments(settings[number])).argmax(0)

    def apply(self, sample: LabelledScores, setting: Setting) -> LabelledScores:
        """The image with its scores refined."""
        return sample._replace(scores=ImageCRF(sample.scores, sample.image)(**_arguments(setting)))

    def section(self, setting: Setting) -> dict[str, Any]:
        """The sections of a recipe that say so."""
        return {"refine": {"name": "crf", **setting}}


class MinSizeMethod:
    """Parts below a size take the class around them, see `remove_small`; a setting is {"fraction": of a small object}.

    Each class has a size of its own: that fraction of what is a small object of it, so that poles are not measured by
    roads.

    Args:
        small: pixels of a small object of each class; 0 leaves the class alone.
    """

    def __init__(self, small: Sequence[float]) -> None:
        self.small = tuple(small)

    def check(self, axes: Mapping[str, Sequence[float]]) -> None:
        """Refuse anything but fractions.

        Raises:
            UsageError: always then.
        """
        if set(axes) != {"fraction"} or min(axes["fraction"]) < 0:
            raise UsageError(f"A search for the least size of parts needs values of fraction from 0, got {dict(axes)}.")

    def sizes(self, setting: Setting) -> list[int]:
        """The least size of each class's parts, in pixels."""
        return [int(setting["fraction"] * size) for size in self.small]

    def decide(
        self, sample: LabelledScores, settings: Sequence[Setting]
    ) -> Iterator[tuple[int, Integer[np.ndarray, "H W"]]]:
        """The classes of one image with small parts cleaned away by each setting.

        Raises:
            UsageError: if the image has scores of more classes than there are sizes.
        """
        if len(sample.scores) != len(self.small):
            raise UsageError(f"Sizes of {len(self.small)} classes do not fit scores of {len(sample.scores)}.")
        decided = torch.as_tensor(sample.scores).argmax(0).cpu().numpy()
        decided = decided.astype(np.uint8 if len(sample.scores) <= 256 else np.uint16)
        for number, setting in enumerate(settings):
            yield number, remove_small(decided, self.sizes(setting))

    def apply(self, sample: LabelledScores, setting: Setting) -> LabelledScores:
        """The image as it is: cleaning acts on classes, after the scores."""
        return sample

    def section(self, setting: Setting) -> dict[str, Any]:
        """The sections of a recipe that say so."""
        return {"clean": {"min_size": self.sizes(setting)}}


def _arguments(setting: Setting) -> dict[str, Any]:
    return {
        "gaussian": (setting["gaussian_xy"], setting["gaussian_weight"]),
        "bilateral": (setting["bilateral_xy"], setting["bilateral_rgb"], setting["bilateral_weight"]),
        "iterations": int(setting["iterations"]),
    }
