"""How well landmarks are found: distances between points, and what is read from them.

Everything works on plain arrays of N images (or persons) and P landmarks. Distances are Euclidean, in pixels; a
distance is NaN where the truth has no point, and such points count for nothing. A landmark that is there and was not
found is a miss: its distance is infinite for every share of points that are near enough, and it has no part in a mean
error, beside which the detection rate therefore stands.

- **PCK**: the share of the labelled points whose distance is less than `threshold` times a reference length (strictly:
  a distance of exactly that is wrong). The reference is the torso for FLIC and LSP, at 0.2; for PCKh 0.6 times the
  diagonal of the head's box, at 0.5 (MPII); or one pixel.
- **NME**: the mean distance by a length of the face or body: between the outer corners of the eyes, the geometric mean
  of width and height of the box, or the diagonal of the box.
- **AUC**: the mean of the PCK over thresholds from 0 to a largest one, so that 1 is perfect.
- **OKS**: COCO's similarity exp(-d^2 / (2 s^2 k^2)), averaged over the labelled points of a person; s^2 is the area and
  k twice a constant of the landmark.

References:
    Yang and Ramanan, Articulated Human Detection with Flexible Mixtures of Parts, TPAMI 2013 (PCK);
    Andriluka et al., 2D Human Pose Estimation, CVPR 2014 (PCKh); Sagonas et al., 300 Faces in-the-Wild, ICCVW 2013;
    https://cocodataset.org/#keypoints-eval (OKS)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Num

from atrous.errors import UsageError

__all__ = [
    "COCO_SIGMAS",
    "REFERENCES",
    "Detections",
    "area_under_curve",
    "bootstrap_interval",
    "detections",
    "head_length",
    "landmark_distances",
    "mean_error",
    "mirror_confusions",
    "object_similarity",
    "pck",
    "pck_by_landmark",
    "pck_curve",
    "reference_lengths",
]

# fmt: off
COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
    0.089,
)
# fmt: on
"""COCO's constants of its seventeen landmarks, from the nose to the right ankle."""

REFERENCES = ("pixel", "box", "diagonal", "image")
"""Lengths that distances are divided by: a pixel, width and height of the box by their geometric mean, the diagonal of
the box, the diagonal of the image. Two landmarks are a reference too: the distance between them."""

HEAD = 0.6
"""PCKh's length is this part of the diagonal of the head's box."""


def landmark_distances(
    found: Num[np.ndarray, "*N P E"], truth: Num[np.ndarray, "*N P D"], missed: Bool[np.ndarray, "*N P"] | None = None
) -> Float[np.ndarray, "*N P"]:
    """Distances of landmarks from their true places, in whatever unit both are.

    Args:
        found: x and y (or x, y and z); more columns than `truth` has are not looked at.
        truth: NaN where there is none.
        missed: what was not found, although it stands in `found`.

    Returns:
        NaN where the truth is, and infinite where a true landmark was missed, or found at NaN.

    Example:
        >>> truth = np.array([[0.0, 0.0], [1.0, 1.0], [np.nan, np.nan]])
        >>> landmark_distances(np.array([[3.0, 4.0], [np.nan, np.nan], [5.0, 5.0]]), truth).tolist()
        [5.0, inf, nan]
    """
    truth, found = np.asarray(truth, np.float64), np.asarray(found, np.float64)
    distances = np.sqrt(((found[..., : truth.shape[-1]] - truth) ** 2).sum(-1))
    known = np.isfinite(truth).all(-1)
    lacking = np.isnan(distances) if missed is None else np.isnan(distances) | missed
    return np.where(known, np.where(lacking, np.inf, distances), np.nan)


def head_length(box: Num[np.ndarray, "*N 4"]) -> Float[np.ndarray, "*N"]:
    """PCKh's reference: 0.6 of the diagonal of the head's box, given by two opposite corners x1, y1, x2, y2.

    Example:
        >>> head_length(np.array([100.0, 50.0, 130.0, 90.0])).item()
        30.0
    """
    box = np.asarray(box, np.float64)
    return np.asarray(HEAD * np.hypot(box[..., 2] - box[..., 0], box[..., 3] - box[..., 1]))


