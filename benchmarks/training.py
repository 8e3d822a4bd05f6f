"""Training on a processor: single steps, and images a second of whole runs; ours, an earlier build, and smp.

    python -m benchmarks.training --base CHECKOUT          every row that is missing
    python -m benchmarks.training --base CHECKOUT lite0    rows whose name contains a word, anew
    python -m benchmarks.training --table                  what is there

CHECKOUT is a folder with an earlier commit (`git worktree add --detach CHECKOUT COMMIT`); its `src` is used. Every
contender is a process of its own. A round takes one step of each, in turn; ratios are medians over rounds. A step is
forward pass, losses, backward pass and Adam on batches of 4 x 256 x 256 with 11 classes: with cross-entropy in all of
them, and with Dice beside it, as runs without a recipe have it, in ours and the earlier build. smp computes in float32,
as its users do. Whole runs read, augment, train and keep an average of the weights; smp's is the plain loop of flips.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.harness import keep_rows, read_rows

HERE = Path(__file__).resolve().parents[1]
CLASSES, BATCH, SIZE = 11, 4, 256
LITE = "tf_efficientnet_lite0"
NETWORKS: dict[str, tuple[str, dict[str, Any], tuple[str, str] | None]] = {
    "unet resnet18": ("unet", {"encoder": "resnet18"}, ("Unet", "resnet18")),
    "unet lite0": ("unet", {"encoder": LITE}, ("Unet", f"tu-{LITE}")),
    "unet efficientnet_b0": ("unet", {"encoder": "efficientnet_b0"}, ("Unet", "tu-efficientnet_b0")),
    "unet mobilenetv3": (
        "unet",
        {"encoder": "mobilenetv3_large_100"},
        ("Unet", "tu-mobilenetv3_large_100"),
    ),
    "deeplabv3plus_smp lite0": ("deeplabv3plus_smp", {"encoder": LITE}, ("DeepLabV3Plus", f"tu-{LITE}")),
    "deeplabv3plus_smp resnet34": ("deeplabv3plus_smp", {"encoder": "resnet34"}, ("DeepLabV3Plus", "resnet34")),
    "deeplabv3plus": ("deeplabv3plus", {}, None),
    "pspnet": ("pspnet", {}, None),
    "hrnet": ("hrnet", {}, None),
    "fcn8s": ("fcn8s", {}, None),
    "segnet": ("segnet", {}, None),
    "attention_unet": ("attention_unet", {}, None),
}
"""Name -> key and arguments of ours, and smp's class and encoder where it has the network."""
RUNS = ("resnet18", LITE)
ROUNDS, RUN_STEPS, UNCOUNTED = 7, 60, 20


def our_step(key: str, arguments: dict[str, Any], *, dice: bool) -> Callable[[], None]:
    """A step as the training takes it, in the precision that `auto` stood for in every build."""
    from atrous.inference.devices import choose_precision
    from atrous.models import create_model
    from atrous.optim import adam
    from atrous.tasks import TASKS
    from atrous.training import memory

    model = create_model(key, num_classes=CLASSES, **arguments).train()
    memory.channels_last(model)
    task = TASKS["segmentation"](CLASSES, loss=["cross_entropy", "dice"] if dice else "cross_entropy")
    optimizer, batch = adam(model, lr=1e-3), example()
    batch["image"] = batch["image"].contiguous(memory_format=torch.channels_last)
    short = choose_precision("auto", torch.device("cpu")) == torch.bfloat16
    quick = getattr(memory, "quick_gradients", lambda _: nullcontext())  # earlier builds have none

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=short):
            with quick(torch.device("cpu")):
                outputs = model(batch["image"])
            losses = task.losses(outputs, batch | {"grids": model.grids})
            loss = torch.stack(list(losses.values())).sum()
        loss.backward()
        optimizer.step()

    return step


def smp_step(name: str, encoder: str) -> Callable[[], None]:
    """A step as users of smp write it."""
    import segmentation_models_pytorch as smp

    model = getattr(smp, name)(encoder, encoder_weights=None, classes=CLASSES).train()
    optimizer, batch = torch.optim.Adam(model.parameters(), lr=1e-3), example()
    image = batch["image"] / 255

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(image), batch["mask"]).backward()
        optimizer.step()

    return step


