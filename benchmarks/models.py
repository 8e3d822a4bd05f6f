"""Each network against the peer that has it, on CPU: a forward pass and a training step.

    python -m benchmarks.models                  every comparison
    python -m benchmarks.models deeplabv3 hrnet  those whose name contains a word

Twice: at equal precision (both float32), and with our defaults (bfloat16 where the processor has it) against the peer
in float32, which is how its users run it. The peer is built as its documentation shows, channels first, with our
weights in it where the two networks are one; where they are not, the note says what differs. Seven paired rounds each.
"""

import sys
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.inference.devices import choose_precision
from atrous.inference.prepare import prepare
from atrous.models import create_model
from atrous.tasks import TASKS
from benchmarks.harness import Row, compare, save
from benchmarks.peers import PEERS

CLASSES, SIZE, BATCH = 21, 256, 2


def logits(output: object) -> list[Tensor]:
    """The maps of any network's output, the main one first."""
    if isinstance(output, dict):
        return list(output.values())
    return [output] if isinstance(output, Tensor) else [max(output, key=lambda maps: maps.shape[-1])]


def ours_and_theirs(name: str) -> tuple[nn.Module, nn.Module, str]:
    """Our model and the peer's, with equal weights where they are one network, and what differs."""
    torch.manual_seed(0)
    key, arguments, build, note = PEERS[name]
    model = create_model(key, num_classes=CLASSES, **arguments)
    return model, build(model), note


def forwards(
    model: nn.Module, peer: nn.Module, dtype: torch.dtype
) -> tuple[Callable[[], object], Callable[[], object]]:
    """One pass of either over an image, in evaluation."""
    image = torch.rand(1, 3, 2 * SIZE, 2 * SIZE)
    theirs, ours = peer.eval(), prepare(model, dtype, torch.device("cpu"))
    laid_out = image.to(memory_format=torch.channels_last)

    def run_theirs() -> object:
        with torch.inference_mode():
            return theirs(image)

    def run_ours() -> object:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32):
            return ours(laid_out)

    return run_theirs, run_ours


def steps(model: nn.Module, peer: nn.Module, dtype: torch.dtype) -> tuple[Callable[[], None], ...]:
    """One training step of either: forward, loss, gradients, SGD."""
    image, mask = torch.rand(BATCH, 3, SIZE, SIZE), torch.randint(0, CLASSES, (BATCH, SIZE, SIZE))
    task = TASKS["segmentation"](CLASSES)
    model, peer = model.train().to(memory_format=torch.channels_last), peer.train()
    laid_out = image.contiguous(memory_format=torch.channels_last)
    optimizers = [torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, fused=fused)
                  for net, fused in ((peer, None), (model, True))]  # fmt: skip

    def run_theirs() -> None:
        maps = [
            F.interpolate(m, (SIZE, SIZE), mode="bilinear") if m.shape[-1] != SIZE else m for m in logits(peer(image))
        ]
        weights = [1.0, *[0.4] * (len(maps) - 1)]
        loss = sum(w * F.cross_entropy(m, mask % m.shape[1]) for w, m in zip(weights, maps, strict=True))
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()

    def run_ours() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32):
            losses = task.losses(model(laid_out), {"image": laid_out, "mask": mask, "grids": model.grids})
            loss = torch.stack(list(losses.values())).sum()
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()

    return run_theirs, run_ours


def measure(name: str) -> list[Row]:
    """Four comparisons of one pair."""
    fast = choose_precision("auto", torch.device("cpu"))
    rows = []
    for what, make, shape in (
        ("forward", forwards, f"1x{2 * SIZE}x{2 * SIZE}"),
        ("step", steps, f"{BATCH}x{SIZE}x{SIZE}"),
    ):
        for label, dtype in (("equal precision", torch.float32), ("our defaults", fast)):
            model, peer, note = ours_and_theirs(name)
            theirs, ours = make(model, peer, dtype)
            pair = compare(f"{what} {shape}, {label}", {name: theirs, f"atrous {PEERS[name][0]}": ours})
            rows += [replace(row, note=note) for row in pair]
            for row in pair[1:]:
                print(f"{row.comparison} {name}: {row.ratio:.2f}x", flush=True)
    return rows


def main(words: list[str]) -> None:
    """All pairs, or those asked for."""
    chosen = [name for name in PEERS if not words or any(word in name for word in words)]
    rows = [row for name in chosen for row in measure(name)]
    save("models_cpu" if not words else "models_cpu_some", " ".join(["python -m benchmarks.models", *words]), rows)


if __name__ == "__main__":
    main(sys.argv[1:])