def reference_lengths(
    reference: str | tuple[int, int],
    truth: Num[np.ndarray, "N P 2"],
    boxes: Num[np.ndarray, "N 4"] | None = None,
    sizes: Num[np.ndarray, "N 2"] | None = None,
) -> Float[np.ndarray, " N"]:
    """The length that the distances of each image are divided by; NaN where it is not known or not above 0.

    Args:
        reference: a name in `REFERENCES`, or the numbers of two landmarks, such as the outer corners of the eyes.
        truth: x and y, NaN where there is none.
        boxes: x, y, width and height; where there are none, or NaN, the box of the true points.
        sizes: height and width of the images.

    Raises:
        UsageError: if there is no such reference.

    Example:
        >>> truth = np.array([[[0.0, 0.0], [30.0, 40.0]]])
        >>> [reference_lengths(name, truth).round(2).item() for name in ("pixel", "box", "diagonal", (0, 1))]
        [1.0, 34.64, 50.0, 50.0]
    """
    truth = np.asarray(truth, np.float64)
    if not isinstance(reference, str):
        one, other = reference
        if not all(0 <= number < truth.shape[1] for number in (one, other)) or one == other:
            raise UsageError(f"reference {reference}: give two different numbers of the {truth.shape[1]} landmarks.")
        lengths = np.sqrt(((truth[:, one] - truth[:, other]) ** 2).sum(-1))
    elif reference == "pixel":
        lengths = np.ones(len(truth))
    elif reference == "image":
        if sizes is None:
            raise UsageError("reference 'image': the sizes of the images are needed; pass sizes=, height and width.")
        lengths = np.hypot(*np.asarray(sizes, np.float64).T)
    elif reference in REFERENCES:
        sides = _sides(truth, boxes)
        lengths = np.sqrt(sides.prod(1)) if reference == "box" else np.hypot(*sides.T)
    else:
        raise UsageError(f"reference {reference!r}: choose from {', '.join(REFERENCES)}, or give two landmarks.")
    return np.where(lengths > 0, lengths, np.nan)


def _sides(truth: np.ndarray, boxes: np.ndarray | None) -> np.ndarray:
    """(N, 2) widths and heights: of the boxes, else from the outermost points."""
    known = np.isfinite(truth).all(-1, keepdims=True)
    lowest = np.where(known, truth, np.inf).min(1, initial=np.inf)
    highest = np.where(known, truth, -np.inf).max(1, initial=-np.inf)
    own = np.where(known.any(1), highest - lowest, np.nan)
    if boxes is None:
        return own
    given = np.asarray(boxes, np.float64)[:, 2:]
    return np.where(np.isfinite(given).all(1, keepdims=True), given, own)


def _scaled(distances: np.ndarray, lengths: float | np.ndarray) -> np.ndarray:
    """Distances by their image's length."""
    lengths = np.asarray(lengths, np.float64)
    return np.asarray(distances, np.float64) / (lengths[..., None] if lengths.ndim else lengths)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def pck(distances: Num[np.ndarray, "*N P"], lengths: float | Num[np.ndarray, "*N"], threshold: float) -> float:
    """The share of all labelled points nearer than `threshold` times the length of their image; NaN without any.

    Example:
        >>> pck(np.array([[14.9, 15.0, np.nan]]), np.array([30.0]), 0.5)  # PCKh: 15 px are 0.5 of 30, and wrong
        0.5
    """
    scaled = _scaled(distances, lengths)
    return _mean(np.where(np.isnan(scaled), np.nan, scaled < threshold))


def pck_by_landmark(
    distances: Num[np.ndarray, "N P"], lengths: float | Num[np.ndarray, " N"], threshold: float
) -> Float[np.ndarray, " P"]:
    """The same of each landmark. The mean over these is what MPII reports; `pck` is the mean over the points."""
    scaled = _scaled(distances, lengths)
    return np.array([_mean(np.where(np.isnan(column), np.nan, column < threshold)) for column in scaled.T])


def pck_curve(
    distances: Num[np.ndarray, "*N P"], lengths: float | Num[np.ndarray, "*N"], thresholds: Sequence[float] | np.ndarray
) -> Float[np.ndarray, " T"]:
    """The PCK at each threshold.

    Example:
        >>> pck_curve(np.array([[1.0, 3.0]]), 1.0, [0.5, 1.5, 3.5]).tolist()
        [0.0, 0.5, 1.0]
    """
    scaled = _scaled(distances, lengths).ravel()
    known = np.sort(scaled[~np.isnan(scaled)])
    if not known.size:
        return np.full(len(thresholds), np.nan)
    return np.asarray(np.searchsorted(known, np.asarray(thresholds, np.float64), side="left") / known.size)


def area_under_curve(
    distances: Num[np.ndarray, "*N P"], lengths: float | Num[np.ndarray, "*N"], largest: float
) -> float:
    """The exact mean of the PCK over the thresholds between 0 and the largest: 1 where every distance is 0.

    Example:
        >>> area_under_curve(np.array([[0.0, 0.25, 9.0, np.nan]]), 1.0, 0.5)
        0.5
    """
    if not largest > 0:
        raise UsageError(f"area_under_curve: largest is {largest}, but thresholds go from 0 to a number above 0.")
    # A point counts from its own distance on: the area is the mean of what is left of the thresholds then.
    return _mean(1 - (_scaled(distances, lengths) / largest).clip(max=1))