def example() -> dict[str, torch.Tensor]:
    """Noise, the same for all."""
    generator = torch.Generator().manual_seed(0)
    image = 255 * torch.rand(BATCH, 3, SIZE, SIZE, generator=generator)
    return {"image": image, "mask": torch.randint(0, CLASSES, (BATCH, SIZE, SIZE), generator=generator)}


class Worker:
    """A contender in a process of its own, which takes a step when asked to."""

    def __init__(self, arguments: dict[str, Any], source: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.training", "--worker", json.dumps(arguments)]
        environment = {**os.environ, "PYTHONPATH": str(source)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE, env=environment
        )

    def step(self) -> float:
        """Seconds of one step; the first call waits until the worker has warmed up."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a contender ended with code {self.process.wait()}")
        return float(line)

    def close(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def work(arguments: dict[str, Any]) -> None:
    """The side of the worker."""
    torch.manual_seed(0)
    if "smp" in arguments:
        step = smp_step(*arguments["smp"])
    else:
        step = our_step(arguments["key"], arguments["arguments"], dice=arguments["dice"])
    for _ in range(2):
        step()
    for _ in sys.stdin:
        begin = time.perf_counter()
        step()
        print(time.perf_counter() - begin, flush=True)


def steps(name: str, base: Path) -> dict[str, Any]:
    """A row: seconds of every contender, and how many times as fast ours is."""
    key, arguments, peer = NETWORKS[name]
    ours, earlier = HERE / "src", base / "src"
    contenders = {
        f"{who}{' with Dice' if dice else ''}": Worker({"key": key, "arguments": arguments, "dice": dice}, source)
        for dice in (False, True)
        for who, source in (("ours", ours), ("earlier", earlier))
    }
    if peer is not None:
        contenders["smp"] = Worker({"smp": peer}, ours)
    times: dict[str, list[float]] = {who: [] for who in contenders}
    for _ in range(ROUNDS):
        for who, worker in contenders.items():
            times[who].append(worker.step())
    for worker in contenders.values():
        worker.close()
    return row_of(times)


def row_of(times: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, ranges and ratios of paired times."""
    row: dict[str, Any] = {
        who: {"seconds": statistics.median(taken), "low": min(taken), "high": max(taken)}
        for who, taken in times.items()
    }
    pairs = [("ours", "earlier"), ("ours with Dice", "earlier with Dice"), ("ours", "smp")]
    for mine, other in pairs:
        if mine in times and other in times:
            ratios = [theirs / own for own, theirs in zip(times[mine], times[other], strict=True)]
            row[f"{mine} / {other}"] = statistics.median(ratios)
    return row


def runs(encoder: str, base: Path) -> dict[str, Any]:
    """Seconds an image of whole runs, in turn: `atrous train`, the same of the earlier build, smp's plain loop."""
    from benchmarks.networks import scenes

    data = scenes()
    contenders = {"ours": HERE / "src", "earlier": base / "src", "smp": HERE / "src"}
    times: dict[str, list[float]] = {who: [] for who in contenders}
    for _ in range(3):
        for who, source in contenders.items():
            arguments = json.dumps({"who": who, "encoder": encoder, "data": str(data)})
            command = [sys.executable, "-m", "benchmarks.training", "--run", arguments]
            environment = {**os.environ, "PYTHONPATH": str(source)}
            done = subprocess.run(command, capture_output=True, text=True, cwd=HERE, env=environment, check=True)
            times[who].append(float(done.stdout.splitlines()[-1]))
    row = row_of(times)
    row["images a second"] = {who: 1 / row[who]["seconds"] for who in contenders}
    return row


def run(who: str, encoder: str, data: str) -> None:
    """One run; prints the seconds an image after the first steps."""
    if who == "smp":
        print(plain_run(encoder, Path(data)))
        return
    import csv

    import atrous

    overrides = [
        f"model.encoder={encoder}", "model.pretrained=false", f"data.crop={SIZE}", f"data.batch_size={BATCH}",
        "task.loss=[cross_entropy, dice]", "training.ema=0.999", "training.log_every=10",
        f"training.max_steps={RUN_STEPS}", f"training.validate_every={RUN_STEPS}",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as out:
        atrous.train(data, recipe="unet", out=Path(out) / "run", overrides=overrides, progress=False)
        rows = list(csv.DictReader((Path(out) / "run" / "log.csv").open()))
    # The row of the last step has its validation in its time.
    first, last = (next(row for row in rows if int(row["step"]) == step) for step in (UNCOUNTED, RUN_STEPS - 10))
    seconds = float(last["seconds"]) - float(first["seconds"])
    print(seconds / (BATCH * (int(last["step"]) - int(first["step"]))))


def plain_run(encoder: str, data: Path) -> float:
    """smp's `Unet` in the loop that its users write: random crops, flips, Adam, cross-entropy, one loader process."""
    import segmentation_models_pytorch as smp
    from torch.utils.data import DataLoader

    from atrous.data import FolderDataset, open_folder

    folder = open_folder(data)
    prefix = "" if encoder.startswith("resnet") else "tu-"
    model: nn.Module = smp.Unet(f"{prefix}{encoder}", encoder_weights=None, classes=len(folder.classes.names)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    source = FolderDataset(folder, "train")

    class Crops(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
        def __len__(self) -> int:
            return RUN_STEPS * BATCH

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            sample = source[index % len(source)]
            image, mask = sample["image"] / 255, sample["mask"]
            top, left = (int(torch.randint(side - SIZE + 1, ())) for side in mask.shape)
            image, mask = image[:, top : top + SIZE, left : left + SIZE], mask[top : top + SIZE, left : left + SIZE]
            return (image.flip(-1), mask.flip(-1)) if torch.rand(()) < 0.5 else (image, mask)

    begin, steps_done = 0.0, 0
    for image, mask in DataLoader(Crops(), BATCH, shuffle=True, num_workers=1):
        if steps_done == UNCOUNTED:
            begin = time.perf_counter()
        loss = F.cross_entropy(model(image), mask.long(), ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps_done += 1
    return (time.perf_counter() - begin) / (BATCH * (steps_done - UNCOUNTED))


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Steps, and whole runs."""
    lines = [
        "| step | ours | earlier | smp float32 | ours / earlier | with Dice beside | ours / smp |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if not name.startswith("run "):
            cells = [f"{1e3 * row[who]['seconds']:.0f} ms" if who in row else "" for who in ("ours", "earlier", "smp")]
            ratios = ("ours / earlier", "ours with Dice / earlier with Dice", "ours / smp")
            cells += [f"{row[pair]:.2f}x" if pair in row else "" for pair in ratios]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| whole run, images a second | ours | earlier | smp |", "|---|---|---|---|"]
    for name, row in rows.items():
        if name.startswith("run "):
            rates = row["images a second"]
            lines.append(
                f"| {name[4:]} | " + " | ".join(f"{rates[who]:.1f}" for who in ("ours", "earlier", "smp")) + " |"
            )
    return "\n".join(lines)


def main() -> None:
    """Rows that are missing, or those asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--worker", type=json.loads)
    parser.add_argument("--run", type=json.loads)
    given = parser.parse_args()
    if given.worker is not None:
        work(given.worker)
    elif given.run is not None:
        run(**given.run)
    elif given.table:
        print(table(read_rows("training")))
    else:
        if given.base is None or not (given.base / "src" / "atrous").is_dir():
            parser.error("--base: give the folder of an earlier checkout")
        everything = [*NETWORKS, *(f"run unet {encoder}" for encoder in RUNS)]
        for name in everything:
            if any(word in name for word in given.words) if given.words else name not in read_rows("training"):
                row = runs(name.split()[-1], given.base) if name.startswith("run ") else steps(name, given.base)
                rows = {**read_rows("training"), name: row}
                rows = {key: rows[key] for key in everything if key in rows}
                keep_rows("training", rows, table(rows), arguments=" --base CHECKOUT")
                print(name, json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
