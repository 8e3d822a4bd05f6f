"""A fully convolutional pass over an image against the classifier on every window of it.

python -m benchmarks.dense                   AlexNet, VGG-16, ResNet-18 on 500x500, windows of 224x224 every 32 pixels
python -m benchmarks.dense 320 alexnet       an image of 320x320, one network

Both sides have the same weights and give the same grid of scores. The windows go through the classifier in batches,
which is the fastest way to run them. FCN's authors found AlexNet's dense pass more than 5 times as fast.
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from atrous.surgery import DenseClassifier, convolutionalize, window_difference
from benchmarks.harness import Row, compare, save

NAMES = ("alexnet", "vgg16", "resnet18")
BATCH = 27


def every_window(classifier: nn.Module, dense: DenseClassifier, image: Tensor) -> Callable[[], Tensor]:
    """The classifier on all windows, as a map of scores."""
    (height, width), stride = dense.window, dense.stride

    def run() -> Tensor:
        with torch.inference_mode():
            # (1, C, H, W) -> (C, rows, columns, height, width) -> (rows * columns, C, height, width)
            cells = image[0].unfold(1, height, stride).unfold(2, width, stride)
            rows, columns = cells.shape[1:3]
            windows = cells.permute(1, 2, 0, 3, 4).flatten(0, 1)
            scores = torch.cat([classifier(part) for part in windows.split(BATCH)])
            return scores.T.reshape(1, -1, rows, columns)

    return run


def one_pass(dense: DenseClassifier, image: Tensor) -> Callable[[], Tensor]:
    """All scores at once."""

    def run() -> Tensor:
        with torch.inference_mode():
            return dense.scores(image)

    return run


def measure(name: str, size: int) -> tuple[list[Row], str]:
    """Median seconds of both, and how far their scores lie apart."""
    from torchvision import models

    torch.manual_seed(0)
    classifier = getattr(models, name)().eval()
    dense = convolutionalize(classifier).eval()
    image = torch.randn(1, 3, size, size)
    grid = (size - dense.window[0]) // dense.stride + 1
    contenders = {
        "torchvision, every window": every_window(classifier, dense, image),
        "atrous, one dense pass": one_pass(dense, image),
    }
    rows = compare(f"{name}, {grid}x{grid} windows of {size}x{size}", contenders, rounds=5, warmup=1)
    gap = window_difference(classifier, dense, image)
    return rows, (
        f"mean {gap.mean:.1e}, largest {gap.largest:.1e} where scores spread by {gap.spread:.1e}; "
        f"the same highest score in {100 * gap.same_class:.0f} % of {gap.windows} windows"
    )


def main(size: int = 500, names: tuple[str, ...] = NAMES) -> None:
    """One table; the differences, which padding makes, below it."""
    rows: list[Row] = []
    extra: dict[str, object] = {}
    for name in names:
        measured, gap = measure(name, size)
        rows += measured
        extra[f"difference of the padded {name}, random weights"] = gap
    save("dense_cpu", "python -m benchmarks.dense", rows, extra)


if __name__ == "__main__":
    main(*(int(sys.argv[1]), tuple(sys.argv[2:]) or NAMES) if sys.argv[1:] else ())
