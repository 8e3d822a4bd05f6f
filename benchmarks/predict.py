"""Prediction on a CPU: every engine against the float32 that peers are used in, and against an earlier build.

    python -m benchmarks.predict [--before SRC]

Each contender is a process of its own; a round asks one after the other, so that a slow moment hits all. The first is
smp's or timm's network with the same weights; where there is none, the same network as torch computes it: float32,
`eval()`, `torch.inference_mode()`. `--before` names the `src` folder of an earlier checkout. Rows that are there
already are kept; a row is written once it is measured. Below the table stands what the processor could do at best: the
network's multiplications at the speed of a large product of matrices in bfloat16.
`python -m benchmarks.predict --loss RUN DATA` tells what each precision costs in mean IoU on the validation images of
real data.
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
from pathlib import Path
from typing import Any

from benchmarks.harness import keep_rows, read_rows

CACHE = Path(__file__).parent / ".cache" / "predict"
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "unet resnet18": ("unet", {"encoder": "resnet18"}),
    "deeplabv3plus": ("deeplabv3plus", {}),
    "pspnet": ("pspnet", {}),
    "hrnet": ("hrnet", {"encoder": "hrnet_w18"}),
    "fcn8s": ("fcn8s", {}),
    "segnet": ("segnet", {}),
}
"""Row -> key in `MODELS` and arguments."""
SIZES = {"512 x 512": (512, None), "2048 x 2048 by tiles of 1024": (2048, 1024)}
WARMUP = {"512 x 512": 7, "2048 x 2048 by tiles of 1024": 1}
"""Rounds that do not count: OpenVINO compiles anew for a shape that has come twelve times."""
IN_A_ROW = {"512 x 512": 2, "2048 x 2048 by tiles of 1024": 1}
"""Images in a round, of which the last counts: what ran in between has emptied the processor's caches."""
COMMAND = "512 x 512, command to written mask"
CONTENDERS = ("eager float32", "before", "torch", "openvino", "int8")
ROUNDS = {"512 x 512": 7, "2048 x 2048 by tiles of 1024": 3}
RUNS = 3
"""Of a command."""
CLASSES = 12


def bundle(row: str) -> Path:
    """A bundle of the network whose normalisations have seen images, converted for the engines; kept."""
    from contextlib import suppress

    from atrous.bundle import save_bundle
    from atrous.errors import UsageError
    from atrous.inference import Predictor
    from atrous.inference.engines import quantize

    place = CACHE / row.replace(" ", "_")
    if not place.exists():
        save_bundle(place, network(row), class_names=[f"class {number}" for number in range(CLASSES)])
    Predictor.load(place, device="cpu", engine="openvino")
    if not list(place.with_name(f".{place.name}.engines").glob("int8-*")):
        with suppress(UsageError):  # a network of random weights may not bear it
            quantize(place, [picture(512, seed) for seed in range(12)])
    return place


def has_int8(row: str) -> bool:
    """Whether there is a quantised network."""
    return any((CACHE / f".{row.replace(' ', '_')}.engines").glob("int8-*"))


def network(row: str) -> Any:
    """The network with random weights, and statistics of pictures."""
    import torch

    from atrous.models import create_model

    torch.manual_seed(0)
    name, arguments = NETWORKS[row]
    model = create_model(name, num_classes=CLASSES, in_channels=3, **arguments)
    model.set_normalization([120.0] * 3, [60.0] * 3)
    model.train()
    with torch.no_grad():
        for seed in range(4):
            model(torch.from_numpy(picture(256, seed)).permute(2, 0, 1)[None].float())
    return model.eval()


def picture(side: int, seed: int = 0) -> Any:
    """(side, side, 3) uint8: structures of many sizes."""
    import torch
    import torch.nn.functional as F

    draw = torch.Generator().manual_seed(seed)
    waves = torch.zeros(1, 3, side, side)
    for cells in (2, 5, 11, 24, 50):
        waves += F.interpolate(torch.randn(1, 3, cells, cells, generator=draw), (side, side), mode="bicubic")
    return (120 + 30 * waves)[0].permute(1, 2, 0).clamp(0, 255).byte().contiguous().numpy()


