"""Elastic deformation of a 512x512 image and mask, and U-Net's weight map of 50 cells, on one thread.

Against albumentations and torchvision; the map against the way it is usually written.

python -m benchmarks.elastic
"""

import cv2
import numpy as np
import torch

from atrous.augment import TRANSFORMS
from benchmarks.harness import compare, save

SIZE = 512


def main() -> None:
    """One table."""
    import albumentations as A
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    mask = (rng.random((SIZE, SIZE)) > 0.5).astype(np.uint8)
    sample = {"image": torch.from_numpy(image)[None].float(), "mask": torch.from_numpy(mask).long()}
    elastic, simard, gentle = TRANSFORMS["elastic"](), TRANSFORMS["simard"](), TRANSFORMS["simard"](alpha=300, sigma=30)
    grid = A.Compose([A.GridElasticDeform(num_grid_xy=(3, 3), magnitude=10, p=1.0)])
    dense = A.Compose([A.ElasticTransform(alpha=300, sigma=30, p=1.0)])
    torchvision = v2.ElasticTransform(alpha=300.0, sigma=30.0)
    pair = (tv_tensors.Image(torch.from_numpy(image)[None]), tv_tensors.Mask(torch.from_numpy(mask)[None]))
    rows = compare(
        f"elastic {SIZE}x{SIZE} image and mask, one thread",
        {
            "albumentations GridElasticDeform": lambda: grid(image=image, mask=mask),
            "albumentations ElasticTransform": lambda: dense(image=image, mask=mask),
            "torchvision v2 ElasticTransform": lambda: torchvision(*pair),
            "atrous elastic": lambda: elastic(dict(sample), rng),
            "atrous simard, alpha 34, sigma 4": lambda: simard(dict(sample), rng),
            "atrous simard, alpha 300, sigma 30": lambda: gentle(dict(sample), rng),
        },
        rounds=9,
    )
    cells = fifty_cells()
    mask, weigh = (cells > 0).long(), TRANSFORMS["border_weights"]()
    labelled = {"image": sample["image"], "mask": mask, "instances": cells}
    rows += compare(
        f"U-Net's weight map of {SIZE}x{SIZE} with 50 cells, one thread",
        {
            "scipy, a distance transform for every cell": lambda: usual_weights(cells.numpy()),
            "atrous border_weights": lambda: weigh(labelled, rng),
            "atrous border_weights, without instances": lambda: weigh({**sample, "mask": mask}, rng),
        },
        rounds=9,
    )
    save("elastic_cpu", "python -m benchmarks.elastic", rows)


def fifty_cells() -> torch.Tensor:
    """Discs at random, some on top of others."""
    rng, cells = np.random.default_rng(1), torch.zeros(SIZE, SIZE, dtype=torch.int64)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    for number in range(1, 51):
        row, column, radius = (int(value) for value in rng.integers([0, 0, 12], [SIZE, SIZE, 30]))
        cells[(y - row) ** 2 + (x - column) ** 2 < radius**2] = number
    return cells


def usual_weights(cells: np.ndarray) -> np.ndarray:
    """The weight map as it is usually written: all distances, sorted."""
    from scipy.ndimage import distance_transform_edt

    distances = [distance_transform_edt(cells != number) for number in np.unique(cells[cells > 0])]
    first, second = np.partition(np.stack(distances), 1, axis=0)[:2]
    counts = np.bincount((cells > 0).ravel())
    return (counts.sum() / (2 * counts))[(cells > 0).astype(int)] + 10 * np.exp(-((first + second) ** 2) / 50)


if __name__ == "__main__":
    main()
