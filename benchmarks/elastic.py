"""Elastic deformation of a 512x512 image and mask on one thread, against albumentations and torchvision.

python -m benchmarks.elastic
"""

import cv2
import numpy as np
import torch

from atrous.data.transforms import TRANSFORMS
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
    elastic = TRANSFORMS["elastic"]()
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
        },
        rounds=9,
    )
    save("elastic_cpu", "python -m benchmarks.elastic", rows)


if __name__ == "__main__":
    main()
