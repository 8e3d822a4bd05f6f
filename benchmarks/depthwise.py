"""Depthwise convolutions on a processor, part by part: torch's own gradients and ours, in float32 and bfloat16.

    python -m benchmarks.depthwise

Batches of four, channels last and channels first; the shortest of several runs, in milliseconds. What was measured here
decides which form `layers/depthwise.py` takes.
"""

import time
from collections.abc import Callable
from itertools import product

import torch
from torch import nn

from atrous.layers.quick import QuickGradients
from benchmarks.harness import RESULTS, machine

CASES = [  # channels, side of the map, side of the kernel, stride, dilation
    (32, 128, 3, 1, 1), (144, 64, 3, 1, 1), (480, 16, 3, 1, 1), (304, 64, 3, 1, 1), (96, 128, 3, 2, 1),
    (240, 32, 3, 2, 1), (240, 32, 5, 1, 1), (480, 16, 5, 1, 1), (1152, 8, 5, 1, 1), (144, 64, 5, 2, 1),
    (672, 16, 5, 2, 1), (96, 64, 7, 1, 1), (384, 16, 7, 1, 1), (1152, 16, 3, 1, 2), (672, 16, 5, 1, 2),
    (320, 16, 3, 1, 6), (320, 16, 3, 1, 12), (320, 16, 3, 1, 24), (320, 32, 3, 1, 36),
]  # fmt: skip
BATCH, RUNS = 4, 12


def shortest(run: Callable[[], object]) -> float:
    """Milliseconds."""
    run()
    best = float("inf")
    for _ in range(RUNS):
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return 1e3 * best


def parts(case: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format, *, ours: bool) -> list[float]:
    """Of the forward pass, and of both gradients together."""
    channels, side, kernel, stride, dilation = case
    padding = dilation * (kernel - 1) // 2
    layer = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, channels, bias=False).to(dtype)
    image = torch.randn(BATCH, channels, side, side).to(dtype).contiguous(memory_format=layout).requires_grad_()

    def forward() -> torch.Tensor:
        if not ours:
            return layer(image)
        with QuickGradients():
            return layer(image)

    out = forward()
    gradient = torch.randn_like(out)
    both = [image, layer.weight]
    return [shortest(forward), shortest(lambda: torch.autograd.grad(out, both, gradient, retain_graph=True))]


def main() -> None:
    """All cases."""
    lines = [
        "| channels | map | kernel | stride | dilation | layout | type | torch: forward, gradients | ours |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    layouts = {"last": torch.channels_last, "first": torch.contiguous_format}
    for case, (layout, order), dtype in product(CASES, layouts.items(), (torch.float32, torch.bfloat16)):
        texts = [", ".join(f"{each:.2f}" for each in parts(case, dtype, order, ours=ours)) for ours in (False, True)]
        lines.append(f"| {' | '.join(map(str, case))} | {layout} | {str(dtype)[6:]} | {' | '.join(texts)} |")
        print(lines[-1], flush=True)
    where = ", ".join(f"{key} {value}" for key, value in machine().items())
    text = "\n".join(lines)
    (RESULTS / "depthwise.md").write_text(f"# depthwise\n\n`python -m benchmarks.depthwise`\n\n{where}\n\n{text}\n")


if __name__ == "__main__":
    main()
