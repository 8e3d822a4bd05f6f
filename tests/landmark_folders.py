"""A small data folder of landmarks: two bright discs, called by their side, and a dark one between them."""

from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["NAMES", "make_landmarks"]

NAMES = ("left_disc", "right_disc", "middle")


def make_landmarks(root: Path, count: int = 12, size: tuple[int, int] = (48, 64), seed: int = 0) -> Path:
    """Write images and `landmarks.csv`; the right disc of the last image has no landmark."""
    (root / "images").mkdir(parents=True)
    rng, (height, width) = np.random.default_rng(seed), size
    lines = ["file," + ",".join(f"{name}_x,{name}_y" for name in NAMES)]
    y, x = np.mgrid[:height, :width]
    for number in range(count):
        left = np.array([rng.uniform(6, width / 2 - 8), rng.uniform(6, height - 7)])
        right = np.array([rng.uniform(width / 2 + 8, width - 7), rng.uniform(6, height - 7)])
        middle = (left + right) / 2
        image = np.full((height, width, 3), 110.0) + rng.normal(0, 4, (height, width, 3))
        for place, color in ((left, (250, 220, 60)), (right, (250, 220, 60)), (middle, (40, 20, 120))):
            near = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 18)
            image += near[..., None] * (np.array(color) - 110.0)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / "images" / f"im{number:02}.png")
        cells = [f"{value:.3f}" for place in (left, right, middle) for value in place]
        if number == count - 1:
            cells[2:4] = ["", ""]
        lines.append(f"im{number:02}.png," + ",".join(cells))
    (root / "landmarks.csv").write_text("\n".join(lines) + "\n")
    return root