def eager(row: str, place: Path) -> Callable[[Any], Any]:
    """What a user of a peer writes: from an array to classes."""
    import numpy as np
    import torch

    from atrous.bundle import load_bundle
    from benchmarks.peers import smp_unet, timm_hrnet

    model = load_bundle(place).model.eval()
    mean, std = model.mean.view(3, 1, 1), model.std.view(3, 1, 1)
    peers = {"unet resnet18": smp_unet, "hrnet": timm_hrnet}
    net = peers[row](model).eval() if row in peers else None

    def predict(image: Any) -> Any:
        x = torch.from_numpy(image).permute(2, 0, 1).float()
        with torch.inference_mode():
            logits = net(((x - mean) / std)[None]) if net is not None else model(x[None])["out"]
        return logits.argmax(1)[0].numpy().astype(np.uint8)

    return predict


def work(contender: str, row: str, size: str) -> None:
    """Answer each line with the seconds of one prediction; at the end, with the peak memory and what was decided."""
    import numpy as np

    side, tile = SIZES[size]
    place, image = CACHE / row.replace(" ", "_"), picture(side, 99)
    if contender == "eager float32":
        predict = eager(row, place)
    else:
        import atrous

        given = {"before": {}, "torch": {"engine": "torch"}, "openvino": {"engine": "openvino"}}
        how: dict[str, Any] = given.get(contender, {"precision": "int8"})
        predictor = atrous.Predictor.load(place, device="cpu", **how)

        def predict(image: Any) -> Any:
            return predictor(image, tile=tile, scores=False).classes

    print("ready", flush=True)
    classes = None
    for _ in sys.stdin:
        for _ in range(IN_A_ROW[size]):
            start = time.perf_counter()
            classes = predict(image)
        print(time.perf_counter() - start, flush=True)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    np.save(decided(contender, row, size), classes)
    print(int(status["VmHWM"].split()[0]) / 1024, flush=True)


def decided(contender: str, row: str, size: str) -> Path:
    """Where the classes that a contender decided are kept."""
    return CACHE / f"{contender} {row} {size}.npy".replace(" ", "_")


def operations(row: str, size: str) -> float:
    """GFLOP of an image, two for a multiplication and its addition; tiles without what they overlap."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from atrous.bundle import load_bundle

    side, tile = SIZES[size]
    model = load_bundle(CACHE / row.replace(" ", "_")).model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, tile or side, tile or side))
    return counter.get_total_flops() / 1e9 * (side / (tile or side)) ** 2


def peak_rate() -> float:
    """GFLOP a second of a large product of matrices in bfloat16, the best of eight."""
    import torch

    side, taken = 2048, []
    one, other = (torch.randn(side, side).bfloat16() for _ in range(2))
    for _ in range(8):
        start = time.perf_counter()
        one @ other
        taken.append(time.perf_counter() - start)
    return float(2 * side**3 / min(taken) / 1e9)


class Worker:
    """A contender in a process of its own."""

    def __init__(self, contender: str, row: str, size: str, before: str | None) -> None:
        paths = [before] if contender == "before" and before else []
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
        command = [sys.executable, "-m", "benchmarks.predict", "--work", contender, row, size]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.line() == "ready"

    def line(self) -> str:
        text = self.process.stdout.readline().strip()  # type: ignore[union-attr]
        assert text, f"the process ended: {self.process.wait()}"
        return text

    def seconds(self) -> float:
        self.process.stdin.write("\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        return float(self.line())

    def peak(self) -> float:
        self.process.stdin.close()  # type: ignore[union-attr]
        peak = float(self.line())
        self.process.wait()
        return peak


def measure(row: str, size: str, before: str | None) -> dict[str, Any]:
    """Medians, ratios to the first contender, peak memory, and shares of pixels decided as it decides them."""
    import numpy as np

    there = {"before": before is not None, "int8": has_int8(row)}
    names = [name for name in CONTENDERS if there.get(name, True)]
    workers = {name: Worker(name, row, size, before) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(WARMUP[size] + ROUNDS[size]):
        for name, worker in workers.items():
            seconds = worker.seconds()
            if turn >= WARMUP[size]:
                times[name].append(seconds)
    peaks = {name: worker.peak() for name, worker in workers.items()}
    first = np.load(decided(names[0], row, size))
    alike = {name: float((np.load(decided(name, row, size)) == first).mean()) for name in names}
    return {"times": times, "peak": peaks, "alike": alike, "gflop": operations(row, size), "rate": peak_rate()}


def measure_command(row: str, before: str | None) -> dict[str, Any]:
    """Seconds of `atrous predict` for one image, from the start of the process to its end."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.png"
        Image.fromarray(picture(512, 99)).save(image)
        runs = {"torch": ["--engine", "torch"], "auto": [], "openvino": ["--engine", "openvino"]}
        runs = {**({"before": []} if before else {}), **runs}
        if has_int8(row):
            runs["int8"] = ["--precision", "int8"]
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(RUNS):
            for name, options in runs.items():
                paths = [before] if name == "before" and before else []
                environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
                place = str(CACHE / row.replace(" ", "_"))
                command = [sys.executable, "-m", "atrous.cli", "predict", place, str(image), "-o", f"{folder}/mask.png"]
                start = time.perf_counter()
                subprocess.run(
                    [*command, "--device", "cpu", *options], check=True, env=environment, capture_output=True
                )
                times[name].append(time.perf_counter() - start)
    return {"times": times}


