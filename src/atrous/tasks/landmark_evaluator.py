"""Full measures of found landmarks: errors, shares that are near enough, misses, and intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atrous.metrics.landmark_state import LandmarkScores
from atrous.metrics.landmarks import (
    COCO_SIGMAS,
    area_under_curve,
    bootstrap_interval,
    detections,
    landmark_distances,
    mean_error,
    mirror_confusions,
    object_similarity,
    pck,
    pck_by_landmark,
)
from atrous.tasks.base import MEAN_ERROR
from atrous.types import Prediction

__all__ = ["LandmarkEvaluator"]


class LandmarkEvaluator:
    """Landmarks of whole images.

    Errors and the PCK are over all labelled landmarks, wherever the maps are highest; whether a landmark was found at
    all is another question, which the detection rate answers.

    Args:
        class_names: of the landmarks.
        threshold: from this belief on a landmark counts as found.
        reference: the length of PCK and NME, see `reference_lengths`.
        share: of that length which a landmark may be off.
        pixel_size: millimetres of a pixel, or None.
    """

    ranks = MEAN_ERROR

    def __init__(
        self,
        class_names: Sequence[str],
        *,
        threshold: float,
        reference: str | tuple[int, int],
        share: float,
        pixel_size: float | None = None,
    ) -> None:
        self.class_names = list(class_names)
        self.threshold, self.reference, self.share, self.pixel_size = threshold, reference, share, pixel_size
        self.pairs: Sequence[tuple[int, int]] = ()
        self.matrix: list[Any] = []
        self._scores = LandmarkScores()

    def update(self, prediction: Prediction, truth: Mapping[str, Any]) -> dict[str, float]:
        """Add an image; see `Evaluator`."""
        assert prediction.keypoints is not None  # the task finds them
        self.pairs = truth.get("flip_pairs", ())
        one = LandmarkScores()
        for scores in (one, self._scores):
            height, width = prediction.classes.shape
            scores.add(prediction.keypoints, truth["keypoints"], (height, width), truth.get("box"))
        found, wanted, _, _ = one.arrays()
        distances, lengths = landmark_distances(found[..., :2], wanted), one.lengths(self.reference)
        counts = self._detections(one)
        figures = {
            "mean_error": mean_error(distances),
            "pck": pck(distances, lengths, self.share),
            "nme": mean_error(distances, lengths),
            "missed": float(counts.missed),
            "invented": float(counts.invented),
            "left_right_confused": float(mirror_confusions(found[..., :2], wanted, self.pairs).sum()),
        }
        errors = zip(self.class_names, distances[0].tolist(), strict=True)
        return figures | {f"error of {name}": error for name, error in errors}

    def _detections(self, scores: LandmarkScores) -> Any:
        found, wanted, _, _ = scores.arrays()
        inside = scores.inside()
        outside = np.isfinite(wanted).all(-1) & ~inside
        return detections(found[..., 2] >= self.threshold, inside, outside)

    def compute(self) -> dict[str, Any]:
        """The figures over all images, those of each landmark by its name, and intervals of 95 %.

        "mean_error" and "median_error" in pixels ("mean_error_mm" in millimetres), "pck", "nme" (mean over the images),
        "auc" of the PCK up to twice its share, "oks" for COCO's landmarks, "detection_rate", "missed", "invented",
        "left_right_confused", and "mean_position_error", the error of whoever answers the mean position of each
        landmark. By landmark: "error", "pck_of", "detected".
        """
        if not len(self._scores):
            return {"mean_error": math.nan, "pck": math.nan}
        found, wanted, _, boxes = self._scores.arrays()
        distances, lengths = landmark_distances(found[..., :2], wanted), self._scores.lengths(self.reference)
        counts, count = self._detections(self._scores), len(distances)
        known = distances[~np.isnan(distances)]
        summary: dict[str, Any] = {
            "mean_error": mean_error(distances),
            **_interval("mean_error", lambda drawn: mean_error(distances[drawn]), count),
            "median_error": float(np.median(known)) if known.size else math.nan,
            "pck": pck(distances, lengths, self.share),
            **_interval("pck", lambda drawn: pck(distances[drawn], lengths[drawn], self.share), count),
            "nme": mean_error(distances, lengths, by_image=True),
            "auc": area_under_curve(distances, lengths, 2 * self.share),
            "detection_rate": counts.rate,
            "missed": counts.missed,
            "invented": counts.invented,
            "left_right_confused": int(mirror_confusions(found[..., :2], wanted, self.pairs).sum()),
            "mean_position_error": mean_error(landmark_distances(_mean_position(wanted), wanted)),
        }
        if self.pixel_size is not None:
            summary["mean_error_mm"] = summary["mean_error"] * self.pixel_size
        if len(self.class_names) == len(COCO_SIGMAS) and self.class_names[0] == "nose" and np.isfinite(boxes).all():
            areas = np.prod(boxes[:, 2:], axis=1) * BOX_AREA
            summary["oks"] = mean_error(object_similarity(distances, areas, COCO_SIGMAS)[:, None])
        return summary | self._by_landmark(found, wanted, distances, lengths)

    def _by_landmark(
        self, found: np.ndarray, wanted: np.ndarray, distances: np.ndarray, lengths: np.ndarray
    ) -> dict[str, dict[str, float]]:
        inside = self._scores.inside()
        said = (found[..., 2] >= self.threshold) & inside
        errors = [mean_error(column[:, None]) for column in distances.T]
        rates = [float(s.sum() / i.sum()) if i.any() else math.nan for s, i in zip(said.T, inside.T, strict=True)]
        columns = {
            "error": errors,
            "pck_of": pck_by_landmark(distances, lengths, self.share).tolist(),
            "detected": rates,
        }
        return {key: dict(zip(self.class_names, values, strict=True)) for key, values in columns.items()}


BOX_AREA = 0.53
"""COCO's area is that of the outline: about this part of the box, which stands for it where there is none."""


def _interval(name: str, statistic: Any, count: int) -> dict[str, float]:
    low, high = bootstrap_interval(statistic, count)
    return {f"{name}_low": low, f"{name}_high": high}


def _mean_position(wanted: np.ndarray) -> np.ndarray:
    """(N, P, 2) for every image the mean place of each landmark over all images."""
    known = np.isfinite(wanted)
    counts = known.sum(0)
    mean = np.where(known, wanted, 0.0).sum(0) / np.maximum(counts, 1)
    return np.broadcast_to(np.where(counts > 0, mean, np.nan), wanted.shape)
