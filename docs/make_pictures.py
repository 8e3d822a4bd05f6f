"""Makes the pictures of README and results.md again, from finished runs.

    python docs/make_pictures.py look demo                          # after `make demo`: docs/images/first_look.png
    python docs/make_pictures.py curves isbi runs/isbi              # docs/images/isbi_curves.png
    python docs/make_pictures.py masks isbi masks/a.png masks/b.png # docs/images/isbi_masks.png

Only made images and our own predictions go into a picture: images of real data sets are not ours to publish.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

IMAGES = Path(__file__).parent / "images"
INK, ACCENT, SOFT = "#1f2a37", "#d55e00", "#0072b2"


def look(demo: str) -> None:
    """One part of the demo's large image three times: as it is, its predicted mask, the mask laid over it."""
    parts = [Path("large") / "large.png", Path("masks") / "large.png", Path("masks") / "overlay" / "large.jpg"]
    side, shown = 600, 480
    pictures = [Image.open(Path(demo) / part).convert("RGB").crop((0, 0, side, side)) for part in parts]
    small = [np.asarray(picture.resize((shown, shown), Image.Resampling.LANCZOS)) for picture in pictures]
    gap = np.full((shown, 8, 3), 255, np.uint8)
    joined = [piece for part in small for piece in (part, gap)][:-1]
    Image.fromarray(np.concatenate(joined, axis=1)).quantize(128).save(IMAGES / "first_look.png", optimize=True)


def curves(name: str, run: str) -> None:
    """Training loss, validation loss and validation mean IoU by step."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with (Path(run) / "log.csv").open() as file:
        rows = list(csv.DictReader(file))

    def column(key: str) -> tuple[list[float], list[float]]:
        pairs = [(float(row["step"]), float(row[key])) for row in rows if row[key]]
        return [step for step, _ in pairs], [value for _, value in pairs]

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    left.plot(*column("loss"), color=SOFT, alpha=0.7, linewidth=1, label="training loss")
    left.plot(*column("val_loss"), color=ACCENT, marker="o", markersize=3, label="validation loss")
    left.legend(frameon=False)
    right.plot(*column("val_mean_iou"), color=ACCENT, marker="o", markersize=3)
    right.set_ylabel("validation mean IoU")
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(IMAGES / f"{name}_curves.png", dpi=110)


def masks(name: str, *files: str) -> None:
    """Predicted masks side by side, in their palettes."""
    parts = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    gap = np.full((parts[0].shape[0], 8, 3), 255, np.uint8)
    joined = [piece for part in parts for piece in (part, gap)][:-1]
    Image.fromarray(np.concatenate(joined, axis=1)).quantize(64).save(IMAGES / f"{name}_masks.png", optimize=True)


if __name__ == "__main__":
    {"look": look, "curves": curves, "masks": masks}[sys.argv[1]](*sys.argv[2:])