def describe(rows: dict[str, dict[str, Any]]) -> str:
    """A Markdown table; losing rows stand in it like the winning ones."""
    lines = [
        "| network and image | contender | median | times the first | times before | peak MB | decided alike |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, row in rows.items():
        times = row["times"]
        first, before = next(iter(times)), "before" if "before" in times else "torch"
        for name, taken in times.items():
            ratios = [
                statistics.median(a / b for a, b in zip(times[other], taken, strict=True)) for other in (first, before)
            ]
            peak, alike = row.get("peak", {}).get(name), row.get("alike", {}).get(name)
            lines.append(
                f"| {key} | {name} | {1e3 * statistics.median(taken):.1f} ms | {ratios[0]:.2f}x | {ratios[1]:.2f}x | "
                f"{'' if peak is None else f'{peak:.0f}'} | {'' if alike is None else f'{100 * alike:.2f} %'} |"
            )
    return "\n".join([*lines, "", *(bound(key, row) for key, row in rows.items() if "gflop" in row)])


def bound(key: str, row: dict[str, Any]) -> str:
    """What bfloat16 could do at best on this processor."""
    best = row["gflop"] / row["rate"]
    times = {name: statistics.median(taken) / best for name, taken in row["times"].items()}
    return (
        f"- {key}: {row['gflop']:.1f} GFLOP, at {row['rate']:.0f} GFLOP/s {1e3 * best:.1f} ms; "
        f"{times['eager float32']:.2f}x the first at most"
        + (f", {times['before']:.2f}x before" if "before" in times else "")
    )


def loss(run: str, data: str) -> None:
    """Mean IoU on validation images: float32, as predicted by default, by OpenVINO, and in int8."""
    import atrous
    from atrous.bundle import load_bundle
    from atrous.data.reading import read_truth
    from atrous.evaluation import labelled_pairs, open_like
    from atrous.inference.engines import quantize

    folder = open_like(load_bundle(run).recipe, data, None)
    pairs = labelled_pairs(folder, "train")[:24]
    quantize(run, [read_truth(pair, folder)[0].array for pair in pairs])
    ways = {
        "float32": {"precision": "float32"},
        "torch": {"engine": "torch"},
        "openvino": {"engine": "openvino"},
        "int8": {"precision": "int8"},
    }
    for name, how in ways.items():
        found = atrous.evaluate(run, data, boundary=False, device="cpu", **how)
        print(f"{name}: mean IoU {found.summary['mean_iou']:.4f}, {found.seconds:.2f} s")


def main() -> None:
    """Measure the rows that are missing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", help="the src folder of an earlier checkout")
    parser.add_argument("--work", nargs=3)
    parser.add_argument("--loss", nargs=2)
    given = parser.parse_args()
    if given.work:
        return work(*given.work)
    if given.loss:
        return loss(*given.loss)
    rows = read_rows("predict")
    for size in (*SIZES, COMMAND):
        for name in NETWORKS:
            if f"{name}, {size}" in rows:
                continue
            bundle(name)
            found = measure_command(name, given.before) if size == COMMAND else measure(name, size, given.before)
            rows[f"{name}, {size}"] = found
            keep_rows("predict", rows, describe(rows), arguments=" --before SRC" if given.before else "")
            print(json.dumps({f"{name}, {size}": {k: statistics.median(v) for k, v in found["times"].items()}}))
    return None


if __name__ == "__main__":
    main()