def mean_error(
    distances: Num[np.ndarray, "*N P"], lengths: float | Num[np.ndarray, "*N"] = 1.0, *, by_image: bool = False
) -> float:
    """The mean distance of the points that were found, by the lengths: pixels, millimetres, or an NME.

    Args:
        distances: as `landmark_distances` gives them; missed points, which are infinite, are left out.
        lengths: of each image.
        by_image: the mean over the images of the mean in each, as NMEs are published; else over all points.

    Example:
        >>> mean_error(np.array([[2.0, 4.0], [9.0, np.nan]]), by_image=True), mean_error(np.array([[2.0, 4.0, np.inf]]))
        (6.0, 3.0)
    """
    scaled = _scaled(distances, lengths)
    scaled = np.where(np.isinf(scaled), np.nan, scaled)
    if not by_image:
        return _mean(scaled)
    return _mean(np.array([_mean(row) for row in scaled.reshape(-1, scaled.shape[-1])]))


def object_similarity(
    distances: Num[np.ndarray, "N P"], areas: Num[np.ndarray, " N"], sigmas: Sequence[float] | np.ndarray
) -> Float[np.ndarray, " N"]:
    """COCO's object key point similarity of each person, 0..1; NaN without a labelled point.

    Args:
        distances: in pixels.
        areas: of the persons, in square pixels.
        sigmas: of each landmark, such as `COCO_SIGMAS`.

    Example:
        >>> object_similarity(np.array([[0.0, 2.0]]), np.array([100.0]), [0.1, 0.1]).round(4).item()
        0.8033
    """
    if len(sigmas) != np.shape(distances)[1]:
        raise UsageError(f"object_similarity: {len(sigmas)} sigmas for {np.shape(distances)[1]} landmarks: give each.")
    spread = np.asarray(areas, np.float64)[:, None] * (2 * np.asarray(sigmas, np.float64)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        similar = np.exp(-(np.asarray(distances, np.float64) ** 2) / (2 * spread))
    return np.array([_mean(row) for row in similar])


@dataclass(frozen=True)
class Detections:
    """What was found of what is there.

    Attributes:
        there: landmarks that have a true place in the image.
        found: of them, those that were found, wherever.
        missed: of them, those that were not.
        invented: found, though they are not in the image.
        rate: found by there; NaN where none is.
    """

    there: int
    found: int
    missed: int
    invented: int

    @property
    def rate(self) -> float:
        """The share of those that are there which was found."""
        return self.found / self.there if self.there else float("nan")


def detections(
    said: Bool[np.ndarray, "*N P"], there: Bool[np.ndarray, "*N P"], absent: Bool[np.ndarray, "*N P"] | None = None
) -> Detections:
    """Count what was found.

    Args:
        said: which landmarks the prediction claims.
        there: which have a true place in the image.
        absent: which certainly have none, because their place lies outside the image; all others where None. What
            nobody has labelled is neither there nor absent.

    Example:
        >>> detections(np.array([True, False, True]), np.array([True, True, False]))
        Detections(there=2, found=1, missed=1, invented=1)
    """
    said, there = np.asarray(said, bool), np.asarray(there, bool)
    absent = ~there if absent is None else np.asarray(absent, bool)
    found = int((said & there).sum())
    return Detections(int(there.sum()), found, int(there.sum()) - found, int((said & absent).sum()))


def mirror_confusions(
    found: Num[np.ndarray, "N P D"], truth: Num[np.ndarray, "N P 2"], pairs: Sequence[tuple[int, int]]
) -> Bool[np.ndarray, "N P"]:
    """Which landmarks were found nearer to the true place of their mirror image than to their own.

    Args:
        found: x and y, and perhaps more.
        truth: x and y; where either of a pair is NaN, nobody can tell.
        pairs: landmarks that are each other's mirror image.

    Example:
        >>> truth = np.array([[[0.0, 0.0], [10.0, 0.0]]])
        >>> mirror_confusions(truth[:, ::-1], truth, [(0, 1)]).tolist()
        [[True, True]]
    """
    truth = np.asarray(truth, np.float64)
    mirrored = truth.copy()
    mirrored[:] = np.nan
    for one, other in pairs:
        mirrored[:, one], mirrored[:, other] = truth[:, other], truth[:, one]
    own, others = landmark_distances(found, truth), landmark_distances(found, mirrored)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(own) & (others < own))


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float],
    count: int,
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile interval of a figure when the images are drawn anew, with replacement.

    Images are drawn, not points: those of one image go wrong together.

    Args:
        statistic: from the numbers of the images that were drawn to the figure.
        count: of images.
        level: how often such intervals hold the figure of all images there could be, about.
        draws: how often to draw.
        seed: of the draws.

    Returns:
        The ends; NaN where the figure is undefined, or there are fewer than two images.

    Example:
        >>> errors = np.array([1.0, 2.0, 3.0, 4.0])
        >>> bootstrap_interval(lambda drawn: errors[drawn].mean(), 4)
        (1.5, 3.5)
    """
    if count < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    figures = np.array([statistic(rng.integers(count, size=count)) for _ in range(draws)])
    figures = figures[~np.isnan(figures)]
    if not figures.size:
        return float("nan"), float("nan")
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
