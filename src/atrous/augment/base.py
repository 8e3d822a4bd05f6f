"""What every transform is, how one act moves all maps of a sample, and the checks that arguments share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Bool, Float, Int
from torch import Tensor

from atrous.errors import RecipeError
from atrous.types import IGNORE_INDEX, Sample

__all__ = [
    "ClassNumber",
    "Fraction",
    "Mixing",
    "NotNegative",
    "Positive",
    "Probability",
    "SampleSource",
    "Side",
    "Size",
    "Transform",
    "Windowed",
    "WindowedSample",
    "chance",
    "check_classes",
    "check_positive",
    "check_probability",
    "check_range",
    "exchange_pairs",
    "in_full",
    "move",
    "need_mask",
    "need_pixels_alone",
    "with_image",
]

# Bounds that a recipe is checked against, with the line of the entry. The transforms check their arguments themselves
# too, for those who build them in Python.
Probability = Annotated[float, Ge(0), Le(1)]
Fraction = Annotated[float, Ge(0), Lt(1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Side = Annotated[int, Ge(1), Le(1 << 20)]
Size = Side | tuple[Side, Side]
ClassNumber = Annotated[int, Ge(0), Lt(IGNORE_INDEX)]


class Transform(Protocol):
    """A sample becomes a sample; all that is random comes from the generator it is handed.

    Images are float32 (C, H, W) in their own numbers, masks int64 (H, W). The sample that is given stays as it is.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Transform one sample."""
        ...


class Mixing(ABC):
    """A transform that mixes a second sample into the first; `Compose.bound` says where that comes from."""

    name: ClassVar[str]

    @abstractmethod
    def mix(self, sample: Sample, second: Callable[[], Sample], rng: np.random.Generator) -> Sample:
        """Transform `sample`, calling `second` where another one is needed."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Refuse: there is no second sample."""
        raise RecipeError(
            f"{self.name}: needs a second sample and was given no data set to draw it from: put it into `compose` and "
            "call `bound(source)` on the result."
        )


