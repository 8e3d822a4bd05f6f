"""Found and true landmarks of many images, which the measures of `landmarks` are asked about."""

from dataclasses import dataclass, field

import numpy as np

from atrous.metrics.landmarks import reference_lengths

__all__ = ["LandmarkScores"]


@dataclass
class LandmarkScores:
    """Found and true landmarks, image by image; as plain lists.

    Attributes:
        found: of each image (P, 3): x, y, score.
        truth: of each image (P, 2), NaN where nobody has labelled it.
        sizes: height and width of each image.
        boxes: x, y, width and height in each image, NaN where there is none.
    """

    found: list[np.ndarray] = field(default_factory=list)
    truth: list[np.ndarray] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.found)

    def add(self, found: np.ndarray, truth: np.ndarray, size: tuple[int, int], box: np.ndarray | None = None) -> None:
        """Add an image.

        Args:
            found: (P, 3) x, y, score.
            truth: (P, 2) x, y.
            size: height and width.
            box: (4,) x, y, width, height.
        """
        self.found.append(np.asarray(found, np.float64))
        self.truth.append(np.asarray(truth, np.float64))
        self.sizes.append(size)
        self.boxes.append(np.full(4, np.nan) if box is None else np.asarray(box, np.float64))

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Found (N, P, 3), true (N, P, 2), sizes (N, 2), boxes (N, 4)."""
        return np.stack(self.found), np.stack(self.truth), np.array(self.sizes, np.float64), np.stack(self.boxes)

    def inside(self) -> np.ndarray:
        """(N, P) which true points lie in their image; a point that nobody has labelled does not."""
        _, truth, sizes, _ = self.arrays()
        with np.errstate(invalid="ignore"):
            return np.asarray(((truth >= -0.5) & (truth <= sizes[:, None, ::-1] - 0.5)).all(-1))

    def lengths(self, reference: str | tuple[int, int]) -> np.ndarray:
        """(N,) see `reference_lengths`."""
        _, truth, sizes, boxes = self.arrays()
        return reference_lengths(reference, truth, boxes, sizes)
