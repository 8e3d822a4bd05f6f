"""How well landmarks were found in pictures of known geometry: millimetres, places in space, poses.

Three questions: how far from their true projections the landmarks lie in each picture, measured in millimetres at the
landmark's depth; how far the places lie that two or four pictures of one body give together; and how far off the pose
of a single picture is when it is found from its landmarks and the body's known places.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from atrous.errors import DataError
from atrous.xray.registration import find_pose, pose_error, registration_error, triangulate
from atrous.xray.tables import KnownView

__all__ = ["Assessment", "assess"]

APART = 20.0
"""Degrees between any two views of a group: sources side by side tell no depth."""
GROUPS = 15
"""Groups of views of each body, at most."""
GOOD_POSE = 10.0
"""Mean target registration error of a registration that counts as a success, in millimetres."""


@dataclass(frozen=True)
class Assessment:
    """Figures of many pictures; those without a sample are NaN.

    Attributes:
        images: how many.
        landmarks: that lie inside their pictures.
        mean: error in millimetres over all of these, found or not: the best guess counts.
        std: its standard deviation.
        median: its median.
        detected: share of these that were found, by the threshold of the belief.
        mean_detected: error in millimetres over the found ones.
        invented: share of the landmarks outside their pictures that were found all the same.
        two_views: mean error of places from two pictures, in millimetres.
        two_views_median: its median.
        four_views: mean error of places from four pictures.
        four_views_median: its median.
        registered: share of pictures whose pose has a mean target registration error below 10 mm.
        degrees: median error of the poses that were found.
        pose: median of their mean target registration error, in millimetres.
    """

    images: int
    landmarks: int
    mean: float
    std: float
    median: float
    detected: float
    mean_detected: float
    invented: float
    two_views: float
    two_views_median: float
    four_views: float
    four_views_median: float
    registered: float
    degrees: float
    pose: float

    def figures(self) -> dict[str, float]:
        """As plain numbers."""
        return asdict(self)


def assess(
    views: Sequence[KnownView],
    places: Mapping[str, Float[np.ndarray, "p 3"]],
    found: Sequence[Float[np.ndarray, "p 3"]],
    *,
    threshold: float = 0.2,
    tolerance: float = 8.0,
) -> tuple[Assessment, Float[np.ndarray, "p 2"]]:
    """Compare what was found with what is known.

    Args:
        views: of the pictures.
        places: of each body's landmarks, in millimetres.
        found: x, y and belief of the landmarks in each picture.
        threshold: of the belief from which a landmark counts as found.
        tolerance: in pixels, of a landmark that fits a pose; see `find_pose`.

    Returns:
        the figures; and mean and standard deviation of the error of each landmark, in millimetres.

    Raises:
        DataError: if the lists do not go together.
    """
    if len(views) != len(found) or not views:
        raise DataError(f"{len(views)} views and {len(found)} pictures do not go together: give one of each.")
    errors, taken, sure, inside = _compare(views, places, found, threshold)
    posed = _poses(views, places, taken, tolerance)
    two, four = (_in_space(views, places, taken, size) for size in (2, 4))
    within = errors[inside]
    figures = Assessment(
        images=len(views),
        landmarks=int(inside.sum()),
        mean=_of(np.mean, within),
        std=_of(np.std, within),
        median=_of(np.median, within),
        detected=_of(np.mean, sure[inside]),
        mean_detected=_of(np.mean, errors[inside & sure]),
        invented=_of(np.mean, sure[~inside]),
        two_views=_of(np.mean, two),
        two_views_median=_of(np.median, two),
        four_views=_of(np.mean, four),
        four_views_median=_of(np.median, four),
        registered=float((posed[:, 1] < GOOD_POSE).sum() / len(views)),
        degrees=_of(np.median, posed[:, 0]),
        pose=_of(np.median, posed[:, 1]),
    )
    each = [(_of(np.mean, one), _of(np.std, one)) for one in (e[i] for e, i in zip(errors.T, inside.T, strict=True))]
    return figures, np.array(each)


def _compare(
    views: Sequence[KnownView], places: Mapping[str, np.ndarray], found: Sequence[np.ndarray], threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Errors in millimetres (NaN outside), pixels of what was found (else NaN), and what was found and lies inside."""
    count = len(next(iter(places.values())))
    errors = np.full((len(views), count), np.nan)
    taken = np.full((len(views), count, 2), np.nan)
    sure, inside = np.zeros_like(errors, bool), np.zeros_like(errors, bool)
    for n, (view, marks) in enumerate(zip(views, found, strict=True)):
        true, beam = places[view.body], view.beam
        if marks.shape != (count, 3):
            raise DataError(
                f"{view.file}: has {marks.shape} numbers for {count} landmarks; x, y and belief are needed."
            )
        seen = beam.project(true)
        inside[n] = ((seen >= -0.5) & (seen < [beam.width - 0.5, beam.height - 0.5])).all(1)
        sure[n] = marks[:, 2] >= threshold
        off = np.linalg.norm(marks[:, :2] - seen, axis=1) * beam.millimetres_per_pixel(true)
        errors[n] = np.where(inside[n], off, np.nan)
        taken[n][sure[n]] = marks[sure[n], :2]
    return errors, taken, sure, inside


def _poses(
    views: Sequence[KnownView], places: Mapping[str, np.ndarray], taken: np.ndarray, tolerance: float
) -> np.ndarray:
    """(found poses, 2) degrees, and mean target registration error in millimetres."""
    poses = []
    for view, pixels in zip(views, taken, strict=True):
        true = places[view.body]
        registration = find_pose(true, pixels, view.beam, tolerance=tolerance)
        if registration is not None:
            degrees, _ = pose_error(registration.beam, view.beam, true.mean(0))
            poses.append((degrees, float(registration_error(registration.beam, view.beam, true).mean())))
    return np.array(poses).reshape(-1, 2)


def _of(what: object, values: np.ndarray) -> float:
    return float(what(values)) if values.size else float("nan")  # type: ignore[operator]


def _in_space(views: Sequence[KnownView], places: Mapping[str, np.ndarray], taken: np.ndarray, size: int) -> np.ndarray:
    """Errors of places from groups of views of one body, in millimetres, one after the other."""
    bodies: dict[str, list[int]] = defaultdict(list)
    for number, view in enumerate(views):
        bodies[view.body].append(number)
    found = [np.empty(0)]
    for body, numbers in bodies.items():
        groups = [group for group in combinations(numbers, size) if _apart([views[n] for n in group])]
        for group in groups[:: max(1, -(-len(groups) // GROUPS))]:
            at = triangulate([views[n].beam for n in group], taken[list(group)])
            off = np.linalg.norm(at - places[body], axis=1)
            found.append(off[np.isfinite(off)])
    return np.concatenate(found)


def _apart(views: Sequence[KnownView]) -> bool:
    """Whether all of them look from other sides."""
    ahead = np.stack([view.beam.rotation[2] for view in views])
    cosines = (ahead @ ahead.T)[np.triu_indices(len(views), 1)]
    return bool((cosines < np.cos(np.deg2rad(APART))).all())