class SampleSource(Protocol):
    """Where second samples come from: a number below the length becomes a sample."""

    def __call__(self, index: int) -> Sample:
        """Read one sample."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...


class WindowedSample(NamedTuple):
    """A transformed sample of which only the window that is asked for is computed.

    Attributes:
        height: of the whole.
        width: of the whole.
        cut: window by top, left, height and width; the same as `crop` of the whole.
    """

    height: int
    width: int
    cut: Callable[[int, int, int, int], Sample]

    def whole(self) -> Sample:
        """The transformed sample."""
        return self.cut(0, 0, self.height, self.width)


@runtime_checkable
class Windowed(Protocol):
    """A transform that can say what it drew before it computes pixels, so that a crop after it costs only its own."""

    def windowed(self, sample: Sample, rng: np.random.Generator) -> WindowedSample:
        """Draw, and compute later."""
        ...


def move(
    sample: Sample,
    *,
    image: Callable[[Tensor], Tensor],
    labels: Callable[[Tensor, int], Tensor],
    points: Callable[[Tensor], Tensor],
    weight: Callable[[Tensor], Tensor] | None = None,
) -> Sample:
    """Do one geometric act to everything in a sample that has height and width.

    Args:
        sample: stays as it is; the result shares what was not touched.
        image: act on a (C, H, W) map.
        labels: act on a (H, W) map of whole numbers; its second argument is what stands where nothing is known
            (255 in a mask, 0 in an instance map). A (K, H, W) mask of classes that may overlap is moved map by map.
        points: act on (N, 2) float64 x and y in pixels, some of which may be NaN or lie outside: where what stands
            there comes to stand. Points may leave the image; what mirroring shows a second time is not doubled.
        weight: act on a (H, W) map of weights; `image` where None. A weight map made from distances to borders should
            be computed anew after a deformation: carried along, it keeps the distances of before.
    """

    def mask_act(mask: Tensor) -> Tensor:
        if mask.ndim == 2:
            return labels(mask, IGNORE_INDEX)
        return torch.stack([labels(plane, IGNORE_INDEX) for plane in mask])

    moved = dict(sample)
    for key, act in (
        ("image", image),
        ("mask", mask_act),
        ("instances", lambda instances: labels(instances, 0)),
        ("weight", weight or (lambda plane: image(plane[None])[0])),
    ):
        if key in moved:
            moved[key] = act(cast(Tensor, moved[key]))
    for key in ("keypoints", "center"):
        if key in moved:
            places = cast(Tensor, moved[key])
            moved[key] = points(places.double().reshape(-1, 2)).reshape(places.shape).to(places.dtype)
    if "box" in moved:
        moved["box"] = _moved_box(cast(Tensor, moved["box"]), points)
    return cast(Sample, moved)


def _moved_box(box: Float[Tensor, "4"], points: Callable[[Tensor], Tensor]) -> Float[Tensor, "4"]:
    """The box around the moved corners of a box. A box lies on the edges of pixels, half a pixel from their centres."""
    x, y, width, height = box.double().tolist()
    corners = [(x + right * width - 0.5, y + down * height - 0.5) for right in (0, 1) for down in (0, 1)]
    moved = points(torch.tensor(corners, dtype=torch.float64))
    lowest, highest = moved.amin(0), moved.amax(0)
    return torch.cat([lowest + 0.5, highest - lowest]).to(box.dtype)


def in_full(sample: Sample) -> Sample:
    """The sample in the numbers that transforms and networks take; one that has them already is shared.

    Data sets hand out samples to augment as their files store them, bytes for the most part: to turn whole images into
    float32 and whole masks into int64 takes longer than what is done to the crop that is left of them.
    """
    full = dict(sample)
    full["image"] = sample["image"].to(torch.float32).contiguous()
    for key in ("mask", "instances"):
        if key in full:
            labels = cast(Tensor, full[key])
            full[key] = labels.to(torch.int64 if labels.ndim == 2 else torch.float32)
    return cast(Sample, full)


def exchange_pairs(sample: Sample, where: Bool[Tensor, "H W"] | None = None) -> Sample:
    """Give the classes of each of the sample's `flip_pairs` the other's pixels: what makes a mirrored mask true.

    Every mirror does so, the vertical one too, which is a horizontal one turned by half a circle. Turning alone
    exchanges nothing. Of a sample with landmarks, the pairs are landmarks, and get each other's place.

    Args:
        sample: whose mask or landmarks have been mirrored.
        where: the pixels that were; all where None. Landmarks are exchanged where all pixels were mirrored.

    Example:
        >>> sample = {"mask": torch.tensor([[0, 1, 2, 255]]), "flip_pairs": torch.tensor([[1, 2]])}
        >>> exchange_pairs(sample)["mask"].tolist()
        [[0, 2, 1, 255]]
    """
    pairs, mask = sample.get("flip_pairs"), sample.get("mask")
    if pairs is not None and "keypoints" in sample:
        return _exchanged_points(sample, pairs) if where is None else sample
    if pairs is None or mask is None or not len(pairs):
        return sample
    exchanged = mask.clone()
    for one, other in pairs.tolist():
        if mask.ndim == 2:
            exchanged[mask == one] = other
            exchanged[mask == other] = one
        else:  # a map for each class
            exchanged[one], exchanged[other] = mask[other], mask[one]
    return cast(Sample, {**sample, "mask": exchanged if where is None else torch.where(where, exchanged, mask)})


def _exchanged_points(sample: Sample, pairs: Int[Tensor, "F 2"]) -> Sample:
    order = torch.arange(len(sample["keypoints"]))
    for one, other in pairs.tolist():
        order[one], order[other] = other, one
    exchanged = {key: sample[key][order] for key in ("keypoints", "visible") if key in sample}  # type: ignore[literal-required]
    return cast(Sample, {**sample, **exchanged})


def need_pixels_alone(name: str, sample: Sample, *, why: str) -> None:
    """Refuse a sample with landmarks, which cannot follow what is done to the pixels.

    Args:
        name: of the transform that asks.
        sample: to look at.
        why: they cannot.
    """
    if "keypoints" in sample:
        raise RecipeError(f"{name}: the sample has landmarks, and {why}: remove it from augment.")


def with_image(sample: Sample, image: Tensor) -> Sample:
    """The sample with another image; the rest is shared."""
    return cast(Sample, {**sample, "image": image})


def need_mask(name: str, sample: Sample, *, use: str) -> Tensor:
    """The mask of a sample: one class for every pixel.

    Args:
        name: of the transform that asks.
        sample: to look at.
        use: what to do without one, for the message.
    """
    if "mask" not in sample:
        raise RecipeError(f"{name}: the sample has no mask: {use}.")
    if sample["mask"].ndim != 2:
        raise RecipeError(f"{name}: needs one class per pixel, but the classes of this mask may overlap: {use}.")
    return sample["mask"]


def chance(rng: np.random.Generator, p: float) -> bool:
    """True with probability `p`. Draws one number whatever `p` is, so that what follows does not depend on it."""
    return bool(rng.random() < p)


def check_probability(name: str, p: float) -> None:
    """Refuse a probability outside 0..1."""
    if not 0.0 <= p <= 1.0:
        raise RecipeError(f"{name}: p is {p:g}, but a probability lies between 0 and 1: give p: 0.5, for example.")


def check_positive(name: str, key: str, value: float, *, zero: bool = False) -> None:
    """Refuse a value below (or at, unless `zero`) 0, and one that is not finite."""
    if not np.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise RecipeError(f"{name}: {key} is {value:g}, but must be {'at least' if zero else 'greater than'} 0.")


def check_range(name: str, low: float, high: float) -> None:
    """Refuse a range whose ends are exchanged, not finite, or not above 0."""
    check_positive(name, "low", low)
    check_positive(name, "high", high)
    if low > high:
        raise RecipeError(f"{name}: low {low:g} is greater than high {high:g}: exchange them.")


def check_classes(name: str, classes: Sequence[int] | None, background: int) -> None:
    """Refuse a choice of classes that is empty, holds the background, or numbers that are no class."""
    for number in (background, *(classes or ())):
        if not 0 <= number < IGNORE_INDEX:
            raise RecipeError(f"{name}: there is no class {number}: classes are numbered 0 to {IGNORE_INDEX - 1}.")
    if classes is not None and not classes:
        raise RecipeError(f"{name}: classes is empty: name one or more, or leave it out for all but the background.")
    if classes is not None and background in classes:
        raise RecipeError(f"{name}: classes names the background, {background}: take it out.")
